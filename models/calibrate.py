"""Measures how similar strangers look to a pack, on a folder of faces: FACES_DIR/PERSON/*.jpg.

Prints the [calibration] table of a manifest:

    python -m models.calibrate ../lfw --pack mobilefacenet
"""

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from models import ModelsError
from models.calibration import CAUTIOUS, Calibration
from models.download import Progress
from models.face_set import FaceSet, embed_folder
from models.folder import MIN_SCORE, calibration_toml
from models.fusion import fused
from models.insight import open_folder
from models.pack import Pack, open_pack
from models.pairs import non_mated, non_mated_above
from models.store import Store, default_root
from models.tail import Tail, fit_tail, tail_share

Points: TypeAlias = tuple[tuple[float, float], ...]

COUNTED_FMRS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4)
TRACK_IMAGES = 3  # camera.pipeline.SHOTS_TO_ARRIVE
TRACKS_EACH = 3  # of a person: all ten of somebody with five images would say little more
FEWEST_WITH_TRACKS = 100
FITTED_FMRS = (1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7, 3e-8, 1e-8)


def calibrate(faces: FaceSet, source: str, seed: int = 0) -> Calibration:
    """Return how similar images of different people are, and tracks of them, as tables; `source` names the faces."""
    found = faces.with_faces()
    pairs = non_mated(found).pairs
    people = len(np.unique(found.people))
    tracks = fused_tracks(found, seed)
    enough = len(np.unique(tracks.people)) >= FEWEST_WITH_TRACKS
    points = table(found)
    track_points = moved_to_tracks(points, tracks) if enough else ()
    of_tracks = f"; tracks: {len(np.unique(tracks.people)):,} people, {TRACK_IMAGES} images fused" if enough else ""
    return Calibration(
        points,
        f"{pairs:,} pairs of strangers, {len(found.people):,} images of {people:,} people, {source}; "
        f"one face an image, single images compared{of_tracks}; below an FMR of {tail_share(pairs):.0e} a generalised "
        f"Pareto tail; images without a face: {faces.failures_to_acquire}; files that are no image: "
        f"{len(faces.unreadable)}",
        track_points,
    )


def table(faces: FaceSet) -> Points:
    """Return (false match rate, similarity) points: counted down to TAIL_SHARE, below that from the fitted tail."""
    strangers = non_mated(faces)
    share = tail_share(strangers.pairs)
    start = strangers.at(share)
    tail = fit_tail(strangers, non_mated_above(faces, start))
    points = [(fmr, round(strangers.at(fmr), 4)) for fmr in COUNTED_FMRS if fmr >= share]
    points += [(fmr, round(_similarity_at(tail, fmr, start), 4)) for fmr in FITTED_FMRS if fmr < share]
    rising = [points[0]]
    for fmr, similarity in points[1:]:
        if rising[-1][1] < similarity < 1.0:
            rising.append((fmr, similarity))
    return tuple(rising)


def moved_to_tracks(points: Points, tracks: FaceSet) -> Points:
    """Return the points of single images moved to where `tracks` lie: counted, beyond the last counted one shifted.

    Few people have the images for a track, too few to fit a far end of their own. # measured: models/README.md
    """
    strangers = non_mated(tracks)
    counted = {fmr: strangers.at(fmr) for fmr in COUNTED_FMRS if fmr >= tail_share(strangers.pairs)}
    moved: list[tuple[float, float]] = []
    shift = 0.0
    for fmr, similarity in points:
        shift = counted[fmr] - similarity if fmr in counted else shift
        if similarity + shift < 1.0 and (not moved or similarity + shift > moved[-1][1]):
            moved.append((fmr, round(similarity + shift, 4)))
    return tuple(moved)


def fused_tracks(faces: FaceSet, seed: int = 0) -> FaceSet:
    """Return templates of TRACK_IMAGES images each, as the node makes them of a track; people with fewer have none."""
    rng = np.random.default_rng(seed)
    vectors, people = [], []
    for person in np.unique(faces.people):
        rows = np.nonzero(faces.people == person)[0]
        for _ in range(min(TRACKS_EACH, math.comb(len(rows), TRACK_IMAGES))):
            chosen = rng.choice(rows, TRACK_IMAGES, replace=False)
            vectors.append(fused(faces.vectors[chosen], faces.qualities[chosen].tolist()))
            people.append(person)
    count = len(people)
    return replace(
        faces,
        vectors=np.array(vectors, dtype=np.float32).reshape(count, faces.vectors.shape[1]),
        people=np.array(people, dtype=np.int64),
        acquired=np.ones(count, dtype=np.bool_),
        qualities=np.ones(count, dtype=np.float32),
        images=(),
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
