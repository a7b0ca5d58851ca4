"""`make bench`: the measured figures of the READMEs, beside their peers and their ceilings. Figures are medians."""

import argparse
from pathlib import Path

from tests.bench import camera, sync
from tests.bench.machine import machine


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", choices=("camera", "sync"), help="one part of it")
    parser.add_argument("--clip", type=Path, default=camera.CLIP, help="camera: what to look at")
    parser.add_argument("--runs", type=int, default=5, help="of each figure")
    parser.add_argument("--peer-runs", type=int, default=3, help="camera: of face_recognition, which is slow")
    options = parser.parse_args()
    print(f"machine  {machine()}", flush=True)
    if options.only != "camera":
        sync.bench(options.runs)
    if options.only != "sync":
        camera.bench(options.clip, options.runs, options.peer_runs)


if __name__ == "__main__":
    main()
