"""What is remembered of one track while nobody can be made of it."""

from datetime import UTC, datetime

from camera.looks import TOGETHER_S, Watched

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_face_that_never_shows_itself_does_not_remember_a_month_of_passers_by() -> None:
    poster = Watched(START)
    for track in range(1, 200_001):
        poster.beside({track, track + 1}, at_ns=track * 13 * 10**9)  # somebody new every 13 s
    assert {200_000, 200_001} <= poster.together
    assert len(poster.together) < 2 * TOGETHER_S / 13


def test_whoever_was_seen_with_it_within_ten_minutes_is_remembered_in_any_crowd() -> None:
    child = Watched(START)
    for track in range(1, 2_001):
        child.beside({track}, at_ns=track * 10**9 // 5)
    assert child.together == frozenset(range(1, 2_001))
