"""What central tells its nodes, kept until they have answered, and after."""

from collections.abc import Callable

from sync import SyncError
from sync.central.store.batch import Batch
from sync.central.store.database import Migration, Tables
from sync.central.store.rows import NoticeRow
from sync.format.messages import FIRST_PREV_HASH, Notice
from sync.format.notices import KeyRevoked

Seal = Callable[[int, bytes], Notice]
"""Makes the notice of this nseq, which follows the one of this hash."""

MIGRATIONS = (
    Migration(
        "notices",
        (
            "CREATE TABLE IF NOT EXISTS notices (node_id TEXT, nseq INTEGER, hash BLOB NOT NULL, kind TEXT NOT NULL,"
            " data BLOB NOT NULL, created_us INTEGER NOT NULL, applied_us INTEGER, PRIMARY KEY (node_id, nseq))",
        ),
    ),
    Migration(
        "open notices",
        (
            "CREATE INDEX IF NOT EXISTS notices_open ON notices (node_id, nseq) WHERE applied_us IS NULL",
            "CREATE INDEX IF NOT EXISTS notices_of_kind ON notices (kind, node_id)",
        ),
    ),
)


class Notices(Tables):
    def notices(self, node_id: str, after: int = 0, limit: int = 1000) -> list[NoticeRow]:
        """What a node was told behind an nseq, answered or not, in order."""
        rows = self._db.query(
            "SELECT nseq, hash, kind, data, created_us, applied_us FROM notices"
            " WHERE node_id = ? AND nseq > ? ORDER BY nseq LIMIT ?",
            (node_id, after, limit),
        )
        return [NoticeRow.read(*row) for row in rows]

    def newest_notices(self, node_id: str, limit: int) -> list[NoticeRow]:
        """The last words to a node, the newest first."""
        rows = self._db.query(
            "SELECT nseq, hash, kind, data, created_us, applied_us FROM notices"
            " WHERE node_id = ? ORDER BY nseq DESC LIMIT ?",
            (node_id, limit),
        )
        return [NoticeRow.read(*row) for row in rows]

    def notices_of_kind(self, node_id: str, kind: str) -> list[NoticeRow]:
        """Every word of a kind to a node, in order."""
        rows = self._db.query(
            "SELECT nseq, hash, kind, data, created_us, applied_us FROM notices"
            " WHERE kind = ? AND node_id = ? ORDER BY nseq",
            (kind, node_id),
        )
        return [NoticeRow.read(*row) for row in rows]

    def newest_of_kind(self, node_id: str, kind: str) -> NoticeRow | None:
        """The last word of a kind to a node, or None."""
        rows = self._db.query(
            "SELECT nseq, hash, kind, data, created_us, applied_us FROM notices"
            " WHERE node_id = ? AND kind = ? ORDER BY nseq DESC LIMIT 1",
            (node_id, kind),
        )
        return NoticeRow.read(*rows[0]) if rows else None

    def open_notices(self, node_id: str, limit: int) -> list[NoticeRow]:
        """The first notices that a node has not answered, in order."""
        rows = self._db.query(
            "SELECT nseq, hash, kind, data, created_us, applied_us FROM notices"
            " WHERE node_id = ? AND applied_us IS NULL ORDER BY nseq LIMIT ?",
            (node_id, limit),
        )
        return [NoticeRow.read(*row) for row in rows]

    def owed_online(self) -> list[tuple[str, int]]:
        """(node, nseq of the newest open notice) of every node online that has not answered all."""
        rows = self._db.query(
            "SELECT notices.node_id, max(nseq) FROM notices JOIN nodes ON nodes.node_id = notices.node_id"
            " WHERE applied_us IS NULL AND online = 1 GROUP BY notices.node_id ORDER BY notices.node_id"
        )
        return [(node_id, nseq) for node_id, nseq in rows]

    def revocations(self, node_id: str) -> list[KeyRevoked]:
        """Every key of a node that central has revoked, in the order it said so; here it holds at once."""
        rows = self._db.query(
            "SELECT data FROM notices WHERE kind = 'key.revoked' AND node_id = ? ORDER BY nseq", (node_id,)
        )
        return [KeyRevoked.of(Notice.unverified(data).body) for (data,) in rows]

    def _append_notice(self, node_id: str, seal: Seal, now_us: int) -> Notice:
        if not self._db.query("SELECT 1 FROM nodes WHERE node_id = ?", (node_id,)):
            raise SyncError(f"node {node_id}: not enrolled here")
        last = self._db.query("SELECT nseq, hash FROM notices WHERE node_id = ? ORDER BY nseq DESC LIMIT 1", (node_id,))
        nseq, prev_hash = last[0] if last else (0, FIRST_PREV_HASH)
        notice = seal(nseq + 1, bytes(prev_hash))
        self._add_notice(notice, now_us)
        return notice

    def awaits_keys(self, node_id: str) -> bool:
        """Whether a node has been told of other keys of central's than those it joined, and has not answered yet."""
        return bool(
            self._db.query(
                "SELECT 1 FROM notices WHERE node_id = ? AND kind = 'keys' AND nseq > 1 AND applied_us IS NULL LIMIT 1",
                (node_id,),
            )
        )

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
