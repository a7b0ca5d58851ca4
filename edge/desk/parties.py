"""Who came together: the parties of a day, and the desk's splits and joins of them, reversible."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edge.desk.checkin import Arrival, NotNow
from edge.desk.shown import ShownVisit
from edge.minted import new_id
from sync.format.canonical import Fields
from sync.format.records import Record
from sync.format.visit_fields import CORRECTED, text_of
from sync.node.append import Transaction
from sync.node.ledger import Ledger

Reason: TypeAlias = Literal["party_split", "party_join"]
REASONS: tuple[Reason, ...] = ("party_split", "party_join")
_TAKEN_BACK: dict[str, Reason] = {"party_split": "party_join", "party_join": "party_split"}


@dataclass(frozen=True, slots=True)
class ShownParty:
    """Visits that came together, by their arrival; key: the party's id, or the visit's that came in none."""

    key: str
    visits: tuple[ShownVisit, ...]

    @property
    def arrived_us(self) -> int:
        return self.visits[0].arrived_us

    @property
    def open(self) -> tuple[ShownVisit, ...]:
        """Whom nobody has closed yet."""
        return tuple(visit for visit in self.visits if visit.state == "open")

    @property
    def lead(self) -> ShownVisit:
        """Whom the desk turns to: the first still open, else who was registered, else the first."""
        registered = (visit for visit in self.visits if visit.state == "registered")
        return next(iter(self.open), None) or next(registered, self.visits[0])

    @property
    def agents(self) -> int:
        """The most enrolled agents near any of them."""
        return max(visit.agents for visit in self.visits)

    @property
    def heads(self) -> int:
        """How many the desk has counted in it, or there are visits."""
        told = (visit.checkin.heads or 0 for visit in self.visits if visit.checkin is not None)
        return max(len(self.visits), *told, 0)

    @property
    def closed_at(self) -> tuple[int, int]:
        """(epoch, seq) of the desk's newest word on it."""
        return max((visit.checkin.at for visit in self.visits if visit.checkin is not None), default=(0, 0))


def parties_of(visits: Iterable[ShownVisit]) -> list[ShownParty]:
    """Visits by party, the longest waiting party first."""
    found: dict[str, list[ShownVisit]] = {}
    for visit in sorted(visits, key=lambda visit: (visit.arrived_us, visit.at)):
        found.setdefault(visit.party_id or visit.visit_id, []).append(visit)
    return [ShownParty(key, tuple(members)) for key, members in found.items()]


@dataclass(frozen=True, slots=True)
class Move:
    """A visit and the party it is to belong to."""

    arrival: Arrival
    party_id: str


class PartyDesk:
    """Writes splits and joins under the desk key; each call opens the ledger for its own thread.

    request: a random id of the form that was sent; the same one again gets the records of the first time back, and
    nothing is written. Raises NotNow where a visit belongs elsewhere by now, KeyNotInForce where the desk's key may
    sign no more: nothing is recorded then.
    """

    def __init__(self, open_ledger: Callable[[], Ledger]) -> None:
        """open_ledger: opens it under the desk key."""
        self._open_ledger = open_ledger

    def split(self, leaving: Sequence[Arrival], request: str, account_id: str) -> list[Record]:
        """Let visits leave their party for one of their own."""
        party_id = new_party_id()
        return self._move([Move(arrival, party_id) for arrival in leaving], "party_split", request, account_id)

    def join(self, coming: Sequence[Arrival], into: Arrival, request: str, account_id: str) -> list[Record]:
        """Let visits of other parties join one visit's; a visit without a party gets one."""
        party_id = into.party_id or new_party_id()
        moves = [Move(arrival, party_id) for arrival in coming]
        if into.party_id is None:
            moves.append(Move(into, party_id))
        return self._move(moves, "party_join", request, account_id)

    def take_back(self, moved: Sequence[Arrival], undone: str, request: str, account_id: str) -> list[Record]:
        """Undo the split or join of a form, `undone`; moved: the visits that it may have moved."""
        with closing(self._open_ledger()) as ledger:
            records = [one for one in _told(ledger, moved) if one.fields.get("request") == undone]
        by_visit = {record.fields["visit"]: record.fields for record in records}
        back = [
            Move(arrival, text_of(by_visit[arrival.visit_id], "party_before") or new_party_id())
            for arrival in moved
            if arrival.visit_id in by_visit
        ]
        if not back:
            raise NotNow(f"request {undone}: moved none of these")
        reason = _TAKEN_BACK[records[0].fields["reason"]]
        return self._move(back, reason, request, account_id)

    def _move(self, moves: Sequence[Move], reason: Reason, request: str, account_id: str) -> list[Record]:
        with closing(self._open_ledger()) as ledger, ledger.transaction() as transaction:
            told = _told(ledger, [move.arrival for move in moves])
            if same := [record for record in told if record.fields.get("request") == request]:
                return same
            stands = {record.fields["visit"]: record.fields["party_id"] for record in told}
            for move in moves:
                arrival = move.arrival
                if stands.get(arrival.visit_id, arrival.party_id) != arrival.party_id:
                    raise NotNow(f"visit {arrival.visit_id}: belongs to another party by now")
            return [_append(transaction, move, reason, request, account_id) for move in moves]


def new_party_id() -> str:
    """A random id, as the node's own proposals have."""
    return new_id("g")


def moved_by(ledger: Ledger, request: str, after: tuple[int, int]) -> list[Record]:
    """The splits or joins of one form behind (epoch, seq), in chain order."""
    return ledger.about(request, (CORRECTED,), after, key="request")


def _append(transaction: Transaction, move: Move, reason: Reason, request: str, account_id: str) -> Record:
    fields: Fields = {"visit": move.arrival.visit_id, "party_id": move.party_id, "reason": reason}
    if move.arrival.party_id is not None:
        fields["party_before"] = move.arrival.party_id
    return transaction.append(CORRECTED, {**fields, "request": request, "account": account_id})


def _told(ledger: Ledger, arrivals: Iterable[Arrival]) -> list[Record]:
    """What the desk has said of the parties of these visits, in chain order."""
    wanted = {arrival.visit_id: arrival.at for arrival in arrivals}
    if not wanted:
        return []
    return [
        record
        for record in ledger.records((CORRECTED,), min(wanted.values()))
        if record.fields.get("visit") in wanted and isinstance(record.fields.get("party_id"), str)
    ]
