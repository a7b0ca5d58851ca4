"""What `run` refuses before it watches anything, and how the shots of a track become one template."""

import queue
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from camera import CameraError
from camera.pipeline import Arrival
from camera.quality import BestShot
from camera.slot import Slots
from camera.worker import CameraEvent, CameraWorker
from edge import EdgeError
from edge.clock import Clock
from edge.home import Home
from edge.node import RunOptions, run
from edge.watch import WORKERS_STOP_S, fuse, stop_all
from models import ModelsError
from models.store import Store
from sync.node.ledger import Ledger
from sync.storage.database import DatabaseError, NewerFormat, connect

T0 = datetime(2026, 7, 1, 2, tzinfo=UTC)


class ByBrightness:
    """An embedder whose answer can be read off the chip: its first three bytes say along which axes."""

    chip_px = 2
    dim = 3

    def embed(self, chips: np.ndarray) -> np.ndarray:
        vectors = chips[:, 0, 0, :].astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def track(*shots: tuple[tuple[int, int, int], float]) -> Arrival:
    taken = tuple(
        BestShot("door", 1, T0, np.full((2, 2, 3), colour, np.uint8), b"", quality, 80.0) for colour, quality in shots
    )
    return Arrival("door", 1, T0, taken, frozenset())


def test_a_track_s_template_is_its_shots_weighted_by_quality() -> None:
    template = fuse(ByBrightness(), track(((255, 0, 0), 0.9), ((0, 255, 0), 0.3)), "p@1")  # type: ignore[arg-type]
    assert template.pack_id == "p@1"
    assert template.vector.dtype == np.float32
    assert np.linalg.norm(template.vector) == pytest.approx(1, abs=1e-6)
    assert template.vector == pytest.approx(np.array([3, 1, 0]) / np.sqrt(10), abs=1e-6)


def test_shots_of_no_quality_still_make_a_template() -> None:
    template = fuse(ByBrightness(), track(((255, 0, 0), 0.0), ((255, 0, 0), 0.0)), "p@1")  # type: ignore[arg-type]
    assert template.vector == pytest.approx([1, 0, 0])


def test_a_node_without_cameras_says_what_to_do(home: Home) -> None:
    with pytest.raises(EdgeError, match=r"^no camera: add a \[\[camera\]\] to firstvisit\.toml or give --source$"):
        run(home, RunOptions())


def test_a_missing_film_is_named_with_its_camera(home: Home, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"^camera cam2: .*none\.mp4: no such file$"):
        run(home, RunOptions(sources=("usb:0", str(tmp_path / "none.mp4"))))


def test_a_source_of_no_known_kind_is_refused(home: Home) -> None:
    with pytest.raises(CameraError, match=r"^[^\n]*$") as caught:
        run(home, RunOptions(sources=("gopher://user:s3cret@host/1",)))
    assert "s3cret" not in str(caught.value)


def test_a_joined_node_reads_files_only_when_told_so(home: Home, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"")
    home.central_pub.write_text("joined")
    with pytest.raises(EdgeError, match=r"camera cam1: .* has joined central: say --allow-file"):
        run(home, RunOptions(sources=(str(film),)))


def test_a_pack_that_is_not_installed_names_the_command(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRSTVISIT_MODELS", str(tmp_path / "models"))
    for name in (None, "mobilefacenet"):
        with pytest.raises(ModelsError, match="firstvisit models install"):
            run(home, RunOptions(sources=("usb:0",), pack=name))
    assert "node.boot" not in kinds(home)


def test_a_home_of_a_newer_version_is_not_run(home: Home, packs: Store) -> None:
    assert packs.installed()
    ledger = home.open_ledger()
    ledger.connection.execute("PRAGMA user_version = 2")
    ledger.close()
    with pytest.raises(NewerFormat, match="written by a newer FirstVisit"):
        run(home, RunOptions(sources=("usb:0",)))


def test_a_film_that_is_none_stops_the_node_with_its_name(home: Home, packs: Store, tmp_path: Path) -> None:
    assert packs.installed()
    film = tmp_path / "film.mp4"
    film.write_bytes(b"no film at all" * 1000)
    with pytest.raises((EdgeError, CameraError), match=r"^[^\n]*film\.mp4[^\n]*$") as caught:
        run(home, RunOptions(sources=(str(film),), until_end=True))
    assert "cam1" in str(caught.value)


def test_a_position_outside_the_fence_is_recorded_at_every_start(home: Home, packs: Store, tmp_path: Path) -> None:
    assert packs.installed()
    ring = "[[[121.5,31.2],[121.6,31.2],[121.6,31.3],[121.5,31.3],[121.5,31.2]]]"
    (home.path / "fence.geojson").write_text(f'{{"type":"Polygon","coordinates":{ring}}}')
    text = home.config.read_text().replace('datum = "wgs84"', 'lat = 32.0\nlon = 121.55\nfence = "fence.geojson"')
    home.config.write_text(text)
    film = tmp_path / "film.mp4"
    film.write_bytes(b"")
    with pytest.raises((EdgeError, CameraError)):
        run(home, RunOptions(sources=(str(film),), until_end=True))
    ledger = home.open_ledger()
    (outside,) = ledger.records(("place.outside",))
    (boot,) = ledger.records(("node.boot",))
    ledger.close()
    assert outside.fields["place"]["inside"] == "out"
    assert boot.fields["place"] == outside.fields["place"]


def kinds(home: Home) -> list[str]:
    ledger = home.open_ledger()
    found = [row.kind for row in ledger.rows()]
    ledger.close()
    return found


def test_a_write_lock_held_by_somebody_else_is_waited_out_and_nothing_is_lost(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.storage.database.BUSY_TIMEOUT_S", 0.1)
    asked: list[bool] = []
    stranger = connect(home.database)
    stranger.execute("BEGIN IMMEDIATE")

    def let_go() -> bool:
        asked.append(True)
        if len(asked) == 3:
            stranger.execute("ROLLBACK")
        return True

    ledger = Ledger(home.database, home.writer("node", Clock(), let_go))
    assert ledger.append("node.stopped", {"reason": "stopped"}).seq == 3
    assert len(asked) == 3
    stranger.execute("BEGIN IMMEDIATE")
    impatient = home.open_ledger("node", Clock())
    with pytest.raises(DatabaseError, match="database is locked"):
        impatient.append("node.stopped", {"reason": "stopped"})
    stranger.close()


def test_six_cameras_that_hang_are_stopped_together() -> None:
    silent = [socket.create_server(("127.0.0.1", 0)) for _ in range(6)]  # they accept and never say a word
    cameras = {f"cam{n}": f"rtsp://127.0.0.1:{server.getsockname()[1]}/x" for n, server in enumerate(silent)}
    slots: Slots = Slots(cameras)
    events: queue.SimpleQueue[CameraEvent] = queue.SimpleQueue()
    now = datetime.now(UTC)
    workers = [CameraWorker(name, uri, slots, events, fast=False, run_started_at=now) for name, uri in cameras.items()]
    for worker in workers:
        worker.start()
    for server in silent:
        server.settimeout(30)
        server.accept()  # from here on its worker waits for an answer
    started_s = time.monotonic()
    stop_all(workers)
    took_s = time.monotonic() - started_s
    assert took_s < 2 * WORKERS_STOP_S + 1, "one after the other it would take six times as long as one"
    for server in silent:
        server.close()
