"""What a frame holds, before any of it is judged: every body parsed and hashed, and its signature tried.

A signature costs more than everything else done for a record, so processes of their own may read ahead (`readers.py`).
They tell their findings, and a record is the same whoever read it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sync.format.keyring import signature_verifies
from sync.format.records import BadRecord, Record, parse, parse_again
from sync.format.signing import PublicKey
from sync.format.wire import SignedBody, decode_frame

Keys: TypeAlias = Mapping[str, PublicKey]
"""The keys that may have signed a frame, by their ids."""
Finding: TypeAlias = str | tuple[bytes, bool | None]
"""Of one record: why its body says nothing; or its hash, and whether the key it names signed it, None where that key is
not among those given."""


@dataclass(frozen=True, slots=True)
class Read:
    """A record of a frame. record: what its body says, or why it says nothing.

    key: with which its signature was tried already, None where that is still to be done; signed: whether it held.
    """

    body: SignedBody
    record: Record | BadRecord
    key: PublicKey | None = None
    signed: bool = False

    def verifies(self, key: PublicKey, record: Record) -> bool:
        """Whether the key signed this record."""
        return self.signed if key == self.key else signature_verifies(key, record)


def read_frame(payload: bytes) -> list[Read]:
    """Everything in a frame, no signature tried; raises BadFrame."""
    return [Read(body, _record(body)) for body in decode_frame(payload)]


def find(payload: bytes, keys: Keys) -> list[Finding]:
    """What `read_found` needs to read the frame without parsing or verifying it again; raises BadFrame."""
    findings = list[Finding]()
    for body in decode_frame(payload):
        record = _record(body)
        if isinstance(record, BadRecord):
            findings.append(str(record))
        else:
            key = keys.get(record.key_id)
            findings.append((record.hash, None if key is None else signature_verifies(key, record)))
    return findings


def read_found(payload: bytes, keys: Keys, findings: Sequence[Finding]) -> list[Read]:
    """`read_frame` of a frame in which somebody of ours has found all this with these keys."""
    return [_read(body, keys, found) for body, found in zip(decode_frame(payload), findings, strict=True)]


def _read(body: SignedBody, keys: Keys, found: Finding) -> Read:
    if isinstance(found, str):
        return Read(body, BadRecord(found))
    digest, signed = found
    record = parse_again(body.body, body.signature, digest)
    return Read(body, record) if signed is None else Read(body, record, keys[record.key_id], signed)


def _record(body: SignedBody) -> Record | BadRecord:
    try:
        return parse(body.body, body.signature)
    except BadRecord as error:
        return error
