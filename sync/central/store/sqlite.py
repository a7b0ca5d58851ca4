"""central.db: the evidence table, written in batches by one ingest, and the tables around it. All of central's SQL."""

import json
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import sqlite_utils
from sqlite_utils.migrations import Migrations

from sync.canonical import Fields
from sync.central.store.rows import (
    CameraHealth,
    ChainState,
    NodeRow,
    RecordRow,
    Refusal,
    VisitRow,
)
from sync.database import CENTRAL_FORMAT, DatabaseError, create, immediate, migrate, named, open_checked
from sync.ledger import Head
from sync.messages import Enrolment, Notice, Status
from sync.schema import ORDER_US, RECORDS, RECORDS_INDEXES, VISIT_KINDS, body_field
from sync.visit_fields import text_of
from sync.web import tables

FILE_NAME = "central.db"

_NODES = (
    "SELECT node_id, site_id, fingerprint, state, enrolled_us, online, last_seen_us, claimed_epoch,"
    " claimed_seq, claimed_acked, pack, alive_us, cameras FROM nodes"
)

_migrations = Migrations("central")


@_migrations()
def evidence(db: sqlite_utils.Database) -> None:
    """Every record as its node signed it, and what finds the visits among them."""
    for statement in (RECORDS, *RECORDS_INDEXES):
        db.execute(statement)


@_migrations()
def nodes_and_notices(db: sqlite_utils.Database) -> None:
    """The nodes enrolled, what they say of themselves, what they were told, and what was refused."""
    db.table("nodes").create(
        {
            "node_id": str,
            "site_id": str,
            "enrolment": str,
            "fingerprint": str,
            "state": str,
            "enrolled_us": int,
            "online": int,
            "last_seen_us": int,
            "claimed_epoch": int,
            "claimed_seq": int,
            "claimed_acked": int,
            "pack": str,
            "alive_us": int,
            "cameras": str,
        },
        pk="node_id",
        not_null={"site_id", "enrolment", "fingerprint", "state", "enrolled_us", "online"},
        defaults={"online": 0},
    )
    db.table("notices").create(
        {
            "node_id": str,
            "nseq": int,
            "hash": bytes,
            "kind": str,
            "data": bytes,
            "created_us": int,
            "applied_us": int,
        },
        pk=("node_id", "nseq"),
        not_null={"hash", "kind", "data", "created_us"},
    )
    db.table("quarantine").create(
        {
            "node_id": str,
            "epoch": int,
            "seq": int,
            "hash": bytes,
            "body": bytes,
            "signature": bytes,
            "received_us": int,
            "reason": str,
        },
        pk=("node_id", "epoch", "seq", "hash"),
        not_null={"body", "signature", "received_us", "reason"},
    )
    db.table("refusals").create(
        {"node_id": str, "reason": str, "count": int, "last_us": int, "detail": str},
        pk=("node_id", "reason"),
        not_null={"count", "last_us", "detail"},
    )


EvidenceRow = tuple[str, int, int, str, bytes, bytes, bytes, bytes, int]
"""A row of `records`, its columns in order."""


@dataclass(slots=True)
class Batch:
    """What one durable commit writes; mutable while the ingest judges frames, then handed over."""

    evidence: list[EvidenceRow] = field(default_factory=list)
    quarantine: list[tuple[str, int, int, bytes, bytes, bytes, int, str]] = field(default_factory=list)
    states: dict[str, ChainState] = field(default_factory=dict)
    packs: dict[str, str] = field(default_factory=dict)
    alive: dict[str, tuple[int, list[Fields]]] = field(default_factory=dict)
    applied: list[tuple[int, str, int, bytes]] = field(default_factory=list)
    refusals: list[tuple[str, str, int, str]] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    statuses: list[tuple[Status, int]] = field(default_factory=list)  # each with when it came

    def __bool__(self) -> bool:
        return bool(self.evidence or self.quarantine or self.states or self.refusals or self.seen or self.statuses)


