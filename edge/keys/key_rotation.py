"""Changing a node's key for another while it runs: the new key first, then the record, then the old key's end."""

from dataclasses import dataclass

from edge import EdgeError
from edge.clock import Clock
from edge.home import Home
from edge.keys.custody import Custody
from sync.format.records import Record, Role
from sync.format.rotation import Rotation
from sync.format.signing import PublicKey


class RotationError(EdgeError):
    """A rotation that cannot be done as things are; one line."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """A finished rotation. record: its `key.rotated`. resumed: an earlier attempt had written it."""

    record: Record
    key: PublicKey
    custody: Custody
    resumed: bool


def rotate(home: Home, role: Role, custody: Custody | None, clock: Clock) -> Rotated:
    """Make a new key for `role`, let the chain say so, and destroy the old one; begun twice, it is done once.

    Whatever moment it is cut off at, the chain says which key counts, and the next call finishes: the key in waiting
    (`ROLE.next`) is durable before the record that names it, and takes the old one's place after it. custody: where
    the new key is to lie; as the old one where None. Raises EdgeError or SyncError.
    """
    keys, node_id, waiting = home.keys, home.settings().node.id, f"{role}.next"
    ledger = home.open_ledger("node", clock)
    try:
        if keys.custody(waiting) is not None:
            new = keys.load(waiting)
            if ledger.key_in_force(role) == new.public:
                *_, record = (one for one in ledger.records(("key.rotated",)) if Rotation.of(one).new == new.public)
                keys.replace(role, waiting)
                return Rotated(record, new.public, _custody(home, role), resumed=True)
        old = home.signer(role)
        if (revoked := ledger.revocation(old.public)) is not None:
            raise RotationError(
                f"{home.path}: central has revoked the {role} key ({revoked.reason}): it can hand on nothing;"
                " firstvisit keys new-epoch --reason rekey makes new ones"
            )
        wanted = custody or _custody(home, role)
        if keys.custody(waiting) not in (None, wanted):
            keys.discard(waiting)
        new = keys.load(waiting) if keys.custody(waiting) else keys.create(waiting, wanted)
        keys.hand_over(waiting, like=role)
        with ledger.transaction() as transaction:
            if ledger.key_in_force(role) not in (None, old.public):
                raise RotationError(f"{home.path}: the {role} key was rotated by somebody else just now")
            record = transaction.append_placed(
                "key.rotated",
                lambda epoch, seq: Rotation(node_id, epoch, seq, role, old.public.key_id, new.public).fields(
                    new, old, wanted
                ),
            )
        keys.replace(role, waiting)
        return Rotated(record, new.public, wanted, resumed=False)
    finally:
        ledger.close()


def _custody(home: Home, role: Role) -> Custody:
    custody = home.keys.custody(role)
    if custody is None:
        raise RotationError(f"{home.path}: there is no {role} key to rotate")
    return custody
