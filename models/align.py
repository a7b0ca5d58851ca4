"""Five landmarks to an aligned chip, and a box to the square around it."""

import cv2
import numpy as np

from models.faces import Float32, Image

# ArcFace's five points for a 112 px chip, used by every network trained on such chips (insightface, SFace).
ARCFACE_112_XY: tuple[tuple[float, float], ...] = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


def similarity_transform(from_xy: Float32, to_xy: Float32) -> Float32:
    """Return the (2, 3) float32 matrix of the rotation, scale and shift that best moves points onto points.

    Both arguments are (N, 2). Least squares after Umeyama 1991; in the plane and without reflections it has this
    closed form: as complex numbers, z -> a z + b.
    """
    source = from_xy[:, 0].astype(np.float64) + 1j * from_xy[:, 1]
    target = to_xy[:, 0].astype(np.float64) + 1j * to_xy[:, 1]
    centred = source - source.mean()
    spread = float(np.vdot(centred, centred).real)
    a = np.vdot(centred, target - target.mean()) / max(spread, np.finfo(np.float64).tiny)
    b = target.mean() - a * source.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]], dtype=np.float32)


def aligned_chip(image: Image, landmarks_xy: Float32, template_xy: Float32, chip_px: int) -> Image:
    """Return the chip (chip_px, chip_px, 3) uint8 with its five points on `template_xy` (5, 2), black off the image."""
    return square(image, similarity_transform(landmarks_xy, template_xy), chip_px)


def to_square(box_xyxy: Float32, sides: float, square_px: int) -> Float32:
    """Return the (2, 3) float32 matrix from image pixels to those of a square around the middle of a box.

    sides: how many longer sides of the box the square measures. square_px: to which it is brought.
    """
    width, height = box_xyxy[2:] - box_xyxy[:2]
    scale = square_px / (sides * max(width, height))
    shift = square_px / 2 - scale * (box_xyxy[:2] + box_xyxy[2:]) / 2
    return np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]], dtype=np.float32)


def square(image: Image, matrix: Float32, square_px: int) -> Image:
    """Return the square (square_px, square_px, 3) uint8 that a matrix (2, 3) cuts out, black off the image."""
    return np.asarray(cv2.warpAffine(image, matrix, (square_px, square_px), flags=cv2.INTER_LINEAR), dtype=np.uint8)
