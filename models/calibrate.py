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
from models.store import Store, default_root

FMRS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
PAIRS_BEHIND_A_POINT = 5  # a quantile resting on fewer pairs of strangers is left out
BLOCK = 512


def calibrate(faces: FaceSet, source: str) -> Calibration:
    """Return the similarities of all pairs of images of different people as a table; `source` names the faces."""
    bins = np.linspace(-1.0, 1.0, 200_001)
    counts = np.zeros(len(bins) - 1, dtype=np.int64)
    vectors, whose = faces.vectors[faces.acquired], faces.people[faces.acquired]
    for start in range(0, len(vectors), BLOCK):
        similarities = vectors[start : start + BLOCK] @ vectors[start:].T
        rows, columns = np.indices(similarities.shape)
        strangers = whose[start : start + BLOCK, np.newaxis] != whose[np.newaxis, start:]
        once = strangers & (columns > rows)
        counts += np.histogram(similarities[once].clip(-1.0, 1.0), bins)[0]
    pairs = int(counts.sum())
    above = pairs - np.cumsum(counts)  # above[i]: pairs over bins[i + 1]
    points: list[tuple[float, float]] = []
    for fmr in FMRS:
        similarity = round(float(bins[1 + int(np.argmax(above <= fmr * pairs))]), 4)
        if fmr * pairs >= PAIRS_BEHIND_A_POINT and (not points or similarity > points[-1][1]):
            points.append((fmr, similarity))
    return Calibration(
        tuple(points),
        f"{pairs:,} pairs of strangers, {len(vectors):,} images of {len(np.unique(whose)):,} people, {source}; "
        f"one face an image, single images compared; images without a face: {faces.failures_to_acquire}; "
        f"files that are no image: {len(faces.unreadable)}",
    )


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
    parser.add_argument("--cache", type=Path, help="a folder to keep the vectors in, shared with `models eval`")
    chosen = parser.parse_args()
    try:
        pack = open_pack(Store(default_root()), chosen.pack)
        faces = embed_folder(chosen.faces_dir, pack, _tick, cache=chosen.cache)
        print(calibration_toml(calibrate(faces, chosen.source or f"folder {chosen.faces_dir.name}")))
    except ModelsError as error:
        sys.exit(str(error))


def _tick(done: int, total: int) -> None:
    if done % 100 == 0 or done == total:
        print(f"\r{done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
