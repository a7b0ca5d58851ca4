"""Train the weights of `models/masks.py`: python -m models.masks_train FACES_DIR [--out masks.npz].

FACES_DIR/PERSON/*.jpg. Every face is taken as it is and with two drawn masks, found by the detector each time, and
spoilt as a camera spoils faces. People whose sha256(name) ends in a digit under 3 (hexadecimal) are kept out of the
training; what is printed is about them.
"""

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator

from models.faces import Detector, Face, Float32, Image
from models.masks import MaskDetector, features
from models.masks_drawn import with_mask
from models.pack import open_pack
from models.store import Store, default_root

MASKS_A_FACE = 2
NEWTON_STEPS = 12
RIDGES = (1.0, 3.0, 10.0, 30.0)  # penalties tried on a fifth of the training people


def held_out(person: str) -> bool:
    """Whether a person is kept for measuring."""
    return int(hashlib.sha256(person.encode()).hexdigest()[-1], 16) < 3


def textures() -> list[Image]:
    """The photographs of masks that insightface carries, where it is installed."""
    try:
        import insightface
    except ImportError:
        return []
    folder = Path(insightface.__file__).parent / "data" / "images"
    read = [cv2.imread(str(path)) for path in sorted(folder.glob("mask_*.jpg"))]
    return [np.asarray(image, np.uint8) for image in read if image is not None]


def spoilt(image: Image, face: Face, rng: Generator) -> tuple[Image, Float32]:
    """A face as a camera gives it: smaller, blurred, darker, noisy, its points a little off."""
    scale = float(rng.uniform(0.25, 1.0))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if rng.random() < 0.3:
        small = cv2.GaussianBlur(small, (0, 0), float(rng.uniform(0.3, 1.2)))
    worse = 255 * (small.astype(np.float32) / 255) ** rng.uniform(0.6, 1.8)
    worse = worse + rng.normal(0, rng.uniform(0, 6), small.shape)
    size = scale * float(face.box_xyxy[2] - face.box_xyxy[0])
    points = face.landmarks_xy * scale + rng.normal(0, 0.02 * size, (5, 2))
    return np.clip(worse, 0, 255).astype(np.uint8), points.astype(np.float32)


def found(detector: Detector, image: Image, near: Face | None = None) -> Face | None:
    """The face in the middle, or the one in the place of another."""
    centre = np.array(image.shape[1::-1]) / 2 if near is None else (near.box_xyxy[:2] + near.box_xyxy[2:]) / 2
    faces = detector.detect(image)

    def away(face: Face) -> float:
        return float(np.linalg.norm((face.box_xyxy[:2] + face.box_xyxy[2:]) / 2 - centre))

    best = min(faces, key=away, default=None)
    if best is None or away(best) > 0.5 * float(best.box_xyxy[2] - best.box_xyxy[0]):
        return None
    return best


def samples(folder: Path, detector: Detector) -> Iterator[tuple[str, bool, Image, Face]]:
    """Person, whether masked, image and the face the detector found in it; masked faces it misses are left out."""
    drawn_on, rng = textures(), np.random.default_rng(20260101)
    for path in sorted(folder.glob("*/*.jpg")):
        image = cv2.imread(str(path))
        face = None if image is None else found(detector, np.asarray(image, np.uint8))
        if image is None or face is None:
            continue
        plain = np.asarray(image, np.uint8)
        yield path.parent.name, False, plain, face
        for _ in range(MASKS_A_FACE):
            masked = with_mask(plain, face, rng, drawn_on)
            again = found(detector, masked, face)
            if again is not None:
                yield path.parent.name, True, masked, again


def fitted(rows: Float32, labels: Float32, ridge: float) -> tuple[Float32, float]:
    """Weights and bias of a logistic regression with both classes weighed alike, by Newton's method."""
    mean, spread = rows.mean(axis=0), rows.std(axis=0) + np.float32(1e-3)
    scaled = np.hstack([(rows - mean) / spread, np.ones((len(rows), 1), np.float32)]).astype(np.float64)
    weigh = np.where(labels > 0, 0.5 / labels.mean(), 0.5 / (1 - labels.mean())) / len(labels)
    penalty = np.full(scaled.shape[1], 2e-3 * ridge)
    penalty[-1] = 0.0  # the bias is free
    values = np.zeros(scaled.shape[1])
    for _ in range(NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(scaled @ values, -50, 50)))
        slope = scaled.T @ (weigh * (chance - labels)) + penalty * values
        bend = (scaled * (weigh * np.maximum(chance * (1 - chance), 1e-6))[:, None]).T @ scaled + np.diag(penalty)
        values = values - np.linalg.solve(bend, slope)
    weights = values[:-1] / spread
    return weights.astype(np.float32), float(values[-1] - mean @ weights)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.masks_train", description=__doc__)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "masks.npz")
    parser.add_argument("--pack", help="whose detector finds the faces")
    options = parser.parse_args()
    store = Store(default_root())
    detector = open_pack(store, store.pick(options.pack), detect_px=256).detector
    rng = np.random.default_rng(7)
    people: list[str] = []
    labels: list[float] = []
    rows: list[Float32] = []
    kept: list[tuple[bool, Image, Face]] = []
    for person, masked, image, face in samples(options.faces, detector):
        if held_out(person):
            kept.append((masked, image, face))
            continue
        for worse, points in ((image, face.landmarks_xy), spoilt(image, face, rng)):
            people.append(person)
            labels.append(float(masked))
            rows.append(features(worse, points))
    table, truth = np.stack(rows), np.array(labels, np.float32)
    choosing = np.array([hashlib.sha256(person.encode()).digest()[0] % 5 == 0 for person in people])
    errors = {}
    for ridge in RIDGES:
        weights, bias = fitted(table[~choosing], truth[~choosing], ridge)
        said = table[choosing] @ weights + bias > 0
        errors[ridge] = float((said != (truth[choosing] > 0)).mean())
        print(f"ridge {ridge}: {errors[ridge]:.2%} wrong of the choosing people")
    least = min(errors.values())
    within = least + (least * (1 - least) / int(choosing.sum())) ** 0.5  # one standard error (Breiman et al. 1984)
    weights, bias = fitted(table, truth, max(ridge for ridge, error in errors.items() if error <= within))
    np.savez_compressed(options.out, weights=weights.astype(np.float16), bias=np.float32(bias))
    judge = MaskDetector(weights.astype(np.float16).astype(np.float32), bias)
    for masked in (True, False):
        said_masked = [judge.masked(image, face) >= 0.5 for is_masked, image, face in kept if is_masked == masked]
        print(f"held out, {'masked' if masked else 'bare'}: {np.mean(said_masked):.2%} of {len(said_masked)} masked")
    print(f"{options.out}: {options.out.stat().st_size:,} bytes, {table.shape[1]} features, {len(table)} rows")


if __name__ == "__main__":
    main()
