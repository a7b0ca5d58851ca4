"""An arrival compared with everybody who can be recognised: what was found, and what a record says of it."""

from dataclasses import dataclass
from datetime import datetime

from camera.pipeline import Arrival
from edge.consent import Horizon
from edge.recognition.decision import Rule, Strictness, Verdict, decide
from edge.recognition.gallery import Gallery, Match
from edge.recognition.grade import graded
from edge.recognition.staff import Recognised, Staff
from edge.visits.explanation import NEAREST, Explanation
from edge.visits.visit_records import SourceFacts, decision_fields
from models.calibration import Calibration
from models.faces import Template
from sync.format.canonical import Fields
from sync.format.stamp import to_us


@dataclass(frozen=True, slots=True)
class Judged:
    """An arrival and what was found of it. others: people it cannot be. known: whether it is one of the roster."""

    arrival: Arrival
    probe: Template
    others: frozenset[str]
    match: Match
    rule: Rule
    known: Recognised
    verdict: Verdict


class Judge:
    """The thresholds in force, held to the two galleries as they stand at each arrival."""

    def __init__(
        self,
        gallery: Gallery,
        staff: Staff,
        calibration: Calibration,
        horizon: Horizon,
        strictness: Strictness,
        *,
        pack_id: str,
        sources: dict[str, SourceFacts],
    ) -> None:
        self._gallery = gallery
        self._staff = staff
        self._calibration = calibration
        self._horizon = horizon
        self._strictness = strictness
        self._pack_id = pack_id
        self._sources = sources

    def follow(self, horizon: Horizon) -> None:
        """The policy has changed: from now on "first" reaches back this far."""
        self._horizon = horizon

    def recalibrate(self, calibration: Calibration) -> None:
        """From now on thresholds come from this table."""
        self._calibration = calibration

    def rule(self) -> Rule:
        """The thresholds for the gallery as it stands; each template in it is one more chance of a false match."""
        return self._strictness.rule(self._calibration, self._gallery.templates)

    def judge(self, arrival: Arrival, probe: Template, others: frozenset[str]) -> Judged:
        """Compare an arrival; others: people seen beside it, whom it cannot be."""
        self._gallery.refresh()
        self._staff.refresh()
        match, rule = self._gallery.search(probe, others), self.rule()
        staff_rule = self._strictness.rule(self._calibration, self._staff.templates)
        known = self._staff.recognise(probe, arrival, match, staff_rule, rule)
        return Judged(arrival, probe, others, match, rule, known, decide(match, rule))

    def told(self, judged: Judged, since_us: int | None, now: datetime) -> tuple[Fields, bytes]:
        """What a record says of a decision, and what is kept sealed of it.

        since_us: since when this pack has a gallery, None where this very person begins it.
        """
        arrival, match, rule, verdict = judged.arrival, judged.match, judged.rule, judged.verdict
        grading = graded(
            verdict.decision, match, rule, arrival,
            live_source=self._sources[arrival.camera_id].live, measured=self._calibration.is_measured,
        )  # fmt: skip
        nearest = self._gallery.nearest(judged.probe, judged.others, NEAREST)
        explanation = Explanation.of(arrival.shots, nearest, grading.shortfalls).encoded()
        fields = decision_fields(match, rule, verdict) | {
            "pack": self._pack_id,
            "gallery_since_us": to_us(now) if since_us is None else self._horizon.since_us(since_us, now),
            "unconsented_horizon_s": self._horizon.seconds(now),
            "grade": grading.grade,
        }
        return fields, explanation
