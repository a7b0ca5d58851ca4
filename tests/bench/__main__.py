"""`make bench`: the measured figures of the READMEs, beside their peers and their ceilings. Figures are medians."""

import argparse
from pathlib import Path

from tests.bench import camera, hard_cases, sync, tracks
from tests.bench.machine import machine


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", choices=("camera", "sync", "hard-cases", "tracks"), help="one part of it")
    parser.add_argument("--faces", type=Path, default=camera.SHARED / "lfw-dev", help="hard-cases: FACES/PERSON/*.jpg")
    parser.add_argument("--cache", type=Path, help="hard-cases: a folder that keeps what a pack made of each face")
    parser.add_argument("--probes", type=int, default=100, help="hard-cases: mates and strangers, at most, a case")
    parser.add_argument("--clip", type=Path, default=camera.CLIP, help="camera: what to look at")
    parser.add_argument("--runs", type=int, default=5, help="of each figure")
    parser.add_argument("--peer-runs", type=int, default=3, help="camera: of face_recognition, which is slow")
    options = parser.parse_args()
    print(f"machine  {machine()}", flush=True)
    if options.only in (None, "sync"):
        sync.bench(options.runs)
    if options.only == "hard-cases":  # nothing that a machine's speed changes, so not part of each run
        hard_cases.bench(options.faces, options.probes, options.cache)
    if options.only == "tracks":
        tracks.bench(options.clip.parent)
    if options.only in (None, "camera"):
        camera.bench(options.clip, options.runs, options.peer_runs)


if __name__ == "__main__":
    main()
