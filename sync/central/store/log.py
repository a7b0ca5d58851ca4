"""Central's log as it is kept: the tree's tiles, and what each leaf stands for.

It grows in the transaction that keeps what it holds, and whoever lets it grow holds its one row in `log` until then:
any number of writers append in one order.
"""

from collections.abc import Iterator, Sequence

from sync.central.store.batch import Batch, EvidenceRow
from sync.central.store.database import Database, Migration, Tables
from sync.central.store.rows import SignedBack, Timestamp
from sync.format.log_proof import LogHead
from sync.format.merkle import Edge, MerkleError, leaf_hash
from sync.format.messages import Statement
from sync.storage.database import DatabaseError
from sync.storage.schema import LOG, TIMESTAMPS

_PAGE = 10_000  # records of an older store entered at once


class Log(Tables):
    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._edge = Edge()  # of the newest size known to be committed

    def log_size(self) -> int:
        """How many leaves the log has."""
        ((size,),) = self._db.query("SELECT size FROM log")
        return int(size)

    def log_tile(self, level: int, number: int) -> bytes:
        """The hashes of a tile, empty where there is none."""
        found = self._db.query("SELECT data FROM log_tiles WHERE level = ? AND number = ?", (level, number))
        return bytes(found[0][0]) if found else b""

    def leaf_of(self, node_id: str, epoch: int, seq: int) -> int | None:
        """Where a record lies in the log, None where it does not."""
        found = self._db.query(
            "SELECT leaf, leaves, seq FROM log_runs WHERE node_id = ? AND epoch = ? AND seq <= ?"
            " ORDER BY seq DESC LIMIT 1",
            (node_id, epoch, seq),
        )
        if not found or seq >= found[0][2] + found[0][1]:
            return None
        leaf, _, first = found[0]
        return int(leaf + seq - first)

    def statements(self, node_id: str | None = None, without: str = "") -> list[tuple[int, bytes]]:
        """Where each statement lies in the log and its signed bytes, in order; those of one node where it is named.

        without: a kind to leave out.
        """
        scope, values = ("AND node_id = ? ", (node_id,)) if node_id is not None else ("", ())
        return [
            (leaf, bytes(data))
            for leaf, data in self._db.query(
                f"SELECT leaf, data FROM log_statements WHERE kind <> ? {scope}ORDER BY leaf", (without, *values)
            )
        ]

    def unstated(self) -> list[tuple[str, str]]:
        """(node_id, text of node.pub) of every node of which the log does not say that it was enrolled."""
        rows = self._db.query(
            "SELECT node_id, enrolment FROM nodes WHERE node_id NOT IN"
            " (SELECT node_id FROM log_statements WHERE kind = 'node.enrolled') ORDER BY node_id"
        )
        return [(node_id, text) for node_id, text in rows]

    def state(self, statements: Sequence[tuple[str, Statement]]) -> None:
        """Enter statements, each with the node it speaks of ("" for none), durably and in order."""
        with self._db.transaction():
            edge = self._append_statements(statements)
        self._edge = edge

    def signed_back(self, node_id: str | None = None) -> list[SignedBack]:
        """The newest head of the log that a node has signed back, or every node has, by node."""
        scope, values = ("WHERE node_id = ? ", (node_id,)) if node_id is not None else ("", ())
        rows = self._db.query(
            f"SELECT node_id, epoch, seq, size, root, matches FROM log_heads {scope}ORDER BY node_id", values
        )
        return [
            SignedBack(node, epoch, seq, LogHead(size, bytes(root)), bool(matches))
            for node, epoch, seq, size, root, matches in rows
        ]

    def timestamps(self, limit: int) -> list[Timestamp]:
        """The newest tokens over checkpoints of the log, newest first."""
        rows = self._db.query(
            "SELECT at_us, size, note, token FROM log_timestamps ORDER BY at_us DESC LIMIT ?", (limit,)
        )
        return [Timestamp(at_us, size, note, bytes(token)) for at_us, size, note, token in rows]

    def keep_timestamp(self, made: Timestamp) -> None:
        with self._db.transaction():
            self._db.execute(
                "INSERT INTO log_timestamps VALUES (?, ?, ?, ?)", (made.at_us, made.size, made.note, made.token)
            )

    def _append_records(self, batch: Batch) -> Edge:
        """Enter the records of a batch inside the transaction that keeps them; the edge counts once that is durable."""
        first, edge = self._grow([leaf_hash(row[5]) for row in batch.evidence])
        self._db.insert("log_runs", list(_runs(first, batch.evidence)))
        self._db.many(
            "INSERT INTO log_heads VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (node_id) DO UPDATE SET"
            " epoch = excluded.epoch, seq = excluded.seq, size = excluded.size, root = excluded.root,"
            " matches = excluded.matches",
            [(b.node_id, b.epoch, b.seq, b.head.size, b.head.root, int(b.matches)) for b in batch.signed_back.values()],
        )
        return edge

    def _append_statements(self, statements: Sequence[tuple[str, Statement]]) -> Edge:
        first, edge = self._grow([leaf_hash(statement.hash) for _, statement in statements])
        self._db.many(
            "INSERT INTO log_statements VALUES (?, ?, ?, ?)",
            [
                (leaf, statement.kind, node_id, statement.data)
                for leaf, (node_id, statement) in enumerate(statements, first)
            ],
        )
        return edge

    def _grow(self, leaves: list[bytes]) -> tuple[int, Edge]:
        """Append leaf hashes; returns where the first lies, and the edge behind the last."""
        if not leaves:
            return self._edge.size, self._edge
        self._db.execute("UPDATE log SET size = size + ?", (len(leaves),))
        first = self.log_size() - len(leaves)
        edge = self._edge
        if edge.size != first:  # somebody else has appended: a command, another worker
            try:
                edge = Edge.read(self.log_tile, first)
            except MerkleError as error:
                raise DatabaseError(f"{self._db.name}: the log is damaged: {error}") from error
        edge, tiles = edge.grown(leaves)
        self._db.many(
            "INSERT INTO log_tiles VALUES (?, ?, ?) ON CONFLICT (level, number) DO UPDATE SET data = excluded.data",
            [(tile.level, tile.number, tile.data) for tile in tiles],
        )
        return first, edge


