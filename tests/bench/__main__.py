"""`make bench`: the measured figures of the READMEs, beside their peers and their limits. Figures are medians."""

import argparse
from pathlib import Path

from tests.bench import cameras, clip, desk, gallery, hard_cases, party, process, soak, sync, tracks
from tests.bench.machine import machine
from tests.bench.report import Row, show

PARTS = ("sync", "clip", "gallery", "cameras", "desk")
APART = ("hard-cases", "tracks", "soak")  # nothing that a machine's speed changes, or hours, so not part of each run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", choices=(*PARTS, *APART), help="one part of it")
    faces = process.SHARED / "data" / "lfw-dev"
    parser.add_argument("--faces", type=Path, default=faces, help="hard-cases: FACES/PERSON/*.jpg")
    parser.add_argument("--cache", type=Path, help="hard-cases: a folder that keeps what a pack made of each face")
    parser.add_argument("--probes", type=int, default=100, help="hard-cases: mates and strangers, at most, a case")
    parser.add_argument("--clip", type=Path, default=process.CLIP, help="clip, cameras, tracks: what to look at")
    parser.add_argument("--runs", type=int, default=5, help="of each figure")
    parser.add_argument("--seconds", type=float, default=60.0, help="cameras: how long they are watched")
    parser.add_argument("--soak-s", type=float, default=3600.0, help="soak: how long; 28800 is 8 h")
    parser.add_argument("--out", type=Path, help="folder to write bench.txt, bench.json and bench.png to")
    options = parser.parse_args()
    told = f"{machine()}, 1 thread a network and a product"
    print(f"machine  {told}", flush=True)
    parts = PARTS if options.only is None else (options.only,)
    if "sync" in parts:
        sync.bench(options.runs)
    if "hard-cases" in parts:
        hard_cases.bench(options.faces, options.probes, options.cache)
    if "tracks" in parts:
        tracks.bench(options.clip.parent)
    rows: list[Row] = []
    if "gallery" in parts:
        rows += gallery.bench(options.runs)
    if "desk" in parts:
        rows += party.bench(options.runs)
        rows += desk.bench(options.runs)
    if {"clip", "cameras", "soak"} & set(parts) and not options.clip.is_file():
        print(f"{options.clip}: no such clip; name one with --clip")
    else:
        if "clip" in parts:
            rows += clip.bench(options.clip, options.runs)
        if "cameras" in parts:
            rows += cameras.bench(options.clip, options.runs, options.seconds)
        if "soak" in parts:
            rows += soak.bench(options.clip, options.soak_s)
    if rows:
        show(rows, told, options.out)


if __name__ == "__main__":
    main()
