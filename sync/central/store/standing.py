"""What decides whose records are taken: later enrolments, rotations, epochs opened by hand, and when that changed."""

from collections.abc import Sequence

from sync import SyncError
from sync.central.store.batch import Batch
from sync.central.store.database import Database, Migration, Tables
from sync.format.public_keys import Enrolment


class StandingChanged(SyncError):
    """A command has changed who may sign or be heard since a batch was judged: nothing of it was written."""


def _begin(database: Database) -> None:
    database.execute("INSERT INTO standing VALUES (1, 0)")
    database.execute("INSERT INTO rotations SELECT node_id, epoch, seq FROM records WHERE kind = 'key.rotated'")


MIGRATIONS = (
    Migration(
        "standing",
        (
            "CREATE TABLE enrolments (node_id TEXT NOT NULL, epoch INTEGER NOT NULL, enrolment TEXT NOT NULL,"
            " enrolled_us INTEGER NOT NULL, PRIMARY KEY (node_id, epoch))",
            "CREATE TABLE openings (node_id TEXT NOT NULL, epoch INTEGER NOT NULL, opened_us INTEGER NOT NULL,"
            " PRIMARY KEY (node_id, epoch))",
            "CREATE TABLE rotations (node_id TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,"
            " PRIMARY KEY (node_id, epoch, seq))",
            "CREATE TABLE standing (id INTEGER NOT NULL PRIMARY KEY, number INTEGER NOT NULL)",
        ),
        _begin,
    ),
)


class Standing(Tables):
    def standing(self) -> int:
        """A number that changes whenever a command has changed who may sign or be heard: an ingest then reads anew."""
        ((number,),) = self._db.query("SELECT number FROM standing")
        return int(number)

    def enrolments(self, node_id: str) -> list[str]:
        """The texts of all of a node's enrolments, by epoch; empty for a node not enrolled."""
        first = self._db.query("SELECT enrolment FROM nodes WHERE node_id = ?", (node_id,))
        later = self._db.query("SELECT enrolment FROM enrolments WHERE node_id = ? ORDER BY epoch", (node_id,))
        return [text for (text,) in (*first, *later)]

    def rotations(self, node_id: str) -> list[tuple[bytes, bytes]]:
        """Body and signature of every `key.rotated` of a node held, in chain order."""
        rows = self._db.query(
            "SELECT body, signature FROM rotations CROSS JOIN records WHERE rotations.node_id = ?"
            " AND records.node_id = rotations.node_id AND records.epoch = rotations.epoch"
            " AND records.seq = rotations.seq ORDER BY rotations.epoch, rotations.seq",
            (node_id,),
        )
        return [(bytes(body), bytes(signature)) for body, signature in rows]

    def opened(self, node_id: str) -> set[int]:
        """The epochs that may begin behind any record: opened by hand, or with keys enrolled for them."""
        rows = self._db.query(
            "SELECT epoch FROM openings WHERE node_id = ? UNION SELECT epoch FROM enrolments WHERE node_id = ?",
            (node_id, node_id),
        )
        return {epoch for (epoch,) in rows}

    def holds_hash(self, node_id: str, epoch: int, digest: bytes) -> bool:
        """Whether a node's record of this hash is held in an epoch; reads the epoch through where it is not."""
        found = self._db.query(
            "SELECT 1 FROM records WHERE node_id = ? AND epoch = ? AND hash = ? LIMIT 1", (node_id, epoch, digest)
        )
        return bool(found)

    def _add_enrolment(self, enrolment: Enrolment, text: str, now_us: int) -> None:
        self._db.execute(
            "INSERT INTO enrolments VALUES (?, ?, ?, ?)", (enrolment.node_id, enrolment.epoch, text, now_us)
        )
        self._db.execute(
            "UPDATE nodes SET fingerprint = ?, state = 'ok' WHERE node_id = ?",
            (enrolment.node.fingerprint, enrolment.node_id),
        )
        self._change_standing()

    def _open_epoch(self, node_id: str, epoch: int, now_us: int) -> None:
        self._db.execute("INSERT INTO openings VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (node_id, epoch, now_us))
        self._db.execute("UPDATE nodes SET state = 'ok' WHERE node_id = ?", (node_id,))
        self._change_standing()

    def _change_standing(self) -> None:
        """Let every ingest read anew who may sign, in the transaction that changes it."""
        self._db.execute("UPDATE standing SET number = number + 1")

    def _write_rotations(self, batch: Batch) -> None:
        rows: Sequence[tuple[str, int, int]] = batch.rotations
        self._db.many("INSERT INTO rotations VALUES (?, ?, ?)", rows)
