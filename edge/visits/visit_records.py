"""The bodies of the records that begin a visit or take it up again."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from camera.pipeline import Arrival
from edge.recognition.decision import Rule, Verdict
from edge.recognition.gallery import Candidate, Match
from edge.settings import Zone
from edge.visits.open_visit import OpenVisit, some
from edge.visits.parties import Party
from sync.format.canonical import Fields
from sync.format.records import ENVELOPE, Record
from sync.format.stamp import to_us


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """How a record names a camera's source; kind: rtsp, usb or file; digest: SHA-256 of the URI without credentials."""

    kind: str
    digest: str
    zone: Zone = "entrance"

    @property
    def live(self) -> bool:
        return self.kind != "file"

    @property
    def entrance(self) -> bool:
        """Whether whoever is seen here comes in."""
        return self.zone == "entrance"


def arrival_fields(
    visit_id: str,
    site_id: str,
    arrival: Arrival,
    source: SourceFacts,
    company: Iterable[str],
    agents: Iterable[str],
    place: Fields | None,
) -> Fields:
    """What a visit's first record says of the arrival, whoever it is."""
    fields: Fields = {
        "visit": visit_id,
        "site": site_id,
        "camera": arrival.camera_id,
        "zone": source.zone,
        "source": source.kind,
        "source_hash": source.digest,
        "arrived_us": to_us(arrival.first_seen_at),
        **shots_fields(arrival),
    }
    for name, ids in (("company", some(company)), ("agents", some(agents))):
        if ids:
            fields[name] = ids
    if place is not None:
        fields["place"] = place
    return fields


def shots_fields(arrival: Arrival) -> Fields:
    """What a record says of the pictures."""
    best = arrival.shots[0]
    fields: Fields = {"shots": len(arrival.shots), "quality_e6": e6(best.quality)}
    for name, value in (("masked_e6", best.masked), ("live_e6", best.live)):
        if value is not None:
            fields[name] = e6(value)
    return fields


def arrival_of(seen: Record) -> Fields:
    """What a visit's first record says of the arrival, for the one that decides it later."""
    return {name: value for name, value in seen.fields.items() if name not in ENVELOPE}


def party_fields(party: Party | None) -> Fields:
    """The party that somebody came in with, and how many visits have joined it; nobody comes in at an inner camera."""
    return {} if party is None else {"party_id": party.party_id, "party": len(party.visits)}


def decision_fields(match: Match, rule: Rule, verdict: Verdict) -> Fields:
    """How a decision came about: thresholds, similarities, and who else it might be."""
    fields: Fields = {"upper_e6": e6(rule.upper), "lower_e6": e6(rule.lower), "gallery_n": match.people}
    if match.best is not None:
        fields["similarity_e6"] = e6(match.best.similarity)
    if match.margin is not None:
        fields["margin_e6"] = e6(match.margin)
    if verdict.decision == "unsure":
        fields["candidates"] = [
            {"person": candidate.person_id, "similarity_e6": e6(candidate.similarity)}
            for candidate in _candidates(match, rule)
        ]
        if match.lookalike is not None:
            fields["lookalike"] = match.lookalike.person_id
    if verdict.merge is not None:
        fields["merge"] = list(verdict.merge)
    return fields


def _candidates(match: Match, rule: Rule) -> list[Candidate]:
    """Who an unsure visitor may be: whoever is at the lower threshold, and a look-alike of the best however unlike."""
    found = [one for one in (match.best, match.second) if one is not None and one.similarity >= rule.lower]
    pair = match.lookalike
    if pair is not None and pair.similarity > -1.0 and pair.person_id not in {one.person_id for one in found}:
        found.append(pair)
    return found


def reentry_fields(
    visit: OpenVisit, arrival: Arrival, out: timedelta, company: Iterable[str], agents: Iterable[str], party: Party
) -> Fields:
    """Somebody comes in again: how long they were out, and beside whom they left and came back."""
    fields: Fields = {
        "visit": visit.visit_id,
        "camera": arrival.camera_id,
        "at_us": to_us(arrival.first_seen_at),
        "out_us": round(out.total_seconds() * 1e6),
        "company_before": some(visit.company),
        "company_after": some(company),
        "party_id": party.party_id,
    }
    for name, ids in (("agents_before", some(visit.agents)), ("agents_after", some(agents))):
        if ids:
            fields[name] = ids
    return fields


def e6(value: float) -> int:
    """A fraction as a record carries it."""
    return round(value * 1e6)
