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
    subject = str(erased.fields["person"])
    said = [erased, *ledger.naming(subject, ("retention.run",), after=(epoch, seq))]
    reached = next((one for one in said if subject in one.fields.get("reached", ())), None)
    return Receipt(
        erased,
        reached,
        joined,
        (epoch, seq) <= ledger.acked_upto(),
        orders.confirmed(ledger.connection, subject) if joined else None,
    )
