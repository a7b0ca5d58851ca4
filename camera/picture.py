"""A decoded picture: its brightness as the decoder left it, its colours once somebody asks for them."""

from __future__ import annotations

import av
import cv2
import numpy as np
from numpy.typing import NDArray

LUMA_MIN_PX = 480  # long side from which every n-th pixel is as good as all: camera/motion.py looks at 160 of them
_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, -180: cv2.ROTATE_180, 180: cv2.ROTATE_180, -90: cv2.ROTATE_90_CLOCKWISE}
_LUMA_FIRST = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "nv21", "gray"})
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
# ITU-R BT.601 2.5.3: in the studio range black is 16 and white 235
_FROM_STUDIO = np.clip((np.arange(256) - 16.0) * 255 / 219, 0, 255).round().astype(np.uint8)


class Decoded:
    """One picture of a decoder, upright as its display matrix says.

    Most pictures of a camera are only asked whether anything moved: what that needs is a look at the decoder's own
    plane, a tenth of what the colours cost.
    """

    __slots__ = ("_bgr", "_frame")

    def __init__(self, frame: av.VideoFrame) -> None:
        self._frame = frame
        self._bgr: NDArray[np.uint8] | None = None

    def bgr(self) -> NDArray[np.uint8]:
        """Return it as (H, W, 3) uint8 BGR, made at the first call."""
        if self._bgr is None:
            self._bgr = self._upright(self._frame.to_ndarray(format="bgr24").astype(np.uint8, copy=False))
        return self._bgr

    def luma(self) -> NDArray[np.uint8]:
        """Return every n-th pixel's luma, (h, w) uint8 0..255 with a long side of LUMA_MIN_PX or more."""
        frame = self._frame
        if frame.format.name not in _LUMA_FIRST:
            return luma_of(self.bgr())
        plane = frame.planes[0]
        rows = np.frombuffer(plane, np.uint8)  # type: ignore[call-overload]  # a plane is a buffer; PyAV's types omit it
        sampled = _sampled(rows.reshape(-1, plane.line_size)[: frame.height, : frame.width])
        full = frame.color_range == _FULL_RANGE or frame.format.name.startswith(("yuvj", "gray"))
        return self._upright(sampled if full else np.asarray(cv2.LUT(sampled, _FROM_STUDIO), np.uint8))

    def _upright(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        turn = _TURNS.get(self._frame.rotation)
        return image if turn is None else np.asarray(cv2.rotate(image, turn), np.uint8)


def luma_of(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the same of image (H, W, 3) uint8 BGR."""
    return np.asarray(cv2.cvtColor(_sampled(image), cv2.COLOR_BGR2GRAY), np.uint8)


def _sampled(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    step = max(1, max(pixels.shape[:2]) // LUMA_MIN_PX)
    return np.ascontiguousarray(pixels[::step, ::step])
