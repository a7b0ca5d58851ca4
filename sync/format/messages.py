"""What central says: acks, nacks, notices and statements, each canonical JSON behind its 64-byte signature."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from sync import SyncError
from sync.format import canonical
from sync.format.canonical import Fields, NotCanonical
from sync.format.log_proof import LogProof
from sync.format.signing import SIGNATURE_BYTES, Domain, PublicKey, Signer, digest
from sync.format.wire import MAX_WINDOW_FRAMES

NackCode: TypeAlias = Literal["GAP", "FORK", "REVOKED", "BAD_SIG", "TOO_BIG"]
NoticeKind: TypeAlias = Literal["keys", "key.revoked", "policy", "report.known", "code.revoked", "erase", "account"]

StatementKind: TypeAlias = Literal["node.enrolled", "key.revoked", "epoch.opened", "phone.unmasked"]
UNMASKED: StatementKind = "phone.unmasked"
VERSION = 1
FIRST_PREV_HASH = bytes(32)  # what notice 1 follows
MAX_MESSAGE_BYTES = 16 * 1024  # the largest, a `keys` notice, has under 1 KiB; what is larger is not even parsed


class BadMessage(SyncError):
    """A message that is malformed or not signed by a key it needs; the text says which."""


@dataclass(frozen=True, slots=True)
class Ack:
    """Central holds, durably, every record of (node, epoch) up to upto_seq, the last of hash head_hash (32 bytes).

    central_time_us: when central committed. window: how many frames may be in flight. data: the signed bytes.
    checkpoint: what central says of its log, nothing about it believed yet; None in most acks.
    """

    node_id: str
    epoch: int
    upto_seq: int
    head_hash: bytes
    central_time_us: int
    window: int
    data: bytes
    checkpoint: LogProof | None = None

    @property
    def ack_hash(self) -> bytes:
        """What a record's anchor names: 32 bytes over the signed body."""
        return digest("ack", self.data[SIGNATURE_BYTES:])

    @classmethod
    def seal(
        cls,
        node_id: str,
        epoch: int,
        upto_seq: int,
        head_hash: bytes,
        central_time_us: int,
        window: int,
        key: Signer,
        checkpoint: LogProof | None = None,
    ) -> "Ack":
        fields: Fields = {
            "node": node_id,
            "epoch": epoch,
            "upto": upto_seq,
            "head_hash": head_hash.hex(),
            "central_time_us": central_time_us,
            "window": window,
        }
        if checkpoint is not None:
            fields["checkpoint"] = checkpoint.fields()
        data = _seal("ack", fields, key)
        return cls(node_id, epoch, upto_seq, head_hash, central_time_us, window, data, checkpoint)

    @classmethod
    def parse(cls, data: bytes, key: PublicKey) -> "Ack":
        """Verify and read an ack; raises BadMessage."""
        return cls._of(_open("ack", data, key), data)

    @classmethod
    def unverified(cls, data: bytes) -> "Ack":
        """Read an ack that was verified when it was stored, or will be; raises BadMessage."""
        return cls._of(_decode("ack", data), data)

    @classmethod
    def _of(cls, fields: Fields, data: bytes) -> "Ack":
        window = _count(fields, "window")
        if not 1 <= window <= MAX_WINDOW_FRAMES:
            raise BadMessage(f"ack: window {window} is not 1 to {MAX_WINDOW_FRAMES}")
        try:
            checkpoint = LogProof.of(fields["checkpoint"]) if "checkpoint" in fields else None
        except SyncError as error:
            raise BadMessage(f"ack: {error}") from error
        return cls(
            text_field(fields, "node"),
            _count(fields, "epoch"),
            _count(fields, "upto"),
            _hash(fields, "head_hash"),
            _count(fields, "central_time_us"),
            window,
            data,
            checkpoint,
        )


