"""How far an erasure has come, from records alone: for the person, on a page and on a slip."""

from dataclasses import dataclass

from sync.format.records import Record
from sync.node import orders
from sync.node.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the chain says of one erasure.

    reached: the record that says no key is left on this node or in its copies, None while one may be. joined: this node
    has a central. held: central has acknowledged the erasure. others: on how many other nodes the person was known, all
    of which have forgotten them; None while central has not confirmed.
    """

    erased: Record
    reached: Record | None
    joined: bool
    held: bool
    others: int | None

    @property
    def complete(self) -> bool:
        """Whether nothing is left here, at central and on other nodes."""
        return self.reached is not None and (not self.joined or (self.held and self.others is not None))

    @property
    def subject(self) -> str:
        return str(self.erased.fields["person"])

    @property
    def is_phone(self) -> bool:
        return self.subject.startswith("c-")


def receipt(ledger: Ledger, epoch: int, seq: int, *, joined: bool) -> Receipt | None:
    """The receipt of the `person.erased` at a place, None where there is none."""
    erased = ledger.record(epoch, seq)
    if erased is None or erased.kind != "person.erased":
        return None
    (found,) = _receipts(ledger, [erased], joined)
    return found


def newest_receipts(ledger: Ledger, limit: int, *, joined: bool) -> list[Receipt]:
    """The receipts of the last erasures, the newest first."""
    return _receipts(ledger, list(ledger.records(("person.erased",)))[-limit:], joined)[::-1]


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
        reached = next((record for record in later if subject in record.fields.get("reached", ())), None)
        others = orders.confirmed(ledger.connection, subject) if joined else None
        receipts.append(Receipt(one, reached, joined, at <= held_upto, others))
    return receipts
