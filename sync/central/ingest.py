"""Judges what arrives from nodes, commits what stands, and says what to answer. Knows nothing of MQTT."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sync.canonical import Fields
from sync.central.keys import ServingKeys
from sync.central.store.rows import ChainState
from sync.central.store.sqlite import Batch, Store
from sync.ledger import Head
from sync.messages import Ack, BadMessage, Enrolment, Nack, NackCode, Status
from sync.records import GENESIS_PREV, BadRecord, KeyRing, Record, parse
from sync.signing import digest
from sync.wire import MAX_FRAME_BYTES, MAX_WINDOW_FRAMES, BadFrame, SignedBody, decode_frame

log = logging.getLogger(__name__)

_NO_HASH = bytes(32)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A frame and the node whose topic it came on."""

    node_id: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Greeting:
    """A node's status. kept: the broker had kept it while central was away."""

    status: Status
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node is to be told, and on which of its channels."""

    node_id: str
    channel: Literal["ack", "down"]
    payload: bytes


@dataclass(slots=True)
class _Node:
    """What the ingest knows of a node while it judges: its keys, and the end of its chain, staged records included."""

    keys: KeyRing
    state: ChainState
    epoch: int
    seq: int
    hash: bytes


_Staged: TypeAlias = dict[tuple[str, int, int], Record]


class _Refused(Exception):
    """The rest of a frame is not taken; the nack says why."""

    def __init__(self, code: NackCode, epoch: int, seq: int, hash_: bytes, why: str) -> None:
        super().__init__(why)
        self.code, self.epoch, self.seq, self.hash = code, epoch, seq, hash_


class Ingest:
    """The one writer of central's evidence. What it holds in memory is what the store holds."""

    def __init__(self, store: Store, keys: ServingKeys) -> None:
        self._store = store
        self._keys = keys
        self._nodes: dict[str, _Node] = {}
        self._logged: set[tuple[str, str]] = set()

    def take(self, frames: Iterable[Arrived], now_us: int, greetings: Iterable[Greeting] = ()) -> list[Answer]:
        """Judge frames in order, commit durably what they hold and what nodes say of themselves, and only then answer.

        One cumulative ack for every node that sent or has come online (an anchor in time), and nacks besides; to one
        that is online its open notices. What a node sent while its greeting was kept is lost, so it is asked for at
        once: the node would else sit out a timeout. Raises DatabaseError where nothing could be committed: then
        nothing is answered and the nodes send again.
        """
        batch, staged, touched, nacks = Batch(), _Staged(), dict[str, _Node](), list[Answer]()
        online: list[tuple[Greeting, _Node]] = []
        try:
            for greeting in greetings:
                node = self._node(greeting.status.node_id)
                if node is not None:
                    batch.statuses.append((greeting.status, now_us))
                    if greeting.status.online:
                        online.append((greeting, node))
                        touched[greeting.status.node_id] = node
            for frame in frames:
                node = self._node(frame.node_id)
                if node is None:
                    # one row for all of them: whoever may publish could else fill the disk with invented names
                    self._refuse(batch, "", "unknown-node", f"{frame.node_id} is not enrolled", now_us)
                    continue
                touched[frame.node_id] = node
                batch.seen[frame.node_id] = now_us
                try:
                    self._judge(frame, node, batch, staged, now_us)
                except _Refused as refused:
                    self._refuse(batch, frame.node_id, refused.code, str(refused), now_us)
                    nack = Nack(frame.node_id, refused.code, refused.epoch, refused.seq, refused.hash)
                    nacks.append(Answer(frame.node_id, "ack", nack.seal(self._keys.ack)))
                except BadFrame as error:
                    self._refuse(batch, frame.node_id, "bad-frame", str(error), now_us)
            if batch:
                self._store.write(batch)
        except BaseException:
            self._nodes.clear()  # what was staged is not in the store
            raise
        answers = [ack for node_id, node in touched.items() if (ack := self._ack(node_id, node, now_us)) is not None]
        answers += nacks
        for greeting, node in online:
            answers += self._greet(greeting, node)
        return answers

    def open_notices(self, node_id: str | None = None) -> list[Answer]:
        """The notices not yet answered: of one node, or of every node online."""
        return [Answer(node, "down", data) for node, data in self._store.pending_notices(node_id)]

    # -- inside ------------------------------------------------------------------------------------------------

    def _greet(self, greeting: Greeting, node: _Node) -> Iterator[Answer]:
        status = greeting.status
        lost_all = node.seq == 0 and status.acked > 0  # acknowledged by a central that held more than this one
        if node.state == "ok" and (greeting.kept or lost_all):
            gap = Nack(status.node_id, "GAP", node.epoch, node.seq + 1, _NO_HASH)
            yield Answer(status.node_id, "ack", gap.seal(self._keys.ack))
        yield from self.open_notices(status.node_id)

    def _node(self, node_id: str) -> _Node | None:
        node = self._nodes.get(node_id)
        if node is None:
            held = self._store.enrolment(node_id)
            if held is None:
                return None
            text, state = held
            enrolment = Enrolment.parse_text(text)
            head = self._store.head(node_id) or Head(1, 0, bytes.fromhex(GENESIS_PREV))
            keys = KeyRing({"node": enrolment.node, "desk": enrolment.desk})
            node = self._nodes[node_id] = _Node(keys, state, head.epoch, head.seq, head.hash)
        return node

    def _judge(self, frame: Arrived, node: _Node, batch: Batch, staged: _Staged, now_us: int) -> None:
        if node.state == "revoked":
            raise _Refused("REVOKED", node.epoch, node.seq, node.hash, "the node is revoked")
        if node.state != "ok":
            raise _Refused("FORK", node.epoch, node.seq, node.hash, "the chain has forked")
        if len(frame.payload) > MAX_FRAME_BYTES:
            raise _Refused("TOO_BIG", 0, 0, _NO_HASH, f"frame of {len(frame.payload)} bytes")
        for signed in decode_frame(frame.payload):
            record = self._read(frame.node_id, signed, node)
            if (record.epoch, record.seq) <= (node.epoch, node.seq):
                self._again(record, node, batch, staged, now_us)
                continue
            opens_epoch = node.seq > 0 and (record.epoch, record.seq) == (node.epoch + 1, 1)
            if not opens_epoch and (record.epoch, record.seq) != (node.epoch, node.seq + 1):
                raise _Refused("GAP", node.epoch, node.seq + 1, _NO_HASH, f"seq {record.seq} after {node.seq}")
            self._check(record, node)
            if record.prev_hash != node.hash:
                self._fork(record, (node.epoch, node.seq), node, batch, staged, now_us)
            node.epoch, node.seq, node.hash = record.epoch, record.seq, record.hash
            staged[record.node_id, record.epoch, record.seq] = record
            batch.evidence.append(
                (
                    record.node_id,
                    record.epoch,
                    record.seq,
                    record.kind,
                    record.body,
                    record.hash,
                    record.prev_hash,
                    record.signature,
                    now_us,
                )
            )
            _project(record, batch, now_us)

    def _read(self, node_id: str, signed: SignedBody, node: _Node) -> Record:
        try:
            record = parse(signed.body, signed.signature)
        except BadRecord as error:
            raise _Refused(
                "BAD_SIG", node.epoch, node.seq + 1, digest("record-hash", signed.body), str(error)
            ) from error
        if record.node_id != node_id:
            why = f"a record of node {record.node_id} on this node's topic"
            raise _Refused("BAD_SIG", record.epoch, record.seq, record.hash, why)
        return record

    def _check(self, record: Record, node: _Node) -> None:
        try:
            node.keys.check(record)
        except BadRecord as error:
            raise _Refused("BAD_SIG", record.epoch, record.seq, record.hash, str(error)) from error

    def _again(self, record: Record, node: _Node, batch: Batch, staged: _Staged, now_us: int) -> None:
        """A place already filled: the same record is acknowledged again, another one is a fork if its key signed it."""
        held = self._held(record.node_id, (record.epoch, record.seq), staged)
        if held is not None and held[0] == record.hash:
            return
        self._check(record, node)
        self._fork(record, (record.epoch, record.seq), node, batch, staged, now_us)

    def _fork(
        self,
        record: Record,
        against: tuple[int, int],
        node: _Node,
        batch: Batch,
        staged: _Staged,
        now_us: int,
    ) -> None:
        """Two records signed for one chain exclude each other: keep both apart, take no more from this node."""
        why = f"{record.kind} at epoch {record.epoch} seq {record.seq} contradicts epoch {against[0]} seq {against[1]}"
        both = [(record.epoch, record.seq, record.hash, record.body, record.signature)]
        if (held := self._held(record.node_id, against, staged)) is not None:
            both.append((*against, *held))
        batch.quarantine += [(record.node_id, *one, now_us, why) for one in both]
        batch.states[record.node_id] = node.state = "fork"
        raise _Refused("FORK", record.epoch, record.seq, record.hash, why)

    def _held(self, node_id: str, at: tuple[int, int], staged: _Staged) -> tuple[bytes, bytes, bytes] | None:
        if (record := staged.get((node_id, *at))) is not None:
            return record.hash, record.body, record.signature
        return self._store.held(node_id, *at)

    def _ack(self, node_id: str, node: _Node, now_us: int) -> Answer | None:
        if node.seq == 0:
            return None
        ack = Ack.seal(node_id, node.epoch, node.seq, node.hash, now_us, MAX_WINDOW_FRAMES, self._keys.ack)
        return Answer(node_id, "ack", ack.data)

    def _refuse(self, batch: Batch, node_id: str, reason: str, why: str, now_us: int) -> None:
        batch.refusals.append((node_id, reason, now_us, why[:200]))
        if (node_id, reason) not in self._logged:
            self._logged.add((node_id, reason))
            log.warning("refused node=%s reason=%s detail=%s", node_id, reason, why)


def read_status(node_id: str, payload: bytes) -> Status | None:
    """The status on a node's topic, or None where it is malformed or speaks of another node."""
    try:
        status = Status.parse(payload)
    except BadMessage:
        return None
    return status if status.node_id == node_id else None


def _project(record: Record, batch: Batch, now_us: int) -> None:
    """What the console shows of a node without reading its chain through."""
    fields: Fields = record.fields
    if isinstance(pack := fields.get("pack"), str):
        batch.packs[record.node_id] = pack
    if record.kind == "node.alive":
        cameras = fields.get("cameras")
        batch.alive[record.node_id] = (
            fields["at"]["wall_us"],
            [one for one in cameras if isinstance(one, dict)] if isinstance(cameras, list) else [],
        )
    elif record.kind == "notice.applied":
        try:
            batch.applied.append((now_us, record.node_id, int(fields["nseq"]), bytes.fromhex(fields["hash"])))
        except (KeyError, TypeError, ValueError) as error:  # central judges envelopes; the notice just stays open
            log.warning("notice.applied not understood node=%s seq=%d error=%s", record.node_id, record.seq, error)
