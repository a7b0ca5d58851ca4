"""Masks drawn on photographs of faces, to train and to measure `models/masks.py` on; nothing else uses them."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator

from models.faces import Face, Float32, Image

# Surgical blue, white, black, green, pink, grey, and cloth of any colour; BGR.
_COLOURS = ((214, 190, 150), (240, 240, 240), (32, 30, 30), (170, 200, 150), (196, 180, 236), (140, 138, 135))


def with_mask(image: Image, face: Face, rng: Generator, textures: Sequence[Image] = ()) -> Image:
    """Return image (H, W, 3) uint8 BGR with a mask over the nose and mouth of a face.

    Colour, cut, pattern, folds, ear loops and shading are drawn by `rng`. textures: pictures (h, w, 3) uint8 BGR that
    a third of the masks are made of.
    """
    outline, corners = _outline(face, rng)
    height, width = image.shape[:2]
    cover: Float32 = np.zeros((height, width), np.float32)
    cv2.fillPoly(cover, [np.rint(outline * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    size_px = float(np.linalg.norm(corners[1] - corners[0]))
    cover = np.asarray(cv2.GaussianBlur(cover, (0, 0), max(0.4, 0.008 * size_px)), np.float32)
    cloth = cv2.warpPerspective(
        _cloth(rng, textures), _onto(corners), (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT
    ).astype(np.float32)
    # The face's own light and shade lie on the mask too.
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32), (0, 0), 0.12 * size_px)
    inside = float(grey[cover > 0.5].mean()) if (cover > 0.5).any() else 128.0
    light = np.clip((grey / max(inside, 1.0)) ** rng.uniform(0.4, 1.1) * rng.uniform(0.6, 1.1), 0.2, 1.5)
    drawn = image.astype(np.float32)
    if rng.random() < 0.7:
        _loops(drawn, corners, face, rng)
    mixed = drawn + cover[..., None] * (cloth * light[..., None] - drawn)
    mixed += cover[..., None] * rng.normal(0, rng.uniform(0, 5), image.shape)
    return np.asarray(np.clip(mixed, 0, 255), np.uint8)


def _outline(face: Face, rng: Generator) -> tuple[Float32, Float32]:
    """The mask's edge, and its four corners (top left, top right, bottom right, bottom left), px."""
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks_xy.astype(np.float64)
    eyes, mouth = (left_eye + right_eye) / 2, (left_mouth + right_mouth) / 2
    across, down = right_eye - left_eye, mouth - eyes
    wide = rng.uniform(0.86, 1.12)
    top = eyes + rng.uniform(0.28, 0.62) * (nose - eyes)  # of the bridge
    ear = rng.uniform(0.25, 0.55)  # how far down the upper edge meets the cheek
    turned = float((nose - eyes) @ across) / max(1e-6, float(across @ across))  # a turned head shows one cheek less
    left = eyes - across * wide * (1.0 + 1.2 * turned) + down * ear
    right = eyes + across * wide * (1.0 - 1.2 * turned) + down * ear
    low_left, low_right = left + down * rng.uniform(0.55, 0.9), right + down * rng.uniform(0.55, 0.9)
    chin = mouth + down * rng.uniform(0.5, 0.8)
    pull = rng.uniform(0.55, 0.75)
    jaw_left = chin + pull * (low_left - mouth) * (1.0, 0.5)
    jaw_right = chin + pull * (low_right - mouth) * (1.0, 0.5)
    bow = down * 0.04
    upper = [left, (left + top) / 2 - bow, top, (right + top) / 2 - bow, right]
    ring = np.array([*upper, low_right, jaw_right, chin, jaw_left, low_left])
    corners = np.array(
        [left, right, jaw_right + (right - jaw_right) * (0.35, 0), jaw_left + (left - jaw_left) * (0.35, 0)]
    )
    return ring.astype(np.float32), corners.astype(np.float32)


def _cloth(rng: Generator, textures: Sequence[Image]) -> Image:
    """(120, 200, 3): a colour with folds or a pattern, or a piece of a texture."""
    if textures and rng.random() < 0.33:
        texture = textures[int(rng.integers(len(textures)))]
        height, width = texture.shape[:2]
        share = rng.uniform(0.35, 0.9)
        y, x = int(rng.uniform(0, 1 - share) * height), int(rng.uniform(0, 1 - share) * width)
        piece = texture[y : y + max(8, int(share * height)), x : x + max(8, int(share * width))]
        return np.asarray(cv2.resize(piece, (200, 120), interpolation=cv2.INTER_AREA), np.uint8)
    colour = np.array(_COLOURS[int(rng.integers(len(_COLOURS)))], np.float32)
    if rng.random() < 0.3:
        colour = rng.uniform(20, 240, 3).astype(np.float32)
    cloth = np.tile(colour + rng.normal(0, 8, 3).astype(np.float32), (120, 200, 1))
    rows, columns = np.mgrid[0:120, 0:200].astype(np.float32)
    kind = rng.random()
    if kind < 0.45:  # pleats
        cloth += (rng.uniform(4, 22) * np.sign(np.sin(rows / 120 * np.pi * 2 * rng.integers(2, 5))))[..., None]
    elif kind < 0.65:  # a seam down the middle, as of cup masks
        cloth -= (rng.uniform(10, 40) * np.exp(-(((columns - 100) / rng.uniform(2, 8)) ** 2)))[..., None]
    elif kind < 0.8:  # stripes or checks
        other = rng.uniform(0, 255, 3).astype(np.float32)
        stripes = np.sin(columns / rng.uniform(3, 14)) > 0.3
        cloth[stripes if rng.random() < 0.5 else stripes ^ (np.sin(rows / rng.uniform(3, 14)) > 0.3)] = other
    return np.clip(cloth, 0, 255).astype(np.uint8)


def _loops(drawn: Float32, corners: Float32, face: Face, rng: Generator) -> None:
    """Ear loops, drawn in place."""
    x0, _, x1, _ = face.box_xyxy
    shade = tuple(float(value) for value in rng.uniform(150, 255, 3))
    thick = max(1, round(0.015 * float(x1 - x0)))
    for corner, out in ((corners[0], -1), (corners[1], 1), (corners[2], 1), (corners[3], -1)):
        ear = corner + np.array([out * 0.18, -0.12], np.float32) * (x1 - x0)
        cv2.line(drawn, tuple(np.rint(corner).astype(int)), tuple(np.rint(ear).astype(int)), shade, thick, cv2.LINE_AA)


def _onto(corners: Float32) -> Float32:
    whole = np.array([[0, 0], [200, 0], [200, 120], [0, 120]], np.float32)
    return np.asarray(cv2.getPerspectiveTransform(whole, corners), np.float32)
