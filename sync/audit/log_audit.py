"""Central's log held against everything that fixes it: at a node the checkpoints it keeps, at central the records."""

import hashlib
import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sync import SyncError
from sync.audit.chain_audit import Bad
from sync.format.checkpoint import BadCheckpoint, Checkpoint, origin_of
from sync.format.keyring import Place
from sync.format.log_proof import LogHead, follows
from sync.format.merkle import TILE_WIDTH, Edge, leaf_hash, root
from sync.format.messages import Ack, BadMessage, Statement
from sync.format.public_keys import CentralKeys, Enrolment
from sync.format.records import place
from sync.printable import counted

Signed: TypeAlias = Sequence[tuple[Place, LogHead]]
"""The heads of central's log that a node signed back, each with the place of its `node.alive`, in chain order."""


@dataclass(frozen=True, slots=True)
class Witnessed:
    """How far a node has witnessed central's log.

    checkpoints: how many its acks carry. newest: the last of them that holds, with the record it came in the ack of.
    fault: the first contradiction, for people; central's signature stands under both sides of it.
    """

    checkpoints: int
    newest: tuple[LogHead, Place] | None
    fault: str | None

    def text(self, signed: Signed) -> str:
        """A line for people."""
        if self.newest is None:
            return "central's log: not witnessed, no ack here carries a checkpoint"
        head, at = self.newest
        back = f"size {signed[-1][1].size} signed back" if signed else "nothing signed back yet"
        return (
            f"central's log: witnessed up to size {head.size}, root {head.root.hex()}, "
            f"{counted(self.checkpoints, 'checkpoint')}, the last in the ack of {place(*at)}; {back}"
        )


def witnessed(acks: Iterable[Ack], signed: Signed, lists: Sequence[CentralKeys]) -> Witnessed:
    """Hold the checkpoints in a chain's acks, in the order in which they came, against each other and the chain.

    lists: every list of central's keys known, the newest last.
    """
    places = [at for at, _ in signed]
    newest: tuple[LogHead, Place] | None = None
    roots = dict[int, LogHead]()  # by size: what a head signed back said, where a purge has taken its record
    count, fault = 0, None
    for ack in acks:
        if ack.checkpoint is None:
            continue
        count += 1
        at = (ack.epoch, ack.upto_seq)
        before = bisect_right(places, at)
        try:
            signed_back = signed[before - 1][1] if before and places[before - 1][0] == ack.epoch else None
            head = _check(ack, signed_back or roots.get(ack.checkpoint.from_size or 0), lists)
        except BadCheckpoint as error:
            why: str | None = str(error)
        else:
            why = follows(head, newest[0] if newest else None)
            if why is None:
                newest, roots[head.size] = (head, at), head
        if why and fault is None:
            fault = f"the ack of {place(*at)}: {why}"
    return Witnessed(count, newest, fault)


def _check(ack: Ack, signed_back: LogHead | None, lists: Sequence[CentralKeys]) -> LogHead:
    assert ack.checkpoint is not None
    fault = BadCheckpoint("checkpoint: there is no central.pub to hold it against")
    for listed in reversed(lists):
        try:
            return ack.checkpoint.check(
                ack.head_hash, origin_of(listed.central_id), listed.keys["checkpoint"], signed_back
            )
        except BadCheckpoint as error:
            fault = error
    raise fault


# -- at central ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Held:
    """A head that the tree must have had. what: who says so, for people. at: where a node did."""

    what: str
    at: Place | None
    head: LogHead


