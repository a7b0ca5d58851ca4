"""Judges what arrives from nodes, commits what stands, and says what to answer. Knows nothing of MQTT."""

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sync import SyncError
from sync.central.backfill import Backfill
from sync.central.code_uses import conflict, tell_others
from sync.central.keys import ServingKeys
from sync.central.log import CentralLog, LogDamaged
from sync.central.outbox import Outbox
from sync.central.readers import Readers, Reading
from sync.central.reading import Read
from sync.central.rings import ring_of
from sync.central.store.batch import Batch
from sync.central.store.rows import ChainState, SignedBack
from sync.central.store.standing import StandingChanged
from sync.central.store.store import Store
from sync.format.canonical import Fields
from sync.format.chain import Head
from sync.format.keyring import KeyRing
from sync.format.log_proof import LogHead, LogProof
from sync.format.messages import Ack, BadMessage, Nack, NackCode, Status
from sync.format.records import GENESIS_PREV, BadRecord, Record
from sync.format.signing import digest
from sync.format.visit_fields import number_of, text_of
from sync.format.wire import MAX_FRAME_BYTES, MAX_WINDOW_FRAMES, BadFrame, SignedBody
from sync.storage.database import DatabaseError

log = logging.getLogger(__name__)

HOLD_PAUSE_S = 1.0  # between two heads of one node for which a root must be made
CHECKPOINT_PAUSE_S = 60.0  # between two checkpoints to a node
ACK_PAUSE_S = 1.0  # between two acks that say the same: whoever may publish could else draw them without end
MOST_EPOCHS_SKIPPED = 2**20  # a box restored daily for centuries; 2^53 - 1 would leave no number to readmit it under
_NEVER_S = float("-inf")
_SET_BACK_US = 1_000_000  # a clock that is further behind was set back
_NO_HASH = bytes(32)
_HEX64 = re.compile("[0-9a-f]{64}")


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
    """What the ingest knows of a node while it judges: its keys, and the end of its chain, staged records included.

    opened: the epochs that may begin behind any record.
    signed_back: the newest head of the log that the node signed back in this epoch; None where it has not, or where it
    signed another log's. held_s: when a root was last made for one.
    """

    keys: KeyRing
    state: ChainState
    epoch: int
    seq: int
    hash: bytes
    signed_back: LogHead | None
    opened: set[int]
    held_s: float = _NEVER_S


_Staged: TypeAlias = dict[tuple[str, int, int], Record]


class _Refused(Exception):
    """The rest of a frame is not taken; the nack says why."""

    def __init__(self, code: NackCode, epoch: int, seq: int, hash_: bytes, why: str) -> None:
        super().__init__(why)
        self.code, self.epoch, self.seq, self.hash = code, epoch, seq, hash_


class _Unsigned(Exception):
    """The rest of a frame is not taken, and the node is not told: it may come from anybody."""


class _Damaged(Exception):
    """What is held of a node is not what it signed: nothing more is taken and nothing of it acknowledged."""


