"""Whether anything moved since faces were last looked for, and whether the camera sees at all."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from camera.picture import luma_of

LUMA_PX = 160  # width of the small grey picture everything here is judged on
STILL_LOOK_EVERY_S = 5.0  # whoever comes in moves; this is for what the gate cannot see, and a look costs ten pictures
MOVED_LEVELS = 14.0  # a pixel has changed; sensor noise averaged over a 12 px block stays under 4
MOVED_PIXELS = 6  # a person whose face has 32 px covers some 40 of these pixels at 1080p
# Measured: camera/README.md. Lit footage has luma 104..146, spread 37..71 and sharpness 146..4,035.
DARK_LUMA = 12.0
FLAT_SPREAD = 6.0
FLAT_SHARPNESS = 4.0
SHARPNESS_HALF = 300.0


@dataclass(frozen=True, slots=True)
class View:
    """How a picture looks as a whole.

    grey: (h, LUMA_PX) float32 luma 0..255. luma: its mean. spread: its standard deviation. sharpness: the variance
    of its Laplacian.
    """

    grey: NDArray[np.float32]
    luma: float
    spread: float
    sharpness: float

    @property
    def luma_e6(self) -> int:
        """Mean luma, 0..1e6."""
        return round(self.luma / 255 * 1e6)

    @property
    def sharpness_e6(self) -> int:
        """Sharpness, 0..1e6: v / (v + SHARPNESS_HALF) of the variance v."""
        return round(self.sharpness / (self.sharpness + SHARPNESS_HALF) * 1e6)

    @property
    def dark(self) -> bool:
        """Whether hardly any light gets in."""
        return self.luma < DARK_LUMA

    @property
    def blind(self) -> bool:
        """Whether the picture is dark, of one tone, or without any edge."""
        return self.dark or self.spread < FLAT_SPREAD or self.sharpness < FLAT_SHARPNESS


def look(picture: NDArray[np.uint8]) -> View:
    """Return the view of a picture: its luma (h, w) uint8 0..255, as `Frame.luma` gives it, or (H, W, 3) uint8 BGR."""
    luma = luma_of(picture) if picture.ndim == 3 else picture
    height, width = luma.shape
    small = cv2.resize(luma, (LUMA_PX, max(1, round(LUMA_PX * height / width))), interpolation=cv2.INTER_AREA)
    grey = small.astype(np.float32)
    mean, spread = cv2.meanStdDev(grey)
    sharpness = float(cv2.Laplacian(grey, cv2.CV_32F).var())
    return View(grey, float(mean[0, 0]), float(spread[0, 0]), sharpness)


class MotionGate:
    """Says whether a picture differs from the one on which faces were last looked for.

    Comparing with that one rather than with the previous picture lets nobody in by walking slowly. A change of the
    whole picture's brightness alone (exposure, a cloud) is not motion.
    """

    def __init__(self, detect_every_s: float = STILL_LOOK_EVERY_S) -> None:
        self._detect_every_ns = int(detect_every_s * 1e9)
        self._reference: View | None = None
        self._reference_ns = 0

    def open(self, view: View, at_ns: int) -> bool:
        """Return whether faces must be looked for, always so after detect_every_s without."""
        reference = self._reference
        if reference is None or reference.grey.shape != view.grey.shape:
            return True
        if at_ns - self._reference_ns >= self._detect_every_ns:
            return True
        change = np.abs(view.grey - reference.grey - (view.luma - reference.luma))
        return int(np.count_nonzero(change > MOVED_LEVELS)) >= MOVED_PIXELS

    def detected(self, view: View, at_ns: int) -> None:
        """Remember the picture on which faces were just looked for."""
        self._reference = view
        self._reference_ns = at_ns
