"""The records as their nodes signed them, and those kept apart because they contradict."""

from collections.abc import Iterator

import orjson

from sync.central.store.batch import Batch
from sync.central.store.database import Migration, Tables
from sync.central.store.rows import RecordRow
from sync.format.chain import Head
from sync.storage.database import DatabaseError
from sync.storage.schema import RECORDS

_PAGE = 500  # records read at once

MIGRATIONS = (
    Migration("evidence", (RECORDS,)),
    Migration(
        "quarantine",
        (
            "CREATE TABLE IF NOT EXISTS quarantine (node_id TEXT, epoch INTEGER, seq INTEGER, hash BLOB,"
            " body BLOB NOT NULL, signature BLOB NOT NULL, received_us INTEGER NOT NULL, reason TEXT NOT NULL,"
            " PRIMARY KEY (node_id, epoch, seq, hash))",
        ),
    ),
)


class Evidence(Tables):
    def head(self, node_id: str) -> Head | None:
        """The end of a node's chain as held here."""
        found = self._db.query(
            "SELECT epoch, seq, hash FROM records WHERE node_id = ? ORDER BY epoch DESC, seq DESC LIMIT 1", (node_id,)
        )
        return Head(*found[0]) if found else None

    def held(self, node_id: str, epoch: int, seq: int) -> tuple[bytes, bytes, bytes] | None:
        """(hash, body, signature) of a record held, or None."""
        found = self._db.query(
            "SELECT hash, body, signature FROM records WHERE node_id = ? AND epoch = ? AND seq = ?",
            (node_id, epoch, seq),
        )
        return (found[0][0], found[0][1], found[0][2]) if found else None

    def quarantined(self, node_id: str, epoch: int, seq: int) -> bool:
        """Whether a record of this place is kept apart."""
        found = self._db.query(
            "SELECT 1 FROM quarantine WHERE node_id = ? AND epoch = ? AND seq = ? LIMIT 1", (node_id, epoch, seq)
        )
        return bool(found)

    def records(self, node_id: str | None = None, after: tuple[int, int] = (0, 0)) -> Iterator[RecordRow]:
        """Every record held, by node and then in chain order; `after`: an (epoch, seq) to begin behind.

        Read page by page: what is committed meanwhile may be among them.
        """
        columns = "node_id, epoch, seq, kind, hash, prev_hash, signature, received_us, body"
        of_node = "node_id = ? AND " if node_id is not None else ""
        scope = (node_id,) if node_id is not None else ()
        place: tuple[str, int, int] = (node_id or "", *after)
        while True:
            rows = self._db.query(
                f"SELECT {columns} FROM records WHERE {of_node}(node_id, epoch, seq) > (?, ?, ?)"
                " ORDER BY node_id, epoch, seq LIMIT ?",
                (*scope, *place, _PAGE),
            )
            for node, epoch, seq, kind, digest, prev, signature, received_us, body in rows:
                yield RecordRow(node, epoch, seq, kind, digest, prev, signature, received_us, body, orjson.loads(body))
            if len(rows) < _PAGE:
                return
            place = rows[-1][0], rows[-1][1], rows[-1][2]

    def _write_evidence(self, batch: Batch) -> None:
        kept = self._db.insert("records", batch.evidence)
        if kept != len(batch.evidence):
            raise DatabaseError(f"{self._db.name}: kept {kept} of {len(batch.evidence)} records; none is acknowledged")
        self._db.many("INSERT INTO quarantine VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", batch.quarantine)
