"""What an ack says of central's log: a checkpoint, and proof that the acknowledged head and all before it lie in it."""

from dataclasses import dataclass

from sync import SyncError
from sync.format.canonical import Fields
from sync.format.checkpoint import BadCheckpoint, Checkpoint
from sync.format.merkle import HASH_BYTES, MAX_PROOF_HASHES, leaf_hash, verify_consistency, verify_inclusion
from sync.format.signing import PublicKey


@dataclass(frozen=True, slots=True)
class LogHead:
    """The size of central's log and its root (32 bytes), as a node believes it or signs it back."""

    size: int
    root: bytes

    def fields(self) -> Fields:
        """What `node.alive` carries as `log`."""
        return {"size": self.size, "root": self.root.hex()}

    @classmethod
    def of(cls, fields: object) -> "LogHead | None":
        """Read `fields()` back; None where it is something else: the record is its node's, and stored all the same."""
        if not isinstance(fields, dict):
            return None
        size, root = fields.get("size"), fields.get("root")
        if type(size) is not int or size < 1 or not isinstance(root, str):
            return None
        try:
            return cls(size, _hash(root))
        except SyncError:
            return None


@dataclass(frozen=True, slots=True)
class LogProof:
    """The member `checkpoint` of an ack.

    note: the signed note. index: where the ack's head record lies in the log. proof: its inclusion in the tree of the
    note. from_size: the size in the newest head that the node has signed back, None before the first; consistency: from
    that tree to the note's.
    """

    note: str
    index: int
    proof: tuple[bytes, ...]
    from_size: int | None = None
    consistency: tuple[bytes, ...] = ()

    def fields(self) -> Fields:
        fields: Fields = {"note": self.note, "index": self.index, "proof": [one.hex() for one in self.proof]}
        if self.from_size is not None:
            fields["from"] = self.from_size
            fields["consistency"] = [one.hex() for one in self.consistency]
        return fields

    @classmethod
    def of(cls, fields: object) -> "LogProof":
        """Read `fields()` back, nothing about it believed; raises SyncError."""
        if not isinstance(fields, dict):
            raise SyncError("checkpoint: not an object")
        note = fields.get("note")
        if not isinstance(note, str):
            raise SyncError("checkpoint: note is not a text")
        from_size = _count(fields, "from") if "from" in fields or "consistency" in fields else None
        consistency = _hashes(fields, "consistency", 2 * MAX_PROOF_HASHES) if from_size is not None else ()
        return cls(note, _count(fields, "index"), _hashes(fields, "proof", MAX_PROOF_HASHES), from_size, consistency)

    def check(self, record_hash: bytes, origin: str, key: PublicKey, signed_back: LogHead | None) -> LogHead:
        """Hold it against the ack's head record and the newest head that its node had signed back by then.

        Returns what central's log is by this; raises BadCheckpoint saying what does not hold.
        """
        checkpoint = Checkpoint.parse(self.note, origin, key)
        size, root = checkpoint.size, checkpoint.root
        if not verify_inclusion(leaf_hash(record_hash), self.index, size, self.proof, root):
            raise BadCheckpoint(f"checkpoint: the acknowledged record is not shown to be in the log of size {size}")
        if signed_back is None:
            return LogHead(size, root)
        if self.from_size != signed_back.size:
            said = "nothing" if self.from_size is None else f"size {self.from_size}"
            raise BadCheckpoint(f"checkpoint: continues {said}, but size {signed_back.size} was signed back")
        if not verify_consistency(signed_back.size, size, self.consistency, signed_back.root, root):
            raise BadCheckpoint(f"checkpoint: size {size} does not continue the log of size {signed_back.size}")
        return LogHead(size, root)


def follows(head: LogHead, before: LogHead | None) -> str | None:
    """Say how `head` contradicts the one verified before it, None where it does not: a log never shrinks."""
    if before is None:
        return None
    if head.size < before.size:
        return f"central's log had {before.size} leaves, now {head.size}"
    if head.size == before.size and head.root != before.root:
        return f"central's log has two roots at size {head.size}"
    return None


def _count(fields: Fields, name: str) -> int:
    value = fields.get(name)
    if type(value) is not int or value < 0:
        raise SyncError(f"checkpoint: {name} is not a whole number of 0 or more")
    return value


def _hashes(fields: Fields, name: str, most: int) -> tuple[bytes, ...]:
    values = fields.get(name)
    if not isinstance(values, list) or len(values) > most:
        raise SyncError(f"checkpoint: {name} is not a list of at most {most} hashes")
    return tuple(_hash(value) for value in values)


def _hash(text: object) -> bytes:
    try:
        value = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        value = b""
    if len(value) != HASH_BYTES or value.hex() != text:
        raise SyncError("checkpoint: not 64 lower-case hex digits")
    return value
