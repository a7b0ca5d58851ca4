"""A node's own change of a key: the record `key.rotated`, signed by the old key and the new."""

from dataclasses import dataclass
from typing import cast

from sync import SyncError
from sync.format import canonical
from sync.format.canonical import Fields
from sync.format.records import VERSION, BadRecord, Record, Role
from sync.format.signing import PublicKey, Signer


@dataclass(frozen=True, slots=True)
class Rotation:
    """From the record after (epoch, seq) on, `new` signs in this role instead of the key whose id is `old`.

    The record at (epoch, seq) is of kind `key.rotated` and signed by the node key in force. proof: the new key's
    signature in the domain `rotation`, which shows that whoever rotates holds it. consent: the same by the old desk
    key, without which the node's process could put a key of its own in the desk's place; of the role node the
    record's own signature is that consent.
    """

    node_id: str
    epoch: int
    seq: int
    role: Role
    old: str
    new: PublicKey

    def message(self) -> bytes:
        """What proof and consent sign: the place is in it, so neither holds anywhere else."""
        return canonical.encode(
            {
                "v": VERSION,
                "node": self.node_id,
                "epoch": self.epoch,
                "seq": self.seq,
                "role": self.role,
                "old": self.old,
                "new": str(self.new),
            }
        )

    def fields(self, new: Signer, old: Signer, custody: str) -> Fields:
        """The record's own fields. custody: where the new key lies, one of `edge.keys.custody`'s grades."""
        fields: Fields = {
            "role": self.role,
            "old": self.old,
            "new": str(self.new),
            "proof": new.sign("rotation", self.message()).hex(),
            "custody": custody,
        }
        if self.role == "desk":
            fields["consent"] = old.sign("rotation", self.message()).hex()
        return fields

    @classmethod
    def of(cls, record: Record) -> "Rotation":
        """Read a `key.rotated` whose own signature is good; raises BadRecord where proof or consent is not."""
        fields = record.fields
        role, old = fields.get("role"), fields.get("old")
        if role not in ("node", "desk") or not isinstance(old, str):
            raise BadRecord("key.rotated: role or old is missing")
        if role == "node" and old != record.key_id:
            raise BadRecord("key.rotated: not signed by the key it retires")
        try:
            new = PublicKey.parse(str(fields.get("new")))
        except SyncError as error:
            raise BadRecord(f"key.rotated: {error}") from error
        rotation = cls(record.node_id, record.epoch, record.seq, cast(Role, role), old, new)
        if not new.verify("rotation", rotation.message(), _signature(fields, "proof")):
            raise BadRecord("key.rotated: the new key did not sign it")
        return rotation

    def consented(self, record: Record, old: PublicKey) -> bool:
        """Whether `old` agreed to give way."""
        if self.role == "node":
            return record.key_id == old.key_id
        return old.verify("rotation", self.message(), _signature(record.fields, "consent"))


def _signature(fields: Fields, name: str) -> bytes:
    """Empty, which never verifies, where it is not written in lower-case hexadecimal."""
    text = fields.get(name)
    try:
        data = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        return b""
    return data if data.hex() == text else b""
