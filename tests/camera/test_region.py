"""Where faces are looked for: nobody new waits long, and nobody in view falls outside."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera.region import EVERYWHERE_EVERY_S, MARGIN, WORTHWHILE, Attention
from models.faces import Region

HW = (1080, 1920)
FACE = np.array([900.0, 300.0, 960.0, 380.0])
PAST_DUE_NS = int(EVERYWHERE_EVERY_S * 1e9)


def looked(attention: Attention, boxes: list[np.ndarray], at_ns: int, hw: tuple[int, int] = HW) -> Region | None:
    return attention.region(boxes, hw, at_ns)


def test_the_first_picture_and_one_every_so_often_are_looked_at_whole() -> None:
    attention = Attention()
    whole = [looked(attention, [FACE], at * 40_000_000) is None for at in range(26)]
    assert whole == [at * 40_000_000 % PAST_DUE_NS == 0 for at in range(26)]


def test_with_nobody_in_view_the_whole_picture_is_looked_at() -> None:
    attention = Attention()
    assert looked(attention, [], 0) is None
    assert looked(attention, [], 1) is None


def test_people_all_over_the_picture_leave_no_region() -> None:
    attention = Attention()
    looked(attention, [], 0)
    assert looked(attention, [FACE, np.array([40.0, 900.0, 90.0, 960.0])], 1) is not None
    assert (
        looked(attention, [np.array([10.0, 10.0, 50.0, 60.0]), np.array([1800.0, 1000.0, 1850.0, 1070.0])], 2) is None
    )


boxes = st.tuples(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.01, 0.1), st.floats(0.01, 0.1))


@given(st.lists(boxes, min_size=1, max_size=4), st.integers(40, 2000), st.integers(40, 2000))
def test_a_region_lies_in_the_picture_and_holds_every_face_with_a_margin(
    shares: list[tuple[float, float, float, float]], height: int, width: int
) -> None:
    scale = np.array([width, height, width, height])
    faces = [np.array([x, y, x + w, y + h]) * scale for x, y, w, h in shares]
    attention = Attention()
    looked(attention, [], 0, (height, width))
    region = looked(attention, faces, 1, (height, width))
    if region is None:
        return
    left, top, right, bottom = region
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert (right - left) * (bottom - top) <= WORTHWHILE * height * width
    for face in faces:
        reach = MARGIN * max(face[2:] - face[:2])
        assert left <= max(0.0, face[0] - reach) + 0.51
        assert top <= max(0.0, face[1] - reach) + 0.51
        assert right >= min(width, face[2] + reach) - 0.51
        assert bottom >= min(height, face[3] + reach) - 0.51


def test_faster_people_are_looked_for_further_away() -> None:
    attention, slow = Attention(), Attention()
    looked(attention, [], 0)
    looked(slow, [], 0)
    large = np.array([900.0, 300.0, 1060.0, 520.0])  # so that the grid tells the two apart
    near, far = looked(slow, [large], 1_000_000), looked(attention, [large], 119_000_000)
    assert near is not None
    assert far is not None
    assert near[0] >= far[0]
    assert near[2] <= far[2]
    assert near != far


@pytest.mark.parametrize("hw", [(1, 1), (3, 4000)])
def test_pictures_of_odd_shapes_are_looked_at_somehow(hw: tuple[int, int]) -> None:
    attention = Attention()
    looked(attention, [], 0, hw)
    region = looked(attention, [np.array([0.0, 0.0, 1.0, 1.0])], 1, hw)
    assert region is None or (region[0] < region[2] and region[1] < region[3])