class Ingest:
    """The one writer of central's evidence. What it holds in memory is what the store holds."""

    def __init__(
        self,
        store: Store,
        keys: ServingKeys,
        backfill: Backfill | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        readers: Readers | None = None,
    ) -> None:
        """monotonic: seconds, by which pauses count. backfill: paces the acks of nodes that catch up; None: nobody.

        readers: read ahead of what is judged; None: every frame is read in its turn.
        """
        self._store = store
        self._keys = keys
        self._log = CentralLog(store, keys)
        self._readers = readers
        self._outbox = Outbox(store)
        self._backfill = backfill
        self._monotonic = monotonic
        self._nodes: dict[str, _Node] = {}
        self._owed: dict[str, None] = {}  # who waits for an ack, in order
        self._acked: dict[str, tuple[int, int, float]] = {}  # the last ack: epoch, seq, when
        self._checkpointed: dict[str, float] = {}  # when each node was last told of the log
        self._told_us = 0  # the time in the newest ack or nack
        self._logged: set[tuple[str, str]] = set()
        self._standing = store.standing()

    def read(self, frames: Iterable[Arrived]) -> list[Reading]:
        """Begin to read frames, for `take` to judge in their turn. Raises DatabaseError.

        What will be refused unread is not read.
        """
        readings, worth = list[Reading](), list[Reading]()
        for frame in frames:
            reading = Reading(frame.node_id, frame.payload)
            readings.append(reading)
            try:
                node = self._node(frame.node_id)
            except DatabaseError:
                raise
            except Exception:  # noqa: BLE001  # met again in its turn, where it costs nobody but its node
                continue
            if node is not None and node.state == "ok" and len(frame.payload) <= MAX_FRAME_BYTES:
                reading.keys = node.keys.by_id()
                worth.append(reading)
        if self._readers is not None:
            self._readers.submit(worth)
        return readings

    def take(self, frames: Sequence[Reading], now_us: int, greetings: Sequence[Greeting] = ()) -> list[Answer]:
        """Judge frames in order, commit durably what they hold and what nodes say of themselves, and only then answer.

        One cumulative ack for every node that sent a record or has come online (an anchor in time; one a second at
        most where it says nothing new, and a node that catches up gets it when its turn has come; the rest with a later
        call), and nacks besides; to one that is online its open
        notices. What a node sent while its greeting was kept is lost, so it is asked for at once: the node would else
        sit out a timeout. Waits for a frame that is still being read. Raises DatabaseError where nothing could be
        committed: then nothing is answered and the nodes send again.
        """
        try:
            return self._take(frames, greetings, now_us)
        except DatabaseError:
            raise
        except Exception:  # one node must not end the service of all: what it sent is found, and the rest taken
            log.exception("batch failed frames=%d greetings=%d", len(frames), len(greetings))
        answers = []
        for greeting in greetings:
            answers += self._take_alone(greeting.status.node_id, [], [greeting], now_us)
        for frame in frames:
            answers += self._take_alone(frame.node_id, [frame], [], now_us)
        return answers

    def look(self, has: Callable[[str], bool]) -> list[Answer]:
        """The notices that somebody else has written since for nodes online; has: which nodes are this ingest's."""
        return [Answer(node_id, "down", data) for node_id, data in self._outbox.look(has)]

    def remind(self, has: Callable[[str], bool]) -> list[Answer]:
        """The notices that nodes online have not answered, again; a bounded number for each."""
        return [Answer(node_id, "down", data) for node_id, data in self._outbox.remind(has)]

    # -- inside ------------------------------------------------------------------------------------------------

    def _take_alone(self, node_id: str, frames: list[Reading], greetings: list[Greeting], now_us: int) -> list[Answer]:
        try:
            return self._take(frames, greetings, now_us)
        except DatabaseError:
            raise
        except Exception as error:
            log.exception("refused node=%s reason=unexpected", node_id)
            batch = Batch()
            self._refuse(batch, node_id, "unexpected", type(error).__name__, now_us)
            self._store.write(batch)
            return []

    def _take(self, frames: Sequence[Reading], greetings: Sequence[Greeting], now_us: int) -> list[Answer]:
        if (standing := self._store.standing()) != self._standing:
            self._standing = standing
            self._nodes.clear()
        batch, staged, refusals = Batch(), _Staged(), list[tuple[str, _Refused]]()
        online: list[tuple[Greeting, _Node]] = []
        try:
            for greeting in greetings:
                try:
                    node = self._node(greeting.status.node_id)
                except _Damaged as error:
                    self._refuse(batch, greeting.status.node_id, "damaged", str(error), now_us)
                    continue
                if node is not None:
                    batch.statuses.append((greeting.status, now_us))
                    if greeting.status.online:
                        online.append((greeting, node))
                        self._owed[greeting.status.node_id] = None
            for frame in frames:
                try:
                    node = self._node(frame.node_id)
                    if node is None:
                        # one row for all of them: whoever may publish could else fill the disk with invented names
                        self._refuse(batch, "", "unknown-node", f"{frame.node_id} is not enrolled", now_us)
                        continue
                    self._judge(frame, node, batch, staged, now_us)
                except _Damaged as error:
                    self._refuse(batch, frame.node_id, "damaged", str(error), now_us)
                except _Refused as refused:
                    self._refuse(batch, frame.node_id, refused.code, str(refused), now_us)
                    refusals.append((frame.node_id, refused))
                except (_Unsigned, BadFrame) as error:
                    reason = "bad-frame" if isinstance(error, BadFrame) else "not-signed"
                    self._refuse(batch, frame.node_id, reason, str(error), now_us)
            if batch:
                self._store.write(batch, self._standing)
        except StandingChanged:  # a command came between: judged anew, by what stands now
            self._nodes.clear()
            return self._take(frames, greetings, now_us)
        except BaseException:
            self._nodes.clear()  # what was staged is not in the store
            raise
        self._watch_codes(batch, now_us)
        if self._backfill is not None:
            for node_id, count in Counter(node_id for node_id, *_ in staged).items():
                self._backfill.took(node_id, count, self._monotonic())
        # notices go first: an ack may be signed by a key that one of them brings
        answers = [Answer(node_id, "down", data) for node_id, data in self._notices(online, batch)]
        answers += self._acks(now_us)
        answers += [Answer(node_id, "ack", self._nack(node_id, why, now_us)) for node_id, why in refusals]
        for greeting, node in online:
            answers += self._greet(greeting, node, now_us)
        return answers

    def _watch_codes(self, kept: Batch, now_us: int) -> None:
        """Flag reports that two nodes have taken at once, and tell the others where each was shown."""
        flags = Batch()
        for use in kept.code_uses:
            if (why := conflict(self._store, use)) is not None:
                self._refuse(flags, use[1], "CODE_TWICE", why, now_us)
            tell_others(self._store, use, self._keys.notice, now_us)
        if flags:
            self._store.write(flags)

    def _notices(self, online: list[tuple[Greeting, _Node]], batch: Batch) -> Iterator[tuple[str, bytes]]:
        for greeting, _ in online:
            node_id = greeting.status.node_id
            for data in self._outbox.greet(node_id, greeting.status.notices):
                yield node_id, data
        newest = {node_id: nseq for _, node_id, nseq, _ in batch.applied}
        for node_id, nseq in newest.items():
            for data in self._outbox.answered(node_id, nseq):
                yield node_id, data

    def _nack(self, node_id: str, why: _Refused, now_us: int) -> bytes:
        epoch, seq, node = why.epoch, why.seq, self._nodes.get(node_id)
        if why.code == "GAP" and node is not None:
            # what is missing now: another frame of the batch may have closed the gap, and the ack before this says so
            epoch, seq = node.epoch, node.seq + 1
        return Nack(node_id, why.code, epoch, seq, why.hash, self._told(now_us)).seal(self._keys.ack)

    def _greet(self, greeting: Greeting, node: _Node, now_us: int) -> Iterator[Answer]:
        status = greeting.status
        lost_all = node.seq == 0 and status.acked > 0  # acknowledged by a central that held more than this one
        if node.state == "ok" and (greeting.kept or lost_all):
            gap = Nack(status.node_id, "GAP", node.epoch, node.seq + 1, _NO_HASH, self._told(now_us))
            yield Answer(status.node_id, "ack", gap.seal(self._keys.ack))

    def _node(self, node_id: str) -> _Node | None:
        """What is known of an enrolled node, None of others; raises _Damaged where nothing may continue its chain."""
        node = self._nodes.get(node_id)
        if node is None:
            try:
                node = self._read_node(node_id)
            except DatabaseError:
                raise
            except SyncError as error:
                raise _Damaged(f"what is held of {node_id} is damaged: {error}") from error
            if node is not None:
                self._nodes[node_id] = node
        return node

    def _read_node(self, node_id: str) -> _Node | None:
        held = self._store.enrolment(node_id)
        if held is None:
            return None
        _, state = held
        head = self._store.head(node_id) or Head(1, 0, bytes.fromhex(GENESIS_PREV))
        if head.seq and _damaged(self._store.held(node_id, head.epoch, head.seq)):
            raise _Damaged(f"epoch {head.epoch} seq {head.seq}, the last of {node_id} held here, is damaged")
        keys = ring_of(self._store, node_id)
        signed = self._store.signed_back(node_id)
        signed_back = next((one.head for one in signed if one.matches and one.epoch == head.epoch), None)
        return _Node(keys, state, head.epoch, head.seq, head.hash, signed_back, self._store.opened(node_id))

    def _sound(self, node_id: str) -> _Node | None:
        """The same, and None for one whose chain here is damaged, which is said with what it sends next."""
        try:
            return self._node(node_id)
        except _Damaged:
            return None

    def _judge(self, frame: Reading, node: _Node, batch: Batch, staged: _Staged, now_us: int) -> None:
        if node.state != "ok":
            raise _Refused("FORK", node.epoch, node.seq, node.hash, "the chain has forked")
        if len(frame.payload) > MAX_FRAME_BYTES:
            raise _Refused("TOO_BIG", 0, 0, _NO_HASH, f"frame of {len(frame.payload)} bytes")
        for one in self._result(frame):
            record = self._record(frame.node_id, one, node)
            if (record.epoch, record.seq) <= (node.epoch, node.seq):
                self._again(record, one, node, batch, staged, now_us)
                self._owed[frame.node_id] = None
                continue
            self._check(record, one, node)
            self._owed[frame.node_id] = None
            batch.seen[frame.node_id] = now_us
            opens_epoch = node.seq > 0 and record.seq == 1 and record.epoch > node.epoch
            if not opens_epoch and (record.epoch, record.seq) != (node.epoch, node.seq + 1):
                raise _Refused("GAP", node.epoch, node.seq + 1, _NO_HASH, f"seq {record.seq} after {node.seq}")
            if opens_epoch:
                self._hold_opening(record, node, staged)
                node.signed_back = None
            elif record.prev_hash != node.hash:
                self._fork(record, (node.epoch, node.seq), node, batch, staged, now_us)
            self._follow(record, node)
            node.epoch, node.seq, node.hash = record.epoch, record.seq, record.hash
            staged[record.node_id, record.epoch, record.seq] = record
            batch.keep(record, now_us)
            _project(record, batch, now_us)
            if record.kind == "node.alive" and (head := LogHead.of(record.fields.get("log"))) is not None:
                self._hold(record, head, node, batch, now_us)

    def _result(self, frame: Reading) -> list[Read]:
        if not frame.ready and self._readers is not None:
            self._readers.look(until=frame)
        return frame.result()

    def _hold(self, record: Record, head: LogHead, node: _Node, batch: Batch, now_us: int) -> None:
        """Hold a head that a node signed back against the log: a central that lost or changed its own finds it here.

        A node that signs head upon head is passed over for a second, for a root costs more than its signature; `verify`
        holds every one.
        """
        if not self._log.knows(head.size):
            if (now_s := self._monotonic()) - node.held_s < HOLD_PAUSE_S:
                node.signed_back = head if head.size <= self._store.log_size() else None
                return
            node.held_s = now_s
        try:
            matches = self._log.holds(head)
        except LogDamaged as error:  # nobody can say; the record is good
            node.signed_back = None
            self._refuse(batch, record.node_id, "LOG_DAMAGED", str(error), now_us)
            return
        node.signed_back = head if matches else None
        batch.signed_back[record.node_id] = SignedBack(record.node_id, record.epoch, record.seq, head, matches)
        if not matches:
            why = f"epoch {record.epoch} seq {record.seq} signs a log of size {head.size} that is not this one"
            self._refuse(batch, record.node_id, "LOG_MISMATCH", why, now_us)

    def _record(self, node_id: str, read: Read, node: _Node) -> Record:
        record = read.record
        if isinstance(record, BadRecord):
            at = node.epoch, node.seq + 1, digest("record-hash", read.body.body)
            raise self._bad(read.body, node, *at, str(record)) from record
        if record.node_id != node_id:
            why = f"a record of node {record.node_id} on this node's topic"
            raise self._bad(read.body, node, record.epoch, record.seq, record.hash, why)
        return record

    def _check(self, record: Record, read: Read, node: _Node) -> None:
        try:
            node.keys.check(record, read.verifies)
        except BadRecord as error:
            bad = self._bad(read.body, node, record.epoch, record.seq, record.hash, str(error))
            if isinstance(bad, _Refused) and node.keys.cuts_off(record):
                bad.code = "REVOKED"
            raise bad from error

    def _follow(self, record: Record, node: _Node) -> None:
        """Take over what the record changes in the keys; a rotation that is not proven is refused."""
        try:
            node.keys.follow(record)
        except BadRecord as error:
            raise _Refused("BAD_SIG", record.epoch, record.seq, record.hash, str(error)) from error

    def _hold_opening(self, record: Record, node: _Node, staged: _Staged) -> None:
        """Refuse a new epoch that begins behind a record not held, unless somebody has opened it knowing that.

        Behind any record held of the epoch before, for a restored node has not all that central has: with it that
        epoch is closed, and whoever goes on in it forks.
        """
        node_id, epoch, prev = record.node_id, node.epoch, record.prev_hash
        if record.epoch > epoch + MOST_EPOCHS_SKIPPED and record.epoch not in node.opened:
            why = f"epoch {record.epoch} is absurdly far behind epoch {epoch}: no readmission could follow it"
            raise _Refused("BAD_SIG", record.epoch, record.seq, record.hash, why)
        if prev == node.hash or record.epoch in node.opened:
            return
        if any(held.hash == prev and at[:2] == (node_id, epoch) for at, held in staged.items()):
            return
        if not self._store.holds_hash(node_id, epoch, prev):
            why = f"epoch {record.epoch} begins behind a record that is not held"
            raise _Refused("GAP", node.epoch, node.seq + 1, _NO_HASH, why)

    def _bad(self, signed: SignedBody, node: _Node, epoch: int, seq: int, hash_: bytes, why: str) -> Exception:
        """A nack is for what the node itself signed: any other bytes are anybody's, its own records' among them."""
        if node.keys.signed(signed.body, signed.signature):
            return _Refused("BAD_SIG", epoch, seq, hash_, why)
        return _Unsigned(why)

    def _again(self, record: Record, read: Read, node: _Node, batch: Batch, staged: _Staged, now_us: int) -> None:
        """A place already filled: the same record is acknowledged again, another one is a fork if its key signed it."""
        held = self._held(record.node_id, (record.epoch, record.seq), staged)
        if _damaged(held):
            raise _Damaged(f"epoch {record.epoch} seq {record.seq} held here is damaged")
        if held is not None and held[0] == record.hash:
            return
        self._check(record, read, node)
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
        """Two records signed for one chain exclude each other: keep both apart, take no more from this node.

        Nothing ends where the key of the later one is revoked: whoever has it could freeze the node at will, under new
        keys too. One such pair a place is kept.
        """
        why = f"{record.kind} at epoch {record.epoch} seq {record.seq} contradicts epoch {against[0]} seq {against[1]}"
        both = [(record.epoch, record.seq, record.hash, record.body, record.signature)]
        if (held := self._held(record.node_id, against, staged)) is not None:
            both.append((*against, *held))
        if node.keys.given_up(record):
            if not self._store.quarantined(record.node_id, record.epoch, record.seq):
                batch.quarantine += [(record.node_id, *one, now_us, why) for one in both]
            raise _Refused("REVOKED", record.epoch, record.seq, record.hash, f"{why}, by a revoked key")
        batch.quarantine += [(record.node_id, *one, now_us, why) for one in both]
        batch.states[record.node_id] = node.state = "fork"
        raise _Refused("FORK", record.epoch, record.seq, record.hash, why)

    def _held(self, node_id: str, at: tuple[int, int], staged: _Staged) -> tuple[bytes, bytes, bytes] | None:
        if (record := staged.get((node_id, *at))) is not None:
            return record.hash, record.body, record.signature
        return self._store.held(node_id, *at)

    def _acks(self, now_us: int) -> list[Answer]:
        """The acks owed and due; what moved a head is due at once, but for a node that catches up."""
        answers, trouble = [], Batch()
        now_s, window = self._monotonic(), MAX_WINDOW_FRAMES if self._backfill is None else self._backfill.window()
        for node_id in list(self._owed):
            node = self._sound(node_id)
            if self._backfill is not None and not self._backfill.due(node_id, now_s):
                continue
            if node is not None and node.seq > 0:
                *at, sent_s = self._acked.get(node_id, (0, 0, _NEVER_S))
                if at == [node.epoch, node.seq] and now_s - sent_s < ACK_PAUSE_S:
                    continue
                at_us = self._told(now_us)
                try:
                    proof = self._proof(node_id, node, now_s)
                except LogDamaged as error:  # the record is kept all the same, which is what an ack says
                    proof = None
                    self._refuse(trouble, node_id, "LOG_DAMAGED", str(error), now_us)
                ack = Ack.seal(node_id, node.epoch, node.seq, node.hash, at_us, window, self._keys.ack, proof)
                answers.append(Answer(node_id, "ack", ack.data))
                self._acked[node_id] = (node.epoch, node.seq, now_s)
            del self._owed[node_id]
        if trouble:
            self._store.write(trouble)
        return answers

    def _proof(self, node_id: str, node: _Node, now_s: float) -> LogProof | None:
        """What an ack says of the log: in the first to a node, and then in one a minute.

        Nothing to a node that has not answered the notice of later keys: it could not tell them from a forger's.
        """
        if now_s - self._checkpointed.get(node_id, _NEVER_S) < CHECKPOINT_PAUSE_S:
            return None
        if self._store.awaits_keys(node_id):
            return None
        self._checkpointed[node_id] = now_s
        return self._log.proof(node_id, node.epoch, node.seq, node.signed_back)

    def _told(self, now_us: int) -> int:
        """The time to sign: later than in any word before, by which a node tells it from one played again.

        A clock that was set back is told as it is.
        """
        if 0 <= self._told_us - now_us < _SET_BACK_US:
            now_us = self._told_us + 1
        self._told_us = now_us
        return now_us

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
        nseq, digest_hex = number_of(fields, "nseq"), text_of(fields, "hash") or ""
        if nseq is None or not _HEX64.fullmatch(digest_hex):  # central judges envelopes; the notice just stays open
            log.warning("notice.applied not understood node=%s seq=%d", record.node_id, record.seq)
            return
        batch.applied.append((now_us, record.node_id, nseq, bytes.fromhex(digest_hex)))


def _damaged(held: tuple[bytes, bytes, bytes] | None) -> bool:
    """Whether a record held has another hash than its body: a bit has turned, or somebody has turned it."""
    return held is not None and digest("record-hash", held[1]) != held[0]