class TreeAudit:
    """Central's tree, made anew from what its leaves stand for, in a store opened for reading with text as bytes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.edge = Edge()

    def check(
        self,
        signed: dict[str, Signed],
        enrolments: dict[str, list[Enrolment]],
        lists: Sequence[CentralKeys],
    ) -> list[str]:
        """Recompute the tree and compare it with the tiles, and with every head that nodes signed back.

        signed, enrolments: by node. lists: of central's keys, empty where there is no central.pub. The records' own
        hashes are verified before. Returns lines for people; raises Bad.
        """
        heads = [
            _Held(f"node {node} signed back size", at, head) for node, signs in signed.items() for at, head in signs
        ]
        stamped = [_Held("an authority stamped size", None, head) for head in self._stamped(lists)]
        stated = self._grow(sorted([*heads, *stamped], key=lambda one: one.head.size), lists)
        (rows,) = self._connection.execute("SELECT count(*) FROM log_tiles NOT INDEXED").fetchone()
        if rows != (expected := _tiles_of(self.edge.size)):
            raise Bad(f"central's log: {rows} tiles, a tree of {self.edge.size} leaves has {expected}")
        lines = [f"log: {self.edge.size} leaves, root {self.edge.root().hex()}"]
        if heads:
            nodes, size = sum(bool(signs) for signs in signed.values()), max(one.head.size for one in heads)
            lines.append(
                f"log: {counted(len(heads), 'head')} signed back by {counted(nodes, 'node')},"
                f" all of it up to size {size}; what lies behind that, central alone vouches for"
            )
        else:
            lines.append("log: no node has signed a head back: central alone vouches for it")
        if stamped:
            lines.append(
                f"log: {counted(len(stamped), 'timestamp')} over checkpoints of it, up to size {stamped[-1].head.size};"
                " what the authority's signature is worth, `firstvisit central log` says"
            )
        lines.extend(_check_enrolments(stated, enrolments))
        return lines

    def _grow(self, heads: "list[_Held]", lists: Sequence[CentralKeys]) -> list[Statement]:
        stated, next_head, whole = list[Statement](), 0, 0
        for leaves, statement in self._leaves(lists):
            if statement is not None:
                stated.append(statement)
            while leaves:
                room = heads[next_head].head.size - self.edge.size if next_head < len(heads) else len(leaves)
                self.edge, tiles = self.edge.grown(leaves[: max(room, 0)])
                leaves = leaves[max(room, 0) :]
                for tile in tiles:
                    if len(tile.data) == TILE_WIDTH * 32:
                        self._check_tile(tile.level, tile.number, tile.data)
                        whole += 1
                while next_head < len(heads) and (held := heads[next_head]).head.size == self.edge.size:
                    if held.head.root != self.edge.root():
                        raise Bad(f"central's log: not the one of which {held.what} {held.head.size}", held.at)
                    next_head += 1
        if next_head < len(heads):
            held = heads[next_head]
            raise Bad(f"central's log: {self.edge.size} leaves, but {held.what} {held.head.size}", held.at)
        for level, data in enumerate(self.edge.partial):
            if data:
                self._check_tile(level, self.edge.size >> 8 * (level + 1), data)
        return stated

    def _leaves(self, lists: Sequence[CentralKeys]) -> Iterator[tuple[list[bytes], Statement | None]]:
        """Leaf hashes in order, those of a run of records or that of a statement at a time."""
        ((size,),) = self._connection.execute("SELECT size FROM log").fetchall() or ((None,),)
        ends = dict[tuple[bytes, int], int]()
        at = 0
        for leaf, leaves, node_id, epoch, seq, data in self._connection.execute(
            "SELECT leaf, leaves, node_id, epoch, seq, NULL FROM log_runs NOT INDEXED"
            " UNION ALL SELECT leaf, 1, node_id, 0, 0, data FROM log_statements NOT INDEXED ORDER BY leaf"
        ):
            if leaf != at:
                raise Bad(f"central's log: leaf {min(leaf, at)} {'is missing' if leaf > at else 'stands for two'}")
            if leaves < 1:
                raise Bad(f"central's log: nothing lies at leaf {leaf}")
            at += leaves
            if data is not None:
                statement = _read_statement(data, leaf, lists)
                if statement.fields.get("node", "") != node_id.decode(errors="replace"):
                    raise Bad(f"central's log: the statement at leaf {leaf} is listed under another node")
                yield [leaf_hash(statement.hash)], statement
                continue
            if seq != ends.get((node_id, epoch), 0) + 1:
                raise Bad(f"central's log: leaf {leaf} is not the next record of node {node_id.decode()}", (epoch, seq))
            ends[node_id, epoch] = seq + leaves - 1
            hashes = self._connection.execute(
                "SELECT hash FROM records WHERE node_id = ? AND epoch = ? AND seq >= ? AND seq < ? ORDER BY seq",
                (node_id.decode(errors="replace"), epoch, seq, seq + leaves),
            ).fetchall()
            if len(hashes) != leaves:
                raise Bad(f"central's log: a record is missing between leaf {leaf} and {at}", (epoch, seq))
            yield [leaf_hash(row[0]) for row in hashes], None
        if at != size:
            raise Bad(f"central's log: says that it has {size} leaves, {at} are accounted for")
        (records,) = self._connection.execute("SELECT count(*) FROM records NOT INDEXED").fetchone()
        if records != (held := sum(ends.values())):
            raise Bad(f"central's log: {records} records, {held} of them in it")

    def _stamped(self, lists: Sequence[CentralKeys]) -> Iterator[LogHead]:
        """The heads over which there are timestamps; a token is held against its checkpoint, not against its issuer."""
        for at_us, size, note, token in self._connection.execute(
            "SELECT at_us, size, note, token FROM log_timestamps NOT INDEXED ORDER BY size"
        ):
            head = read_note(note.decode(errors="replace"), lists)
            if head is None or head.size != size:
                raise Bad(f"central's log: the timestamp of {at_us} is over no checkpoint of this central")
            if _imprint(token) != hashlib.sha256(note).digest():
                raise Bad(f"central's log: the timestamp of {at_us} is over something else")
            yield head

    def _check_tile(self, level: int, number: int, data: bytes) -> None:
        if read_tile(self._connection, level, number) != data:
            raise Bad(f"central's log: tile {number} of level {level} is not what its leaves call for")


def read_note(note: str, lists: Sequence[CentralKeys]) -> LogHead | None:
    """The head that a checkpoint signed by any of these central's keys states, None where none of them signed it."""
    for listed in reversed(lists):
        try:
            read = Checkpoint.parse(note, origin_of(listed.central_id), listed.keys["checkpoint"])
        except BadCheckpoint:
            continue  # of an earlier key, or of nobody
        return LogHead(read.size, read.root)
    return None


