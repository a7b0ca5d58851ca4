"""What central says of its log: checkpoints, proofs, and the statements that stand in it beside the records."""

from collections.abc import Callable
from typing import TypeVar

from sync import SyncError
from sync.central.keys import ServingKeys
from sync.central.store.store import Store
from sync.format.checkpoint import Checkpoint, origin_of
from sync.format.log_proof import LogHead, LogProof
from sync.format.merkle import Edge, MerkleError, consistency_proof, inclusion_proof, root
from sync.format.messages import Statement
from sync.format.notices import KeyRevoked
from sync.format.public_keys import Enrolment
from sync.format.signing import Signer

_T = TypeVar("_T")
_KNOWN_ROOTS = 1024  # of sizes that nodes sign back; many sign the same ones


class LogDamaged(SyncError):
    """The log no longer says what was entered in it. The records beside it do: they are taken and acknowledged."""


class CentralLog:
    """Signs and proves what the log in a store is; the store's thread asks it."""

    def __init__(self, store: Store, keys: ServingKeys) -> None:
        self._store = store
        self._key = keys.checkpoint
        self._origin = origin_of(keys.central_id)
        self._newest: tuple[Checkpoint, str] | None = None
        self._roots: dict[int, bytes] = {}

    def checkpoint(self) -> tuple[Checkpoint, str]:
        """The log as it is committed now, and the signed note that says so."""
        size = self._store.log_size()
        if self._newest is None or self._newest[0].size != size:
            made = Checkpoint(self._origin, size, self._read(lambda: Edge.read(self._store.log_tile, size).root()))
            self._newest = made, made.seal(self._key)
        return self._newest

    def inclusion(self, leaf: int, size: int) -> tuple[bytes, ...]:
        """The proof that a leaf lies in the tree of a size."""
        return self._read(lambda: inclusion_proof(self._store.log_tile, leaf, size))

    def consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        """The proof that the tree of the second size begins with that of the first."""
        return self._read(lambda: consistency_proof(self._store.log_tile, first, second))

    def proof(self, node_id: str, epoch: int, seq: int, signed_back: LogHead | None) -> LogProof:
        """What an ack of the record at this place says of the log.

        signed_back: the newest head its node has signed back, None where there is none or it is not of this log.
        Raises LogDamaged, also where the log lacks the record.
        """
        checkpoint, note = self.checkpoint()
        leaf = self._store.leaf_of(node_id, epoch, seq)
        if leaf is None:
            raise LogDamaged(f"the log is damaged: node {node_id} epoch {epoch} seq {seq} is not in it")
        inclusion = self.inclusion(leaf, checkpoint.size)
        if signed_back is None:
            return LogProof(note, leaf, inclusion)
        return LogProof(note, leaf, inclusion, signed_back.size, self.consistency(signed_back.size, checkpoint.size))

    def knows(self, size: int) -> bool:
        """Whether the root of this size need not be made any more."""
        return size in self._roots

    def holds(self, head: LogHead) -> bool:
        """Whether this log, as committed, is or once was as `head` says."""
        if head.size not in self._roots and head.size > self._store.log_size():
            return False
        return self.root_at(head.size) == head.root

    def root_at(self, size: int) -> bytes:
        """The root when the log had this size; raises LogDamaged, also where it is shorter."""
        if (known := self._roots.get(size)) is None:
            if len(self._roots) >= _KNOWN_ROOTS:
                self._roots.clear()
            known = self._roots[size] = self._read(lambda: root(self._store.log_tile, size))
        return known

    def _read(self, make: Callable[[], _T]) -> _T:
        try:
            return make()
        except MerkleError as error:
            raise LogDamaged(f"the log is damaged: {error}") from error


def enrolled(central_id: str, enrolment: Enrolment, now_us: int, key: Signer) -> Statement:
    """Central's statement that it let a node in with these keys; key: its notice key."""
    fields = {
        "node": enrolment.node_id,
        "site": enrolment.site_id,
        "keys": {role: str(key) for role, key in enrolment.keys.items()},
        "epoch": enrolment.epoch,
    }
    return Statement.seal(central_id, "node.enrolled", now_us, fields, key)


def epoch_opened(central_id: str, node_id: str, epoch: int, now_us: int, key: Signer) -> Statement:
    """Central's statement that it takes this node's epoch behind whatever record it begins; key: its notice key."""
    return Statement.seal(central_id, "epoch.opened", now_us, {"node": node_id, "epoch": epoch}, key)


def revoked(central_id: str, node_id: str, said: KeyRevoked, now_us: int, key: Signer) -> Statement:
    """Central's statement that it counts a node's key no more behind a place; key: its notice key."""
    return Statement.seal(central_id, "key.revoked", now_us, {"node": node_id, **said.fields()}, key)


def state_unstated(store: Store, central_id: str, now_us: int, key: Signer) -> None:
    """Enter a statement for every node enrolled before there was a log."""
    made = [
        (node_id, enrolled(central_id, Enrolment.parse_text(text), now_us, key)) for node_id, text in store.unstated()
    ]
    if made:
        store.state(made)
