"""What central tells its nodes, kept until they have answered."""

from sync.central.store.batch import Batch
from sync.central.store.database import Migration, Tables
from sync.messages import Notice

MIGRATIONS = (
    Migration(
        "notices",
        (
            "CREATE TABLE IF NOT EXISTS notices (node_id TEXT, nseq INTEGER, hash BLOB NOT NULL, kind TEXT NOT NULL,"
            " data BLOB NOT NULL, created_us INTEGER NOT NULL, applied_us INTEGER, PRIMARY KEY (node_id, nseq))",
        ),
    ),
)


class Notices(Tables):
    def pending_notices(self, node_id: str | None = None) -> list[tuple[str, bytes]]:
        """(node_id, signed bytes) of every notice not yet answered, in order; of online nodes where none is named."""
        condition, values = ("notices.node_id = ?", (node_id,)) if node_id is not None else ("nodes.online = 1", ())
        rows = self._db.query(
            "SELECT notices.node_id, data FROM notices JOIN nodes ON nodes.node_id = notices.node_id"
            f" WHERE applied_us IS NULL AND {condition} ORDER BY notices.node_id, nseq",
            values,
        )
        return [(node, data) for node, data in rows]

    def _add_notice(self, notice: Notice, now_us: int) -> None:
        self._db.execute(
            "INSERT INTO notices (node_id, nseq, hash, kind, data, created_us) VALUES (?, ?, ?, ?, ?, ?)",
            (notice.node_id, notice.nseq, notice.hash, notice.kind, notice.data, now_us),
        )

    def _write_answers(self, batch: Batch) -> None:
        self._db.many(
            "UPDATE notices SET applied_us = ? WHERE node_id = ? AND nseq = ? AND hash = ? AND applied_us IS NULL",
            batch.applied,
        )
