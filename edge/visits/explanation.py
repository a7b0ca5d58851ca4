"""Why a visit was decided as it was: what the record says, and what is kept beside it as long as the face is."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

from camera.quality import BestShot
from edge import EdgeError
from edge.people.vault import Vault
from edge.recognition.gallery import Candidate
from edge.recognition.grade import GOOD_QUALITY, GOOD_SHOTS, ONLY_B, Shortfall
from edge.visits.visit_log import LoggedVisit
from sync.format.canonical import Fields
from sync.format.stamp import rfc3339, to_us
from sync.format.visit_fields import Decision

SHORTFALLS: dict[Shortfall, str] = {
    "file": "the source is a file",
    "unsure": "the decision is unsure",
    "few_shots": f"fewer than {GOOD_SHOTS} shots",
    "poor_quality": f"the best shot is under quality {GOOD_QUALITY}",
    "near_threshold": "the similarity is less than a margin away from the threshold that decided",
    "masked": "the face is masked",
    "not_live": "the shots look like a picture of a face",
    "liveness_unknown": "no liveness network has answered",
    "uncalibrated": "nobody has measured this pack's thresholds",
}
NEAREST = 5  # people named in an explanation

Because: TypeAlias = Literal[
    "not_compared", "nobody", "below_lower", "between", "lookalike", "twice", "clear", "near_second"
]


@dataclass(frozen=True, slots=True)
class ShotFacts:
    """One shot that was decided on; quality, masked, live: 0..1, None where nothing could say. face_px: short side."""

    at_us: int
    quality: float
    face_px: float
    masked: float | None
    live: float | None


@dataclass(frozen=True, slots=True)
class Near:
    """Somebody a face was held against, and how similar they were (-1..1); person_id: None once they are not
    remembered any more."""

    person_id: str | None
    similarity: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a decision rested on: shots, best first, people, nearest first, then what kept it from grade A.

    Of somebody who has been erased since, only how near they were is told: see `read_explanation`.
    """

    shots: tuple[ShotFacts, ...]
    nearest: tuple[Near, ...]
    shortfalls: tuple[Shortfall, ...]

    @classmethod
    def of(
        cls, shots: Sequence[BestShot], nearest: Sequence[Candidate], shortfalls: tuple[Shortfall, ...]
    ) -> "Explanation":
        facts = tuple(
            ShotFacts(to_us(shot.captured_at), shot.quality, shot.face_px, shot.masked, shot.live) for shot in shots
        )
        return cls(facts, tuple(Near(one.person_id, one.similarity) for one in nearest), shortfalls)

    def encoded(self) -> bytes:
        """As it is sealed under the person's key."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decoded(cls, data: bytes) -> "Explanation":
        kept = json.loads(data)
        return cls(
            tuple(ShotFacts(**shot) for shot in kept["shots"]),
            tuple(Near(**near) for near in kept["nearest"]),
            tuple(kept["shortfalls"]),
        )


def because(original: Decision, fields: Fields) -> Because:
    """Which line of the rule decided (edge/README.md, "How a decision is made"), from the signed record alone."""
    if "upper_e6" not in fields:
        return "not_compared"
    similarity = fields.get("similarity_e6")
    if similarity is None:
        return "nobody"
    if similarity < fields["lower_e6"]:
        return "below_lower"
    if similarity < fields["upper_e6"]:
        return "between"
    if "merge" in fields:
        return "twice"
    if "lookalike" in fields:
        return "lookalike"
    return "clear" if original == "return" else "near_second"


@dataclass(frozen=True, slots=True)
class Explained:
    """A visit, the line of the rule that decided it, and what is still kept of the rest, None where it is forgotten."""

    visit: LoggedVisit
    because: Because
    kept: Explanation | None

    def fields(self) -> dict[str, Any]:
        """As `firstvisit explain --json` prints it."""
        fields = self.visit.record.fields
        names = ("upper_e6", "lower_e6", "gallery_n", "gallery_since_us", "unconsented_horizon_s", "quality_e6")
        kept = None if self.kept is None else asdict(self.kept)
        told = {name: fields[name] for name in (*names, "shots", "merge", "candidates") if name in fields}
        return {**self.visit.listed(), "because": self.because, **told, "kept": kept}

    def lines(self) -> list[str]:
        """The same for people, a line each."""
        visit, fields = self.visit, self.visit.record.fields
        at = rfc3339(to_us(visit.arrived_at))
        told = f"{visit.original_decision} at {at}, camera {visit.camera_id}, grade {visit.grade}"
        lines = [f"visit {visit.visit_id}: {told}", f"rule: {self._rule(fields)}"]
        if "gallery_n" in fields:
            lines.append(f"compared with: {fields['gallery_n']} people, pack {visit.pack}")
        if self.kept is None:
            what = "nobody was compared" if self.because == "not_compared" else "the face is no longer kept"
            return [*lines, f"shots and nearest people: none kept ({what})"]
        lines += [f"shot {number}: {_shot_line(shot)}" for number, shot in enumerate(self.kept.shots, 1)]
        lines += [
            f"nearest {number}: {near.person_id or 'somebody no longer remembered'} at {near.similarity:.3f}"
            for number, near in enumerate(self.kept.nearest, 1)
        ]
        lines += [
            f"not grade {'A' if shortfall in ONLY_B else 'B'}: {SHORTFALLS[shortfall]}"
            for shortfall in self.kept.shortfalls
        ]
        if visit.decision != visit.original_decision:
            lines.append(f"corrected at the desk: {visit.decision}")
        if visit.split_from is not None:
            lines.append(f"split out at the desk: it was not {visit.split_from}, but {visit.person_id}")
        return lines

    def _rule(self, fields: Fields) -> str:
        if self.because == "not_compared":
            return "capture.mode was after_consent: nobody is compared"
        if self.because == "nobody":
            return "nobody to compare with: first"
        similarity, lower, upper = (fields[name] / 1e6 for name in ("similarity_e6", "lower_e6", "upper_e6"))
        margin = f", {self.visit.margin:.3f} ahead of the second" if self.visit.margin is not None else ""
        match self.because:
            case "below_lower":
                return f"best similarity {similarity:.3f} is below the lower threshold {lower:.3f}: first"
            case "between":
                return f"best similarity {similarity:.3f} lies between {lower:.3f} and {upper:.3f}: unsure"
            case "twice":
                return f"two people reach {upper:.3f} and match each other: one enrolled twice, the older is meant"
            case "lookalike":
                return f"best similarity {similarity:.3f}, but of somebody the desk has marked as one of a pair: unsure"
            case "clear":
                return f"best similarity {similarity:.3f} reaches the upper threshold {upper:.3f}{margin}: return"
        return f"best similarity {similarity:.3f} reaches {upper:.3f}, but the second is as near{margin}: unsure"


def _shot_line(shot: ShotFacts) -> str:
    told = [rfc3339(shot.at_us), f"quality {shot.quality:.2f}", f"{shot.face_px:.0f} px"]
    told += [
        f"{name} {value:.2f}" for name, value in (("masked", shot.masked), ("live", shot.live)) if value is not None
    ]
    return ", ".join(told)


def read_explanation(vault: Vault, visit_id: str) -> Explanation | None:
    """What is kept of a visit's decision, None where it is forgotten; whoever was erased since is not named."""
    kept = vault.of_visits.explanation(visit_id)
    if kept is None:
        return None
    found = Explanation.decoded(kept)
    named = (one if vault.remembers(str(one.person_id)) else replace(one, person_id=None) for one in found.nearest)
    return replace(found, nearest=tuple(named))


def explain(visits: Sequence[LoggedVisit], visit_id: str, vault: Vault) -> Explained:
    """Explain one of these visits; raises EdgeError where it is none of them."""
    for visit in visits:
        if visit.visit_id == visit_id:
            kept = read_explanation(vault, visit_id)
            return Explained(visit, because(visit.original_decision, visit.record.fields), kept)
    raise EdgeError(f"{visit_id}: no such visit in this ledger")
