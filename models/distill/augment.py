"""Faces that were never photographed, and photographs that came out badly.

A *canvas* is a face aligned with room around it, 192 px, from which the chips of both networks are cut; its five
landmarks go with it, (5, 2) px. What changes who is seen (`morphed`, `bent`) is shown to the teacher too, what only
makes it harder to see (`shifted`, `spoiled`) is not.
"""

import cv2
import numpy as np

from models.align import ARCFACE_112_XY
from models.faces import Float32, Image

CANVAS_PX = 192
CANVAS_XY = np.array(ARCFACE_112_XY, dtype=np.float32) * np.float32(1.6) + np.float32(6.4)
BEND_NODES = 6  # of the grid, a side, whose nodes `bent` moves
Rng = np.random.Generator


def morphed(canvas: Image, points: Float32, other: Image, other_points: Float32, share: float) -> tuple[Image, Float32]:
    """Return a face between two, `share` of it the other's."""
    blend = cv2.addWeighted(canvas, 1 - share, other, share, 0)
    return np.asarray(blend, dtype=np.uint8), (1 - share) * points + share * other_points


def bent(canvas: Image, points: Float32, rng: Rng) -> tuple[Image, Float32]:
    """Return the face with its shape changed smoothly, by 1 to 3.5 px (standard deviation)."""
    nodes = rng.normal(0, rng.uniform(1.0, 3.5), (2, BEND_NODES, BEND_NODES)).astype(np.float32)
    size = (CANVAS_PX, CANVAS_PX)
    moved = np.stack([cv2.resize(axis, size, interpolation=cv2.INTER_CUBIC) for axis in nodes])
    rows, columns = np.mgrid[0:CANVAS_PX, 0:CANVAS_PX].astype(np.float32)
    image = cv2.remap(canvas, columns + moved[0], rows + moved[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    x, y = np.clip(points.astype(np.int64), 0, CANVAS_PX - 1).T
    return np.asarray(image, dtype=np.uint8), points - moved[:, y, x].T


def shifted(points: Float32, rng: Rng) -> Float32:
    """Return landmarks as a detector might have placed them: each off by 1 px, all by 0.6 px, some by 4 % in scale."""
    moved = points + rng.normal(0, 0.9, (5, 2)) + rng.normal(0, 0.6, (1, 2))
    if rng.random() < 0.3:
        middle = moved.mean(axis=0)
        moved = (moved - middle) * np.exp(rng.normal(0, 0.04)) + middle
    return np.asarray(moved, dtype=np.float32)


def spoiled(chip: Image, rng: Rng) -> Image:
    """Return the chip under another light, smaller, blurred, noisy, compressed or partly hidden."""
    side_px = chip.shape[0]
    light = chip.astype(np.float64)
    if rng.random() < 0.8:
        light = (light - 128) * rng.uniform(0.65, 1.35) + 128 + rng.uniform(-35, 35)
    if rng.random() < 0.4:
        light = light * (1 + rng.normal(0, 0.07, 3))
    if rng.random() < 0.3:
        light = 255 * np.power(np.clip(light, 0, 255) / 255, np.exp(rng.normal(0, 0.35)))
    if rng.random() < 0.3:
        grey = light.mean(axis=2, keepdims=True)
        light = grey + (light - grey) * rng.uniform(0, 1.3)
    if rng.random() < 0.2:
        angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.5)
        rows, columns = np.mgrid[-1 : 1 : side_px * 1j, -1 : 1 : side_px * 1j]
        light = light * (1 + strength * (np.cos(angle) * columns + np.sin(angle) * rows))[..., np.newaxis]
    seen = np.clip(light, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        small_px = int(rng.uniform(36, 110))
        small = cv2.resize(seen, (small_px, small_px), interpolation=cv2.INTER_AREA)
        kind = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_CUBIC
        seen = np.asarray(cv2.resize(small, (side_px, side_px), interpolation=kind), dtype=np.uint8)
    if rng.random() < 0.2:
        seen = np.asarray(cv2.GaussianBlur(seen, (0, 0), rng.uniform(0.5, 2.2)), dtype=np.uint8)
    if rng.random() < 0.15:
        seen = np.clip(seen + rng.normal(0, rng.uniform(2, 10), seen.shape), 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        _done, jpeg = cv2.imencode(".jpg", seen, [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(25, 90))])
        seen = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), dtype=np.uint8)
    if rng.random() < 0.08:
        (width, height), (left, top) = rng.integers(15, 60, 2), rng.integers(0, side_px, 2)
        seen = seen.copy()
        seen[top : top + height, left : left + width] = rng.integers(0, 255, 3)
    return seen