def _imprint(token: bytes) -> bytes | None:
    from rfc3161_client import decode_timestamp_response  # most stores have none to read

    try:
        return bytes(decode_timestamp_response(token).tst_info.message_imprint.message)
    except ValueError:
        return None


def read_tile(connection: sqlite3.Connection, level: int, number: int) -> bytes:
    """A tile as stored, empty where there is none."""
    found = connection.execute("SELECT data FROM log_tiles WHERE level = ? AND number = ?", (level, number)).fetchone()
    return found[0] if found else b""


def root_at(connection: sqlite3.Connection, size: int) -> bytes | None:
    """The root of a verified store's tree at a size; None where it is not that long."""
    (held,) = connection.execute("SELECT size FROM log").fetchone()
    return root(lambda level, number: read_tile(connection, level, number), size) if size <= held else None


def _tiles_of(size: int) -> int:
    count = 0
    while size:
        count += -(-size // TILE_WIDTH)
        size //= TILE_WIDTH
    return count


def _read_statement(data: object, leaf: int, lists: Sequence[CentralKeys]) -> Statement:
    fault = BadMessage("there is no central.pub to hold it against")
    for listed in reversed(lists):
        try:
            statement = Statement.parse(data if isinstance(data, bytes) else b"", listed.keys["notice"])
        except SyncError as error:
            fault = BadMessage(str(error))
            continue
        if statement.central_id != listed.central_id:
            fault = BadMessage(f"of central {statement.central_id}")
            continue
        return statement
    raise Bad(f"central's log: the statement at leaf {leaf}: {fault}")


def _check_enrolments(stated: list[Statement], enrolments: dict[str, list[Enrolment]]) -> Iterator[str]:
    """Hold the nodes let in against what the log says of it; raises Bad where a node has other keys than stated."""
    for node_id, held in enrolments.items():
        said = [one for one in stated if one.kind == "node.enrolled" and one.fields.get("node") == node_id]
        if not said:
            yield f"log: does not say that node {node_id} was enrolled"
        for enrolment in held:
            keys = {role: str(key) for role, key in enrolment.keys.items()}
            of_epoch = [one for one in said if one.fields.get("epoch") == enrolment.epoch]
            if of_epoch and of_epoch[-1].fields.get("keys") != keys:
                raise Bad(f"node {node_id} has other keys here than the log says it was enrolled with")
