"""What belongs to a record and must not be in it: a phone, sealed to central, beside the chain and erasable.

A node sends sidecars when central has acknowledged their records; central answers which it has dealt with. Both
messages are canonical JSON behind a 64-byte signature, the first by the node key, the second by central's ack key.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sync import SyncError
from sync.format import canonical
from sync.format.canonical import Fields, NotCanonical, hex_bytes
from sync.format.messages import VERSION, BadMessage, text_field
from sync.format.sealing import SealingKey, UnsealingKey
from sync.format.signing import SIGNATURE_BYTES, Domain, PublicKey, Signer

MAX_SIDECARS = 64  # in one message: some 50 KiB of the 256 that a broker carries
MAX_SIDECAR_BYTES = 128 * 1024
_MAX_SEALED_BYTES = 512
_CONTACT = re.compile(r"c-[0-9a-f]{16,64}")
_KEY_ID = re.compile(r"[0-9a-f]{32}")
_SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Opened:
    """What a sidecar's box holds: the number in E.164, and the salt (32 bytes) of the commitment in its record.

    The salt is sealed too: with it, whoever holds the record could find the number by trying all.
    """

    e164: str
    salt: bytes

    def seal(self, key: SealingKey) -> bytes:
        return key.seal(canonical.encode({"phone": self.e164, "salt": self.salt.hex()}))

    @classmethod
    def open(cls, sealed: bytes, key: UnsealingKey) -> "Opened":
        """Read `seal` back; raises SyncError."""
        fields = canonical.decode(key.open(sealed))
        salt = hex_bytes(fields.get("salt"))
        if len(salt) != _SALT_BYTES:
            raise SyncError("sidecar: the salt has another size")
        return cls(text_field(fields, "phone"), salt)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The phone of the check-in at (epoch, seq) of hash `record` (32 bytes).

    contact: the random id that owns the phone at its node. number_hmac: 32 bytes by which the same number is found at
    another node under the same pepper. sealed: an `Opened` under the key of id `seal_key`.
    """

    epoch: int
    seq: int
    record: bytes
    contact: str
    number_hmac: bytes
    sealed: bytes
    seal_key: str

    def fields(self) -> Fields:
        return {
            "epoch": self.epoch,
            "seq": self.seq,
            "record": self.record.hex(),
            "contact": self.contact,
            "hmac": self.number_hmac.hex(),
            "sealed": self.sealed.hex(),
            "seal_key": self.seal_key,
        }

    @classmethod
    def of(cls, fields: object) -> "Sidecar":
        """Read `fields()` back; raises BadMessage."""
        if not isinstance(fields, dict):
            raise BadMessage("sidecar: not an object")
        epoch, seq = fields.get("epoch"), fields.get("seq")
        if type(epoch) is not int or type(seq) is not int or epoch < 1 or seq < 1:
            raise BadMessage("sidecar: epoch and seq are whole numbers of 1 or more")
        contact, seal_key = text_field(fields, "contact"), text_field(fields, "seal_key")
        if not _CONTACT.fullmatch(contact) or not _KEY_ID.fullmatch(seal_key):
            raise BadMessage("sidecar: contact or seal_key is of another form")
        try:
            record, hmac, sealed = (hex_bytes(fields.get(name)) for name in ("record", "hmac", "sealed"))
        except SyncError as error:
            raise BadMessage(f"sidecar: {error}") from error
        if len(record) != 32 or len(hmac) != 32 or len(sealed) > _MAX_SEALED_BYTES:
            raise BadMessage("sidecar: record, hmac or sealed has another size")
        return cls(epoch, seq, record, contact, hmac, sealed, seal_key)


def seal_sidecars(node_id: str, sidecars: Sequence[Sidecar], key: Signer) -> bytes:
    """The message of a node; key: its node key. Raises BadMessage where there are none or too many."""
    if not 1 <= len(sidecars) <= MAX_SIDECARS:
        raise BadMessage(f"{len(sidecars)} sidecars in a message, 1 to {MAX_SIDECARS} are allowed")
    return _sealed("sidecar", {"node": node_id, "sidecars": [one.fields() for one in sidecars]}, key)


def open_sidecars(node_id: str, data: bytes, key: PublicKey) -> list[Sidecar]:
    """Verify and read a node's message; raises BadMessage."""
    listed = _opened("sidecar", node_id, data, key).get("sidecars")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_SIDECARS:
        raise BadMessage("sidecar: no list, or one too long")
    return [Sidecar.of(one) for one in listed]


def seal_taken(node_id: str, records: Sequence[bytes], key: Signer) -> bytes:
    """Central's answer: the sidecars of these records are held or, where their owner is erased, will never be."""
    return _sealed("sidecar-ack", {"node": node_id, "taken": [one.hex() for one in records]}, key)


def open_taken(node_id: str, data: bytes, key: PublicKey) -> list[bytes]:
    """Verify and read central's answer; raises BadMessage."""
    listed = _opened("sidecar-ack", node_id, data, key).get("taken")
    if not isinstance(listed, list) or len(listed) > MAX_SIDECARS:
        raise BadMessage("sidecar-ack: no list, or one too long")
    try:
        return [hex_bytes(one) for one in listed]
    except SyncError as error:
        raise BadMessage(f"sidecar-ack: {error}") from error


def _sealed(domain: Domain, fields: Fields, key: Signer) -> bytes:
    body = canonical.encode({"v": VERSION, **fields})
    return key.sign(domain, body) + body


def _opened(domain: Domain, node_id: str, data: bytes, key: PublicKey) -> Fields:
    if not SIGNATURE_BYTES < len(data) <= MAX_SIDECAR_BYTES:
        raise BadMessage(f"{domain}: {len(data)} bytes are too few or too many")
    if not key.verify(domain, data[SIGNATURE_BYTES:], data[:SIGNATURE_BYTES]):
        raise BadMessage(f"{domain}: not signed by key {key.key_id}")
    try:
        fields = canonical.decode(data[SIGNATURE_BYTES:])
    except NotCanonical as error:
        raise BadMessage(f"{domain}: {error}") from error
    if fields.get("v") != VERSION or fields.get("node") != node_id:
        raise BadMessage(f"{domain}: of another version or node")
    return fields