def _runs(leaf: int, evidence: Sequence[EvidenceRow]) -> Iterator[tuple[int, int, str, int, int]]:
    """Rows of `log_runs` for records that lie in the log from `leaf` on: a chain's records in a row share one."""
    start = 0
    for at in range(1, len(evidence) + 1):
        node_id, epoch, seq = evidence[start][:3]
        if at == len(evidence) or evidence[at][:3] != (node_id, epoch, seq + at - start):
            yield leaf + start, at - start, node_id, epoch, seq
            start = at


def _enter_what_is_held(database: Database) -> None:
    """The records of a store that was made before the log, in the order in which they were accepted."""
    database.execute("INSERT INTO log VALUES (1, 0)")
    if not database.query("SELECT 1 FROM records LIMIT 1"):
        return
    log, after = Log(database), -1
    while rows := database.query(  # only SQLite was there then
        "SELECT rowid, node_id, epoch, seq, hash FROM records WHERE rowid > ? ORDER BY rowid LIMIT ?", (after, _PAGE)
    ):
        batch = Batch(evidence=[(*row[1:4], "", b"", bytes(row[4]), b"", b"", 0) for row in rows])
        log._edge = log._append_records(batch)
        after = rows[-1][0]


MIGRATIONS = (
    Migration(
        "log",
        (
            *LOG,
            "CREATE TABLE log_heads (node_id TEXT PRIMARY KEY, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,"
            " size INTEGER NOT NULL, root BLOB NOT NULL, matches INTEGER NOT NULL)",
        ),
        _enter_what_is_held,
    ),
    Migration("log_timestamps", (TIMESTAMPS,)),
)
