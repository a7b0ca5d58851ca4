"""The nodes enrolled, what they say of themselves, and what was refused of them."""

import json
from collections.abc import Callable

import orjson

from sync.central.store.batch import Batch
from sync.central.store.database import Migration, Tables
from sync.central.store.rows import BadRow, CameraHealth, ChainState, NodeRow, Refusal
from sync.format.messages import Status
from sync.format.public_keys import Enrolment

_NODES = (
    "SELECT node_id, site_id, fingerprint, state, enrolled_us, online, last_seen_us, claimed_epoch,"
    " claimed_seq, claimed_acked, pack, alive_us, cameras FROM nodes"
)

MIGRATIONS = (
    Migration(
        "nodes",
        (
            "CREATE TABLE IF NOT EXISTS nodes (node_id TEXT PRIMARY KEY, site_id TEXT NOT NULL,"
            " enrolment TEXT NOT NULL, fingerprint TEXT NOT NULL, state TEXT NOT NULL, enrolled_us INTEGER NOT NULL,"
            " online INTEGER NOT NULL DEFAULT 0, last_seen_us INTEGER, claimed_epoch INTEGER, claimed_seq INTEGER,"
            " claimed_acked INTEGER, pack TEXT, alive_us INTEGER, cameras TEXT)",
            "CREATE TABLE IF NOT EXISTS refusals (node_id TEXT, reason TEXT, count INTEGER NOT NULL,"
            " last_us INTEGER NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (node_id, reason))",
        ),
    ),
)


class Nodes(Tables):
    def nodes(self) -> list[NodeRow]:
        """Every enrolled node, by id."""
        return [self._node_row(*row) for row in self._db.query(f"{_NODES} ORDER BY node_id")]

    def node(self, node_id: str) -> NodeRow | None:
        """One node, or None where it is not enrolled."""
        found = self._db.query(f"{_NODES} WHERE node_id = ?", (node_id,))
        return self._node_row(*found[0]) if found else None

    def enrolment(self, node_id: str) -> tuple[str, ChainState] | None:
        """The text of the node's node.pub and the state of its chain, or None for a node not enrolled."""
        found = self._db.query("SELECT enrolment, state FROM nodes WHERE node_id = ?", (node_id,))
        return (found[0][0], _chain_state(found[0][1])) if found else None

    def refusals(self) -> list[Refusal]:
        """What was not taken, newest first."""
        rows = self._db.query("SELECT node_id, reason, count, last_us, detail FROM refusals ORDER BY last_us DESC")
        return [Refusal(*row) for row in rows]

    def forget_presence(self, mine: Callable[[str], bool]) -> None:
        """Nobody of these nodes is known to be online: the link to the broker was lost, or central has just started."""
        with self._db.transaction():
            online = self._db.query("SELECT node_id FROM nodes WHERE online = 1")
            self._db.many("UPDATE nodes SET online = 0 WHERE node_id = ?", [row for row in online if mine(row[0])])

    def _add_node(self, enrolment: Enrolment, text: str, now_us: int) -> None:
        self._db.execute(
            "INSERT INTO nodes (node_id, site_id, enrolment, fingerprint, state, enrolled_us)"
            " VALUES (?, ?, ?, ?, 'ok', ?)",
            (enrolment.node_id, enrolment.site_id, text, enrolment.node.fingerprint, now_us),
        )

    def _write_nodes(self, batch: Batch) -> None:
        many = self._db.many
        many("UPDATE nodes SET state = ? WHERE node_id = ?", [(s, n) for n, s in batch.states.items()])
        many("UPDATE nodes SET pack = ? WHERE node_id = ?", [(p, n) for n, p in batch.packs.items()])
        many(
            "UPDATE nodes SET alive_us = ?, cameras = ? WHERE node_id = ?",
            [(alive_us, json.dumps(cameras), n) for n, (alive_us, cameras) in batch.alive.items()],
        )
        many("UPDATE nodes SET last_seen_us = ? WHERE node_id = ?", [(t, n) for n, t in batch.seen.items()])
        many(
            "INSERT INTO refusals VALUES (?, ?, 1, ?, ?) ON CONFLICT (node_id, reason) DO UPDATE SET"
            " count = refusals.count + 1, last_us = excluded.last_us, detail = excluded.detail",
            batch.refusals,
        )
        for status, came_us in batch.statuses:
            self._note(status, came_us)

    def _note(self, status: Status, now_us: int) -> None:
        """What a node says of itself; a last will was written at connection, so of it only `online` counts."""
        if status.online:
            self._db.execute(
                "UPDATE nodes SET online = 1, last_seen_us = ?, claimed_epoch = ?, claimed_seq = ?,"
                " claimed_acked = ? WHERE node_id = ?",
                (now_us, status.epoch, status.seq, status.acked, status.node_id),
            )
        else:
            self._db.execute("UPDATE nodes SET online = 0 WHERE node_id = ?", (status.node_id,))

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
        head = self._db.query(
            "SELECT epoch, seq, body, received_us FROM records WHERE node_id = ? ORDER BY epoch DESC, seq DESC LIMIT 1",
            (node_id,),
        )
        epoch, seq, stamp, received_us = (
            (head[0][0], head[0][1], orjson.loads(head[0][2])["at"], head[0][3]) if head else (0, 0, {}, None)
        )
        lag = None
        if claimed_seq is not None:
            lag = max(0, claimed_seq - (seq if claimed_epoch == epoch else 0))
        ((pending,),) = self._db.query(
            "SELECT count(*) FROM notices WHERE node_id = ? AND applied_us IS NULL", (node_id,)
        )
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


def _chain_state(text: str) -> ChainState:
    match text:
        case "ok" | "fork" as state:
            return state
        case other:
            raise BadRow(f"nodes: unknown state {other!r}")
