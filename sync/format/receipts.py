"""A receipt: what a desk signs for whoever stands before it, about one record, small enough for a slip of paper.

Text: `FVR1` and base32 (RFC 4648 6, without padding) of 64 bytes of signature by the desk key in domain `receipt` and a
canonical body `{"at_us","epoch","hash","kind","node","seq","v":1}` with, as far as the record has them, `agent`,
`code_kind`, `facts`, `reason`, `report`, `state`, `visit`. All of it is copied from the record, `at_us` from its stamp.
"""

import base64
import binascii
from dataclasses import dataclass

from sync import SyncError
from sync.format import canonical
from sync.format.canonical import Fields
from sync.format.codes import typed_text
from sync.format.records import Record, valid_name
from sync.format.signing import SIGNATURE_BYTES, PublicKey, Signer

PREFIX = "FVR1"
VERSION = 1
KINDS = ("visit.checkin", "code.refused")
MAX_TEXT = 2048  # letters
_NEEDED = {"v", "node", "epoch", "seq", "hash", "kind", "at_us"}
_TEXTS = ("state", "reason", "visit", "code_kind", "report", "agent")


class BadReceipt(SyncError):
    """A text that is no receipt; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt as it is printed; nothing about its signature is believed yet. body: the signed bytes."""

    body: bytes
    signature: bytes

    @classmethod
    def seal(cls, record: Record, key: Signer) -> "Receipt":
        """Sign what a record of KINDS says; key: the desk key in force. Raises BadReceipt for another kind."""
        body = canonical.encode(said_of(record))
        return cls(body, key.sign("receipt", body))

    @property
    def fields(self) -> Fields:
        return canonical.decode(self.body)

    def text(self) -> str:
        return PREFIX + base64.b32encode(self.signature + self.body).decode().rstrip("=")

    def signed_by(self, key: PublicKey) -> bool:
        return key.verify("receipt", self.body, self.signature)

    @classmethod
    def parse(cls, text: str) -> "Receipt":
        """Read `text()` back, however it was typed; raises BadReceipt."""
        typed = typed_text(text)
        if not typed.startswith(PREFIX):
            raise BadReceipt(f"not a receipt: it does not begin with {PREFIX}")
        if len(typed) > MAX_TEXT:
            raise BadReceipt("receipt: too long")
        letters = typed.removeprefix(PREFIX)
        try:
            data = base64.b32decode(letters + "=" * (-len(letters) % 8))
        except (binascii.Error, ValueError) as error:
            raise BadReceipt("receipt: not base32, or cut short") from error
        made = cls(data[SIGNATURE_BYTES:], data[:SIGNATURE_BYTES])
        if made.text() != typed:
            raise BadReceipt("receipt: not as it is written")
        try:
            _check(made.fields)
        except BadReceipt:
            raise
        except SyncError as error:
            raise BadReceipt(f"receipt: {error}") from error
        return made


def said_of(record: Record) -> Fields:
    """What a receipt says of a record; raises BadReceipt where there is none of its kind."""
    if record.kind not in KINDS:
        raise BadReceipt(f"receipt: none is given for a {record.kind}")
    fields = record.fields
    said: Fields = {
        "v": VERSION,
        "node": record.node_id,
        "epoch": record.epoch,
        "seq": record.seq,
        "hash": record.hash.hex(),
        "kind": record.kind,
        "at_us": record.stamp.wall_us,
    }
    said |= {name: fields[name] for name in (*_TEXTS, "facts") if fields.get(name)}
    return said


def _check(fields: Fields) -> None:
    if not _NEEDED <= fields.keys() <= _NEEDED | {*_TEXTS, "facts"}:
        raise BadReceipt("receipt: other keys than it should have")
    if fields["v"] != VERSION:
        raise BadReceipt(f"receipt: version {fields['v']!r}, this one reads {VERSION}")
    numbers = (fields["epoch"], fields["seq"], fields["at_us"])
    if any(type(one) is not int for one in numbers) or fields["epoch"] < 1 or fields["seq"] < 1:
        raise BadReceipt("receipt: its place is none")
    if fields["kind"] not in KINDS or not isinstance(fields["node"], str) or not valid_name(fields["node"]):
        raise BadReceipt("receipt: not of a record that receipts are given for")
    if not isinstance(fields["hash"], str) or len(canonical.hex_bytes(fields["hash"])) != 32:
        raise BadReceipt("receipt: its hash is none")
    if any(not isinstance(fields.get(name, ""), str) for name in _TEXTS):
        raise BadReceipt("receipt: a text is none")
    facts = fields.get("facts", ["none"])
    if not isinstance(facts, list) or not facts or any(not isinstance(one, str) for one in facts):
        raise BadReceipt("receipt: its facts are none")
