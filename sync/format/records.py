"""A record: the exact signed bytes of one fact, and the chain that orders them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import orjson

from sync import SyncError
from sync.format import canonical
from sync.format.canonical import Fields
from sync.format.signing import Signer, digest
from sync.format.stamp import Stamp
from sync.format.stamp import check as check_stamp

Role: TypeAlias = Literal["node", "desk"]

VERSION = 1
MAX_BODY_BYTES = 8 * 1024
GENESIS_PREV = "0" * 64  # what the first record of epoch 1 follows
ENVELOPE = frozenset(("v", "node", "epoch", "seq", "prev", "kind", "key", "at", "anchor"))
_HEX64 = re.compile(r"[0-9a-f]{64}")
_KEY_ID = re.compile(r"[0-9a-f]{32}")
_KIND = re.compile(r"[a-z][a-z0-9._-]{0,63}")  # it is printed, so a later version's may not be free text either
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_NODE_KINDS = (
    "node.boot node.alive node.stopped epoch.started key.rotated clock.step place.outside place.changed storage.full "
    "policy.changed notice.applied retention.run camera.up camera.down camera.blind camera.moved camera.changed "
    "visit.seen visit.first visit.return visit.unsure visit.reentry visit.left"
)
_DESK_KINDS = (
    "visit.checkin visit.corrected visit.approved visit.assigned code.refused day.closed consent.given "
    "consent.withdrawn person.enrolled person.expired person.erased person.merged person.split access.digest "
    "export.made"
)
ROLE_OF_KIND: Mapping[str, Role] = {
    **dict.fromkeys(_NODE_KINDS.split(), "node"),
    **dict.fromkeys(_DESK_KINDS.split(), "desk"),
}
"""Which key may sign a kind. A kind that is not listed is a later version's: any enrolled key may."""


class BadRecord(SyncError):
    """A record that no verifier may accept; the text says why."""


def valid_name(text: str) -> bool:
    """Whether `text` can name a node or a site: it becomes part of a topic and of file names."""
    return _NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Record:
    """One signed fact.

    body: the exact signed bytes. hash: 32 bytes. signature: 64 bytes. fields: the parsed body.
    """

    node_id: str
    epoch: int
    seq: int
    kind: str
    body: bytes
    hash: bytes
    prev_hash: bytes
    signature: bytes
    key_id: str
    fields: Fields

    @property
    def stamp(self) -> Stamp:
        return Stamp.parse(self.fields["at"])


def seal(fields: Fields, signer: Signer) -> Record:
    """Sign `fields` (a whole body, envelope included) and return the record.

    Raises BadRecord or NotCanonical where the result would not verify.
    """
    body = canonical.encode(fields)
    return parse(body, signer.sign("record-sig", body))


def parse(body: bytes, signature: bytes) -> Record:
    """Read a record's body strictly, without judging its signature; raises BadRecord saying what is wrong."""
    if len(body) > MAX_BODY_BYTES:
        raise BadRecord(f"body of {len(body)} bytes, at most {MAX_BODY_BYTES} are allowed")
    if len(signature) != 64:
        raise BadRecord(f"signature of {len(signature)} bytes instead of 64")
    try:
        fields = canonical.decode(body)
        check_stamp(fields.get("at"))
    except SyncError as error:
        raise BadRecord(str(error)) from error
    if fields.get("v") != VERSION:
        raise BadRecord(f"version {fields.get('v')!r}, this one reads {VERSION}")
    node_id, prev, kind, key_id = (_text(fields, name) for name in ("node", "prev", "kind", "key"))
    if not valid_name(node_id):
        raise BadRecord(f"node {node_id!r} is not a name")
    if not _KIND.fullmatch(kind):
        raise BadRecord(f"kind {kind[:64]!r} is not a kind")
    if not _HEX64.fullmatch(prev):
        raise BadRecord("prev is not 64 hex digits")
    if not _KEY_ID.fullmatch(key_id):
        raise BadRecord("key is not 32 hex digits")
    if "anchor" in fields:
        _check_anchor(fields["anchor"])
    _positive(fields, "epoch")
    _positive(fields, "seq")
    return _record(fields, body, digest("record-hash", body), signature)


def parse_again(body: bytes, signature: bytes, hash_: bytes) -> Record:
    """Read a record that `parse` has read before, here or in another process of ours, with the hash it found then."""
    return _record(orjson.loads(body), body, hash_, signature)


def place(epoch: int, seq: int) -> str:
    """Return how people name a record: `seq 17`, in a later epoch `epoch 2 seq 17`."""
    return f"seq {seq}" if epoch == 1 else f"epoch {epoch} seq {seq}"


def _record(fields: Fields, body: bytes, hash_: bytes, signature: bytes) -> Record:
    return Record(
        node_id=fields["node"],
        epoch=fields["epoch"],
        seq=fields["seq"],
        kind=fields["kind"],
        body=body,
        hash=hash_,
        prev_hash=bytes.fromhex(fields["prev"]),
        signature=signature,
        key_id=fields["key"],
        fields=fields,
    )


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise BadRecord(f"{name}: {value!r} is not a text")
    return value


def _positive(fields: Fields, name: str) -> None:
    value = fields.get(name)
    if type(value) is not int or value < 1:
        raise BadRecord(f"{name}: {value!r} is not a whole number of 1 or more")


def _check_anchor(anchor: Any) -> None:
    if not isinstance(anchor, dict) or type(anchor.get("central_time_us")) is not int:
        raise BadRecord("anchor.central_time_us is not a whole number")
    if not isinstance(anchor.get("ack_hash"), str) or not _HEX64.fullmatch(anchor["ack_hash"]):
        raise BadRecord("anchor.ack_hash is not 64 hex digits")
