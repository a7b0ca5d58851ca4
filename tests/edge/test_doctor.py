"""What `doctor` says of a node whose records do not arrive."""

import pytest

from edge.doctor import LATE_S, LOST_S, delivery

NOW_US = 1_800_000_000_000_000


@pytest.mark.parametrize(
    ("backlog", "age_s", "state"),
    [
        (0, 10 * LOST_S, "good"),  # nothing waits
        (5, LATE_S - 1, "good"),
        (5, LATE_S + 1, "warn"),
        (5, LOST_S + 1, "bad"),
        (0, None, "warn"),  # joined, and never heard of central
    ],
)
def test_a_silent_central_is_judged_by_what_waits_for_it(backlog: int, age_s: int | None, state: str) -> None:
    last_us = None if age_s is None else NOW_US - age_s * 1_000_000
    assert delivery(backlog, last_us, NOW_US).state == state