@dataclass(frozen=True, slots=True)
class Nack:
    """Central refuses the record (epoch, seq); hash is the refused record's, or zeros where there is none.

    central_time_us: when central said so; by it a node tells a new refusal from an old one played again.
    """

    node_id: str
    code: NackCode
    epoch: int
    seq: int
    hash: bytes
    central_time_us: int

    def seal(self, key: Signer) -> bytes:
        fields: Fields = {
            "node": self.node_id,
            "code": self.code,
            "epoch": self.epoch,
            "seq": self.seq,
            "hash": self.hash.hex(),
            "central_time_us": self.central_time_us,
        }
        return _seal("nack", fields, key)

    @classmethod
    def parse(cls, data: bytes, key: PublicKey) -> "Nack":
        """Verify and read a nack; raises BadMessage."""
        fields = _open("nack", data, key)
        code: NackCode
        match fields.get("code"):
            case "GAP" | "FORK" | "REVOKED" | "BAD_SIG" | "TOO_BIG" as code:
                pass
            case other:
                raise BadMessage(f"nack: unknown code {other!r}")
        return cls(
            text_field(fields, "node"),
            code,
            _count(fields, "epoch"),
            _count(fields, "seq"),
            _hash(fields, "hash"),
            _count(fields, "central_time_us"),
        )


@dataclass(frozen=True, slots=True)
class Notice:
    """The one other word from central, chained per node from nseq 1; data: the signed bytes.

    A notice of kind `keys` is signed by central's root key, every other by its notice key.
    """

    node_id: str
    nseq: int
    prev_hash: bytes
    kind: str
    body: Fields
    data: bytes

    @property
    def hash(self) -> bytes:
        return digest("notice", self.data[SIGNATURE_BYTES:])

    @classmethod
    def seal(cls, node_id: str, nseq: int, prev_hash: bytes, kind: NoticeKind, body: Fields, key: Signer) -> "Notice":
        fields: Fields = {"node": node_id, "nseq": nseq, "prev_hash": prev_hash.hex(), "kind": kind, "body": body}
        return cls(node_id, nseq, prev_hash, kind, body, _seal("notice", fields, key))

    @classmethod
    def parse(cls, data: bytes, root: PublicKey, notice: PublicKey) -> "Notice":
        """Verify and read a notice; raises BadMessage."""
        claimed = _decode("notice", data).get("kind")
        return cls._of(_open("notice", data, root if claimed == "keys" else notice), data)

    @classmethod
    def unverified(cls, data: bytes) -> "Notice":
        """Read a notice that was verified when it was stored; raises BadMessage."""
        return cls._of(_decode("notice", data), data)

    @classmethod
    def _of(cls, fields: Fields, data: bytes) -> "Notice":
        body = fields.get("body")
        if not isinstance(body, dict):
            raise BadMessage("notice: body is not an object")
        return cls(
            text_field(fields, "node"),
            _count(fields, "nseq"),
            _hash(fields, "prev_hash"),
            text_field(fields, "kind"),
            body,
            data,
        )


@dataclass(frozen=True, slots=True)
class Statement:
    """What central says to everybody by entering it in its log: whom it let in, which key no longer counts.

    fields: the kind's own, beside `v`, `central`, `kind` and `at_us`. data: the signed bytes.
    """

    central_id: str
    kind: str
    at_us: int
    fields: Fields
    data: bytes

    @property
    def hash(self) -> bytes:
        """The 32 bytes that stand in central's log."""
        return digest("statement", self.data[SIGNATURE_BYTES:])

    @classmethod
    def seal(cls, central_id: str, kind: StatementKind, at_us: int, fields: Fields, key: Signer) -> "Statement":
        """key: central's notice key. Raises SyncError where `fields` would take the place of the envelope's."""
        envelope: Fields = {"central": central_id, "kind": kind, "at_us": at_us}
        if taken := fields.keys() & {"v", *envelope}:
            raise SyncError(f"{kind}: {', '.join(sorted(taken))} belongs to the envelope")
        return cls(central_id, kind, at_us, fields, _seal("statement", {**fields, **envelope}, key))

    @classmethod
    def parse(cls, data: bytes, notice: PublicKey) -> "Statement":
        """Verify and read a statement; raises BadMessage."""
        fields = _open("statement", data, notice)
        read = cls(text_field(fields, "central"), text_field(fields, "kind"), _count(fields, "at_us"), fields, data)
        for name in ("v", "central", "kind", "at_us"):
            del fields[name]
        return read


