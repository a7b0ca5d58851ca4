"""The visits of a ledger as people and programs read them: each decision with what the desk said of it later."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sync.ledger import Ledger
from sync.records import Record

DECISION_KINDS = ("visit.seen", "visit.first", "visit.return", "visit.unsure")
KINDS = (*DECISION_KINDS, "visit.corrected")


@dataclass(frozen=True, slots=True)
class VisitRow:
    """One visit. decision: as corrected; original_decision: the node's own. similarity, margin: -1..1.

    person_id, similarity, margin, pack: None where nobody was compared, or with nobody. record: the decision's.
    """

    visit_id: str
    person_id: str | None
    decision: str
    original_decision: str
    arrived_at: datetime
    camera_id: str
    similarity: float | None
    margin: float | None
    grade: str
    pack: str | None
    acked: bool
    record: Record

    def listed(self) -> dict[str, Any]:
        """The row as `firstvisit visits --json` prints it; times are RFC 3339."""
        return {
            "visit_id": self.visit_id,
            "person_id": self.person_id,
            "decision": self.decision,
            "original_decision": self.original_decision,
            "arrived_at": self.arrived_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "camera_id": self.camera_id,
            "similarity": self.similarity,
            "margin": self.margin,
            "grade": self.grade,
            "pack": self.pack,
            "acked": self.acked,
            "seq": self.record.seq,
            "hash": self.record.hash.hex(),
        }


def visit_log(ledger: Ledger, after: tuple[int, int] = (0, 0)) -> list[VisitRow]:
    """Every visit decided after (epoch, seq), oldest first, with its newest correction applied."""
    acked = ledger.acked_upto()
    rows: dict[str, VisitRow] = {}
    for record in ledger.records(KINDS, after):
        fields = record.fields
        if record.kind != "visit.corrected":
            row = _row(record, acked)
            rows[row.visit_id] = row
        elif fields["visit"] in rows:
            rows[fields["visit"]] = _corrected(rows[fields["visit"]], fields)
    return list(rows.values())


def _row(record: Record, acked: tuple[int, int]) -> VisitRow:
    fields = record.fields
    decision = record.kind.removeprefix("visit.")
    return VisitRow(
        visit_id=fields["visit"],
        person_id=fields.get("person"),
        decision=decision,
        original_decision=decision,
        arrived_at=datetime.fromtimestamp(fields["arrived_us"] / 1e6, UTC),
        camera_id=fields["camera"],
        similarity=_fraction(fields.get("similarity_e6")),
        margin=_fraction(fields.get("margin_e6")),
        grade=fields["grade"],
        pack=fields.get("pack"),
        acked=(record.epoch, record.seq) <= acked,
        record=record,
    )


def _corrected(row: VisitRow, fields: dict[str, Any]) -> VisitRow:
    return VisitRow(
        visit_id=row.visit_id,
        person_id=fields.get("person", row.person_id),
        decision=fields.get("decision", row.decision),
        original_decision=row.original_decision,
        arrived_at=row.arrived_at,
        camera_id=row.camera_id,
        similarity=row.similarity,
        margin=row.margin,
        grade=row.grade,
        pack=row.pack,
        acked=row.acked,
        record=row.record,
    )


def _fraction(value_e6: int | None) -> float | None:
    return None if value_e6 is None else value_e6 / 1e6
