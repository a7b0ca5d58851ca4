"""The code on a certificate: one record, the ack that covers it and the keys, small enough for a QR code.

`FV1:` and base45 (RFC 9285) of the zlib stream of the canonical object `{"ack":hex,"body":text,"central_pub":text,
"node_pub":text,"signature":hex,"v":1}`; `ack` is absent where central has not confirmed the record. Where keys have
changed since `node_pub` or `central_pub`, `rotations` (`key.rotated` records as `[{"body":text,"signature":hex},...]`)
and `notices` (hex, about central's keys) lead to those in force. Base45 has exactly the letters of a QR code's
alphanumeric mode, which is why it is not base64.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

from sync import SyncError
from sync.audit.chain_audit import Bad
from sync.audit.origin import follow_notices, read_ack, settle
from sync.format import canonical
from sync.format.canonical import Fields, hex_bytes
from sync.format.messages import BadMessage
from sync.format.public_keys import CentralKeys, Enrolment
from sync.format.records import parse
from sync.format.stamp import rfc3339
from sync.format.visit_fields import DECISION_OF_KIND, decides_earlier, number_of
from sync.format.wire import SignedBody

PREFIX = "FV1:"
VERSION = 1
MAX_TEXT = 4296  # letters in the largest QR code, ISO/IEC 18004 table 7
MAX_BYTES = 64 * 1024  # unpacked
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"  # RFC 9285 table 1


class BadCompact(SyncError):
    """A text that is not a certificate's code."""


@dataclass(frozen=True, slots=True)
class Compact:
    """What the code holds, nothing about it believed; ack, notices: the signed bytes."""

    body: bytes
    signature: bytes
    ack: bytes | None
    node_pub: str
    central_pub: str
    rotations: tuple[SignedBody, ...] = ()
    notices: tuple[bytes, ...] = ()

    def text(self) -> str:
        fields: Fields = {
            "v": VERSION,
            "body": self.body.decode(),
            "signature": self.signature.hex(),
            "node_pub": self.node_pub,
            "central_pub": self.central_pub,
        }
        if self.ack is not None:
            fields["ack"] = self.ack.hex()
        if self.rotations:
            fields["rotations"] = [
                {"body": one.body.decode(), "signature": one.signature.hex()} for one in self.rotations
            ]
        if self.notices:
            fields["notices"] = [data.hex() for data in self.notices]
        return PREFIX + base45(zlib.compress(canonical.encode(fields), 9))

    @classmethod
    def parse(cls, text: str) -> "Compact":
        """Read `text()` back; raises BadCompact."""
        if not text.startswith(PREFIX) or len(text) > MAX_TEXT:
            raise BadCompact("not a certificate's code")
        unpacker = zlib.decompressobj()
        try:
            data = unpacker.decompress(unbase45(text.removeprefix(PREFIX)), MAX_BYTES)
        except zlib.error as error:
            raise BadCompact(f"not a certificate's code: {error}") from error
        if not unpacker.eof or unpacker.unused_data:
            raise BadCompact("not a certificate's code: cut short, or longer than it says")
        try:
            fields = canonical.decode(data)
            if fields.keys() - {"ack", "rotations", "notices"} != {"v", "body", "signature", "node_pub", "central_pub"}:
                raise SyncError("other keys than it should have")
            if fields["v"] != VERSION:
                raise SyncError(f"version {fields['v']!r}, this one reads {VERSION}")
            if any(not isinstance(fields[name], str) for name in ("body", "node_pub", "central_pub")):
                raise SyncError("body and keys are not texts")
            ack = hex_bytes(fields["ack"]) if "ack" in fields else None
            signature = hex_bytes(fields["signature"])
            rotations = tuple(_signed(one) for one in _listed(fields, "rotations"))
            notices = tuple(hex_bytes(one) for one in _listed(fields, "notices"))
        except SyncError as error:
            raise BadCompact(f"not a certificate's code: {error}") from error
        body, node_pub, central_pub = (fields[name] for name in ("body", "node_pub", "central_pub"))
        return cls(body.encode(), signature, ack, node_pub, central_pub, rotations, notices)

    def check(self, given: Enrolment | CentralKeys | None) -> list[str]:
        """Verify it and say what it proves; raises Bad."""
        keys = settle((self.node_pub,), self.central_pub, given)
        if keys.mismatch:
            raise Bad(keys.mismatch)
        lists, revocations = follow_notices(keys.central, self.notices)
        for revocation in revocations:
            keys.ring.revoke(revocation)
        before = (0, 0)
        try:
            for signed in (*self.rotations, SignedBody(self.body, self.signature)):
                record = parse(signed.body, signed.signature)
                at = (record.epoch, record.seq)
                if record.node_id != keys.node_id:
                    raise Bad(f"the record is node {record.node_id}'s", at)
                if at <= before:
                    raise Bad("not behind the record before it", at)
                keys.ring.check(record)
                keys.ring.follow(record)
                before = at
        except SyncError as error:
            raise Bad(str(error)) from error
        visit = record.fields.get("visit")
        said = [
            keys.origin,
            f"visit {visit}: {DECISION_OF_KIND.get(record.kind, record.kind)}, as decided"
            f" {'when the visitor had consented' if decides_earlier(record.fields) else 'at the door'}; corrections and"
            " coverage are in the bundle",
            f"record seq {record.seq} of epoch {record.epoch}, hash {record.hash.hex()}",
            f"arrived (device's wall clock): {rfc3339(number_of(record.fields, 'arrived_us') or 0)}",
        ]
        if record.fields.get("source") == "file":
            said.append("its source is a file, so it is a test: no certificate is issued for it")
        if self.ack is None:
            return [*said, "confirmed by central: not by this code"]
        try:
            ack = read_ack(self.ack, lists)
        except BadMessage as error:
            raise Bad(str(error)) from error
        if ack.node_id != record.node_id or (ack.epoch, ack.upto_seq) < at:
            raise Bad("the ack does not cover this record", at)
        if (ack.epoch, ack.upto_seq) == at and ack.head_hash != record.hash:
            raise Bad("not the record that central acknowledged: its ack names another hash", at)
        told = rfc3339(ack.central_time_us)
        if (ack.epoch, ack.upto_seq) == at:
            return [*said, f"confirmed by central: {told}, the ack names this very record"]
        return [
            *said,
            f"confirmed by central: not by this code; the ack in it, of {told}, is of seq {ack.upto_seq}: only the"
            " bundle shows whether this record leads there",
        ]


