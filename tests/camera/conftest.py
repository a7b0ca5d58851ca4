"""Clips of known pixels, faces of known places, and a real RTSP server."""

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from models import ModelsError
from models.faces import Face
from models.pack import Pack, open_pack
from models.store import Store, default_root

SERVER = Path(__file__).with_name("rtsp_server.py")
SYSTEM_PYTHON = Path("/usr/bin/python3")


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    """A function that writes BGR images as an H.264 MP4 file at 25 frames a second."""

    def write(path: Path, images: list[np.ndarray], frames_per_s: int = 25) -> Path:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=frames_per_s, options={"crf": "12", "preset": "ultrafast"})
            stream.height, stream.width = images[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            stream.time_base = Fraction(1, frames_per_s)
            for image in images:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture(scope="session")
def grey_video(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Path:
    """Twenty frames, the n-th (from 1) of grey 10 n."""
    images = [np.full((96, 128, 3), 10 * number, np.uint8) for number in range(1, 21)]
    return write_video(tmp_path_factory.mktemp("video") / "grey.mp4", images)


@pytest.fixture(scope="session")
def scene_video(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Path:
    """Two seconds of a bright square that wanders over noise."""
    noise = np.random.default_rng(7).integers(60, 120, (180, 320, 3), dtype=np.uint8)
    images = []
    for number in range(50):
        image = noise.copy()
        image[60:110, 5 * number : 5 * number + 50] = 230
        images.append(image)
    return write_video(tmp_path_factory.mktemp("video") / "scene.mp4", images)


@pytest.fixture(scope="session")
def make_face() -> Callable[..., Face]:
    """A function that makes a frontal face of a given centre and width."""

    def make(x: float, y: float, width_px: float = 60.0, score: float = 0.9, turn: float = 0.0) -> Face:
        height_px = 1.25 * width_px
        box = [x - width_px / 2, y - height_px / 2, x + width_px / 2, y + height_px / 2]
        # Shares of ArcFace's template; turn moves the nose sideways, in distances between the eyes.
        shares = np.array([[-0.2, -0.12], [0.2, -0.12], [0.4 * turn, 0.06], [-0.17, 0.22], [0.17, 0.22]])
        points = shares * [width_px, height_px] + [x, y]
        return Face(np.array(box, np.float32), points.astype(np.float32), score)

    return make


@pytest.fixture(scope="session")
def pack() -> Pack:
    """An installed pack, the one a node would take; skips where none is."""
    store = Store(default_root())
    try:
        return open_pack(store, store.pick(None))
    except ModelsError as error:
        pytest.skip(f"no pack to see faces with: {error}")


@dataclass
class RtspServer:
    """A server process that can be killed and started again on the same port."""

    video: Path
    port: int
    options: list[str] = field(default_factory=list)
    process: "subprocess.Popen[str] | None" = None

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/cam"

    def start(self) -> None:
        command = [str(SYSTEM_PYTHON), str(SERVER), "--file", str(self.video), "--port", str(self.port), *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        # A pipe cannot be read with a deadline: the timer ends a server that never gets ready.
        timer = threading.Timer(60, self.process.kill)
        timer.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        timer.cancel()
        if not line.startswith("ready"):
            _, error = self.process.communicate()
            if self.process.returncode == 3:
                pytest.skip(error.strip())
            pytest.fail(f"RTSP server: {error}")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@pytest.fixture
def rtsp_server() -> Iterator[Callable[..., RtspServer]]:
    """A function that starts an RTSP server for a video; all are ended with the test."""
    if not SYSTEM_PYTHON.exists():
        pytest.skip("no system Python to run GStreamer's RTSP server with")
    servers: list[RtspServer] = []

    def start(video: Path, *options: str) -> RtspServer:
        server = RtspServer(video, _free_port(), list(options))
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        with suppress(ProcessLookupError):
            server.kill()


@pytest.fixture
def wait_for() -> Callable[..., None]:
    """A function that waits until a condition holds, or fails after a generous deadline."""

    def wait(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s, "waited in vain"
            time.sleep(0.02)

    return wait


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
