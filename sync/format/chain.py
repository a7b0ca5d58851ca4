"""One node's chain, verified link by link: every reader that must believe a record goes through here."""

from collections.abc import Callable
from dataclasses import dataclass

from sync.format.keyring import KeyRing
from sync.format.records import GENESIS_PREV, BadRecord, Record, parse, place
from sync.format.void import Voids

MayOpen = Callable[[Record, int], bool]
"""Whether the first record of a later epoch may follow another record than the last of the epoch given."""


def only_the_last(_record: Record, _epoch: int) -> bool:
    """The rule on the machine that wrote the chain: a new epoch follows the last record it had."""
    return False


def admit(record: Record, keys: KeyRing, voids: Voids | None) -> bool:
    """Check the next record of a chain, and follow what it changes about keys; raises BadRecord.

    A void one is not followed: it goes to `voids`, or is refused where that is None. Returns whether it counts.
    """
    if voids is None:
        keys.check(record)
    elif revocation := keys.judge(record):
        voids.add(record, revocation)
        return False
    keys.follow(record)
    return True


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain; hash: 32 bytes."""

    epoch: int
    seq: int
    hash: bytes


class Chain:
    """A chain as far as it has been verified; epoch, seq and head_hash (32 bytes) are its end, seq 0 before the first.

    Starts at genesis, or behind a record that the caller has verified before. Its keys follow the rotations in it.
    """

    def __init__(
        self,
        node_id: str,
        keys: KeyRing,
        epoch: int = 1,
        seq: int = 0,
        head_hash: bytes = bytes.fromhex(GENESIS_PREV),
        may_open: MayOpen = only_the_last,
        voids: Voids | None = None,
    ) -> None:
        """voids: takes the void records; None: there may be none, as at central."""
        self._node_id = node_id
        self._keys = keys
        self._may_open = may_open
        self._voids = voids
        self.epoch = epoch
        self.seq = seq
        self.head_hash = head_hash

    def may_follow(self, epoch: int, seq: int) -> bool:
        """Whether a record at this place can come next: the next seq, or the first of a later epoch."""
        return (epoch, seq) == (self.epoch, self.seq + 1) or (self.seq > 0 and epoch > self.epoch and seq == 1)

    def add(self, body: bytes, signature: bytes) -> Record:
        """Verify the next record and move the end behind it.

        Canonical bytes, envelope, node, place, prev, key, role and signature are checked in this order.
        Raises BadRecord saying what is wrong; the end stays where it was.
        """
        record = parse(body, signature)
        if record.node_id != self._node_id:
            raise BadRecord(f"the body is of node {record.node_id}, this chain of {self._node_id}")
        if not self.may_follow(record.epoch, record.seq):
            raise BadRecord(f"the body says {place(record.epoch, record.seq)}, not what comes next")
        if record.prev_hash != self.head_hash and not (
            record.epoch > self.epoch and self._may_open(record, self.epoch)
        ):
            raise BadRecord("prev is not the hash of the record before")
        admit(record, self._keys, self._voids)
        self.epoch, self.seq, self.head_hash = record.epoch, record.seq, record.hash
        return record
