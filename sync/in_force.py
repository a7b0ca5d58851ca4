"""Which keys sign next, as the writing machine reads it off its own chain."""

from collections.abc import Callable

from sync import SyncError
from sync.records import Record, Role
from sync.rotation import Rotation
from sync.signing import PublicKey, Signer


class KeyNotInForce(SyncError):
    """A key that signs no longer: retired or replaced; the text says by which."""


class KeysInForce:
    """The key of each role for the next record; upto: the place up to which the chain has been followed.

    What it reads was written here: `KeyRing` is for whoever believes nothing.
    """

    def __init__(self) -> None:
        self._keys: dict[Role, PublicKey] = {}
        self.upto = (0, 0)

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

    def signer(self, role: Role, held: Signer, renew: Callable[[], Signer] | None) -> Signer:
        """Return `held` while it is in force, else what `renew` reads; raises KeyNotInForce."""
        wanted = self._keys.get(role)
        if wanted is None or held.public == wanted:
            return held
        if renew is not None and (renewed := renew()).public == wanted:
            return renewed
        raise KeyNotInForce(f"the {role} key {held.public.key_id} is retired: {wanted.key_id} signs in its place")
