"""The visits the kiosk shows, folded record by record: it shows nothing that is not recorded."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

from edge.desk.folding import FORGETTING, OF_TWO, decided, later, merge_said
from edge.desk.shown import MergeSaid, ShownVisit
from sync.format.head_office import APPLIED, Basis
from sync.format.records import Record
from sync.format.source import answers
from sync.format.visit_fields import DECISION_OF_KIND

FEED = 60  # visits on the first page


class Arrivals:
    """The newest visits of one ledger and whatever an open question needs; one thread adds, many read."""

    def __init__(self, basis: Callable[[Record], Basis | None] = lambda _: None) -> None:
        """basis: what a word on a correction rests on as head office's; left out, for who shows none, none counts."""
        self._basis = basis
        self._lock = threading.Lock()
        self._revision = 0
        self._visits: dict[str, ShownVisit] = {}
        self._of_person: dict[str, set[str]] = {}
        self._of_party: dict[str, set[str]] = {}
        self._open: dict[str, None] = {}
        self._stands_for: dict[str, str] = {}  # ids that the desk has merged
        self._merges: dict[str, MergeSaid] = {}  # by the id that stands no more
        self._said: dict[int, MergeSaid] = {}  # of two ids, by the record's seq

    @property
    def revision(self) -> int:
        """Another number after every record folded in."""
        return self._revision

    def add(self, record: Record) -> list[str]:
        """Fold in the next record of folding.KINDS; returns the ids of the visits it changes."""
        basis = self._basis(record) if answers(record) else None
        with self._lock:
            self._revision += 1
            changed = self._changes(record)
            if basis is not None:
                changed = [replace(visit, bases={**visit.bases, record.hash: basis}) for visit in changed]
            for visit in changed:
                self._put(visit)
        return [visit.visit_id for visit in changed]

    def add_moves(self, records: Iterable[Record]) -> None:
        """Fold in what one form says of the parties of many visits, as `add` one by one, but each party counted once.

        Counted after each of a hundred, a bus that joins took longer than the desk waits for anything.
        """
        with self._lock:
            self._revision += 1
            parties: set[str | None] = set()
            for record in records:
                known = self._visits.get(record.fields["visit"])
                if known is not None and (visit := later(known, record)).party_id != known.party_id:
                    self._put(visit)
                    parties |= {known.party_id, visit.party_id}
            for party_id in parties:
                members = [self._visits[id] for id in self._of_party.get(party_id or "", ())]
                for visit in members:
                    if visit.party != len(members):
                        self._put(replace(visit, party=len(members)))

    def drop(self, before_us: int) -> None:
        """Let go of visits that began before a moment, as long as the feed stays full and no question needs them."""
        with self._lock:
            needed = {c.person_id for visit_id in self._open for c in self._visits[visit_id].candidates}
            needed |= {person_id for visit in self._visits.values() if visit.open_merge for person_id in visit.merge}
            for visit in list(self._visits.values()):
                if len(self._visits) <= FEED or visit.arrived_us >= before_us:
                    return  # they lie in the order of the chain, nearly that of the door
                if visit.visit_id not in self._open and visit.person_id not in needed and not visit.open_merge:
                    del self._visits[visit.visit_id]
                    self._unlink(visit)

    def get(self, visit_id: str) -> ShownVisit | None:
        with self._lock:
            return self._visits.get(visit_id)

    def newest(self, limit: int) -> list[ShownVisit]:
        """The last `limit` to arrive, newest first."""
        return sorted(self._all(), key=lambda visit: (visit.arrived_us, visit.at), reverse=True)[:limit]

    def since(self, from_us: int) -> list[ShownVisit]:
        return [visit for visit in self._all() if visit.arrived_us >= from_us]

    def questions(self) -> list[ShownVisit]:
        """Unsure visits that nobody has answered, the longest waiting first."""
        with self._lock:
            waiting = [self._visits[visit_id] for visit_id in self._open]
        return sorted(waiting, key=lambda visit: visit.arrived_us)

    def proposals(self) -> list[ShownVisit]:
        """Visits by which two ids may be one person, each two once, where nobody has said so or otherwise."""
        asked: dict[frozenset[str], ShownVisit] = {}
        for visit in sorted(self._all(), key=lambda visit: visit.arrived_us):
            pair = frozenset(map(self.standing, visit.merge))
            if visit.open_merge and len(pair) == 2:
                asked.setdefault(pair, visit)
        return list(asked.values())

    def merges(self) -> list[tuple[str, MergeSaid]]:
        """The ids that were merged, as far as the pages look back, with the word that stands; the newest first."""
        with self._lock:
            return sorted(self._merges.items(), key=lambda merge: merge[1].at_us, reverse=True)

    def said(self, seq: int) -> MergeSaid | None:
        """What a record says of two ids."""
        with self._lock:
            return self._said.get(seq)

    def standing(self, person_id: str) -> str:
        """Who an id stands for: itself, or the person it was merged into."""
        with self._lock:
            return self._standing(person_id)

    def last_of(self, person_id: str, before_us: int) -> ShownVisit | None:
        """The person's newest visit that began before a moment."""
        with self._lock:
            theirs = [self._visits[visit_id] for visit_id in self._of_person.get(self._standing(person_id), ())]
        earlier = (visit for visit in theirs if visit.arrived_us < before_us)
        return max(earlier, key=lambda visit: visit.arrived_us, default=None)

    def members(self, party_id: str) -> list[ShownVisit]:
        """The visits of a party."""
        with self._lock:
            return [self._visits[visit_id] for visit_id in self._of_party.get(party_id, ())]

    def others_of(self, visit: ShownVisit) -> list[ShownVisit]:
        """The other visits of a visit's person, as far as the pages look back, the newest first."""
        with self._lock:
            theirs = self._of_person.get(visit.whose or "", set()) - {visit.visit_id}
            found = [self._visits[visit_id] for visit_id in theirs]
        return sorted(found, key=lambda other: other.arrived_us, reverse=True)

    def party_of(self, visit: ShownVisit) -> tuple[str, ...]:
        """The other visits known to be of its party, or recorded in one frame with it."""
        with self._lock:
            party = self._of_party.get(visit.party_id or "", set())
            return tuple(sorted((party | set(visit.decided.fields.get("company", ()))) - {visit.visit_id}))

    def _changes(self, record: Record) -> list[ShownVisit]:
        fields = record.fields
        if record.kind in FORGETTING and "earlier" not in fields:  # else of one visit only
            people = fields["expired"] if record.kind == "retention.run" else [fields["person"]]
            theirs = {visit_id for person in people for visit_id in self._of_person.get(person, ())}
            return [later(self._visits[visit_id], record) for visit_id in sorted(theirs)]
        if record.kind in OF_TWO:
            return self._of_two(record)
        if record.kind == "consent.given" and "visit" not in fields:
            return []  # somebody of the roster
        if record.kind == APPLIED and not answers(record):
            return []
        known = self._visits.get(fields["visit"])
        if known is not None:
            visit = later(known, record)
            return [visit] if visit.party_id == known.party_id else self._moved(known, visit)
        return self._joined(decided(record)) if record.kind in DECISION_OF_KIND else []

    def _of_two(self, record: Record) -> list[ShownVisit]:
        """The desk has said whether two ids are one person."""
        fields = record.fields
        pair, alias = set(fields["persons"]), fields.get("alias")
        self._said[record.seq] = merge_said(record)
        if alias is not None and record.kind == "person.merged":
            self._stands_for[alias] = fields["person"]
            self._merges[alias] = self._said[record.seq]
        elif alias is not None:
            self._stands_for.pop(alias, None)
            self._merges.pop(alias, None)
        concerned = (visit for visit in self._visits.values() if {*visit.merge, visit.whose, visit.alias} & pair)
        return [later(visit, record) for visit in concerned]

    def _standing(self, person_id: str) -> str:
        while person_id in self._stands_for:
            person_id = self._stands_for[person_id]
        return person_id

    def _joined(self, visit: ShownVisit) -> list[ShownVisit]:
        """A visit that begins, and those of its party, who are one more than their own records could know."""
        party = [self._visits[visit_id] for visit_id in self._of_party.get(visit.party_id or "", ())]
        size = max(1 + len(party), visit.party, *(other.party for other in party))
        return [replace(visit, party=size), *(replace(other, party=size) for other in party if other.party != size)]

    def _moved(self, before: ShownVisit, visit: ShownVisit) -> list[ShownVisit]:
        """A visit that the desk puts into another party, and the members of both, who are now as many as they are."""
        left = [self._visits[id] for id in self._of_party.get(before.party_id or "", ()) if id != visit.visit_id]
        joined = [self._visits[id] for id in self._of_party.get(visit.party_id or "", ())]
        others = [*(replace(other, party=len(left)) for other in left)]
        others += [replace(other, party=len(joined) + 1) for other in joined]
        return [replace(visit, party=len(joined) + 1), *others]

    def _put(self, visit: ShownVisit) -> None:
        before = self._visits.get(visit.visit_id)
        if before is not None:
            self._unlink(before)
        self._visits[visit.visit_id] = visit
        if visit.whose is not None:
            self._of_person.setdefault(visit.whose, set()).add(visit.visit_id)
        if visit.party_id is not None:
            self._of_party.setdefault(visit.party_id, set()).add(visit.visit_id)
        if visit.open_question:
            self._open[visit.visit_id] = None

    def _unlink(self, visit: ShownVisit) -> None:
        self._open.pop(visit.visit_id, None)
        for index, key in ((self._of_person, visit.whose), (self._of_party, visit.party_id)):
            if key is not None:
                index[key].discard(visit.visit_id)
                if not index[key]:
                    del index[key]

    def _all(self) -> list[ShownVisit]:
        with self._lock:
            return list(self._visits.values())
