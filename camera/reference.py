"""What a camera saw when it was installed, and how much of that it sees now, in place or displaced.

Compared are the slopes of a small grey picture, block by block and each by its own strength: a change of the light
changes their strength and not their direction, and a person hides only the blocks they stand before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from camera import CameraError

Grey: TypeAlias = NDArray[np.float32]
Box: TypeAlias = NDArray[np.float32]

BLOCKS = 10  # across LUMA_PX: a block is 16 px, and one of 220 pictures of other things agrees in a block by chance
BLUR_PX = 1.2  # a mast in the wind, a codec's noise
STRUCTURED = 2.0  # mean slope of a block that can be told from a bare wall, levels per px
AGREES = 0.6  # correlation of a block's slopes
BODY_HEIGHT = 4.0  # of a face, under it
LEAST_BLOCKS = 6  # with fewer structured ones a picture cannot be told from another

SHIFT_MIN = 0.04  # of the width; less is a mast in the wind
APART_MAX = 0.06  # of the width: a rolled view is found with this or that shift
# A camera that was knocked has rolled or zoomed as well; tried around the shift where that alone finds nothing.
ROLLS_DEG = (0.0, -12.0, -8.0, -4.0, 4.0, 8.0, 12.0)
ZOOMS = (1.0, 0.87, 1.15)
LOCATED_SHARE = 0.4  # of the reference's blocks that a displaced picture shows
LOCATED_MORE = 0.25  # than are seen in place


@dataclass(frozen=True, slots=True)
class Displacement:
    """How the reference must be moved to lie on the picture.

    right, down: as shares of the picture's width. share: of the reference's blocks in the picture that agree there.
    """

    right: float
    down: float
    roll_deg: float
    zoom: float
    share: float

    @property
    def moved(self) -> bool:
        """Whether this is more than a mast in the wind."""
        return bool(np.hypot(self.right, self.down) >= SHIFT_MIN or self.roll_deg or self.zoom != 1.0)

    def agrees_with(self, other: Displacement) -> bool:
        """Whether two findings are of one displacement."""
        return bool(np.hypot(self.right - other.right, self.down - other.down) <= APART_MAX)


class Reference:
    """One picture of a view without people, made ready to be compared with.

    grey: (h, w) float32 luma 0..255, as `camera.motion.look` makes it.
    """

    def __init__(self, grey: Grey) -> None:
        if grey.ndim != 2 or grey.dtype != np.float32 or min(grey.shape) < BLOCKS:
            raise CameraError(f"a reference view must be (h, w) float32, is {grey.shape} {grey.dtype}")
        self.grey = grey
        self._slopes = _slopes(grey)
        self._energy = _blocks(_squared(self._slopes))
        self._spectrum = _spectrum(self._slopes)
        self.structured: NDArray[np.bool_] = np.sqrt(self._energy) >= STRUCTURED
        self.sharpness = float(cv2.Laplacian(grey, cv2.CV_32F).var())

    @property
    def telling(self) -> bool:
        """Whether there is enough in the view to know it by."""
        return int(np.count_nonzero(self.structured)) >= LEAST_BLOCKS

    def agreeing(self, grey: Grey) -> NDArray[np.bool_]:
        """Return which blocks of a picture of the same shape show what the reference shows there."""
        return _agreement(self._slopes, self._energy, _slopes(grey)) >= AGREES

    def seen(self, agreeing: NDArray[np.bool_]) -> float:
        """Return the share of the structured blocks that agree, 0..1."""
        return int(np.count_nonzero(agreeing & self.structured)) / max(1, int(np.count_nonzero(self.structured)))

    def located(self, grey: Grey, thorough: bool = False) -> Displacement | None:
        """Return where the reference lies on a picture of the same shape, None where it is not to be found.

        thorough: also rolled and zoomed, at twenty times the cost.
        """
        best: Displacement | None = None
        for roll_deg, zoom in _turns() if thorough else [(0.0, 1.0)]:
            found = self._shifted(grey, roll_deg, zoom)
            if found is not None and (best is None or found.share > best.share):
                best = found
        if best is None or best.share < LOCATED_SHARE:
            return None
        if best.moved and best.share < self.seen(self.agreeing(grey)) + LOCATED_MORE:
            return None
        return best

    def _shifted(self, grey: Grey, roll_deg: float, zoom: float) -> Displacement | None:
        """Turn the picture back by a roll and a zoom, and find the shift that is left."""
        height, width = grey.shape
        turned = grey
        if (roll_deg, zoom) != (0.0, 1.0):
            back = cv2.getRotationMatrix2D((width / 2, height / 2), roll_deg, zoom)
            turned = _warped(grey, np.asarray(back, np.float64))
        right, down = self._peak(_spectrum(_slopes(turned)))
        shift = np.array([[1.0, 0.0, -right], [0.0, 1.0, -down]])
        inside = _blocks(_warped(np.ones_like(grey), shift, cv2.BORDER_CONSTANT)) > 0.9
        counted = self.structured & inside
        if np.count_nonzero(counted) < LEAST_BLOCKS:
            return None
        agreeing = self.agreeing(_warped(turned, shift))
        share = float(np.count_nonzero(agreeing & counted) / np.count_nonzero(counted))
        return Displacement(right / width, down / width, -roll_deg, 1 / zoom, share)

    def _peak(self, spectrum: Grey) -> tuple[float, float]:
        """Where the reference lies best on a picture: right and down, px to a fraction of one."""
        product = cv2.mulSpectrums(spectrum, self._spectrum, 0, conjB=True)
        surface = cv2.dft(product, flags=cv2.DFT_INVERSE | cv2.DFT_SCALE)[:, :, 0]
        high, wide = surface.shape
        _, _, _, (x, y) = cv2.minMaxLoc(surface)

        def between(before: float, here: float, after: float) -> float:
            bend = before - 2 * here + after
            return 0.5 * (before - after) / bend if bend < 0 else 0.0

        right = x + between(surface[y, x - 1], surface[y, x], surface[y, (x + 1) % wide])
        down = y + between(surface[y - 1, x], surface[y, x], surface[(y + 1) % high, x])
        return (right if x < wide // 2 else right - wide), (down if y < high // 2 else down - high)


def without_people(pictures: Sequence[Grey], faces: Sequence[Sequence[Box]], elsewhere: Grey | None = None) -> Grey:
    """Return the median of pictures of one view, faces and what is around and under them left out.

    faces: of each picture the boxes (4,) xyxy as shares of its width and height. elsewhere: what stands where a face
    never leaves, the picture's mean by default.
    """
    stack = np.stack(pictures).astype(np.float32)
    height, width = stack.shape[1:]
    for picture, boxes in zip(stack, faces, strict=True):
        for x0, y0, x1, y1 in boxes:
            wide, high = x1 - x0, y1 - y0
            left, right = int((x0 - wide) * width), int(np.ceil((x1 + wide) * width))
            top, bottom = int((y0 - high) * height), int(np.ceil((y1 + BODY_HEIGHT * high) * height))
            picture[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = np.nan
    never = np.isnan(stack).all(axis=0)
    if elsewhere is not None:
        stack[:, never] = elsewhere[never]
    elif not never.all():
        stack[:, never] = np.nanmean(stack)
    else:
        stack[:] = 0.0
    return np.asarray(np.nanmedian(stack, axis=0), np.float32)


def _turns() -> Iterator[tuple[float, float]]:
    return ((roll_deg, zoom) for zoom in ZOOMS for roll_deg in ROLLS_DEG)


def _slopes(grey: Grey) -> tuple[Grey, Grey]:
    smooth = cv2.GaussianBlur(grey, (0, 0), BLUR_PX)
    return (
        np.asarray(cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.125)),
        np.asarray(cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.125)),
    )


def _squared(slopes: tuple[Grey, Grey]) -> Grey:
    return slopes[0] * slopes[0] + slopes[1] * slopes[1]


def _spectrum(slopes: tuple[Grey, Grey]) -> Grey:
    """The spectrum of the slopes' directions as complex numbers, evened out: one lamp must not outweigh a room.

    Twice as wide and high as the picture, so that what leaves on one side does not come in on the other.
    """
    strength = np.sqrt(_squared(slopes)) + STRUCTURED
    height, width = strength.shape
    field = np.zeros((cv2.getOptimalDFTSize(2 * height), cv2.getOptimalDFTSize(2 * width), 2), np.float32)
    field[:height, :width, 0], field[:height, :width, 1] = slopes[0] / strength, slopes[1] / strength
    return np.asarray(cv2.dft(field, flags=cv2.DFT_COMPLEX_OUTPUT), np.float32)


def _blocks(values: Grey) -> Grey:
    """The mean of each block."""
    rows = max(1, round(BLOCKS * values.shape[0] / values.shape[1]))
    return np.asarray(cv2.resize(values, (BLOCKS, rows), interpolation=cv2.INTER_AREA), np.float32)


def _agreement(one: tuple[Grey, Grey], energy: Grey, other: tuple[Grey, Grey]) -> Grey:
    """Correlation of slopes per block, -1..1."""
    product = _blocks(one[0] * other[0] + one[1] * other[1])
    return np.asarray(product / np.sqrt(np.maximum(energy * _blocks(_squared(other)), 1e-6)), np.float32)


def _warped(grey: Grey, matrix: NDArray[np.float64], border: int = cv2.BORDER_REPLICATE) -> Grey:
    size = (grey.shape[1], grey.shape[0])
    return np.asarray(cv2.warpAffine(grey, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border), np.float32)
