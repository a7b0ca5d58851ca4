"""Whole processes: the node over a clip, the peer in a virtual environment of its own, and what they cost."""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from edge.home import Home, create_home
from edge.settings import new_config

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("FIRSTVISIT_SHARED", ROOT.parent / "shared"))
CLIP = SHARED / "data" / "video" / "walk-in-1080p.mp4"
PEER_VENV = ROOT / ".venv" / "peer"
# face_recognition asks for dlib from source; dlib-bin is the same library compiled. Its models need pkg_resources.
PEER_PACKAGES = ("dlib-bin", "face_recognition_models", "setuptools<81", "numpy", "Pillow", "click", "av")
QUIET = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "FIRSTVISIT_LOG": "WARNING"}


@dataclass(frozen=True, slots=True)
class Run:
    """One process from start to end."""

    wall_s: float
    cpu_s: float


def new_home(folder: Path) -> Home:
    """A HOME that compares everybody."""
    config = new_config(site="bench", node="bench", place={}, capture={"mode": "ephemeral", "legal_basis": "benchmark"})
    return create_home(folder / "home", config, None)


def run_over(clip: Path, pack: str) -> Run:
    """`firstvisit run` over every frame of a clip, in a new HOME."""
    with tempfile.TemporaryDirectory() as folder:
        home = new_home(Path(folder))
        return timed(
            [sys.executable, "-m", "edge", "run", "--home", str(home.path), "--source", str(clip), "--pack", pack,
             "--fast", "--until-end"]
        )  # fmt: skip


def timed(command: list[str]) -> Run:
    """Run a process alone; whatever start-up costs is in the figure."""
    started_s = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=QUIET, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.monotonic() - started_s
    if process.returncode:
        sys.exit(f"{command[:3]} ended with exit code {process.returncode}")
    return Run(wall_s, usage.ru_utime + usage.ru_stime)


def output(command: list[str]) -> str:
    """What a process prints."""
    return subprocess.run(command, stdout=subprocess.PIPE, env=QUIET, cwd=ROOT, check=True, text=True).stdout


def peer_python() -> str:
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
