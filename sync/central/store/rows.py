"""What the store answers with: nodes, visits and records as pages and commands show them."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from sync.canonical import Fields

ChainState: TypeAlias = Literal["ok", "fork", "quarantined", "revoked"]
Decision: TypeAlias = Literal["seen", "first", "return", "unsure"]


@dataclass(frozen=True, slots=True)
class CameraHealth:
    """One camera in a node's newest `node.alive`; None where the node did not say."""

    camera_id: str
    frames: int | None
    longest_gap_us: int | None
    luma_e6: int | None
    sharpness_e6: int | None
    dropped: int | None


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
class Refusal:
    """What central would not take, counted by node ("" for all not enrolled) and reason; detail: of the newest."""

    node_id: str
    reason: str
    count: int
    last_us: int
    detail: str