def _listed(fields: Fields, name: str) -> list[object]:
    if name not in fields:
        return []
    values = fields[name]
    if not isinstance(values, list) or not values:
        raise SyncError(f"{name} is not a list of something")
    return values


def _signed(fields: object) -> SignedBody:
    if not isinstance(fields, dict) or fields.keys() != {"body", "signature"} or not isinstance(fields["body"], str):
        raise SyncError("rotations: not a record")
    return SignedBody(fields["body"].encode(), hex_bytes(fields["signature"]))


def is_compact(path: Path) -> bool:
    """Whether a file holds a certificate's code."""
    with path.open("rb") as file:
        return file.read(len(PREFIX)) == PREFIX.encode()


def read_compact(path: Path) -> Compact:
    """Read a file that holds the text of a code; raises BadCompact naming it."""
    with path.open("rb") as file:
        data = file.read(MAX_TEXT + 3)
    try:
        return Compact.parse(data.decode("ascii").rstrip("\r\n"))
    except (UnicodeDecodeError, BadCompact) as error:
        raise BadCompact(f"{path}: {error}") from error


def base45(data: bytes) -> str:
    """RFC 9285 4: two bytes are three letters, a last single one is two, the least significant first."""
    letters: list[str] = []
    for i in range(0, len(data), 2):
        pair = data[i : i + 2]
        value = int.from_bytes(pair, "big")
        for _ in range(len(pair) + 1):
            value, digit = divmod(value, 45)
            letters.append(_LETTERS[digit])
    return "".join(letters)


def unbase45(text: str) -> bytes:
    """Read `base45` back; raises BadCompact."""
    data = bytearray()
    for i in range(0, len(text), 3):
        group = text[i : i + 3]
        value = 0
        for letter in reversed(group):
            digit = _LETTERS.find(letter)
            if digit < 0:
                raise BadCompact(f"not base45: {letter!r}")
            value = value * 45 + digit
        size = len(group) - 1
        if size == 0 or value >= 256**size:
            raise BadCompact("not base45")
        data += value.to_bytes(size, "big")
    return bytes(data)
