"""Memory over hours: the node as it is shipped, before four cameras with people, looked at from outside.

The streams come at 5 frames a second, so that the soak leaves most of a machine to others; what allocates (frames,
tracks, arrivals, records, heartbeats) comes as often a person as at 25.
"""

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.store import Store, default_root
from tests.bench.cameras import CAMERAS, MEMORY_MB, SLOPE_MB_H, served, walking
from tests.bench.process import QUIET, ROOT, new_home
from tests.bench.report import Row

RATE, LOOK_EVERY_S, TELL_EVERY_S, GAP_S = 5, 2.0, 300.0, 30
WARM_UP = 0.25  # of the soak: caches and arenas fill
HALF_HOUR_S, HALVES_FROM_S = 1800.0, 4400.0
BLOCK_S, RESAMPLED = 600.0, 1000  # memory of one minute is like that of the minute before


def bench(clip: Path, seconds: float) -> list[Row]:
    """Watch the node's memory for `seconds`."""
    pack = Store(default_root()).pick(None)
    with tempfile.TemporaryDirectory() as folder:
        home = new_home(Path(folder))
        with served(walking(clip, Path(folder) / "walking.mp4", RATE)) as (url, _):
            command = [sys.executable, "-m", "edge", "run", "--home", str(home.path), "--pack", pack]
            command += ["--visit-gap", str(GAP_S)]  # so that everybody comes again and again
            for _ in range(CAMERAS):
                command += ["--source", url]
            node = subprocess.Popen(command, env=QUIET, cwd=ROOT, stdout=subprocess.DEVNULL)
            try:
                memory = _watched(node, seconds)
            finally:
                node.send_signal(signal.SIGTERM)
                node.wait(30)
    return rows(memory)


def rows(memory: NDArray[np.float64]) -> list[Row]:
    """Rows of memory (N, 3): seconds, resident MB, of it not backed by a file."""
    at_s, resident = memory[:, 0], memory[:, 1]
    later = at_s >= at_s[0] + WARM_UP * (at_s[-1] - at_s[0])
    minutes = (at_s[-1] - at_s[0]) / 60
    detail = f"{CAMERAS} cameras, {minutes:.0f} minutes, {RATE} frames a second each; resident at the end"
    detail += f" {resident[-1]:.0f} MB"
    found = [Row("memory, peak", "-", float(resident.max()), " MB", "<=", MEMORY_MB, detail)]
    spans = [("of the last three quarters", later)]
    if at_s[-1] - at_s[0] >= HALVES_FROM_S:
        spans += [("of the first half hour after warming up", _within(at_s, at_s[later][0])),
                  ("of the last half hour", _within(at_s, at_s[-1] - HALF_HOUR_S))]  # fmt: skip
    for name, column in (("memory, slope", 1), ("memory, slope of what no file backs", 2)):
        for when, span in spans:
            slope, low, high = _slope(at_s[span], memory[span, column])
            interval = f"95 % {low:.1f} to {high:.1f}; {detail}"
            found.append(Row(f"{name} {when}", "-", slope, " MB/h", "<=", SLOPE_MB_H, interval))
    return found


def _within(at_s: NDArray[np.float64], from_s: float) -> NDArray[np.bool_]:
    return np.asarray((at_s >= from_s) & (at_s <= from_s + HALF_HOUR_S))


def _slope(at_s: NDArray[np.float64], megabytes: NDArray[np.float64]) -> tuple[float, float, float]:
    """MB an hour by least squares, with an interval from blocks of residuals drawn anew."""
    hours = (at_s - at_s[0]) / 3600
    slope, level = np.polyfit(hours, megabytes, 1)
    residuals = megabytes - level - slope * hours
    block = max(1, min(len(hours) // 3, round(BLOCK_S / LOOK_EVERY_S)))
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(RESAMPLED):
        starts = rng.integers(0, len(hours) - block + 1, -(-len(hours) // block))
        noise = np.concatenate([residuals[start : start + block] for start in starts])[: len(hours)]
        drawn.append(np.polyfit(hours, level + slope * hours + noise, 1)[0])
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(slope), float(low), float(high)


def _watched(node: "subprocess.Popen[bytes]", seconds: float) -> NDArray[np.float64]:
    began_s = told_s = time.monotonic()
    seen: list[tuple[float, float, float]] = []
    while (now_s := time.monotonic()) - began_s < seconds and node.poll() is None:
        fields = _status_mb(node.pid)
        seen.append((now_s - began_s, fields["VmRSS"], fields["RssAnon"]))
        if now_s - told_s >= TELL_EVERY_S:
            told_s = now_s
            print(f"{now_s - began_s:6.0f} s  resident {fields['VmRSS']:.1f} MB, {fields['RssAnon']:.1f} of it without"
                  " a file", flush=True)  # fmt: skip
        time.sleep(LOOK_EVERY_S)
    if node.poll() is not None:
        sys.exit(f"the node ended after {time.monotonic() - began_s:.0f} s with exit code {node.returncode}")
    return np.array(seen)


def _status_mb(pid: int) -> dict[str, float]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    named = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "RssAnon"))}
    return {name: int(kib) * 1024 / 1e6 for name, kib in named.items()}
