"""The running node: four RTSP cameras with people and without, its memory, and its start with 5,000 people.

The streams are encoded once and served by tests/camera/rtsp_server.py, whose own processor time is told apart.
"""

import json
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from camera.recorded import recorded_frames
from edge.clock import Clock
from edge.home import Home
from edge.people.vault import opened
from models.pack import open_pack
from models.store import Store, default_root
from tests.bench.process import QUIET, ROOT, new_home, output
from tests.bench.report import Row

CAMERAS, RATE, STAND_S = 4, 25, 6
RATE_GOAL, AGE_S, DECISION_S, OVER_DECODE = 5.0, 0.3, 1.0, 1.2
MEMORY_MB, SLOPE_MB_H, COLD_S, ENROLLED = 500.0, 1.0, 5.0, 5_000
SERVER = ROOT / "tests" / "camera" / "rtsp_server.py"


def bench(clip: Path, runs: int, seconds: float) -> list[Row]:
    pack = Store(default_root()).pick(None)
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder)
        rows = _cold_start(there, clip, pack, runs)
        with served(walking(clip, there / "walking.mp4")) as (url, server):
            rows += _busy(there, url, server, pack, seconds)
        with served(_empty(there / "empty.mp4")) as (url, _):
            rows += _idle(there, url, pack, runs, seconds)
    return rows


def _busy(folder: Path, url: str, server: "subprocess.Popen[str]", pack: str, seconds: float) -> list[Row]:
    before_s = _cpu_s(server.pid)
    found = _node(folder / "busy", pack, seconds, [url] * CAMERAS)
    took_s = found["steady"]["wall_s"]
    serving = (_cpu_s(server.pid) - before_s) / took_s
    rates, ages, gaps = [], [], []
    for frames in found["frames"].values():
        at_s = np.array([at for at, _ in frames])
        kept = at_s >= at_s[0] + 5.0
        ages += [age for (_, age), keep in zip(frames, kept, strict=True) if keep]
        rates.append(int(kept.sum()) / (at_s[-1] - at_s[0] - 5.0))
        gaps.append(float(np.diff(at_s[kept]).max()))
    cpu = found["steady"]["cpu_s"] / took_s
    detail = f"each camera {', '.join(f'{rate:.1f}' for rate in rates)} a second, longest gap {max(gaps):.2f} s, over"
    detail += f" {took_s:.0f} s; node {cpu:.2f} cores, server {serving:.2f}"
    rows = [Row("4 x 1080p25 with people, slowest camera", "-", min(rates), "/s", ">=", RATE_GOAL, detail)]
    high = np.percentile(ages, [50, 99, 100])
    rows.append(Row("the same, oldest frame at analysis", "-", float(high[2]), " s", "<=", AGE_S,
                    f"p50 {high[0]:.3f}, p99 {high[1]:.3f}, of {len(ages)} frames"))  # fmt: skip
    sights = np.array(found["decisions"] or [(9.9, 9.9, 9.9, 0)])
    for kind, column in (("first picture to decide on", 1), ("first sight", 0), ("last picture", 2)):
        p50, p95, most = np.percentile(sights[:, column], [50, 95, 100])
        detail = f"p50 {p50:.2f}, longest {most:.2f} s; {len(sights)} decisions, {sights[:, 3].mean():.1f} shots each,"
        detail += f" {(sights[:, 3] < 3).mean():.0%} on fewer than three; tracks of the first 5 s left out"
        rows.append(Row(f"the same, {kind} to decision, p95", "-", float(p95), " s", "<=", DECISION_S, detail))
    rss = np.array(found["rss_mb"])
    minutes = (rss[-1, 0] - rss[0, 0]) / 60
    detail = f"{CAMERAS} cameras, {minutes:.0f} minutes; resident at the end {rss[-1, 1]:.0f} MB"
    rows.append(Row("memory, peak", "-", found["peak_mb"], " MB", "<=", MEMORY_MB, detail))
    return rows


def _idle(folder: Path, url: str, pack: str, runs: int, seconds: float) -> list[Row]:
    ours, alone = [], []
    for run in range(runs):
        found = _node(folder / f"idle{run}", pack, seconds, [url] * CAMERAS)["steady"]
        ours.append(found["cpu_s"] / found["received"] * 1e3)
        decoded = json.loads(output([sys.executable, "-m", "tests.bench.decode", str(seconds), *[url] * CAMERAS]))
        alone.append(decoded["cpu_s"] / decoded["received"] * 1e3)
        got = f"{found['received'] / found['wall_s']:.0f} and {decoded['received'] / decoded['wall_s']:.0f}"
    ratio = statistics.median(ours) / statistics.median(alone)
    detail = f"{statistics.median(ours):.2f} against {statistics.median(alone):.2f} ms a frame received; {got} frames a"
    detail += f" second; median of {runs} x {seconds:.0f} s"
    return [Row("4 x 1080p25, nobody moving", "decoding alone", ratio, "x", "<=", OVER_DECODE, detail)]


