"""Measures how similar strangers look to a pack, on a folder of faces: FACES_DIR/PERSON/*.jpg.

Prints the [calibration] table of a manifest:

    python -m models.calibrate ../lfw --pack mobilefacenet
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from models import ModelsError
from models.calibration import CAUTIOUS, Calibration
from models.download import Progress
from models.face_set import FaceSet, embed_folder
from models.folder import MIN_SCORE, calibration_toml
from models.insight import open_folder
from models.pack import Pack, open_pack
from models.pairs import non_mated, non_mated_above
from models.store import Store, default_root
from models.tail import Tail, fit_tail, tail_share

COUNTED_FMRS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4)
FITTED_FMRS = (1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7, 3e-8, 1e-8)


def calibrate(faces: FaceSet, source: str) -> Calibration:
    """Return how similar images of different people are, as a table; `source` names the faces.

    Rates down to tail.TAIL_SHARE are counted, those below it come from the fitted tail.
    """
    found = faces.with_faces()
    strangers = non_mated(found)
    share = tail_share(strangers)
    points = [(fmr, round(strangers.at(fmr), 4)) for fmr in COUNTED_FMRS if fmr >= share]
    tail = fit_tail(strangers, non_mated_above(found, strangers.at(share)))
    points += [(fmr, round(_similarity_at(tail, fmr, strangers.at(share)), 4)) for fmr in FITTED_FMRS if fmr < share]
    rising = [points[0]]
    for fmr, similarity in points[1:]:
        if rising[-1][1] < similarity < 1.0:
            rising.append((fmr, similarity))
    people = len(np.unique(found.people))
    return Calibration(
        tuple(rising),
        f"{strangers.pairs:,} pairs of strangers, {len(found.people):,} images of {people:,} people, {source}; "
        f"one face an image, single images compared; below an FMR of {share:.0e} a generalised Pareto tail; "
        f"images without a face: {faces.failures_to_acquire}; files that are no image: {len(faces.unreadable)}",
    )


def _similarity_at(tail: Tail, fmr: float, start: float) -> float:
    low, high = start, 1.0
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle) > fmr else (low, middle)
    return high


def measure_folder(folder: Path, faces_dir: Path, progress: Progress) -> Calibration:
    """Return the calibration of a folder of networks, not installed yet, on FACES_DIR/PERSON/*."""
    detector, embedder = open_folder(folder, detect_px=640, min_score=MIN_SCORE, threads=1)
    pack = Pack("not installed", folder.name, "", detector, embedder, CAUTIOUS)
    faces = embed_folder(faces_dir, pack, lambda done, total: progress("faces", done, total))
    return calibrate(faces, f"folder {faces_dir.resolve().name}")


def main() -> None:
    """Measure an installed pack and print its table."""
    parser = argparse.ArgumentParser(prog="python -m models.calibrate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("faces_dir", type=Path)
    parser.add_argument("--pack", required=True)
    parser.add_argument("--source", help="what the faces are, for the manifest; default: the folder's name")
    parser.add_argument("--same", action="append", default=[], metavar="A=B", help="two names of one person")
    parser.add_argument("--cache", type=Path, help="a folder to keep the vectors in, shared with `models eval`")
    chosen = parser.parse_args()
    try:
        pack = open_pack(Store(default_root()), chosen.pack)
        faces = embed_folder(chosen.faces_dir, pack, _tick, cache=chosen.cache).joined(chosen.same)
        print(calibration_toml(calibrate(faces, chosen.source or f"folder {chosen.faces_dir.name}")))
    except ModelsError as error:
        sys.exit(str(error))


def _tick(done: int, total: int) -> None:
    if done % 100 == 0 or done == total:
        print(f"\r{done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
