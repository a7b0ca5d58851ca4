"""What the ledger says of visits, folded record by record: the kiosk shows nothing that is not recorded."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from sync.canonical import Fields
from sync.records import Record

Decision: TypeAlias = Literal["seen", "first", "return", "unsure"]

KINDS = (
    "visit.seen",
    "visit.first",
    "visit.return",
    "visit.unsure",
    "visit.reentry",
    "visit.left",
    "visit.corrected",
    "retention.run",
    "person.erased",
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who an unsure visitor may be; similarity -1..1."""

    person_id: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Reentry:
    """Out for out_us microseconds and back at at_us, with how many others before and after."""

    at_us: int
    out_us: int
    company_before: int
    company_after: int


@dataclass(frozen=True, slots=True)
class Horizon:
    """What "first" was compared with: people, since when (microseconds), and how long strangers are remembered."""

    people: int
    since_us: int | None
    strangers_s: int | None


@dataclass(frozen=True, slots=True)
class Correction:
    """The desk's answer; account_id: who gave it."""

    decision: Decision
    person_id: str
    account_id: str
    at_us: int
    seq: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """A visit as recorded.

    original: the node's decision. similarity: -1..1, None where nobody was there to compare. forgotten: the person has
    been erased or has expired, and the face with them.
    """

    visit_id: str
    original: Decision
    person_id: str | None
    candidates: tuple[Candidate, ...]
    arrived_us: int
    camera_id: str
    source: str
    grade: str
    pack: str | None
    similarity: float | None
    horizon: Horizon | None
    party: int
    epoch: int
    seq: int
    correction: Correction | None = None
    left: bool = False
    forgotten: bool = False
    reentries: tuple[Reentry, ...] = ()

    @property
    def decision(self) -> Decision:
        return self.correction.decision if self.correction else self.original

    @property
    def whose(self) -> str | None:
        """The person, after correction."""
        return self.correction.person_id if self.correction else self.person_id

    @property
    def open_question(self) -> bool:
        """Whether the desk can still say who this was: once the face is forgotten nobody can."""
        return self.original == "unsure" and self.correction is None and not self.forgotten


class Arrivals:
    """The visits of one ledger; one thread adds, many read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arrivals: dict[str, Arrival] = {}

    def add(self, record: Record) -> list[str]:
        """Fold in the next record of KINDS; returns the ids of the visits it changes."""
        with self._lock:
            changed = self._changes(record)
            self._arrivals.update({arrival.visit_id: arrival for arrival in changed})
        return [arrival.visit_id for arrival in changed]

    def get(self, visit_id: str) -> Arrival | None:
        with self._lock:
            return self._arrivals.get(visit_id)

    def newest(self, limit: int) -> list[Arrival]:
        """The last `limit` to arrive, newest first."""
        return sorted(self._all(), key=lambda arrival: (arrival.arrived_us, arrival.seq), reverse=True)[:limit]

    def since(self, from_us: int) -> list[Arrival]:
        return [arrival for arrival in self._all() if arrival.arrived_us >= from_us]

    def questions(self) -> list[Arrival]:
        """Unsure visits that nobody has answered, the longest waiting first."""
        return sorted((a for a in self._all() if a.open_question), key=lambda arrival: arrival.arrived_us)

    def last_of(self, person_id: str, before_us: int) -> Arrival | None:
        """The person's newest visit that began before a moment."""
        theirs = (a for a in self._all() if a.whose == person_id and a.arrived_us < before_us)
        return max(theirs, key=lambda arrival: arrival.arrived_us, default=None)

    def _changes(self, record: Record) -> list[Arrival]:
        fields = record.fields
        if record.kind in ("retention.run", "person.erased"):
            people = {fields["person"]} if record.kind == "person.erased" else set(fields["expired"])
            return [replace(a, forgotten=True) for a in self._arrivals.values() if a.whose in people]
        known = self._arrivals.get(fields["visit"])
        changed = _later(known, record) if known else _arrival(fields["visit"], record)
        return [changed] if changed else []

    def _all(self) -> list[Arrival]:
        with self._lock:
            return list(self._arrivals.values())


def _arrival(visit_id: str, record: Record) -> Arrival | None:
    decision: Decision
    match record.kind:
        case "visit.seen":
            decision = "seen"
        case "visit.first":
            decision = "first"
        case "visit.return":
            decision = "return"
        case "visit.unsure":
            decision = "unsure"
        case _:
            return None
    fields = record.fields
    similarity = fields.get("similarity_e6")
    return Arrival(
        visit_id=visit_id,
        original=decision,
        person_id=fields.get("person"),
        candidates=tuple(_candidates(fields.get("candidates", ()))),
        arrived_us=fields["arrived_us"],
        camera_id=fields["camera"],
        source=fields["source"],
        grade=fields.get("grade", "C"),
        pack=fields.get("pack"),
        similarity=None if similarity is None else similarity / 1e6,
        horizon=_horizon(fields),
        party=fields.get("party", 1),
        epoch=record.epoch,
        seq=record.seq,
    )


def _candidates(listed: Iterable[Fields]) -> Iterable[Candidate]:
    for candidate in listed:
        yield Candidate(candidate["person"], candidate["similarity_e6"] / 1e6)


def _horizon(fields: Fields) -> Horizon | None:
    if "gallery_n" not in fields:
        return None
    return Horizon(fields["gallery_n"], fields.get("gallery_since_us"), fields.get("unconsented_horizon_s"))


def _later(known: Arrival, record: Record) -> Arrival | None:
    fields = record.fields
    match record.kind:
        case "visit.left":
            return replace(known, left=True)
        case "visit.reentry":
            before, after = len(fields.get("company_before", ())), len(fields.get("company_after", ()))
            reentry = Reentry(fields["at_us"], fields["out_us"], before, after)
            return replace(known, left=False, reentries=(*known.reentries, reentry))
        case "visit.corrected":
            decision: Decision = "return" if fields["decision"] == "return" else "first"
            at_us = record.stamp.wall_us
            correction = Correction(decision, fields["person"], fields["account"], at_us, record.seq)
            return replace(known, correction=correction)
        case _:
            return None
