"""How far an erasure has come, or a consent taken back: from records alone, for the person, on a page and on a slip."""

from dataclasses import dataclass

from sync.format.records import Record
from sync.format.visit_fields import face_withdrawn
from sync.node import orders
from sync.node.ledger import Ledger

_KINDS = ("person.erased", "consent.withdrawn")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the chain says of one erasure, or of one consent taken back.

    reached: no key is left on this node or in its copies: a record says so, or, once that has left with the rest of its
    time (`retention.ledger_days`), nothing waits to be reached any more. joined: this node has a central. held: central
    has acknowledged the erasure. others: on how many other nodes the phone was known, all of which have forgotten too;
    None while central has not confirmed. A face's erasure is its own node's alone, and 0 then says no more.
    """

    erased: Record
    reached: bool
    joined: bool
    held: bool
    others: int | None

    @property
    def complete(self) -> bool:
        """Whether nothing is left here and at central, and of a phone on other nodes."""
        return self.reached and (not self.joined or (self.held and self.others is not None))

    @property
    def subject(self) -> str:
        return str(self.erased.fields["person"])

    @property
    def withdrawn(self) -> bool:
        """Whether it is a consent that was taken back."""
        return self.erased.kind == "consent.withdrawn"

    @property
    def is_phone(self) -> bool:
        return self.subject.startswith("c-")

    @property
    def proven(self) -> bool:
        """Whether a code sent to the phone came back: then a face forgotten here before goes at other nodes too."""
        return self.is_phone and "proof" in self.erased.fields


def receipt(ledger: Ledger, epoch: int, seq: int, *, joined: bool) -> Receipt | None:
    """The receipt of the erasure or withdrawal at a place, None where there is none."""
    at = [one for one in _forgettings(ledger) if (one.epoch, one.seq) == (epoch, seq)]
    return _receipts(ledger, at, joined)[0] if at else None


def newest_receipts(ledger: Ledger, limit: int, *, joined: bool) -> list[Receipt]:
    """The receipts of the last erasures and withdrawals, the newest first."""
    return _receipts(ledger, _forgettings(ledger)[-limit:], joined)[::-1]


def _forgettings(ledger: Ledger) -> list[Record]:
    told = ledger.records(_KINDS)
    return [one for one in told if one.kind == "person.erased" or face_withdrawn(one.fields) is not None]


def _receipts(ledger: Ledger, erased: list[Record], joined: bool) -> list[Receipt]:
    """Receipts of erasures in chain order; what came of all of them is read once."""
    if not erased:
        return []
    first = erased[0].epoch, erased[0].seq
    said = [*erased, *ledger.naming("reached", ("retention.run",), after=first)]
    held_upto = ledger.acked_upto()
    receipts = []
    for one in erased:
        at, subject = (one.epoch, one.seq), str(one.fields["person"])
        later = (record for record in said if (record.epoch, record.seq) >= at)
        reached = any(subject in record.fields.get("reached", ()) for record in later)
        if not reached and ledger.record(*at) is None:  # it is spared from a purge, and what followed it is not
            reached = not _waits(ledger, subject)
        others = orders.confirmed(ledger.connection, subject) if joined else None
        receipts.append(Receipt(one, reached, joined, at <= held_upto, others))
    return receipts


def _waits(ledger: Ledger, subject: str) -> bool:
    found = ledger.connection.execute("SELECT 1 FROM unreached_erasures WHERE person_id = ?", (subject,))
    return found.fetchone() is not None
