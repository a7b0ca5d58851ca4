"""The corrections that offices ask for, what their desks have recorded of them, and head office's own word."""

from dataclasses import dataclass

import orjson

from sync.central.store.batch import Batch
from sync.central.store.database import Database, Migration, Row
from sync.central.store.evidence import Evidence
from sync.central.store.notices import Notices, Seal
from sync.format.canonical import Fields
from sync.format.messages import Notice
from sync.format.source import CHANGES, CHECKED_IN, Verdict
from sync.format.visit_fields import number_of, text_of
from sync.storage.arrivals import AskedRow, WordRow, asked_row, word_row


def _fill(database: Database) -> None:
    """List the proposals, and the words on them, among the records already held."""
    held = [row for row in Evidence(database).records() if row.kind in ("visit.corrected", "visit.approved")]
    asked = (asked_row(row.node_id, row.fields, row.hash, row.received_us) for row in held)
    words = (word_row(row.node_id, row.fields) for row in held)
    database.many(_ADD_ASKED, [one for one in asked if one is not None])
    database.many(_ADD_WORD, [one for one in words if one is not None])


_ADD_ASKED = (
    "INSERT INTO asked_corrections (node_id, proposal, epoch, seq, received_us) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT DO NOTHING"
)
_ADD_WORD = "INSERT INTO desk_words VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
MIGRATIONS = (
    Migration(
        "asked corrections",
        (
            "CREATE TABLE asked_corrections (node_id TEXT NOT NULL, proposal BLOB NOT NULL, epoch INTEGER NOT NULL,"
            " seq INTEGER NOT NULL, received_us INTEGER NOT NULL, nseq INTEGER, verdict TEXT, account_id TEXT,"
            " answered_us INTEGER, PRIMARY KEY (node_id, proposal))",
            "CREATE INDEX asked_corrections_newest ON asked_corrections (received_us)",
            "CREATE TABLE desk_words (node_id TEXT NOT NULL, proposal BLOB NOT NULL, epoch INTEGER NOT NULL,"
            " seq INTEGER NOT NULL, PRIMARY KEY (node_id, proposal, epoch, seq))",
        ),
        _fill,
    ),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """Head office's word on a correction. nseq: of the notice that says it; applied_us: None until the node answers."""

    nseq: int
    verdict: str
    account_id: str
    answered_us: int
    applied_us: int | None


@dataclass(frozen=True, slots=True)
class DeskWord:
    """A word that a node's desk has recorded, in whoever's name."""

    epoch: int
    seq: int
    verdict: str
    account_id: str
    office: str


@dataclass(frozen=True, slots=True)
class AskedCorrection:
    """A correction that an office asks for. changes: to what; registered: as the check-in has it that it is about.

    proposal: the record's hash in hex; epoch, seq: its place. asked_us: by the node's clock.
    """

    node_id: str
    site_id: str
    proposal: str
    epoch: int
    seq: int
    received_us: int
    asked_us: int
    visit_id: str
    reason: str
    account_id: str
    office: str
    changes: Fields
    registered: Fields
    words: tuple[DeskWord, ...]
    answer: Answer | None


class Corrections(Evidence, Notices):
    def corrections(self, limit: int) -> list[AskedCorrection]:
        """Those without head office's word first, the longest waiting before the others; then the newest first.

        However many an office asks for, none is pushed off the list unanswered.
        """
        age = "CASE WHEN a.nseq IS NULL THEN a.received_us ELSE -a.received_us END"
        return self._asked(f"ORDER BY (a.nseq IS NOT NULL), {age}, a.proposal LIMIT ?", (limit,))

    def correction(self, node_id: str, proposal: str) -> AskedCorrection | None:
        """The one of this hash, 64 hex digits."""
        found = self._asked("AND a.node_id = ? AND a.proposal = ?", (node_id, bytes.fromhex(proposal)))
        return found[0] if found else None

    def answer_correction(
        self, node_id: str, proposal: str, verdict: Verdict, account_id: str, seal: Seal, now_us: int
    ) -> Notice | None:
        """Add the notice that gives head office's word, the first one; None where there is one already."""
        key = node_id, bytes.fromhex(proposal)
        with self._db.transaction():
            open_ = "SELECT 1 FROM asked_corrections WHERE node_id = ? AND proposal = ? AND nseq IS NULL"
            if not self._db.query(open_, key):
                return None
            notice = self._append_notice(node_id, seal, now_us)
            self._db.execute(
                "UPDATE asked_corrections SET nseq = ?, verdict = ?, account_id = ?, answered_us = ?"
                " WHERE node_id = ? AND proposal = ?",
                (notice.nseq, verdict, account_id, now_us, *key),
            )
        return notice

    def _asked(self, which: str, values: tuple[object, ...]) -> list[AskedCorrection]:
        rows = self._db.query(
            "SELECT a.node_id, n.site_id, a.proposal, a.epoch, a.seq, a.received_us, r.body, a.nseq, a.verdict,"
            " a.account_id, a.answered_us, w.applied_us FROM asked_corrections AS a"
            " JOIN nodes AS n ON n.node_id = a.node_id JOIN records AS r ON r.node_id = a.node_id"
            " AND r.epoch = a.epoch AND r.seq = a.seq"
            " LEFT JOIN notices AS w ON w.node_id = a.node_id AND w.nseq = a.nseq WHERE 1 = 1 " + which,
            values,
        )
        return [self._read(row) for row in rows]

    def _read(self, row: Row) -> AskedCorrection:
        node_id, site_id, proposal, epoch, seq, received_us, body, *answered = row
        fields = orjson.loads(body)
        checkin = self.held(node_id, number_of(fields, "checkin_epoch") or 0, number_of(fields, "checkin_seq") or 0)
        return AskedCorrection(
            node_id=node_id,
            site_id=site_id,
            proposal=bytes(proposal).hex(),
            epoch=epoch,
            seq=seq,
            received_us=received_us,
            asked_us=fields["at"]["wall_us"],
            visit_id=_text(fields, "visit"),
            reason=_text(fields, "reason"),
            account_id=_text(fields, "account"),
            office=_text(fields, "office"),
            changes=_changes(fields),
            registered=_registered(fields, checkin[1]) if checkin is not None else {},
            words=tuple(self._words(node_id, bytes(proposal))),
            answer=Answer(*answered) if answered[0] is not None else None,
        )

    def _words(self, node_id: str, proposal: bytes) -> list[DeskWord]:
        rows = self._db.query(
            "SELECT w.epoch, w.seq, r.body FROM desk_words AS w JOIN records AS r ON r.node_id = w.node_id"
            " AND r.epoch = w.epoch AND r.seq = w.seq WHERE w.node_id = ? AND w.proposal = ? ORDER BY w.epoch, w.seq",
            (node_id, proposal),
        )
        said = ((epoch, seq, orjson.loads(body)) for epoch, seq, body in rows)
        told = ("verdict", "account", "office")
        return [DeskWord(epoch, seq, *(_text(fields, name) for name in told)) for epoch, seq, fields in said]

    def _write_corrections_asked(self, batch: Batch) -> None:
        asked: list[AskedRow] = batch.asked_corrections
        words: list[WordRow] = batch.desk_words
        self._db.many(_ADD_ASKED, asked)
        self._db.many(_ADD_WORD, words)


def _text(fields: Fields, name: str) -> str:
    """A text of a body, cut: nodes write them as long as they like."""
    return (text_of(fields, name) or "")[:64]


def _registered(asked: Fields, body: bytes) -> Fields:
    """What a check-in says that an office wants corrected; nothing of one of another visit, whatever it names."""
    checkin = orjson.loads(body)
    same = checkin.get("kind") == CHECKED_IN and checkin.get("visit") == asked.get("visit")
    return _changes(checkin) if same else {}


def _changes(fields: Fields) -> Fields:
    """All that would count, in the order it is told; a value of no kind that a desk writes is shown as that."""
    told = {name: fields[name] for name in CHANGES if name in fields}
    return {name: value if isinstance(value, str | int) else "?" for name, value in told.items()}
