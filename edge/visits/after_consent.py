"""From arrivals that were only seen to decisions: who consents at the desk is compared by the pictures of the door."""

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from camera.pipeline import Arrival
from edge.proven import proven
from edge.visits.held_shots import HeldShots
from edge.visits.visits import Visits
from models.faces import Template
from sync.format.records import Record
from sync.format.visit_fields import text_of
from sync.node.ledger import Ledger

log = logging.getLogger(__name__)

_GIVEN, _WITHDRAWN, _CHECKIN = "consent.given", "consent.withdrawn", "visit.checkin"


class AfterConsent:
    """Listens to the desk: a consent has an arrival compared, any other word about it ends the waiting."""

    def __init__(self, home: Path, ledger: Ledger, visits: Visits, embed: Callable[[Arrival], Template]) -> None:
        """home: whose keys prove that a consent is the desk's."""
        self._home = home
        self._ledger = ledger
        self._visits = visits
        self._embed = embed
        self._held = HeldShots()
        self._named: dict[str, str] = {}  # whose visit it turned out to be: two in one frame are never one person
        self._after = (0, 0)
        self._version: int | None = None

    def hold(self, record: Record, arrival: Arrival, now: datetime, now_s: float) -> None:
        """Keep the pictures of an arrival that has just been recorded as seen."""
        if not self._held:
            self._after, self._version = (record.epoch, record.seq), None
            self._named.clear()
        self._held.hold(record, arrival, now, now_s)

    def better(self, arrival: Arrival) -> None:
        """Take better pictures of somebody who waits."""
        self._held.better(arrival)

    def drop_all(self) -> None:
        """Let go of everybody's pictures."""
        self._held.drop_all()

    def sweep(self, now_s: float) -> None:
        """Let go of the pictures whose hour is over."""
        if expired := self._held.sweep(now_s):
            log.info("pictures dropped unasked count=%d", expired)

    def listen(self, now: datetime) -> list[Record]:
        """Do what the desk has said since; returns the decisions made. Asks nothing while nobody waits."""
        if not self._held:
            return []
        version = self._ledger.data_version()
        if version == self._version:
            return []
        told = list(self._ledger.records((_GIVEN, _WITHDRAWN, _CHECKIN), self._after))
        decided = self._follow(proven(self._home, self._ledger, told), now)
        if told:
            self._after = (told[-1].epoch, told[-1].seq)
        self._version = version  # only now: what a full disk has cut short is heard again
        return decided

    def _follow(self, told: list[Record], now: datetime) -> list[Record]:
        consented: dict[str, Record] = {}
        ended: set[str] = set()
        for record in told:
            visit_id = text_of(record.fields, "visit")
            if visit_id is None or visit_id not in self._held:
                continue
            of_a_face = record.fields.get("purpose") == "visitor"
            if record.kind == _GIVEN and of_a_face:
                consented[visit_id] = record
            elif record.kind == _WITHDRAWN and of_a_face:
                consented.pop(visit_id, None)
                ended.add(visit_id)
            elif record.kind == _CHECKIN and record.fields.get("state") != "open":
                ended.add(visit_id)
        decided = [self._decide(visit_id, consent, now) for visit_id, consent in consented.items()]
        for visit_id in ended - consented.keys():
            self._held.drop(visit_id)
        return [record for record in decided if record is not None]

    def _decide(self, visit_id: str, consent: Record, now: datetime) -> Record | None:
        held = self._held.get(visit_id)
        person_id = text_of(consent.fields, "person")
        if held is None or person_id is None:
            return None
        others = frozenset(self._named[other] for other in held.beside if other in self._named)
        template = self._embed(held.arrival)
        record = self._visits.reach_back(held.record, held.arrival, template, consent, others, now)
        if record is not None:
            self._named[visit_id] = str(record.fields["person"])
        self._held.drop(visit_id)
        return record
