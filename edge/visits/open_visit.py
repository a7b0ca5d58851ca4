"""A visit that is open or may still be resumed, and how the ledger of an earlier run tells of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from edge.visits.stays import Path
from sync.format.canonical import Fields
from sync.format.records import Record
from sync.format.stamp import from_us, to_us
from sync.format.visit_fields import CORRECTED, DECISION_OF_KIND, decides_earlier, settles

MERGED, SPLIT = "person.merged", "person.split"
TOLD_BY = (*DECISION_OF_KIND, CORRECTED, "visit.reentry", "visit.left", MERGED, SPLIT)
"""The kinds that `recalled` reads."""

BEGINNINGS = (*DECISION_OF_KIND, "visit.reentry")
"""The kinds that say somebody came in."""

MAX_COMPANY = 16  # ids named in one record, to keep its body far under 8 KiB


@dataclass(slots=True)
class OpenVisit:
    """One visit.

    person_id: None under after_consent. left: a visit.left has been written; within the gap the person may still come
    back into it. watched_from: after a crash nobody knows whether they were out before. unanswered: the desk has still
    to say who this is. alias: the id it was known by before the desk merged that. tracks: those under way, and those
    that ended just now, for who was seen with one still was. company, agents: since they last came in, of the company
    as many as a record may name; all_agents: in the whole visit.
    """

    visit_id: str
    person_id: str | None
    last_seen: datetime
    left: bool = False
    watched_from: datetime | None = None
    unanswered: bool = False
    alias: str | None = None
    party_id: str | None = None
    path: Path = field(default_factory=Path)
    tracks: set[tuple[str, int]] = field(default_factory=set)
    live: set[tuple[str, int]] = field(default_factory=set)
    company: set[str] = field(default_factory=set)
    agents: set[str] = field(default_factory=set)
    all_agents: set[str] = field(default_factory=set)

    def meet(self, agents: Iterable[str]) -> None:
        """Agents enrolled here were beside them."""
        self.agents.update(agents)
        self.all_agents.update(agents)

    def accompanied(self, others: Iterable[str]) -> None:
        """These visits were with this one; whoever stays for months, as a poster does, meets no end of them."""
        self.company = set(some(self.company.union(others)))

    def left_fields(self, reason: str, *, end_known: bool = True) -> Fields:
        """The body of this visit's visit.left."""
        fields: Fields = {"visit": self.visit_id, "reason": reason, **self.path.fields()}
        if end_known:
            fields["end_us"] = to_us(self.last_seen)
        if self.all_agents:
            fields["agents"] = some(self.all_agents)
        return fields


def some(ids: Iterable[str]) -> list[str]:
    """As many ids as a record may name."""
    return sorted(ids)[:MAX_COMPANY]


def recalled(records: Iterable[Record], now: datetime) -> dict[str, OpenVisit]:
    """The visits that records of TOLD_BY tell of, by id; those whose `left` is not set were open when they end."""
    known: dict[str, OpenVisit] = {}
    merged: dict[str, str] = {}
    for record in records:
        visit_id = record.fields.get("visit")
        if record.kind in (MERGED, SPLIT):
            follow_merges(merged, record)
        elif isinstance(visit_id, str):
            visit = known.setdefault(visit_id, OpenVisit(visit_id, None, now, left=True))
            _fold(visit, record.kind, record.fields, from_us(record.stamp.wall_us))
            if record.kind in BEGINNINGS:  # they came in beside people whose own records could not know of it yet
                for other in visit.company & known.keys():
                    known[other].company.add(visit_id)
    for visit in known.values():
        while visit.person_id in merged:
            visit.alias = visit.alias or visit.person_id
            visit.person_id = merged[visit.person_id]
    parties: dict[str, set[str]] = {}
    for visit in known.values():
        if visit.party_id is not None:
            parties.setdefault(visit.party_id, set()).add(visit.visit_id)
    for visit in known.values():
        visit.company |= parties.get(visit.party_id or "", set()) - {visit.visit_id}
    return known


def follow_merges(merged: dict[str, str], record: Record) -> tuple[str, str] | None:
    """Take in a record of MERGED or SPLIT; returns alias and person, None where it marks a pair of look-alikes."""
    alias, person_id = record.fields.get("alias"), record.fields.get("person")
    if not isinstance(alias, str) or not isinstance(person_id, str) or alias == person_id:
        return None
    if record.kind == MERGED:
        merged[alias] = person_id
    else:
        merged.pop(alias, None)
    return alias, person_id


def _fold(visit: OpenVisit, kind: str, fields: Fields, stamped: datetime) -> None:
    if kind == "visit.left":
        visit.left = True
        visit.path = Path.parse(fields)
        if "end_us" in fields:
            visit.last_seen = from_us(fields["end_us"])
        else:
            visit.watched_from = stamped
        visit.meet(fields.get("agents", ()))
    elif kind == "visit.reentry":
        visit.left, visit.last_seen = False, from_us(fields["at_us"])
        visit.path.began("entrance", visit.last_seen)
        visit.party_id = fields.get("party_id", visit.party_id)
        visit.company, visit.agents = set(fields.get("company_after", ())), set()
        visit.meet(fields.get("agents_after", ()))
    elif kind == CORRECTED:
        if not settles(fields):
            return
        visit.person_id = fields["person"] if isinstance(fields.get("person"), str) else visit.person_id
        visit.unanswered = False
    elif decides_earlier(fields):  # of somebody who has consented since they came in: only who they are is new
        visit.person_id, visit.unanswered = fields["person"], kind == "visit.unsure"
    else:
        visit.person_id, visit.left, visit.last_seen = fields.get("person"), False, from_us(fields["arrived_us"])
        visit.unanswered = kind == "visit.unsure"
        visit.party_id = fields.get("party_id")
        visit.path.began(fields.get("zone", "entrance"), visit.last_seen)
        visit.company = set(fields.get("company", ()))
        visit.meet(fields.get("agents", ()))
