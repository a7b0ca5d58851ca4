"""A decoded picture's luma tells what its colours do, for every kind of pixels a camera may send."""

import av
import numpy as np
import pytest

from camera.picture import LUMA_MIN_PX, Decoded, luma_of

RNG = np.random.default_rng(5)
SCENE = np.kron(RNG.integers(0, 255, (9, 16, 3), dtype=np.uint8), np.ones((80, 80, 1), np.uint8))  # 720 x 1280


def decoded(pixels: str, *, full_range: bool) -> av.VideoFrame:
    """The scene in a decoder's pixels, with padded lines as decoders have them."""
    grey = np.repeat(SCENE[:, :, 1:2], 3, axis=2)[:, :1270]  # no colours: the matrices of decoders differ there
    return av.VideoFrame.from_ndarray(grey, format="bgr24").reformat(
        format=pixels, dst_color_range="JPEG" if full_range else "MPEG"
    )


@pytest.mark.parametrize(
    ("pixels", "full_range"),
    [("yuv420p", False), ("yuv420p", True), ("yuvj420p", True), ("nv12", False), ("gray", True), ("rgb24", True)],
)
def test_luma_is_the_brightness_of_the_colours(pixels: str, full_range: bool) -> None:
    picture = Decoded(decoded(pixels, full_range=full_range))
    luma = picture.luma()
    assert luma.dtype == np.uint8
    assert luma.shape == (360, 635)
    expected = luma_of(picture.bgr())
    assert luma.shape == expected.shape
    assert np.abs(luma.astype(int) - expected).mean() < 1.5


def test_every_nth_pixel_is_taken_from_large_pictures_and_all_of_small_ones() -> None:
    assert max(luma_of(np.zeros((2160, 3840, 3), np.uint8)).shape) == LUMA_MIN_PX
    assert luma_of(np.zeros((90, 160, 3), np.uint8)).shape == (90, 160)


def test_colours_are_made_once() -> None:
    picture = Decoded(decoded("yuv420p", full_range=False))
    assert picture.bgr() is picture.bgr()
    assert picture.bgr().shape == (720, 1270, 3)
