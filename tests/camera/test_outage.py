"""Down after five seconds, once a minute, and up again."""

from itertools import pairwise

from camera.outage import DOWN_AFTER_S, Outage

S = 1_000_000_000


def history(seconds_with_frames: set[int], until_s: int) -> list[tuple[int, str]]:
    outage = Outage(0)
    said = []
    for second in range(until_s):
        if second in seconds_with_frames:
            if outage.frame(second * S):
                said.append((second, "up"))
        elif outage.silence(second * S):
            said.append((second, "down"))
    return said


def test_the_first_frame_is_up_and_five_silent_seconds_are_down() -> None:
    assert history({0, 1, 2}, 20) == [(0, "up"), (7, "down")]


def test_a_camera_that_never_comes_is_down_without_having_been_up() -> None:
    assert history(set(), 200) == [(5, "down")]


def test_a_short_silence_is_nothing() -> None:
    assert history({0, 4, 8, 12, 13}, 15) == [(0, "up")]


def test_a_camera_that_comes_and_goes_is_down_at_most_once_a_minute() -> None:
    flapping = {second for second in range(400) if second % 20 < 10}
    said = history(flapping, 400)
    downs = [second for second, kind in said if kind == "down"]
    assert len(downs) >= 4
    assert all(later - earlier >= 60 for earlier, later in pairwise(downs))
    kinds = [kind for _, kind in said]
    assert all(one != next_one for one, next_one in pairwise(kinds))


def test_down_is_due_at_a_known_time_and_not_twice() -> None:
    outage = Outage(7 * S)
    assert outage.down_due_ns() == (7 + DOWN_AFTER_S) * S
    assert outage.silence(12 * S)
    assert outage.down_due_ns() is None
    assert not outage.silence(500 * S)
