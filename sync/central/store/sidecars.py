"""Phones as nodes have sealed them, and whom the nodes have forgotten: beside the evidence, outside chain and log.

A row is deleted in the transaction that keeps the record of its owner's erasure. The same transaction works out which
other nodes know the same number, because afterwards nobody could.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sync.central.store.batch import Batch
from sync.central.store.database import Database, Migration
from sync.central.store.notices import Notices
from sync.format.messages import Notice
from sync.format.notices import Erase
from sync.format.sidecar import Sidecar

_HEX64 = re.compile("[0-9a-f]{64}")

SealFor = Callable[[str, int, bytes, Erase], Notice]
"""Makes a node's notice of this nseq, which follows the one of this hash."""

MIGRATIONS = (
    Migration(
        "sidecars",
        (
            "CREATE TABLE sidecars (node_id TEXT NOT NULL, record BLOB NOT NULL, epoch INTEGER NOT NULL,"
            " seq INTEGER NOT NULL, visit TEXT NOT NULL, person TEXT NOT NULL, contact TEXT NOT NULL,"
            " number_hmac BLOB NOT NULL, sealed BLOB NOT NULL, seal_key TEXT NOT NULL, received_us INTEGER NOT NULL,"
            " PRIMARY KEY (node_id, record))",
            "CREATE INDEX sidecars_of_number ON sidecars (number_hmac)",
            "CREATE INDEX sidecars_of_contact ON sidecars (node_id, contact)",
            "CREATE INDEX sidecars_of_visit ON sidecars (node_id, visit)",
            # who is forgotten, or (by its hash) which check-in was taken back: nothing of theirs is taken again.
            # asked: by a person.erased, so told to others
            "CREATE TABLE erased (node_id TEXT NOT NULL, subject TEXT NOT NULL, epoch INTEGER NOT NULL,"
            " seq INTEGER NOT NULL, erased_us INTEGER NOT NULL, reason TEXT NOT NULL, asked INTEGER NOT NULL,"
            " answered_us INTEGER, PRIMARY KEY (node_id, subject))",
            # what other nodes are told of it, and when they have confirmed
            "CREATE TABLE erasure_words (node_id TEXT NOT NULL, subject TEXT NOT NULL, to_node TEXT NOT NULL,"
            " to_subject TEXT NOT NULL, nseq INTEGER, confirmed_us INTEGER,"
            " PRIMARY KEY (node_id, subject, to_node, to_subject))",
            "CREATE INDEX erasure_words_to ON erasure_words (to_node, to_subject)",
        ),
    ),
    # of a consent taken back: when, by the clock of its node; NULL of an erasure, which spares no later consent
    Migration("withdrawals", ("ALTER TABLE erased ADD COLUMN withdrawn_us INTEGER",)),
    # a face is told of with the erasure of a proven phone, for the reason and with the time of its own
    Migration(
        "proofs",
        (
            "ALTER TABLE erasure_words ADD COLUMN reason TEXT",
            "ALTER TABLE erasure_words ADD COLUMN withdrawn_us INTEGER",
            "DELETE FROM erasure_words WHERE nseq IS NULL AND subject LIKE 'p-%'",  # noted when no proof was asked for
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Held:
    """A sidecar at central, of the check-in at (epoch, seq)."""

    node_id: str
    record: bytes
    epoch: int
    seq: int
    visit: str
    contact: str
    sealed: bytes
    seal_key: str
    received_us: int


@dataclass(frozen=True, slots=True)
class ErasedRow:
    """Somebody a node has forgotten because somebody asked. words: how many other nodes' people were told of."""

    node_id: str
    subject: str
    reason: str
    erased_us: int
    words: int
    confirmed: int
    answered_us: int | None


class Sidecars(Notices):  # what it forgets, other nodes are told by notices
    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._to_scrub = False  # something was deleted that may lie in the database's files still

    def scrub(self) -> None:
        """Leave nothing of deleted phones in the database's files; costs nothing where nothing was deleted."""
        if self._to_scrub:
            self._to_scrub = not self._db.scrub()

    def keep_sidecars(self, node_id: str, sidecars: Sequence[tuple[Sidecar, str, str]], now_us: int) -> None:
        """Keep sidecars, each with the visit and the person ("" for none) of its record, durably.

        Of somebody erased nothing is kept: a sidecar that comes late, or is played again, brings nobody back.
        """
        with self._db.transaction():
            for one, visit, person in sidecars:
                erased = self._db.query(
                    "SELECT 1 FROM erased WHERE node_id = ? AND subject IN (?, ?)",
                    (node_id, one.contact, one.record.hex()),
                )
                if not erased:
                    self._db.execute(
                        "INSERT INTO sidecars VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                        " ON CONFLICT (node_id, record) DO UPDATE SET number_hmac = excluded.number_hmac",
                        (
                            node_id,
                            one.record,
                            one.epoch,
                            one.seq,
                            visit,
                            person,
                            one.contact,
                            one.number_hmac,
                            one.sealed,
                            one.seal_key,
                            now_us,
                        ),
                    )

    def sidecars_of(self, node_id: str, visit: str) -> list[Held]:
        """The sealed phones of a visit, the newest check-in last."""
        rows = self._db.query(
            "SELECT node_id, record, epoch, seq, visit, contact, sealed, seal_key, received_us FROM sidecars"
            " WHERE node_id = ? AND visit = ? ORDER BY epoch, seq",
            (node_id, visit),
        )
        return [
            Held(node, bytes(record), epoch, seq, of, contact, bytes(sealed), seal_key, received_us)
            for node, record, epoch, seq, of, contact, sealed, seal_key, received_us in rows
        ]

    def sidecar_count(self) -> int:
        """How many phones are held here, sealed."""
        ((count,),) = self._db.query("SELECT count(*) FROM sidecars")
        return int(count)

    def erasures(self, limit: int = 100) -> list[ErasedRow]:
        """Who asked to be forgotten, the newest first, and how far that has come."""
        rows = self._db.query(
            "SELECT node_id, subject, reason, erased_us, answered_us FROM erased WHERE asked = 1"
            " ORDER BY erased_us DESC LIMIT ?",
            (limit,),
        )
        found = []
        for node_id, subject, reason, erased_us, answered_us in rows:
            ((words, confirmed),) = self._db.query(
                "SELECT count(*), count(confirmed_us) FROM erasure_words WHERE node_id = ? AND subject = ?",
                (node_id, subject),
            )
            found.append(ErasedRow(node_id, subject, reason, erased_us, words, confirmed, answered_us))
        return found

    def order_erasures(self, seal: SealFor, now_us: int) -> int:
        """Tell other nodes whom to forget, and who asked that all have done so; returns how many notices were written.

        Durably and once: a word and the mark that it was said are one commit.
        """
        said = 0
        with self._db.transaction():
            for node_id, subject, to_node, to_subject, reason, withdrawn_us in self._db.query(
                "SELECT w.node_id, w.subject, w.to_node, w.to_subject, coalesce(w.reason, e.reason), w.withdrawn_us"
                " FROM erasure_words w"
                " JOIN erased e ON e.node_id = w.node_id AND e.subject = w.subject WHERE w.nseq IS NULL"
                " ORDER BY w.to_node, w.to_subject LIMIT 100"
            ):
                said_to = Erase(to_subject, reason, withdrawn_us=withdrawn_us)
                nseq = self._say_erase(to_node, said_to, seal, now_us)
                self._db.execute(
                    "UPDATE erasure_words SET nseq = ? WHERE node_id = ? AND subject = ? AND to_node = ?"
                    " AND to_subject = ?",
                    (nseq, node_id, subject, to_node, to_subject),
                )
                said += 1
            for node_id, subject, reason in self._db.query(
                "SELECT node_id, subject, reason FROM erased WHERE asked = 1 AND answered_us IS NULL AND NOT EXISTS"
                " (SELECT 1 FROM erasure_words w WHERE w.node_id = erased.node_id AND w.subject = erased.subject"
                " AND w.confirmed_us IS NULL) ORDER BY erased_us LIMIT 100"
            ):
                ((others,),) = self._db.query(
                    "SELECT count(DISTINCT to_node) FROM erasure_words WHERE node_id = ? AND subject = ?",
                    (node_id, subject),
                )
                self._say_erase(node_id, Erase(subject, reason, int(others)), seal, now_us)
                self._db.execute(
                    "UPDATE erased SET answered_us = ? WHERE node_id = ? AND subject = ?", (now_us, node_id, subject)
                )
                said += 1
        return said

    def erasures_to_order(self) -> bool:
        """Whether `order_erasures` has something to say; asked often, and cheap."""
        return bool(
            self._db.query(
                "SELECT 1 FROM erasure_words WHERE nseq IS NULL UNION ALL"
                " SELECT 1 FROM erased WHERE asked = 1 AND answered_us IS NULL AND NOT EXISTS"
                " (SELECT 1 FROM erasure_words w WHERE w.node_id = erased.node_id AND w.subject = erased.subject"
                " AND w.confirmed_us IS NULL) LIMIT 1"
            )
        )

    def _say_erase(self, node_id: str, said: Erase, seal: SealFor, now_us: int) -> int:
        return self._append_notice(node_id, lambda nseq, prev: seal(node_id, nseq, prev, said), now_us).nseq

    def _write_erasures(self, batch: Batch) -> None:
        """Forget here whom records say are forgotten there, and note whom else that concerns."""
        for one in batch.erased:
            if one.asked and one.subject.startswith("c-"):
                self._note_phones(one.node_id, one.subject)
                if one.proven:
                    self._note_faces(one.node_id, one.subject)
            self._drop("contact", one.node_id, one.subject)
            self._db.execute(
                "INSERT INTO erased VALUES (?, ?, ?, ?, ?, ?, ?, NULL, ?) ON CONFLICT DO NOTHING",
                (
                    one.node_id,
                    one.subject,
                    one.epoch,
                    one.seq,
                    one.at_us,
                    one.reason,
                    int(one.asked),
                    one.withdrawn_us,
                ),
            )
        for node_id, record, epoch, seq, at_us in batch.undone:
            if not _HEX64.fullmatch(record):  # a person's id here would keep their erasure from ever being answered
                continue
            self._drop("record", node_id, bytes.fromhex(record))
            self._db.execute(
                "INSERT INTO erased VALUES (?, ?, ?, ?, ?, 'error', 0, NULL, NULL) ON CONFLICT DO NOTHING",
                (node_id, record, epoch, seq, at_us),
            )
        self._db.many(
            "UPDATE erasure_words SET confirmed_us = ? WHERE to_node = ? AND to_subject = ? AND confirmed_us IS NULL",
            batch.reached,
        )

    def _drop(self, column: str, node_id: str, value: str | bytes) -> None:
        if self._db.execute(f"DELETE FROM sidecars WHERE node_id = ? AND {column} = ?", (node_id, value)):
            self._to_scrub = True

    def _note_phones(self, node_id: str, contact: str) -> None:
        """Note the contacts with the same number at other nodes."""
        for to_node, to_contact in self._same_number(node_id, contact):
            self._db.execute(
                "INSERT INTO erasure_words VALUES (?, ?, ?, ?, NULL, NULL, NULL, NULL) ON CONFLICT DO NOTHING",
                (node_id, contact, to_node, to_contact),
            )

    def _note_faces(self, node_id: str, contact: str) -> None:
        """Note the faces at other nodes under a number proven here, where the face here was forgotten by request.

        Anybody can give anybody's number: without a code to that phone a face here says nothing of one elsewhere. Of
        two who share a phone, here or there, nobody is guessed; a face that was not its owner's (`error`) is no wish.
        """
        mine = self._people_of(node_id, contact)
        asked = self._db.query(
            "SELECT reason, withdrawn_us FROM erased WHERE node_id = ? AND subject = ? AND asked = 1"
            " AND reason <> 'error'",
            (node_id, mine[0] if len(mine) == 1 else ""),
        )
        for reason, withdrawn_us in asked:
            for to_node, to_contact in self._same_number(node_id, contact):
                theirs = self._people_of(to_node, to_contact)
                if len(theirs) == 1:
                    self._db.execute(
                        "INSERT INTO erasure_words VALUES (?, ?, ?, ?, NULL, NULL, ?, ?) ON CONFLICT DO NOTHING",
                        (node_id, contact, to_node, theirs[0], reason, withdrawn_us),
                    )

    def _same_number(self, node_id: str, contact: str) -> list[tuple[str, str]]:
        """The contacts at other nodes with a contact's number, each with its node."""
        rows = self._db.query(
            "SELECT DISTINCT theirs.node_id, theirs.contact FROM sidecars mine JOIN sidecars theirs"
            " ON theirs.number_hmac = mine.number_hmac WHERE mine.node_id = ? AND mine.contact = ?"
            " AND theirs.node_id <> mine.node_id ORDER BY theirs.node_id, theirs.contact",
            (node_id, contact),
        )
        return [(to_node, to_contact) for to_node, to_contact in rows]

    def _people_of(self, node_id: str, contact: str) -> list[str]:
        """Whose check-ins at a node gave a contact's number."""
        rows = self._db.query(
            "SELECT DISTINCT person FROM sidecars WHERE node_id = ? AND contact = ? AND person <> ''",
            (node_id, contact),
        )
        return [person for (person,) in rows]
