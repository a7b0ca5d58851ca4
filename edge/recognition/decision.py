"""The decision: first, return or unsure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from edge.recognition.gallery import Match
from models.calibration import Calibration

if TYPE_CHECKING:
    from edge.settings import Recognition

Decision: TypeAlias = Literal["first", "return", "unsure"]

GALLERY_FLOOR = 1000  # thresholds never assume a smaller gallery than this


@dataclass(frozen=True, slots=True)
class Rule:
    """What a decision is held to; similarities and the margin between them, -1..1.

    The margin is a share of the distance between the thresholds, because packs spread similarities differently: dlib's
    thresholds lie 0.013 apart, MobileFaceNet's 0.10.
    """

    upper: float
    lower: float
    margin: float


@dataclass(frozen=True, slots=True)
class Strictness:
    """How far a site may err: chances that a stranger is called a return (evidence) or asked about (review), 0..1.

    margin_share: of the distance between the two thresholds, by which the best must be ahead of the second.
    """

    evidence_fpir: float
    review_fpir: float
    margin_share: float

    @classmethod
    def of(cls, configured: "Recognition") -> "Strictness":
        """As a configuration says."""
        return cls(configured.evidence_fpir, configured.review_fpir, configured.margin)

    def rule(self, calibration: Calibration, people: int) -> Rule:
        """The thresholds of a pack for a gallery of `people`, never fewer than GALLERY_FLOOR."""
        compared = max(people, GALLERY_FLOOR)
        upper = calibration.threshold(self.evidence_fpir, compared)
        lower = calibration.threshold(self.review_fpir, compared)
        return Rule(upper, lower, self.margin_share * (upper - lower))


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision and whom it names: person_id for a return, merge for two ids that look like one person."""

    decision: Decision
    person_id: str | None = None
    merge: tuple[str, str] | None = None


def decide(match: Match, rule: Rule) -> Verdict:
    """Decide one track: under the lower threshold first, at the upper and clear of the second return, else unsure.

    Somebody whom the desk has marked as one of two who look alike is never a return by similarity.
    """
    best, second, margin = match.best, match.second, match.margin
    if best is None or best.similarity < rule.lower:
        return Verdict("first")
    if best.similarity < rule.upper or match.lookalike is not None:
        return Verdict("unsure")
    if second is not None and match.elder and min(second.similarity, match.twins) >= rule.upper:
        # one person enrolled twice: the older id, whose visits came first, stands; the desk is asked to merge
        newer = second.person_id if match.elder == best.person_id else best.person_id
        return Verdict("return", match.elder, (match.elder, newer))
    if margin is None or margin >= rule.margin:
        return Verdict("return", best.person_id)
    return Verdict("unsure")