def _cold_start(folder: Path, clip: Path, pack: str, runs: int) -> list[Row]:
    home = new_home(folder / "cold")
    _enrol(home, open_pack(Store(default_root()), pack).pack_id)
    starts, cpu = [], []
    for run in range(runs):
        found = _probed(folder / f"cold{run}.json", home, 0.0, pack, [str(clip)])
        cpu.append(found["steady"]["to_first_frame_cpu_s"])
        starts.append(min(at for frames in found["frames"].values() for at, _ in frames))
    each, cpu_s = ", ".join(f"{start:.2f}" for start in starts), statistics.median(cpu)
    detail = f"{each} s from the interpreter's start, {cpu_s:.2f} of it on a processor; median of {runs}"
    return [
        Row(f"cold start, {ENROLLED:,} people enrolled", "-", statistics.median(starts), " s", "<=", COLD_S, detail)
    ]


def _enrol(home: Home, pack_id: str) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((ENROLLED, 128), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    people = [f"p-{secrets.token_hex(10)}" for _ in vectors]
    ledger = home.open_ledger("node", Clock())
    with opened(home.database, home.keys_database) as vault:
        vault._safe.keys.connection.execute("BEGIN")
        vault._safe.keys.connection.executemany(
            "INSERT INTO person_keys VALUES (?, ?)", [(person, secrets.token_bytes(32)) for person in people]
        )
        vault._safe.keys.connection.execute("COMMIT")
        with ledger.transaction() as transaction:
            for person, vector in zip(people, vectors, strict=True):
                vault.add_person(transaction.connection, person, pack_id, vector, datetime.now(UTC), True)
    ledger.close()


def _node(folder: Path, pack: str, seconds: float, sources: list[str]) -> dict[str, Any]:
    folder.mkdir()
    return _probed(folder / "report.json", new_home(folder), seconds, pack, sources)


def _probed(report: Path, home: Home, seconds: float, pack: str, sources: list[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.node_probe", str(report), str(home.path), str(seconds), pack]
    subprocess.run([*command, *sources], env=QUIET, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def walking(clip: Path, path: Path, rate: int = RATE) -> Path:
    """The clip forwards and backwards with everybody standing still for STAND_S at either end, at `rate` a second.

    So a looped stream never jumps, and a camera sees some 40 arrivals a minute; noise lets standing cost what it does.
    """
    source = recorded_frames("bench", str(clip), run_started_at=datetime.now(UTC), run_started_ns=0)
    frames = [frame.image for frame in source][:: RATE // rate]
    rng = np.random.default_rng(7)
    noise = [rng.normal(0, 2.0, frames[0].shape).astype(np.int16) for _ in range(4)]
    stand = range(STAND_S * rate)

    def images() -> Iterator[np.ndarray]:
        for walked in (frames, frames[::-1]):
            yield from walked
            yield from (np.clip(walked[-1] + noise[at % 4], 0, 255).astype(np.uint8) for at in stand)

    return _written(path, images(), rate)


def _empty(path: Path) -> Path:
    """A furnished room without people, with a sensor's noise."""
    rng = np.random.default_rng(7)
    room = np.kron(rng.integers(40, 215, (9, 16, 3), dtype=np.uint8), np.ones((120, 120, 1), np.uint8))
    room = cv2.GaussianBlur(room, (0, 0), 8).astype(np.int16)
    noise = [rng.normal(0, 2.0, room.shape).astype(np.int16) for _ in range(8)]
    return _written(path, (np.clip(room + noise[at % 8], 0, 255).astype(np.uint8) for at in range(4 * RATE)))


def _written(path: Path, images: Iterator[np.ndarray], rate: int = RATE) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path


@contextmanager
def served(video: Path) -> "Iterator[tuple[str, subprocess.Popen[str]]]":
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["/usr/bin/python3", str(SERVER), "--file", str(video), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        ready = server.stdout.readline()
        if not ready.startswith("ready "):
            sys.exit("the RTSP server did not start: make bench needs GStreamer (.ci/debian-packages test)")
        yield ready.split()[1], server
    finally:
        server.kill()
        server.wait()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
