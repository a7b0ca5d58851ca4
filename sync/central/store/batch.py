"""What one durable commit writes."""

from dataclasses import dataclass, field
from typing import TypeAlias

from sync.central.store.rows import ChainState, SignedBack
from sync.format.accounts import changes_of
from sync.format.canonical import Fields
from sync.format.messages import Status
from sync.format.notices import ERASURE_REASONS, PROOFS
from sync.format.records import Record
from sync.format.visit_fields import face_withdrawn, text_of
from sync.storage.arrivals import (
    Arrival,
    AskedRow,
    CodeUse,
    Correction,
    WordRow,
    arrival,
    asked_row,
    code_use,
    correction,
    word_row,
)

EvidenceRow: TypeAlias = tuple[str, int, int, str, bytes, bytes, bytes, bytes, int]
"""A row of `records`, its columns in order."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Somebody a record at (epoch, seq) says is forgotten at its node.

    asked: somebody asked for it, so others are told. at_us: when that came here. withdrawn_us: of a consent that was
    taken back, when, by the node's clock and never later than it came here. proven: the record says that a code sent to
    that phone came back.
    """

    node_id: str
    subject: str
    epoch: int
    seq: int
    reason: str
    asked: bool
    at_us: int
    withdrawn_us: int | None = None
    proven: bool = False


@dataclass(slots=True)
class Batch:
    """Mutable while the ingest judges frames, then handed over; each part is written by the module that owns it."""

    evidence: list[EvidenceRow] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    corrections: list[Correction] = field(default_factory=list)
    code_uses: list[CodeUse] = field(default_factory=list)
    rotations: list[tuple[str, int, int]] = field(default_factory=list)  # node, epoch, seq
    quarantine: list[tuple[str, int, int, bytes, bytes, bytes, int, str]] = field(default_factory=list)
    states: dict[str, ChainState] = field(default_factory=dict)
    packs: dict[str, str] = field(default_factory=dict)
    alive: dict[str, tuple[int, list[Fields]]] = field(default_factory=dict)
    signed_back: dict[str, SignedBack] = field(default_factory=dict)
    applied: list[tuple[int, str, int, bytes]] = field(default_factory=list)
    refusals: list[tuple[str, str, int, str]] = field(default_factory=list)
    erased: list[Forgotten] = field(default_factory=list)
    reached: list[tuple[int, str, str]] = field(default_factory=list)  # when, node, whose order it has followed wholly
    asked_corrections: list[AskedRow] = field(default_factory=list)
    desk_words: list[WordRow] = field(default_factory=list)
    account_changes: list[tuple[str, str, int, int, str, str, str, int]] = field(default_factory=list)
    undone: list[tuple[str, str, int, int, int]] = field(default_factory=list)  # node, hash of a check-in taken back
    seen: dict[str, int] = field(default_factory=dict)
    statuses: list[tuple[Status, int]] = field(default_factory=list)  # each with when it came

    def __bool__(self) -> bool:
        return bool(self.evidence or self.quarantine or self.states or self.refusals or self.seen or self.statuses)

    def keep(self, record: Record, now_us: int) -> None:
        """Keep a record, received now, and what the lists of visits say of it."""
        self.evidence.append(
            (
                record.node_id,
                record.epoch,
                record.seq,
                record.kind,
                record.body,
                record.hash,
                record.prev_hash,
                record.signature,
                now_us,
            )
        )
        self._keep_erasure(record, now_us)
        self.account_changes += [
            (record.node_id, one.account_id, record.epoch, record.seq, one.act, one.role, one.office, now_us)
            for one in changes_of(record.kind, record.fields)
        ]
        if record.kind == "key.rotated":
            self.rotations.append((record.node_id, record.epoch, record.seq))
        if (listed := arrival(record.node_id, record.fields, record.hash, now_us)) is not None:
            self.arrivals.append(listed)
        if (corrects := correction(record.node_id, record.fields)) is not None:
            self.corrections.append(corrects)
        if (asked := asked_row(record.node_id, record.fields, record.hash, now_us)) is not None:
            self.asked_corrections.append(asked)
        if (word := word_row(record.node_id, record.fields)) is not None:
            self.desk_words.append(word)
        if (shown := code_use(record.node_id, record.fields)) is not None:
            self.code_uses.append(shown)

    def _keep_erasure(self, record: Record, now_us: int) -> None:
        """Whom a record says are forgotten at its node, and of whom nothing at all is left there."""
        at = record.epoch, record.seq
        reason = text_of(record.fields, "reason") or "legal"
        if record.kind == "person.erased" and (person := text_of(record.fields, "person")):
            known = reason if reason in ERASURE_REASONS else "legal"
            proven = text_of(record.fields, "proof") in PROOFS
            self.erased.append(Forgotten(record.node_id, person, *at, known, True, now_us, proven=proven))
        elif record.kind == "retention.run":
            for person in _texts(record.fields.get("expired")):
                if person.startswith("c-"):  # an owner of a phone: of faces there is nothing here
                    self.erased.append(Forgotten(record.node_id, person, *at, "legal", False, now_us))
        elif (person := face_withdrawn(record.fields)) is not None:
            withdrawn_us = min(record.stamp.wall_us, now_us)
            self.erased.append(Forgotten(record.node_id, person, *at, "consent_withdrawn", True, now_us, withdrawn_us))
        if record.kind == "visit.checkin" and (undone := text_of(record.fields, "undoes")):
            self.undone.append((record.node_id, undone, *at, now_us))
        if record.kind in ("person.erased", "consent.withdrawn", "retention.run"):
            done = _texts(record.fields.get("reached")) + _texts(record.fields.get("kept"))
            self.reached += [(now_us, record.node_id, person) for person in done]


def _texts(value: object) -> list[str]:
    """The texts of a list; central judges envelopes, so a body may hold anything there."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
