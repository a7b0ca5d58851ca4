"""Measures how similar strangers look to a pack, on a folder of faces: FACES_DIR/PERSON/*.jpg.

Prints the [calibration] table of a manifest:

    python -m models.calibrate ../lfw --pack mobilefacenet
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from models import ModelsError
from models.calibration import Calibration
from models.download import Progress
from models.faces import Detector, Embedder, Face, Float32, Image
from models.folder import MIN_SCORE, calibration_toml
from models.insight import open_folder
from models.pack import open_pack
from models.store import Store, default_root

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
FMRS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
PAIRS_BEHIND_A_POINT = 5  # a quantile resting on fewer pairs of strangers is left out
BLOCK = 512


@dataclass(frozen=True, slots=True)
class FaceSet:
    """One vector an image: vectors (N, D) float32 of norm 1, and whose it is, people (N,) int."""

    vectors: Float32
    people: npt.NDArray[np.int64]
    images_without_face: int


@dataclass(frozen=True, slots=True)
class OpenSet:
    """A search among `enrolled` people, one image each: misses among `mated` probes, alarms among `strangers`."""

    enrolled: int
    mated: int
    fnir: float
    strangers: int
    fpir: float


def embed_folder(folder: Path, detector: Detector, embedder: Embedder, tick: Callable[[int, int], None]) -> FaceSet:
    """Return the vectors of all images FOLDER/PERSON/*; in each the face nearest the middle is taken."""
    images = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in IMAGE_SUFFIXES)
    names = sorted({path.parent.name for path in images})
    if len(names) < 20:
        raise ModelsError(f"{folder}: holds images of {len(names)} people as PERSON/IMAGE, at least 20 are needed")
    vectors, people, missed = [], [], 0
    for number, path in enumerate(images):
        image = cv2.imread(str(path))
        faces = detector.detect(np.asarray(image, dtype=np.uint8)) if image is not None else []
        if image is None or not faces:
            missed += 1
        else:
            pixels = np.asarray(image, dtype=np.uint8)
            vectors.append(embedder.embed(embedder.align(pixels, _middle(faces, pixels))[np.newaxis])[0])
            people.append(names.index(path.parent.name))
        tick(number + 1, len(images))
    if len(set(people)) < 20:
        raise ModelsError(f"{folder}: faces of only {len(set(people))} people were found, at least 20 are needed")
    return FaceSet(np.stack(vectors), np.array(people, dtype=np.int64), missed)


def calibrate(faces: FaceSet, source: str) -> Calibration:
    """Return the similarities of all pairs of images of different people as a table; `source` names the faces."""
    bins = np.linspace(-1.0, 1.0, 200_001)
    counts = np.zeros(len(bins) - 1, dtype=np.int64)
    for start in range(0, len(faces.vectors), BLOCK):
        similarities = faces.vectors[start : start + BLOCK] @ faces.vectors[start:].T
        rows, columns = np.indices(similarities.shape)
        strangers = faces.people[start : start + BLOCK, np.newaxis] != faces.people[np.newaxis, start:]
        once = strangers & (columns > rows)
        counts += np.histogram(similarities[once].clip(-1.0, 1.0), bins)[0]
    pairs = int(counts.sum())
    above = pairs - np.cumsum(counts)  # above[i]: pairs over bins[i + 1]
    points: list[tuple[float, float]] = []
    for fmr in FMRS:
        similarity = round(float(bins[1 + int(np.argmax(above <= fmr * pairs))]), 4)
        if fmr * pairs >= PAIRS_BEHIND_A_POINT and (not points or similarity > points[-1][1]):
            points.append((fmr, similarity))
    people = len(set(faces.people.tolist()))
    return Calibration(
        tuple(points),
        f"{pairs:,} pairs of strangers, {len(faces.vectors):,} images of {people:,} people, {source}; "
        f"one face an image, single images compared; images without a face: {faces.images_without_face}",
    )


def open_set(faces: FaceSet, threshold: float, enrolled: int) -> OpenSet:
    """Search second images (mates) and people left over (strangers) among the first images of `enrolled` people.

    People with two images and more are enrolled first, so that there are mates. A mate is missed when its own person
    is not the best match, or is under the threshold.
    """
    order = {person: np.nonzero(faces.people == person)[0] for person in np.unique(faces.people)}
    by_images = sorted(order.values(), key=lambda rows: -len(rows))
    gallery, rest = by_images[:enrolled], by_images[enrolled:]
    enrolled_vectors = faces.vectors[[rows[0] for rows in gallery]]
    mates = [(number, rows[1]) for number, rows in enumerate(gallery) if len(rows) > 1]
    missed = 0
    for number, row in mates:
        similarities = enrolled_vectors @ faces.vectors[row]
        missed += int(np.argmax(similarities) != number or similarities[number] < threshold)
    alarms = sum(int((enrolled_vectors @ faces.vectors[rows[0]]).max() >= threshold) for rows in rest)
    return OpenSet(
        len(gallery), len(mates), missed / max(1, len(mates)), len(rest), alarms / len(rest) if rest else 0.0
    )


def measure_folder(folder: Path, faces_dir: Path, progress: Progress) -> Calibration:
    """Return the calibration of a folder of networks, not installed yet, on FACES_DIR/PERSON/*."""
    detector, embedder = open_folder(folder, detect_px=640, min_score=MIN_SCORE, threads=1)
    faces = embed_folder(faces_dir, detector, embedder, lambda done, total: progress("faces", done, total))
    return calibrate(faces, f"folder {faces_dir.resolve().name}")


def main() -> None:
    """Measure an installed pack and print its table; the open-set figures go to stderr."""
    parser = argparse.ArgumentParser(prog="python -m models.calibrate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("faces_dir", type=Path)
    parser.add_argument("--pack", required=True)
    parser.add_argument("--source", help="what the faces are, for the manifest; default: the folder's name")
    parser.add_argument("--cache", type=Path, help="an .npz file to keep the vectors in, or to take them from")
    chosen = parser.parse_args()
    try:
        faces = _cached(chosen.faces_dir, chosen.pack, chosen.cache)
        calibration = calibrate(faces, chosen.source or f"folder {chosen.faces_dir.name}")
    except ModelsError as error:
        sys.exit(str(error))
    print(calibration_toml(calibration))
    enrolled = min(1000, len(set(faces.people.tolist())))
    for fpir in (0.10, 0.01, 0.003):
        threshold = calibration.threshold(fpir, enrolled)
        print(f"FPIR {fpir:.1%}: threshold {threshold:.4f}, {open_set(faces, threshold, enrolled)}", file=sys.stderr)


def _cached(folder: Path, pack_name: str, cache: Path | None) -> FaceSet:
    if cache is not None and cache.exists():
        kept = np.load(cache)
        return FaceSet(kept["vectors"], kept["people"], int(kept["missed"]))
    pack = open_pack(Store(default_root()), pack_name)
    faces = embed_folder(folder, pack.detector, pack.embedder, _tick)
    if cache is not None:
        np.savez(cache, vectors=faces.vectors, people=faces.people, missed=faces.images_without_face)
    return faces


def _middle(faces: list[Face], image: Image) -> Face:
    middle = np.array(image.shape[1::-1], dtype=np.float32) / 2
    return min(faces, key=lambda face: float(np.linalg.norm(face.box_xyxy.reshape(2, 2).mean(axis=0) - middle)))


def _tick(done: int, total: int) -> None:
    if done % 100 == 0 or done == total:
        print(f"\r{done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
