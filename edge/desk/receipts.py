"""The slip that a customer and an agent take away: what a record says, signed by the desk, and nothing of a face."""

from dataclasses import dataclass
from io import BytesIO

import segno

from edge.desk.fact import Fact
from edge.home import Home
from edge.people.contacts import contact_of
from edge.people.vault import Vault
from edge.proven import proven
from sync.format.canonical import Fields
from sync.format.receipts import KINDS, Receipt
from sync.format.records import Record
from sync.node.in_force import KeyNotInForce
from sync.node.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Slip:
    """What is printed. masked: of the visit's phone, for the customer's copy only; None where there is none."""

    record: Record
    receipt: Receipt
    masked: str | None

    @property
    def fields(self) -> Fields:
        return self.record.fields

    @property
    def refused(self) -> bool:
        return self.record.kind == "code.refused"

    @property
    def facts(self) -> tuple[Fact, ...]:
        return Fact.read(self.fields)

    @property
    def for_agent(self) -> bool:
        """Whether an agent has a copy of their own: whoever showed a code."""
        return "code" in self.fields


def slip_of(home: Home, ledger: Ledger, vault: Vault, epoch: int, seq: int) -> Slip | None:
    """The slip of a record, signed under the desk key in force; None where the record gets none, or nobody signed it.

    Raises KeyNotInForce where central has revoked that key.
    """
    record = ledger.record(epoch, seq)
    if record is None or record.kind not in KINDS:
        return None
    contact = contact_of(ledger.connection, vault, record.fields["visit"]) if record.kind == "visit.checkin" else None
    signer = home.signer("desk")
    if (revoked := ledger.revocation(signer.public)) is not None:
        raise KeyNotInForce(f"the desk's key is revoked ({revoked.reason}): it signs no receipt")
    if not proven(home.path, ledger, [record]):  # whoever may write the database must not have a row signed for it
        return None
    receipt = Receipt.seal(record, signer)
    masked = contact.masked if contact is not None and "phone" in record.fields else None
    return Slip(record, receipt, masked)


def drawn(receipt: Receipt) -> bytes:
    """The QR code of a receipt, as SVG."""
    file = BytesIO()
    segno.make(receipt.text(), error="l", boost_error=False).save(file, kind="svg", border=4, xmldecl=False)
    return file.getvalue()
