"""Whether a face's nose and mouth are covered: a logistic regression over slopes and colours of an aligned patch.

It looks at the picture and the five points, so it serves every pack. Weights: `masks.npz`, trained by
`models/masks_train.py`, whose figures are in models/README.md.
"""

from importlib import resources

import cv2
import numpy as np

from models import ModelsError
from models.align import ARCFACE_112_XY, aligned_chip
from models.faces import Face, Float32, Image

PATCH_PX = 48
_INNER = 0.82  # the template's share of the patch: the chin and the jaw have to be in it
_CELLS, _BINS = 8, 9  # a side of the patch; of half a turn
TEMPLATE_XY = (
    (np.array(ARCFACE_112_XY, np.float32) - (56.0, 68.0)) * (_INNER * PATCH_PX / 112) + (PATCH_PX / 2, 0.52 * PATCH_PX)
).astype(np.float32)


def features(image: Image, landmarks_xy: Float32) -> Float32:
    """Return what the regression sees of a face: slopes per cell, and colours against those around the eyes."""
    patch = aligned_chip(image, landmarks_xy, TEMPLATE_XY, PATCH_PX)
    small = cv2.resize(patch, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    lab = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2Lab), np.float32)
    against = (lab - lab[1:4, 1:-1].mean(axis=(0, 1))) / np.float32(40)
    return np.concatenate([_slopes(patch).reshape(-1), against.reshape(-1), np.abs(against).reshape(-1)])


def _slopes(patch: Image) -> Float32:
    """(BINS, CELLS, CELLS): how strong slopes of each direction are, against all of the cell and its neighbours.

    Histograms of oriented gradients (Dalal and Triggs 2005) with one block of 3 by 3 cells around each.
    """
    grey = cv2.cvtColor(patch, cv2.COLOR_BGR2GRAY).astype(np.float32)
    right, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    strength = np.sqrt(right * right + down * down)
    bins = (np.arctan2(down, right) % np.pi / np.pi * _BINS).astype(np.int64) % _BINS
    cells = np.stack(
        [
            cv2.resize(np.where(bins == k, strength, 0), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
            for k in range(_BINS)
        ]
    ).astype(np.float32)
    energy = cv2.blur(np.square(cells).sum(axis=0), (3, 3))
    return np.asarray(cells / np.sqrt(energy + 4.0), np.float32)


class MaskDetector:
    """Says how likely a face wears a mask."""

    def __init__(self, weights: Float32, bias: float) -> None:
        """weights: (F,) float32, one a feature."""
        self._weights = weights
        self._bias = bias

    def masked(self, image: Image, face: Face) -> float:
        """Return how likely the nose and mouth of a face of image (H, W, 3) uint8 BGR are covered, 0..1."""
        value = float(features(image, face.landmarks_xy) @ self._weights) + self._bias
        return float(1 / (1 + np.exp(-np.clip(value, -30, 30))))


def shipped() -> MaskDetector:
    """Return the detector with the weights that come with the program."""
    try:
        with resources.as_file(resources.files("models") / "masks.npz") as path, np.load(path) as stored:
            return MaskDetector(stored["weights"].astype(np.float32), float(stored["bias"]))
    except (OSError, KeyError, ValueError) as error:
        raise ModelsError(f"masks.npz: cannot be read: {error}") from error
