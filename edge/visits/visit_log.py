"""The visits of a ledger as people and programs read them: each decision with what the desk said of it later."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sync.format.canonical import Fields
from sync.format.notices import KeyRevoked
from sync.format.records import Record
from sync.format.stamp import from_us, rfc3339, to_us
from sync.format.visit_fields import CORRECTED, DECISION_OF_KIND, Decision, settle, settles, taken_out
from sync.format.void import voided_by
from sync.node.ledger import Ledger


@dataclass(frozen=True, slots=True)
class LoggedVisit:
    """One visit. decision: as corrected; original_decision: the node's own. similarity, margin: -1..1.

    person_id, similarity, margin, pack: None where nobody was compared, or with nobody. record: the decision's. void:
    why it proves nothing, being signed after its key was revoked; None where it counts. split_from: of whom the
    desk has said that this visit was not.
    """

    visit_id: str
    person_id: str | None
    decision: Decision
    original_decision: Decision
    arrived_at: datetime
    camera_id: str
    similarity: float | None
    margin: float | None
    grade: str
    pack: str | None
    acked: bool
    record: Record
    void: str | None = None
    split_from: str | None = None

    def listed(self) -> dict[str, Any]:
        """The row as `firstvisit visits --json` prints it; times are RFC 3339."""
        return {
            "visit_id": self.visit_id,
            "person_id": self.person_id,
            "decision": self.decision,
            "original_decision": self.original_decision,
            "compared_with": self.record.fields.get("gallery_n"),
            "arrived_at": rfc3339(to_us(self.arrived_at)),
            "camera_id": self.camera_id,
            "zone": self.record.fields.get("zone"),
            "party_id": self.record.fields.get("party_id"),
            "agents": self.record.fields.get("agents", []),
            "similarity": self.similarity,
            "margin": self.margin,
            "grade": self.grade,
            "pack": self.pack,
            "acked": self.acked,
            "seq": self.record.seq,
            "hash": self.record.hash.hex(),
            "void": self.void,
            "split_from": self.split_from,
        }


def visit_log(ledger: Ledger, after: tuple[int, int] = (0, 0)) -> list[LoggedVisit]:
    """Every visit decided after (epoch, seq), oldest first, with its newest correction applied that is not void."""
    acked, revoked = ledger.acked_upto(), ledger.revoked()
    decided: dict[str, Record] = {}
    corrections: dict[str, Fields] = {}
    split: dict[str, str] = {}
    for record in ledger.records((*DECISION_OF_KIND, CORRECTED, "person.split"), after):
        if record.kind in DECISION_OF_KIND:
            decided[record.fields["visit"]] = record
        elif voided_by(revoked, record.key_id, (record.epoch, record.seq)):
            continue
        elif (taken_from := taken_out(record.fields)) is not None:
            split[record.fields["visit"]] = taken_from
        elif settles(record.fields) and record.kind == CORRECTED:
            corrections[record.fields["visit"]] = record.fields
    return [
        _row(record, corrections.get(visit_id), split.get(visit_id), acked, revoked)
        for visit_id, record in decided.items()
    ]


def _row(
    record: Record,
    correction: Fields | None,
    split_from: str | None,
    acked: tuple[int, int],
    revoked: Sequence[KeyRevoked],
) -> LoggedVisit:
    fields = record.fields
    settled = settle(record.kind, fields, correction)
    void = voided_by(revoked, record.key_id, (record.epoch, record.seq))
    return LoggedVisit(
        visit_id=fields["visit"],
        person_id=settled.person_id,
        decision=settled.decision,
        original_decision=settled.original,
        arrived_at=from_us(fields["arrived_us"]),
        camera_id=fields["camera"],
        similarity=_fraction(fields.get("similarity_e6")),
        margin=_fraction(fields.get("margin_e6")),
        grade=fields["grade"],
        pack=fields.get("pack"),
        acked=(record.epoch, record.seq) <= acked,
        record=record,
        void=void.reason if void else None,
        split_from=split_from,
    )


def _fraction(value_e6: int | None) -> float | None:
    return None if value_e6 is None else value_e6 / 1e6
