"""What the store answers with: nodes, visits and records as pages and commands show them."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import orjson

from sync import SyncError
from sync.format.canonical import Fields
from sync.format.log_proof import LogHead
from sync.format.messages import Notice
from sync.format.stamp import Stamp
from sync.format.visit_fields import Decision, number_of, settle, text_of

ChainState: TypeAlias = Literal["ok", "fork"]


class BadRow(SyncError):
    """A row that says what nothing of ours has written. The database goes on: it concerns one node."""


@dataclass(frozen=True, slots=True)
class CameraHealth:
    """One camera in a node's newest `node.alive`; None where the node did not say."""

    camera_id: str
    frames: int | None
    longest_gap_us: int | None
    luma_e6: int | None
    sharpness_e6: int | None
    dropped: int | None

    @classmethod
    def read(cls, fields: Fields) -> "CameraHealth":
        return cls(
            text_of(fields, "camera") or "",
            *(number_of(fields, name) for name in ("frames", "longest_gap_us", "luma_e6", "sharpness_e6", "dropped")),
        )


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node as central sees it.

    epoch, seq: the end of its chain here, 0 before the first record. head_received_us: when that one arrived.
    chain: judged by central. online, last_seen_us, claimed_seq, claimed_acked: the node's own unsigned word (a
    retained status), None before the first. lag: records the node claims beyond those held here. clock_source and
    clock_maxerror_us: the stamp of the newest record. pack: of the newest record that names one. alive_us: wall
    time of the newest `node.alive`, whose cameras these are. pending_notices: sent and not yet answered.
    """

    node_id: str
    site_id: str
    fingerprint: str
    enrolled_us: int
    chain: ChainState
    epoch: int
    seq: int
    head_received_us: int | None
    online: bool
    last_seen_us: int | None
    claimed_seq: int | None
    claimed_acked: int | None
    lag: int | None
    clock_source: str | None
    clock_maxerror_us: int | None
    pack: str | None
    alive_us: int | None
    cameras: tuple[CameraHealth, ...]
    pending_notices: int


@dataclass(frozen=True, slots=True)
class VisitRow:
    """A visit as its node signed it, with the newest correction of the desk applied.

    decision: after corrections; original_decision: the node's own. person_id: after corrections. camera_id, source
    ("rtsp", "usb", "file"), grade, pack, similarity_e6, margin_e6, quality_e6 as signed, None where absent.
    gallery_n, gallery_since_us, unconsented_horizon_s: what "first" was compared with. test: from a file, never
    evidence. cursor: pass it as `before` to read on from here.
    """

    node_id: str
    site_id: str
    epoch: int
    seq: int
    visit_id: str
    person_id: str | None
    decision: Decision
    original_decision: Decision
    corrected: bool
    arrived_us: int
    received_us: int
    camera_id: str | None
    source: str | None
    grade: str | None
    pack: str | None
    similarity_e6: int | None
    margin_e6: int | None
    quality_e6: int | None
    gallery_n: int | None
    gallery_since_us: int | None
    unconsented_horizon_s: int | None
    party: int | None
    clock_source: str
    clock_maxerror_us: int
    test: bool
    hash: bytes
    cursor: tuple[int, int]

    @classmethod
    def read(
        cls,
        correction: tuple[Fields, bytes] | None,
        decision: tuple[Fields, bytes] | None,
        order_us: int,
        tie: int,
        node_id: str,
        site_id: str,
        epoch: int,
        seq: int,
        kind: str,
        body: bytes,
        digest: bytes,
        received_us: int,
    ) -> "VisitRow":
        """Read a stored visit.

        correction: body and hash of its newest `visit.corrected`; decision: of the decision made when the visitor, only
        seen before, had consented. None without one.
        """
        fields: Fields = orjson.loads(body)
        stamp = Stamp.parse(fields["at"])
        if decision is not None and kind == "visit.seen":
            fields, digest = decision
            kind, epoch, seq = fields["kind"], fields["epoch"], fields["seq"]
        settled = settle(kind, fields, correction[0] if correction is not None else None)
        visit_id = text_of(fields, "visit") or ""
        arrived_us = number_of(fields, "arrived_us")
        arrived_us = stamp.wall_us if arrived_us is None else arrived_us
        return cls(
            node_id=node_id,
            site_id=site_id,
            epoch=epoch,
            seq=seq,
            visit_id=visit_id,
            person_id=settled.person_id,
            decision=settled.decision,
            original_decision=settled.original,
            corrected=settled.corrected,
            arrived_us=arrived_us,
            received_us=received_us,
            camera_id=text_of(fields, "camera"),
            source=text_of(fields, "source"),
            grade=text_of(fields, "grade"),
            pack=text_of(fields, "pack"),
            similarity_e6=number_of(fields, "similarity_e6"),
            margin_e6=number_of(fields, "margin_e6"),
            quality_e6=number_of(fields, "quality_e6"),
            gallery_n=number_of(fields, "gallery_n"),
            gallery_since_us=number_of(fields, "gallery_since_us"),
            unconsented_horizon_s=number_of(fields, "unconsented_horizon_s"),
            party=number_of(fields, "party"),
            clock_source=stamp.source,
            clock_maxerror_us=stamp.maxerror_us,
            test=fields.get("source") == "file",
            hash=digest,
            cursor=(order_us, tie),
        )


@dataclass(frozen=True, slots=True)
class RecordRow:
    """A record as stored, and its parsed body."""

    node_id: str
    epoch: int
    seq: int
    kind: str
    hash: bytes
    prev_hash: bytes
    signature: bytes
    received_us: int
    body: bytes
    fields: Fields


@dataclass(frozen=True, slots=True)
class SignedBack:
    """A head of central's log as a node signed it in its `node.alive` at (epoch, seq); matches: this log had it."""

    node_id: str
    epoch: int
    seq: int
    head: LogHead
    matches: bool


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """A notice to a node. applied_us: when its answer was committed, None while it is open."""

    nseq: int
    kind: str
    hash: bytes
    data: bytes
    created_us: int
    applied_us: int | None

    @property
    def body(self) -> Fields:
        """What it orders; raises BadMessage where it is damaged, which its node finds too."""
        return Notice.unverified(self.data).body

    @classmethod
    def read(
        cls, nseq: int, digest: bytes, kind: str, data: bytes, created_us: int, applied_us: int | None
    ) -> "NoticeRow":
        return cls(nseq, kind, bytes(digest), bytes(data), created_us, applied_us)


@dataclass(frozen=True, slots=True)
class Timestamp:
    """An RFC 3161 answer over the signed note of the log's checkpoint of a size; at_us: when it came."""

    at_us: int
    size: int
    note: str
    token: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """What central would not take, counted by node ("" for all not enrolled) and reason; detail: of the newest."""

    node_id: str
    reason: str
    count: int
    last_us: int
    detail: str
