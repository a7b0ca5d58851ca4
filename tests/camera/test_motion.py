"""The motion gate, and what a single picture looks like."""

import cv2
import numpy as np
import pytest

from camera.motion import LUMA_PX, MotionGate, look

S = 1_000_000_000
ROOM = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 255, (720, 1280, 3), dtype=np.uint8), (0, 0), 4)
ROOM = np.clip((ROOM.astype(np.float32) - 127) * 9 + 120, 0, 255).astype(np.uint8)


def noisy(image: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 4, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def with_person(image: np.ndarray, x: int) -> np.ndarray:
    image = image.copy()
    image[400:560, x : x + 60] = (30, 200, 90)
    return image


def primed() -> MotionGate:
    gate = MotionGate(detect_every_s=10.0)
    gate.detected(look(ROOM), 0)
    return gate


def test_nothing_moves_in_a_still_room_with_sensor_noise() -> None:
    gate = primed()
    assert not any(gate.open(look(noisy(ROOM, seed)), seed * S // 25) for seed in range(1, 30))


def test_somebody_who_comes_in_is_motion() -> None:
    assert primed().open(look(with_person(ROOM, 600)), S)


def test_somebody_too_slow_for_consecutive_frames_is_motion_still() -> None:
    gate = MotionGate(detect_every_s=1000.0)
    gate.detected(look(with_person(ROOM, 600)), 0)
    opened = [gate.open(look(with_person(ROOM, 600 + x)), x * S) for x in range(1, 40)]
    assert any(opened)


def test_a_change_of_brightness_alone_is_not_motion() -> None:
    assert not primed().open(look(np.clip(ROOM.astype(np.int16) + 12, 0, 255).astype(np.uint8)), S)


def test_faces_are_looked_for_every_so_often_whatever_happens() -> None:
    gate = primed()
    assert not gate.open(look(ROOM), 9 * S)
    assert gate.open(look(ROOM), 10 * S)


def test_the_first_picture_and_another_size_are_always_looked_at() -> None:
    assert MotionGate().open(look(ROOM), 0)
    assert primed().open(look(ROOM[:600]), 1)


@pytest.mark.parametrize("shape", [(720, 1280), (100, 120), (33, 1000), (1080, 1920), (2160, 3840), (5, 7)])
def test_a_view_is_taken_of_any_size(shape: tuple[int, int]) -> None:
    view = look(np.full((*shape, 3), 100, np.uint8))
    assert view.grey.shape[1] == LUMA_PX
    assert view.luma == pytest.approx(100, abs=1)
    assert 0 <= view.sharpness_e6 <= 1_000_000
    assert view.luma_e6 == pytest.approx(392_157, abs=4000)


@pytest.mark.parametrize(
    ("covered", "blind"),
    [
        (ROOM, False),
        ((ROOM * 0.25).astype(np.uint8), False),  # evening
        ((ROOM * 0.03).astype(np.uint8), True),  # lights out
        (np.full_like(ROOM, 90), True),  # tape
        (noisy(np.full_like(ROOM, 90), 1), True),
        (cv2.GaussianBlur(ROOM, (0, 0), 60), True),  # a bag over the lens
    ],
)
def test_a_dark_or_covered_view_is_blind(covered: np.ndarray, blind: bool) -> None:
    assert look(covered).blind is blind
