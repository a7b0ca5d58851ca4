"""FirstVisit and the face_recognition library over the same clip, as whole processes, in turn.

Both find every face of every frame; face_recognition encodes each, FirstVisit tracks, picks best shots, decides,
signs and stores. Figures are medians; memory is the process's peak resident set.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import av

from edge.home import create_home
from edge.settings import new_config
from models.store import Store, default_root

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("FIRSTVISIT_SHARED", ROOT.parent / "shared")) / "data"
CLIP = SHARED / "video" / "walk-in-1080p.mp4"
PEER_VENV = ROOT / ".venv" / "peer"
# face_recognition asks for dlib from source; dlib-bin is the same library compiled. Its models need pkg_resources.
PEER_PACKAGES = ("dlib-bin", "face_recognition_models", "setuptools<81", "numpy", "Pillow", "click", "av")


@dataclass(frozen=True, slots=True)
class Run:
    """One process from start to end; rss_mib: its peak."""

    wall_s: float
    cpu_s: float
    rss_mib: float


def bench(clip: Path, own_runs: int, peer_runs: int) -> None:
    """Print the comparison; own_runs: of FirstVisit, peer_runs: of face_recognition, which is slow."""
    if not clip.is_file():
        sys.exit(f"{clip}: no such clip; name one with --clip")
    store = Store(default_root())
    pack = store.pick(None)
    frames = _frames(clip)
    peer = _peer_python()
    print(f"clip     {clip.name}, 1 thread a network, {frames} frames; pack {pack}")
    ours, theirs = [], []
    for index in range(max(own_runs, peer_runs)):
        if index < own_runs:
            ours.append(_ours(clip, pack))
        if index < peer_runs:
            theirs.append(_timed([peer, str(Path(__file__).with_name("peer.py")), str(clip)]))
    rows = (("firstvisit run --fast", ours), ("face_recognition, every face", theirs))
    print(f"{'':<30}{'runs':>5}{'ms/frame':>10}{'wall s':>9}{'CPU s':>9}{'peak MiB':>10}")
    for name, runs in rows:
        wall_s = statistics.median(run.wall_s for run in runs)
        cpu_s = statistics.median(run.cpu_s for run in runs)
        rss_mib = statistics.median(run.rss_mib for run in runs)
        print(f"{name:<30}{len(runs):>5}{wall_s / frames * 1e3:>10.1f}{wall_s:>9.2f}{cpu_s:>9.2f}{rss_mib:>10.0f}")
    for what in ("wall_s", "cpu_s"):
        ratio = statistics.median(getattr(r, what) for r in theirs) / statistics.median(getattr(r, what) for r in ours)
        print(f"ratio of medians, {what.removesuffix('_s')}: {ratio:.1f}x faster")


def _ours(clip: Path, pack: str) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        config = new_config(
            site="bench", node="bench", place={}, capture={"mode": "ephemeral", "legal_basis": "benchmark"}
        )
        home = create_home(Path(folder) / "home", config, None)
        return _timed(
            [sys.executable, "-m", "edge", "run", "--home", str(home.path), "--source", str(clip), "--pack", pack,
             "--fast", "--until-end"]
        )  # fmt: skip


def _timed(command: list[str]) -> Run:
    """Run a process alone; whatever start-up costs is in the figure."""
    started_s = time.monotonic()
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "FIRSTVISIT_LOG": "WARNING"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=quiet)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.monotonic() - started_s
    if process.returncode:
        sys.exit(f"{command[:3]} ended with exit code {process.returncode}")
    return Run(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _peer_python() -> str:
    """A virtual environment of its own for the peer, made at the first call."""
    python = PEER_VENV / "bin" / "python"
    if not (PEER_VENV / "ready").exists():
        print("installing face_recognition for comparison …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(PEER_VENV)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *PEER_PACKAGES], check=True)
        subprocess.run([*pip, "--no-deps", "face_recognition"], check=True)
        (PEER_VENV / "ready").touch()
    return str(python)


def _frames(clip: Path) -> int:
    with av.open(str(clip)) as container:
        return sum(1 for _ in container.decode(video=0))
