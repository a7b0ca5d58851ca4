"""A real RTSP camera that goes away and comes back, or does not know the password."""

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.verify.verify import verify
from tests.faults.rig import PATIENCE_S, Rig, eventually, firstvisit, free_port

SERVER = Path(__file__).parents[1] / "camera" / "rtsp_server.py"
SYSTEM_PYTHON = Path("/usr/bin/python3")  # Debian's bindings of GStreamer belong to it


class RtspCamera:
    """GStreamer's RTSP server on one port, looping a film."""

    def __init__(self, film: Path, port: int) -> None:
        self.url = f"rtsp://127.0.0.1:{port}/cam"
        self._command = [str(SYSTEM_PYTHON), str(SERVER), "--file", str(film), "--port", str(port), "--path", "/cam"]
        self._command += ["--user", "door", "--password", "open-sesame"]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        if not SYSTEM_PYTHON.exists():
            pytest.skip(f"no {SYSTEM_PYTHON}")
        process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        guard = threading.Timer(PATIENCE_S, process.kill)
        guard.start()
        assert process.stdout is not None
        ready = process.stdout.readline()
        guard.cancel()
        if not ready.startswith("ready"):
            process.kill()
            pytest.skip(f"no RTSP server here: {process.communicate()[1].strip()}")
        self._process = process

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture
def camera(film: Path) -> Iterator[RtspCamera]:
    made = RtspCamera(film, free_port())
    made.start()
    yield made
    made.kill()


@pytest.mark.timeout(400)
def test_a_camera_that_dies_and_returns_is_in_the_ledger_and_disturbs_nothing(rig: Rig, camera: RtspCamera) -> None:
    def kinds() -> list[str]:
        ledger = rig.home.open_ledger()
        found = [row.kind for row in ledger.rows()]
        ledger.close()
        return found

    rig.start_broker()
    rig.start_central()
    url = camera.url.replace("rtsp://", "rtsp://door:open-sesame@")
    rig.start_node("--source", url, "--visit-gap", "0")
    eventually(lambda: "visit.first" in kinds(), "somebody is recognised on the stream")
    camera.kill()
    eventually(lambda: "camera.down" in kinds(), "the node notices that the camera is gone")
    visits = sum(kind in ("visit.first", "visit.return", "visit.unsure") for kind in kinds())
    camera.start()
    eventually(lambda: kinds().count("camera.up") == 2, "the node has the camera back")
    eventually(
        lambda: sum(kind in ("visit.first", "visit.return", "visit.unsure") for kind in kinds()) > visits,
        "visits go on after the outage",
    )
    assert rig.terminate("node") == 0, rig.log("node")
    assert kinds().count("camera.down") == 1
    assert verify(rig.home.path, rig.home.node_pub).ok
    assert "open-sesame" not in rig.log("node")
    assert b"open-sesame" not in rig.home.database.read_bytes()


@pytest.mark.timeout(120)
def test_a_wrong_rtsp_password_ends_in_one_line_that_does_not_hold_it(rig: Rig, camera: RtspCamera) -> None:
    url = camera.url.replace("rtsp://", "rtsp://door:guessed@")
    done = firstvisit("run", "--home", str(rig.home.path), "--source", url)
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if line.startswith("firstvisit: ")]
    assert said == [f"firstvisit: camera cam1: {camera.url}: the camera refuses this user or password"]
    assert "guessed" not in done.stderr + done.stdout
