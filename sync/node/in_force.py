"""Which keys sign next, as the writing machine reads it off its own chain."""

from collections.abc import Callable

from sync import SyncError
from sync.format.notices import KeyRevoked
from sync.format.records import Record, Role, place
from sync.format.rotation import Rotation
from sync.format.signing import PublicKey, Signer
from sync.format.void import voided_by


class KeyNotInForce(SyncError):
    """A key that signs no longer: retired, replaced or revoked; the text says by what."""


class KeysInForce:
    """The key of each role for the next record; upto: the place up to which the chain has been followed.

    What it reads was written here: `KeyRing` is for whoever believes nothing.
    """

    def __init__(self) -> None:
        self._keys: dict[Role, PublicKey] = {}
        self.upto = (0, 0)
        self.revoked: list[KeyRevoked] = []  # as central's notices say it now

    def key(self, role: Role) -> PublicKey | None:
        """None where the chain does not say."""
        return self._keys.get(role)

    def follow(self, record: Record) -> None:
        """Take over what the next `epoch.started` or `key.rotated` says."""
        self.upto = record.epoch, record.seq
        if record.kind == "key.rotated":
            rotation = Rotation.of(record)
            self._keys[rotation.role] = rotation.new
        elif isinstance(keys := record.fields.get("keys"), dict):
            for role in ("node", "desk"):
                if role in keys:
                    self._keys[role] = PublicKey.parse(str(keys[role]))

    def signer(self, role: Role, held: Signer, renew: Callable[[], Signer] | None, at: tuple[int, int]) -> Signer:
        """Return `held` while it may sign the record at (epoch, seq), else what `renew` reads; raises KeyNotInForce.

        A node goes on recording under a revoked key until it has another, though it is void; a desk is refused.
        """
        wanted = self._keys.get(role)
        if wanted is not None and held.public != wanted:
            if renew is None or (renewed := renew()).public != wanted:
                raise KeyNotInForce(
                    f"the {role} key {held.public.key_id} is retired: {wanted.key_id} signs in its place"
                )
            held = renewed
        if role == "desk" and (revoked := self.revocation(held.public, at)) is not None:
            raise KeyNotInForce(
                f"central has revoked the {role} key {revoked.key_id} after {place(revoked.epoch, revoked.seq)}"
                f" ({revoked.reason}): firstvisit keys new-epoch --reason rekey makes new ones"
            )
        return held

    def revocation(self, key: PublicKey, at: tuple[int, int]) -> KeyRevoked | None:
        """What forbids the key the record at (epoch, seq)."""
        return voided_by(self.revoked, key.key_id, at)