@dataclass(frozen=True, slots=True)
class Status:
    """What a node says of itself on its retained status topic: unsigned, a hint for the console, never evidence.

    full: it records no visits, because its disk is full. notices: nseq of the last notice that arrived there, None
    where it does not say.
    """

    node_id: str
    online: bool
    epoch: int
    seq: int
    acked: int
    full: bool = False
    notices: int | None = None

    def encode(self) -> bytes:
        fields: Fields = {
            "v": VERSION,
            "node": self.node_id,
            "online": int(self.online),
            "epoch": self.epoch,
            "seq": self.seq,
            "acked": self.acked,
        }
        if self.full:
            fields["full"] = 1
        if self.notices is not None:
            fields["notices"] = self.notices
        return canonical.encode(fields)

    @classmethod
    def parse(cls, data: bytes) -> "Status":
        """Read a status; raises BadMessage."""
        _hold_size("status", data)
        try:
            fields = canonical.decode(data)
        except NotCanonical as error:
            raise BadMessage(f"status: {error}") from error
        return cls(
            text_field(fields, "node"),
            _count(fields, "online") == 1,
            _count(fields, "epoch"),
            _count(fields, "seq"),
            _count(fields, "acked"),
            fields.get("full") == 1,
            _count(fields, "notices") if "notices" in fields else None,
        )


def _seal(domain: Domain, fields: Fields, key: Signer) -> bytes:
    body = canonical.encode({"v": VERSION, **fields})
    return key.sign(domain, body) + body


def _hold_size(what: str, data: bytes) -> None:
    if len(data) > MAX_MESSAGE_BYTES:
        raise BadMessage(f"{what}: {len(data)} bytes, at most {MAX_MESSAGE_BYTES} are read")


def _decode(what: str, data: bytes) -> Fields:
    _hold_size(what, data)
    if len(data) <= SIGNATURE_BYTES:
        raise BadMessage(f"{what}: {len(data)} bytes are too few")
    try:
        fields = canonical.decode(data[SIGNATURE_BYTES:])
    except NotCanonical as error:
        raise BadMessage(f"{what}: {error}") from error
    if fields.get("v") != VERSION:
        raise BadMessage(f"{what}: version {fields.get('v')!r}, this one reads {VERSION}")
    return fields


def _open(domain: Domain, data: bytes, key: PublicKey) -> Fields:
    fields = _decode(domain, data)
    if not key.verify(domain, data[SIGNATURE_BYTES:], data[:SIGNATURE_BYTES]):
        raise BadMessage(f"{domain}: not signed by key {key.key_id}")
    return fields


def text_field(fields: Fields, name: str) -> str:
    """A text of an object, not empty; raises BadMessage."""
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise BadMessage(f"{name}: {value!r} is not a text")
    return value


def _count(fields: Fields, name: str) -> int:
    value = fields.get(name)
    if type(value) is not int or value < 0:
        raise BadMessage(f"{name}: {value!r} is not a whole number of 0 or more")
    return value


def _hash(fields: Fields, name: str) -> bytes:
    text = text_field(fields, name)
    try:
        value = bytes.fromhex(text)
    except ValueError as error:
        raise BadMessage(f"{name}: not hexadecimal") from error
    if len(value) != 32 or value.hex() != text:
        raise BadMessage(f"{name}: not 64 lower-case hex digits")
    return value
