"""The slot between reading and analysing."""

import threading
import time
from datetime import UTC, datetime

import numpy as np
import pytest

from camera import CameraError
from camera.slot import Slots
from camera.source import Frame


def frame(number: int, camera_id: str = "a", at_ns: int | None = None) -> Frame:
    at_ns = number if at_ns is None else at_ns
    return Frame(camera_id, number, datetime.now(UTC), at_ns, np.zeros((2, 2, 3), np.uint8))


def taken(slots: Slots) -> int:
    got = slots.take(5)
    assert got is not None
    return got.number


def test_the_newest_frame_wins_and_what_it_replaced_is_counted() -> None:
    slots = Slots(["a"])
    for number in (1, 2, 3):
        assert slots.put(frame(number))
    assert taken(slots) == 3
    assert slots.dropped("a") == 2
    assert slots.take(0.01) is None


def test_lossless_slots_make_the_reader_wait_and_drop_nothing() -> None:
    slots = Slots(["a"], lossless=True)
    reader = threading.Thread(target=lambda: [slots.put(frame(number)) for number in range(1, 51)])
    reader.start()
    assert [taken(slots) for _ in range(50)] == list(range(1, 51))
    reader.join(5)
    assert slots.dropped("a") == 0


def test_a_lossless_put_gives_up_after_its_time() -> None:
    slots = Slots(["a"], lossless=True)
    assert slots.put(frame(1), wait_s=0.01)
    assert not slots.put(frame(2), wait_s=0.01)
    assert slots.dropped("a") == 0


def test_a_source_that_cannot_wait_replaces_even_in_lossless_slots() -> None:
    slots = Slots(["a"], lossless=True)
    assert slots.replace(frame(1))
    assert slots.replace(frame(2))
    assert taken(slots) == 2
    assert slots.dropped("a") == 1


def test_a_fast_camera_does_not_starve_a_slow_one() -> None:
    slots = Slots(["fast", "slow", "slower"])
    order = []
    for number in range(6):
        for camera_id in ("fast", "slow", "slower"):
            slots.put(frame(number, camera_id))
        got = slots.take(1)
        assert got is not None
        order.append(got.camera_id)
    assert sorted(order[:3]) == sorted(order[3:]) == ["fast", "slow", "slower"]


def test_lossless_slots_hand_out_the_earliest_frame_first() -> None:
    slots = Slots(["a", "b"], lossless=True)
    slots.put(frame(1, "a", at_ns=500))
    slots.put(frame(2, "b", at_ns=100))
    assert [taken(slots), taken(slots)] == [2, 1]


def test_closing_lets_everybody_go_and_keeps_what_is_there() -> None:
    slots = Slots(["a"], lossless=True)
    slots.put(frame(1))
    results: list[bool] = []
    waiting = threading.Thread(target=lambda: results.append(slots.put(frame(2))))
    waiting.start()
    slots.close()
    waiting.join(5)
    assert results == [False]
    assert slots.closed
    assert not slots.empty()
    assert taken(slots) == 1
    assert slots.empty()
    started_s = time.monotonic()
    assert slots.take(30) is None
    assert time.monotonic() - started_s < 10


def test_a_frame_of_an_unknown_camera_is_refused() -> None:
    with pytest.raises(CameraError, match="camera z"):
        Slots(["a"]).put(frame(1, "z"))


def test_a_resting_camera_hands_out_its_newest_frame_afterwards_and_counts_nothing() -> None:
    slots = Slots(["a", "b"])
    until_ns = time.monotonic_ns() + 150_000_000
    slots.rest("a", until_ns)
    for number in (1, 2, 3):
        assert slots.replace(frame(number))
    assert slots.take(0.01) is None
    assert slots.replace(frame(9, "b"))
    assert taken(slots) == 9, "another camera does not wait for it"
    assert taken(slots) == 3
    assert time.monotonic_ns() >= until_ns
    assert slots.dropped("a") == 0
    for number in (4, 5):
        assert slots.replace(frame(number))
    assert slots.dropped("a") == 1, "awake again, what is passed over counts"


def test_whoever_waits_wakes_by_itself_when_a_rest_is_over() -> None:
    slots = Slots(["a"])
    slots.rest("a", time.monotonic_ns() + 100_000_000)
    late = threading.Timer(0.02, lambda: slots.replace(frame(1)))
    late.start()
    got = slots.take(60)
    late.join()
    assert got is not None


def test_a_lossless_slot_does_not_rest_and_a_closed_one_gives_what_it_has() -> None:
    lossless = Slots(["a"], lossless=True)
    lossless.rest("a", time.monotonic_ns() + 60_000_000_000)
    assert lossless.put(frame(1))
    assert taken(lossless) == 1
    closed = Slots(["a"])
    closed.rest("a", time.monotonic_ns() + 60_000_000_000)
    assert closed.replace(frame(2))
    closed.close()
    assert taken(closed) == 2
