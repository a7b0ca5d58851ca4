"""How far a decision carries: the rule, line by line."""

from typing import Any

import pytest

from edge.recognition.decision import Rule
from edge.recognition.gallery import Candidate, Match
from edge.recognition.grade import graded
from tests.edge.visiting import T0, arrival

RULE = Rule(upper=0.5, lower=0.25, margin=0.125)
LIVE = (0.9, 0.9, 0.9)


def match(similarity: float | None) -> Match:
    best = None if similarity is None else Candidate("p-1", similarity)
    return Match(best, None, 1 if best else 0, -1.0, "p-1" if best else None)


@pytest.mark.parametrize(
    ("decision", "similarity", "wanted", "shortfalls", "seen"),
    [
        ("first", None, "A", (), {"live": LIVE}),
        ("return", 0.9, "A", (), {"live": LIVE, "masked": 0.49}),
        ("return", 0.625, "A", (), {"live": (0.1, 0.9, 0.9)}),  # one shot may err
        ("first", None, "B", ("liveness_unknown",), {}),
        ("first", 0.125, "B", ("liveness_unknown",), {}),
        ("first", 0.126, "C", ("near_threshold", "liveness_unknown"), {}),
        ("return", 0.625, "B", ("liveness_unknown",), {}),
        ("return", 0.624, "C", ("near_threshold",), {"live": LIVE}),
        ("return", 0.9, "C", ("few_shots",), {"shots": 2, "live": LIVE}),
        ("return", 0.9, "C", ("poor_quality",), {"quality": 0.49, "live": LIVE}),
        ("return", 0.9, "C", ("masked",), {"masked": 0.5, "live": LIVE}),
        ("return", 0.9, "C", ("not_live",), {"live": (0.9, 0.1, 0.1)}),
        ("unsure", 0.4, "C", ("unsure",), {"live": LIVE}),
    ],
)
def test_the_table_of_grades(
    decision: Any, similarity: float | None, wanted: str, shortfalls: tuple[str, ...], seen: dict[str, Any]
) -> None:
    found = graded(decision, match(similarity), RULE, arrival(1, T0, **seen), live_source=True, measured=True)
    assert (found.grade, found.shortfalls) == (wanted, shortfalls)


def test_from_a_file_nothing_is_above_c() -> None:
    found = graded("first", match(None), RULE, arrival(1, T0, live=LIVE), live_source=False, measured=True)
    assert (found.grade, found.shortfalls) == ("C", ("file",))


def test_a_pack_that_nobody_has_measured_gives_no_a() -> None:
    found = graded("first", match(None), RULE, arrival(1, T0, live=LIVE), live_source=True, measured=False)
    assert (found.grade, found.shortfalls) == ("B", ("uncalibrated",))
