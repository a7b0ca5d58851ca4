"""Reference views are kept in HOME, and taken anew when somebody attests to the place; a covered camera is a record."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from camera.views import KeptView
from edge.cameras.camera_views import CameraViews, view_digest
from edge.cameras.reference_views import ReferenceViews
from edge.clock import Clock
from edge.home import Home, create_home
from edge.node import RunOptions, run
from edge.place.attestation import Attestation
from edge.place.surroundings import Surroundings
from edge.settings import new_config
from models.pack import Pack
from sync.format import canonical
from sync.format.stamp import from_us

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
SOURCES = {"door": "5" * 64}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return create_home(tmp_path / "home", new_config(site="s", node="n", place={}, capture={}), None)


def view(seed: int = 1) -> KeptView:
    rng = np.random.default_rng(seed)
    installed, followed = (rng.integers(0, 255, (90, 160)).astype(np.float32) for _ in range(2))
    return KeptView(installed, followed, NOW)


def test_a_view_that_is_kept_is_there_after_a_restart(home: Home) -> None:
    kept = view()
    CameraViews(home.database).keep("door", SOURCES["door"], kept, NOW)
    found = CameraViews(home.database).load(SOURCES)["door"]
    assert (found.taken_at, found.installed.dtype) == (NOW, np.float32)
    assert np.array_equal(found.installed, kept.installed)
    assert np.array_equal(found.followed, kept.followed)


def test_a_view_of_another_source_is_not_this_cameras(home: Home) -> None:
    CameraViews(home.database).keep("door", SOURCES["door"], view(), NOW)
    assert CameraViews(home.database).load({"door": "6" * 64}) == {}


def test_what_follows_the_light_is_written_once_an_hour(home: Home) -> None:
    views = CameraViews(home.database)
    views.keep("door", SOURCES["door"], view(1), NOW)
    views.keep("door", SOURCES["door"], view(2), NOW + timedelta(minutes=30))
    assert np.array_equal(CameraViews(home.database).load(SOURCES)["door"].followed, view(1).followed)
    views.keep("door", SOURCES["door"], view(2), NOW + timedelta(minutes=61))
    assert np.array_equal(CameraViews(home.database).load(SOURCES)["door"].followed, view(2).followed)


def test_a_running_node_learns_once_that_its_views_are_forgotten(home: Home) -> None:
    running = CameraViews(home.database)
    assert running.forgotten() == set()
    running.keep("door", SOURCES["door"], view(), NOW)
    assert running.forgotten() == set()
    assert CameraViews(home.database).forget() == 1
    assert running.forgotten() == {"door"}
    assert running.forgotten() == set()


class Running:
    """A node's reference views over several runs, without cameras."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.ledger = home.open_ledger("node", Clock())
        self.start()

    def start(self) -> list[str]:
        """Begin as a new run does; returns the cameras whose view is lost."""
        self.views = ReferenceViews(self.home.path, self.ledger, CameraViews(self.home.database))
        self.loaded = self.views.load(SOURCES)
        return self.views.lost()

    def say(self, kept: KeptView, at: datetime = NOW) -> None:
        """Keep a view and name it in a heartbeat."""
        self.views.keep("door", SOURCES["door"], kept, at)
        cameras = [{"camera": "door", "view": view_digest(SOURCES["door"], kept)}]
        self.ledger.append("node.alive", {"since_us": 1, "until_us": 2, "people": 0, "cameras": cameras})

    def sql(self, statement: str, *values: object) -> None:
        """Write as the kiosk's account may."""
        with closing(sqlite3.connect(self.home.database)) as connection, connection:
            connection.execute(statement, values)

    def attest(self) -> None:
        Attestation(self.home.database, Surroundings({})).attest(self.ledger)
        CameraViews(self.home.database).forget()


@pytest.fixture
def running(home: Home) -> Iterator[Running]:
    node = Running(home)
    yield node
    node.ledger.close()


def test_a_view_that_the_last_heartbeat_names_is_taken_up_again(running: Running) -> None:
    running.say(view())
    assert running.start() == []
    assert np.array_equal(running.loaded["door"].installed, view().installed)


def test_a_view_deleted_or_replaced_before_a_start_is_lost(running: Running) -> None:
    running.say(view(1))
    CameraViews(running.home.database).keep("door", SOURCES["door"], view(2), NOW)
    assert running.start() == ["door"]
    assert running.loaded == {}
    running.sql("DELETE FROM camera_views")
    assert running.start() == ["door"]
    assert running.views.lost() == []


def test_a_view_deleted_while_the_node_runs_is_written_again_and_not_taken_anew(running: Running) -> None:
    running.say(view())
    running.sql("DELETE FROM camera_views")
    assert not running.views.attested_anew()
    running.views.keep("door", SOURCES["door"], view(), NOW)
    assert running.start() == []


def test_views_are_taken_anew_once_somebody_has_attested(running: Running) -> None:
    running.say(view(1))
    running.attest()
    assert running.views.attested_anew()
    assert not running.views.attested_anew()
    running.views.keep("door", SOURCES["door"], view(2), NOW)
    assert np.array_equal(CameraViews(running.home.database).load(SOURCES)["door"].installed, view(2).installed)
    running.say(view(2))
    assert running.start() == []
    running.attest()
    assert running.start() == [], "attested while no node ran"


def test_an_attestation_or_a_heartbeat_that_the_node_s_key_did_not_sign_replaces_no_view(running: Running) -> None:
    running.say(view(1))
    head = running.ledger.append("visit.left", {"visit": "v-1"})
    forged = {**canonical.decode(head.body), "kind": "place.changed", "reason": "attested", "changed": []}
    for kind in ("place.changed", "node.alive"):
        body = canonical.encode({**forged, "kind": kind, "cameras": []})
        running.sql("UPDATE ledger SET kind = ?, body = ? WHERE seq = ?", kind, body, head.seq)
        running.sql("DELETE FROM camera_views")
        assert running.start() == ["door"]


def test_another_uri_for_a_camera_takes_a_view_of_its_own_without_a_word(running: Running) -> None:
    running.say(view())
    running.views.load({"door": "6" * 64})
    assert running.views.lost() == []


def test_a_home_of_an_older_version_has_no_views_to_tell_of(home: Home) -> None:
    with closing(home.open_ledger("node")) as ledger:
        ledger.connection.execute("DROP TABLE camera_views")
    assert CameraViews(home.database).states() == []


def test_a_run_records_that_its_camera_was_covered_from_the_first_such_picture_on(
    home: Home, tmp_path: Path, pack: Pack
) -> None:
    path = tmp_path / "covered.mp4"
    room = cv2.resize(np.random.default_rng(3).integers(0, 255, (9, 16, 3), dtype=np.uint8), (320, 180))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 320, 180, "yuv420p", Fraction(1, 5)
        for number in range(60):
            picture = room if not 15 <= number < 45 else np.zeros_like(room)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
    assert run(home, RunOptions(sources=(str(path),), until_end=True, fast=True, pack=pack.name))
    with closing(home.open_ledger()) as ledger:
        up, blind, clear, _ = (r.fields for r in ledger.records(("camera.up", "camera.blind", "camera.down")))
    assert (blind["state"], blind["reason"], clear["reason"]) == ("blind", "dark", "clear")
    began = from_us(up["at_us"])
    assert from_us(blind["at_us"]) - began == pytest.approx(timedelta(seconds=3), abs=timedelta(seconds=0.3))
    assert from_us(clear["at_us"]) - began == pytest.approx(timedelta(seconds=9), abs=timedelta(seconds=0.3))
    assert CameraViews(home.database).states() == []  # a film's view is nobody's
