"""Reference views are kept in HOME, and taken anew when somebody attests to the place; a covered camera is a record."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from camera.views import KeptView
from edge.camera_views import CameraViews
from edge.home import Home, create_home
from edge.node import RunOptions, run
from edge.settings import new_config
from models.pack import Pack
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