class Store:
    """central.db opened by one thread; open another for another thread."""

    def __init__(self, path: Path) -> None:
        """Open an existing database; raises DatabaseError (missing, damaged) or NewerFormat."""
        self._path = path
        self._connection = open_checked(path, CENTRAL_FORMAT)

    @staticmethod
    def create(path: Path) -> None:
        """Make an empty store, the console's tables included; raises DatabaseError where something is there."""
        create(path, CENTRAL_FORMAT, _migrations, tables.MIGRATIONS, mode=0o600)

    @staticmethod
    def migrate(path: Path) -> None:
        """Bring an existing store up to this version, for whoever is about to write; raises as opening does."""
        migrate(path, CENTRAL_FORMAT, _migrations, tables.MIGRATIONS)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what the console and the commands read ----------------------------------------------------------------

    def nodes(self) -> list[NodeRow]:
        """Every enrolled node, by id."""
        with self._errors():
            return [self._node_row(*row) for row in self._connection.execute(f"{_NODES} ORDER BY node_id").fetchall()]

    def node(self, node_id: str) -> NodeRow | None:
        """One node, or None where it is not enrolled."""
        with self._errors():
            found = self._connection.execute(f"{_NODES} WHERE node_id = ?", (node_id,)).fetchone()
            return self._node_row(*found) if found else None

    def visits(
        self, limit: int = 50, before: tuple[int, int] | None = None, node_id: str | None = None
    ) -> list[VisitRow]:
        """The newest visits by arrival at the door, newest first; `before`: the cursor of the last one seen.

        One whose arrival lies behind its receipt here, or is no number, counts by the receipt.
        """
        conditions, values = [f"kind IN {VISIT_KINDS}"], list[Any]()
        if before is not None:
            conditions.append(f"{ORDER_US} <= ? AND ({ORDER_US}, records.rowid) < (?, ?)")  # the first finds the place
            values += (before[0], *before)
        index = "records_arrivals"
        if node_id is not None:
            index = "records_arrivals_of_node"
            conditions.append("records.node_id = ?")
            values.append(node_id)
        with self._errors():
            rows = self._connection.execute(
                f"SELECT {ORDER_US}, records.rowid, records.node_id, nodes.site_id, epoch, seq, kind, body, hash,"
                " received_us"
                # SQLite keeps no statistics here: the index and the order of the join are ours to name
                f" FROM records INDEXED BY {index} CROSS JOIN nodes ON nodes.node_id = records.node_id"
                f" WHERE {' AND '.join(conditions)} ORDER BY {ORDER_US} DESC, records.rowid DESC LIMIT ?",
                (*values, limit),
            ).fetchall()
            corrections = self._corrections((row[2], _visit_id(row[7])) for row in rows)
        return [VisitRow.read(corrections.get((row[2], _visit_id(row[7]))), *row) for row in rows]

    def records(self, node_id: str | None = None, after: tuple[int, int] = (0, 0)) -> Iterator[RecordRow]:
        """Every record held, by node and then in chain order; `after`: an (epoch, seq) to begin behind."""
        condition, values = ("node_id = ? AND ", [node_id]) if node_id is not None else ("", list[str | None]())
        with self._errors():
            for node, epoch, seq, kind, digest, prev, signature, received_us, body in self._connection.execute(
                "SELECT node_id, epoch, seq, kind, hash, prev_hash, signature, received_us, body FROM records"
                f" WHERE {condition}(epoch, seq) > (?, ?) ORDER BY node_id, epoch, seq",
                (*values, *after),
            ):
                yield RecordRow(node, epoch, seq, kind, digest, prev, signature, received_us, body, orjson.loads(body))

    def refusals(self) -> list[Refusal]:
        """What was not taken, newest first."""
        with self._errors():
            return [
                Refusal(*row)
                for row in self._connection.execute(
                    "SELECT node_id, reason, count, last_us, detail FROM refusals ORDER BY last_us DESC"
                )
            ]

    def data_version(self) -> int:
        """A number that changes when somebody else has written to the database; asking reads no table."""
        with self._errors():
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    # -- what the ingest needs ---------------------------------------------------------------------------------

    def enrolment(self, node_id: str) -> tuple[str, ChainState] | None:
        """The text of the node's node.pub and the state of its chain, or None for a node not enrolled."""
        with self._errors():
            found = self._connection.execute(
                "SELECT enrolment, state FROM nodes WHERE node_id = ?", (node_id,)
            ).fetchone()
        return (found[0], _chain_state(found[1])) if found else None

    def enrol(self, enrolment: Enrolment, text: str, first: Notice, now_us: int) -> None:
        """Add a node with its first notice, both or neither."""
        with self._errors(), immediate(self._connection):
            self._connection.execute(
                "INSERT INTO nodes (node_id, site_id, enrolment, fingerprint, state, enrolled_us)"
                " VALUES (?, ?, ?, ?, 'ok', ?)",
                (enrolment.node_id, enrolment.site_id, text, enrolment.node.fingerprint, now_us),
            )
            self._connection.execute(
                "INSERT INTO notices (node_id, nseq, hash, kind, data, created_us) VALUES (?, ?, ?, ?, ?, ?)",
                (first.node_id, first.nseq, first.hash, first.kind, first.data, now_us),
            )

    def head(self, node_id: str) -> Head | None:
        """The end of a node's chain as held here."""
        with self._errors():
            found = self._connection.execute(
                "SELECT epoch, seq, hash FROM records WHERE node_id = ? ORDER BY epoch DESC, seq DESC LIMIT 1",
                (node_id,),
            ).fetchone()
        return Head(*found) if found else None

    def held(self, node_id: str, epoch: int, seq: int) -> tuple[bytes, bytes, bytes] | None:
        """(hash, body, signature) of a record held, or None."""
        with self._errors():
            found = self._connection.execute(
                "SELECT hash, body, signature FROM records WHERE node_id = ? AND epoch = ? AND seq = ?",
                (node_id, epoch, seq),
            ).fetchone()
        return (found[0], found[1], found[2]) if found else None

    def write(self, batch: Batch) -> None:
        """Commit a batch durably (synchronous = FULL) or change nothing; raises DatabaseError."""
        with self._errors(), immediate(self._connection):
            execute, many = self._connection.execute, self._connection.executemany
            kept = many("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", batch.evidence).rowcount
            if batch.evidence and kept != len(batch.evidence):
                raise DatabaseError(f"{self._path}: kept {kept} of {len(batch.evidence)} records; none is acknowledged")
            many("INSERT OR IGNORE INTO quarantine VALUES (?, ?, ?, ?, ?, ?, ?, ?)", batch.quarantine)
            many("UPDATE nodes SET state = ? WHERE node_id = ?", ((s, n) for n, s in batch.states.items()))
            many("UPDATE nodes SET pack = ? WHERE node_id = ?", ((p, n) for n, p in batch.packs.items()))
            for node_id, (alive_us, cameras) in batch.alive.items():
                execute(
                    "UPDATE nodes SET alive_us = ?, cameras = ? WHERE node_id = ?",
                    (alive_us, json.dumps(cameras), node_id),
                )
            many("UPDATE nodes SET last_seen_us = ? WHERE node_id = ?", ((t, n) for n, t in batch.seen.items()))
            many(
                "UPDATE notices SET applied_us = ? WHERE node_id = ? AND nseq = ? AND hash = ? AND applied_us IS NULL",
                batch.applied,
            )
            many(
                "INSERT INTO refusals VALUES (?, ?, 1, ?, ?) ON CONFLICT (node_id, reason) DO UPDATE SET"
                " count = count + 1, last_us = excluded.last_us, detail = excluded.detail",
                batch.refusals,
            )
            for status, came_us in batch.statuses:
                self._note(status, came_us)

    def forget_presence(self) -> None:
        """Nobody is known to be online: the link to the broker was lost, or central has just started."""
        with self._errors():
            self._connection.execute("UPDATE nodes SET online = 0 WHERE online = 1")

    def pending_notices(self, node_id: str | None = None) -> list[tuple[str, bytes]]:
        """(node_id, signed bytes) of every notice not yet answered, in order; of online nodes where none is named."""
        condition, values = (
            ("notices.node_id = ?", (node_id,)) if node_id is not None else ("nodes.online = 1", tuple[str, ...]())
        )
        with self._errors():
            return self._connection.execute(
                "SELECT notices.node_id, data FROM notices JOIN nodes USING (node_id)"
                f" WHERE applied_us IS NULL AND {condition} ORDER BY notices.node_id, nseq",
                values,
            ).fetchall()

    # -- inside ------------------------------------------------------------------------------------------------

    def _note(self, status: Status, now_us: int) -> None:
        """What a node says of itself; a last will was written at connection, so of it only `online` counts."""
        if status.online:
            self._connection.execute(
                "UPDATE nodes SET online = 1, last_seen_us = ?, claimed_epoch = ?, claimed_seq = ?,"
                " claimed_acked = ? WHERE node_id = ?",
                (now_us, status.epoch, status.seq, status.acked, status.node_id),
            )
        else:
            self._connection.execute("UPDATE nodes SET online = 0 WHERE node_id = ?", (status.node_id,))

    def _node_row(
        self,
        node_id: str,
        site_id: str,
        fingerprint: str,
        state: str,
        enrolled_us: int,
        online: int,
        last_seen_us: int | None,
        claimed_epoch: int | None,
        claimed_seq: int | None,
        claimed_acked: int | None,
        pack: str | None,
        alive_us: int | None,
        cameras: str | None,
    ) -> NodeRow:
        head = self._connection.execute(
            "SELECT epoch, seq, body, received_us FROM records WHERE node_id = ? ORDER BY epoch DESC, seq DESC LIMIT 1",
            (node_id,),
        ).fetchone()
        epoch, seq, stamp, received_us = (
            (head[0], head[1], orjson.loads(head[2])["at"], head[3]) if head else (0, 0, {}, None)
        )
        lag = None
        if claimed_seq is not None:
            lag = max(0, claimed_seq - (seq if claimed_epoch == epoch else 0))
        (pending,) = self._connection.execute(
            "SELECT count(*) FROM notices WHERE node_id = ? AND applied_us IS NULL", (node_id,)
        ).fetchone()
        return NodeRow(
            node_id=node_id,
            site_id=site_id,
            fingerprint=fingerprint,
            enrolled_us=enrolled_us,
            chain=_chain_state(state),
            epoch=epoch,
            seq=seq,
            head_received_us=received_us,
            online=bool(online),
            last_seen_us=last_seen_us,
            claimed_seq=claimed_seq,
            claimed_acked=claimed_acked,
            lag=lag,
            clock_source=stamp.get("source"),
            clock_maxerror_us=stamp.get("maxerror_us"),
            pack=pack,
            alive_us=alive_us,
            cameras=tuple(CameraHealth.read(fields) for fields in json.loads(cameras or "[]")),
            pending_notices=pending,
        )

    def _corrections(self, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Fields]:
        """The newest correction of each (node, visit)."""
        newest: dict[tuple[str, str], Fields] = {}
        for node_id, visit_id in wanted:
            found = self._connection.execute(
                "SELECT body FROM records INDEXED BY records_corrections"
                f" WHERE kind = 'visit.corrected' AND {body_field('visit')} = ?"
                " AND node_id = ? ORDER BY epoch DESC, seq DESC LIMIT 1",
                (visit_id, node_id),
            ).fetchone()
            if found:
                newest[node_id, visit_id] = orjson.loads(found[0])
        return newest

    def _errors(self) -> AbstractContextManager[None]:
        return named(self._path)


def _chain_state(text: str) -> ChainState:
    match text:
        case "ok" | "fork" | "revoked" as state:
            return state
        case other:
            raise DatabaseError(f"nodes: unknown state {other!r}")


def _visit_id(body: bytes) -> str:
    return text_of(orjson.loads(body), "visit") or ""
