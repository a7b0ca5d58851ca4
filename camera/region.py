"""Where in a picture faces are looked for: everywhere now and then, between that only where people are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.faces import Region

# Measured: camera/README.md, "Speed".
EVERYWHERE_EVERY_S = 0.12  # somebody new is found so much later at most, and only while somebody else is in view
MARGIN = 0.75  # around a face where it is expected, in face sizes: what a detector needs to see of it and around it
MARGIN_PER_S = 3.0  # and how far it may move meanwhile, as in camera/tracker.py
WORTHWHILE = 0.6  # of the picture; a region nearly as large as the picture saves nothing
# Parts of the picture's long side that a region is made of. At 640 px one is 32, the coarsest stride of every detector
# here, so that it finds in a region what it finds in the whole.
GRID = 20


class Attention:
    """Decides for each picture of one camera whether the whole of it is looked at."""

    def __init__(self) -> None:
        self._everywhere_ns: int | None = None
        self._last_ns = 0

    def region(self, expected: Sequence[NDArray[np.float64]], image_hw: tuple[int, int], at_ns: int) -> Region | None:
        """Return where to look, None for everywhere.

        expected: the boxes (4,) xyxy at which the faces in view should be by now. image_hw: of the picture, px.
        """
        gap_s, self._last_ns = (at_ns - self._last_ns) / 1e9, at_ns
        overdue = self._everywhere_ns is None or at_ns - self._everywhere_ns >= EVERYWHERE_EVERY_S * 1e9
        found = None if overdue else _around(expected, image_hw, MARGIN + MARGIN_PER_S * gap_s)
        if found is None:
            self._everywhere_ns = at_ns
        return found


def _around(expected: Sequence[NDArray[np.float64]], image_hw: tuple[int, int], margin: float) -> Region | None:
    if not expected:
        return None
    boxes = np.stack(expected)
    reach = margin * (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True)
    step = max(image_hw) / GRID
    low = np.floor((boxes[:, :2] - reach).min(axis=0) / step) * step
    high = np.ceil((boxes[:, 2:] + reach).max(axis=0) / step) * step
    left, top = (round(max(0.0, value)) for value in low)
    right, bottom = (round(min(float(side), value)) for side, value in zip(image_hw[::-1], high, strict=True))
    if right <= left or bottom <= top or (right - left) * (bottom - top) > WORTHWHILE * image_hw[0] * image_hw[1]:
        return None
    return left, top, right, bottom
