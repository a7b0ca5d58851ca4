"""How far a decision carries as evidence, and what it falls short of."""

from dataclasses import dataclass
from statistics import median
from typing import Literal, TypeAlias

from camera.pipeline import Arrival
from edge.recognition.decision import Decision, Rule
from edge.recognition.gallery import Match

Grade: TypeAlias = Literal["A", "B", "C"]
Shortfall: TypeAlias = Literal[
    "file", "unsure", "few_shots", "poor_quality", "near_threshold", "masked", "not_live", "liveness_unknown",
    "uncalibrated",
]  # fmt: skip

GOOD_QUALITY = 0.5  # of the best shot; half of the scale camera/quality.py defines
GOOD_SHOTS = 3
MASKED = 0.5  # of the best shot: how likely it is masked
LIVE = 0.5  # the median over the shots of how likely they are live
ONLY_B: frozenset[Shortfall] = frozenset({"liveness_unknown", "uncalibrated"})  # keep from A; all else keeps from B too


@dataclass(frozen=True, slots=True)
class Grading:
    """A grade, and everything that kept it from being A, in the order of the rule."""

    grade: Grade
    shortfalls: tuple[Shortfall, ...]


def graded(
    decision: Decision, match: Match, rule: Rule, arrival: Arrival, *, live_source: bool, measured: bool
) -> Grading:
    """Grade a decision; measured: whether the pack's thresholds were measured with this very pack.

    A asks for all of this: a live source, first or return, GOOD_SHOTS shots, the best of GOOD_QUALITY and not masked, a
    similarity a margin away from the threshold that decided, liveness known and good, a measured pack. Without a
    network for liveness, or with a pack that nobody has measured, it is B; anything else missing makes it C.
    """
    best = arrival.shots[0]
    lives = [shot.live for shot in arrival.shots if shot.live is not None]
    found: tuple[tuple[Shortfall, bool], ...] = (
        ("file", not live_source),
        ("unsure", decision == "unsure"),
        ("few_shots", len(arrival.shots) < GOOD_SHOTS),
        ("poor_quality", best.quality < GOOD_QUALITY),
        ("near_threshold", decision != "unsure" and not clear(decision, match.similarity, rule)),
        ("masked", best.masked is not None and best.masked >= MASKED),
        ("not_live", bool(lives) and median(lives) < LIVE),
        ("liveness_unknown", not lives),
        ("uncalibrated", not measured),
    )
    shortfalls = tuple(name for name, holds in found if holds)
    if not shortfalls:
        return Grading("A", ())
    return Grading("B" if ONLY_B.issuperset(shortfalls) else "C", shortfalls)


def clear(decision: Decision, similarity: float | None, rule: Rule) -> bool:
    """Whether a similarity lies a margin away from the threshold that decided; never so of unsure."""
    if decision == "unsure":
        return False
    if decision == "return":
        return similarity is not None and similarity >= rule.upper + rule.margin
    return similarity is None or similarity <= rule.lower - rule.margin
