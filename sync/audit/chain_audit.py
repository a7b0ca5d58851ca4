"""One stored chain held against its keys, its stored columns and central's acks, up to the first bad record."""

from dataclasses import dataclass

from sync import SyncError
from sync.format.chain import Chain, MayOpen, admit, only_the_last
from sync.format.keyring import KeyRing, Place
from sync.format.log_proof import LogHead
from sync.format.messages import Ack
from sync.format.records import BadRecord, Record, parse, place
from sync.format.signing import SIGNATURE_BYTES, digest
from sync.format.void import Voids, hold
from sync.node.purge import Base, kept_sha256


class Bad(Exception):
    """Where a chain stops being good, and why; at is None where no single record is at fault."""

    def __init__(self, why: str, at: Place | None = None) -> None:
        super().__init__(f"{place(*at)}: {why}" if at else why)
        self.why = why
        self.at = at


@dataclass(frozen=True, slots=True)
class Columns:
    """What stands beside a body in its row, as stored; acked is None where the table has no such mark."""

    epoch: object
    seq: object
    kind: object
    hash: object
    prev_hash: object
    acked: object


class Acks:
    """The acks found beside one chain: what they cover, and what is wrong with them."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._by_hash: dict[bytes, Ack] = {}
        self._heads: dict[Place, bytes] = {}
        self._faults: dict[Place, str] = {}
        self.upto: dict[int, int] = {}  # the last seq covered, by epoch
        self.newest: Ack | None = None
        self.checkpointed: list[Ack] = []  # those that speak of central's log, as they came

    @property
    def count(self) -> int:
        """How many acks were verified."""
        return len(self._by_hash)

    def add(self, ack: Ack) -> None:
        """Take an ack whose signature has been verified."""
        at = (ack.epoch, ack.upto_seq)
        self._cover(at)
        if ack.node_id != self._node_id:
            self._faults[at] = f"the ack stored for it is node {ack.node_id}'s"
        elif self._heads.setdefault(at, ack.head_hash) != ack.head_hash:
            self._faults[at] = "two stored acks name different hashes for it"
        self._by_hash[ack.ack_hash] = ack
        if ack.checkpoint is not None:
            self.checkpointed.append(ack)
        if self.newest is None or at >= (self.newest.epoch, self.newest.upto_seq):
            self.newest = ack

    def add_fault(self, at: Place, why: str) -> None:
        """Take what stands in an ack's place without being one."""
        self._cover(at)
        self._faults[at] = f"the ack stored for it: {why}"

    def last(self) -> Place:
        """The last record covered, (0, 0) where there is none."""
        return max(self.upto.items(), default=(0, 0))

    def head(self, at: Place) -> bytes | None:
        """The hash that a sound ack names for this place, None where none ends there."""
        return None if at in self._faults else self._heads.get(at)

    def at_of(self, at: Place) -> int | None:
        """Central's time in the first sound ack that ends at this place."""
        ends = (ack.central_time_us for ack in self._by_hash.values() if (ack.epoch, ack.upto_seq) == at)
        return min(ends, default=None)

    def check(self, record: Record) -> None:
        """Raise BadRecord where an ack disagrees with this record, or its anchor with the acks."""
        at = (record.epoch, record.seq)
        if at in self._faults:
            raise BadRecord(self._faults[at])
        if self._heads.get(at, record.hash) != record.hash:
            raise BadRecord("not the record that central acknowledged: its ack names another hash")
        anchor = record.fields.get("anchor")
        if anchor is None:
            return
        ack = self._by_hash.get(bytes.fromhex(anchor["ack_hash"]))
        if ack is None:
            raise BadRecord("its anchor names an ack that is not stored here")
        if ack.central_time_us != anchor["central_time_us"] or (ack.epoch, ack.upto_seq) >= at:
            raise BadRecord("its anchor disagrees with the ack it names")

    def missing(self, epoch: int, upto: int) -> str:
        return self._faults.get((epoch, upto)) or f"missing: central has acknowledged up to seq {upto}"

    def _cover(self, at: Place) -> None:
        self.upto[at[0]] = max(at[1], self.upto.get(at[0], 0))


class Audit:
    """A chain on its way from genesis to its end, row by row.

    acks: None where the chain lies at central, which has none and whose records' anchors are its own business.
    may_open: as of Chain. base: what a purged chain begins behind, as yet only claimed. strict: a void record is bad,
    as at central, which takes none. checked counts the records that prove something, `voids` the void ones.
    """

    def __init__(
        self,
        node_id: str,
        keys: KeyRing,
        acks: Acks | None,
        may_open: MayOpen = only_the_last,
        base: Base | None = None,
        strict: bool = False,
    ) -> None:
        self.voids = Voids()
        self._kept_voids = Voids()
        listed = None if strict else self.voids
        self.chain = Chain(node_id, keys, may_open=may_open, voids=listed)
        if base:
            self.chain = Chain(node_id, keys, base.epoch, base.upto, base.head, may_open, listed)
        self.acks = acks
        self.base = base
        self.checked = 0
        self._signed_back: list[tuple[Place, LogHead]] = []  # of central's log, in `node.alive`
        self._node_id = node_id
        self._keys = keys
        self._told = base is None  # whether a verified record has said so
        self._kept: list[bytes] = []
        self._kept_at: Place = (0, 0)
        self._ends = {base.epoch: base.upto} if base else dict[int, int]()  # the last seq, by epoch
        self._strays: dict[Place, str] = {}  # records met under an altered number, by their own

    @property
    def rows(self) -> int:
        """How many rows were walked, none of them bad."""
        return self.checked + self.voids.count

    @property
    def signed_back(self) -> list[tuple[Place, LogHead]]:
        """The heads of central's log that the node signed back, in chain order.

        Those in void records only where central acknowledged them before it revoked the key: its acks build on them.
        """
        upto = self.acks.upto if self.acks is not None else {}
        runs = self.voids.runs
        return [one for one in self._signed_back if one[0][1] <= upto.get(one[0][0], 0) or not hold(runs, one[0])]

    @property
    def next(self) -> Place:
        return self.chain.epoch, self.chain.seq + 1

    def kept(self, body: object, signature: object, columns: Columns | None = None) -> None:
        """Verify the next record that a purge has spared, before any row; raises Bad."""
        at = _own_place(body)
        try:
            if not isinstance(body, bytes) or not isinstance(signature, bytes):
                raise BadRecord("body or signature is not stored as bytes")
            record = parse(body, signature)
            at = record.epoch, record.seq
            if record.node_id != self._node_id:
                raise BadRecord(f"the body is of node {record.node_id}, this chain of {self._node_id}")
            if self.base is None or not self._kept_at < at <= self.base.at:
                raise BadRecord("kept where it does not belong")
            if columns:
                if (columns.epoch, columns.seq) != at or columns.hash != record.hash:
                    raise BadRecord("its columns do not match its body")
                _check_columns(columns, record)
            admit(record, self._keys, self._kept_voids)
        except SyncError as error:
            raise Bad(f"kept: {error}", at) from error
        self._kept_at = at
        self._kept.append(record.hash)

    def row(self, body: object, signature: object, columns: Columns | None = None) -> None:
        """Verify the next row; columns is None where only body and signature are stored. Raises Bad."""
        at = self._seat(body, columns) if columns else self.next
        if at is None:
            return
        try:
            if not isinstance(body, bytes) or not isinstance(signature, bytes):
                raise BadRecord("body or signature is not stored as bytes")
            if columns and columns.hash != digest("record-hash", body):
                raise BadRecord("hash does not match the body")
            void = self.voids.count
            record = self.chain.add(body, signature)
            if columns:
                _check_columns(columns, record)
            self._check_purge(record)
            if self.acks is not None:
                self.acks.check(record)
                if columns:
                    _check_mark(columns.acked, record, self.acks)
        except SyncError as error:
            raise Bad(str(error), at) from error
        self.checked += self.voids.count == void
        self._ends[record.epoch] = record.seq
        if record.kind == "node.alive" and (head := LogHead.of(record.fields.get("log"))) is not None:
            self._signed_back.append(((record.epoch, record.seq), head))

    def end(self) -> None:
        """Judge what must not be missing behind the last row; raises Bad."""
        if not self.rows and self.acks is not None:
            raise Bad("missing: there is no record at all", (1, 1))
        if self._strays:
            at = min(self._strays)
            raise Bad(self._strays[at], at)
        if self.acks is not None:
            if not self._told:
                raise Bad("missing, and no record says that it was purged", (1, 1))
            if self.base is not None and self.acks.head(self.base.at) != self.base.head:
                raise Bad("purged up to here, but no ack of it is stored", self.base.at)
            for epoch, upto in sorted(self.acks.upto.items()):
                if self.base is not None and epoch < self.base.epoch:
                    continue
                held = self._ends.get(epoch, 0)
                if upto > held:
                    raise Bad(self.acks.missing(epoch, upto), (epoch, held + 1))

    def spans(self, after: Place = (0, 0)) -> str:
        """The places of the verified records behind `after`, as people read them; empty where there are none."""
        spans = []
        for epoch, end in self._ends.items():
            first = after[1] + 1 if epoch == after[0] else 1
            if self.base is not None and epoch == self.base.epoch:
                first = max(first, self.base.upto + 1)
            if epoch >= after[0] and first <= end:
                spans.append(f"{place(epoch, first)}..{end}")
        return ", ".join(spans)

    def _check_purge(self, record: Record) -> None:
        """Hold what a record says of a purge against what is here; only the newest one must agree."""
        told = Base.of(record.fields)
        if told is None or self.acks is None:  # central purges nothing
            return
        if self.base is None or told.at > self.base.at:
            raise BadRecord("says that records were purged which are here")
        if told.at == self.base.at:
            if told.head != self.base.head:
                raise BadRecord("purged up to another record than this chain begins behind")
            if (told.kept, told.kept_sha256) != (len(self._kept), kept_sha256(self._kept)):
                raise BadRecord("the kept records are not those that it names")
            self._told = True

    def _seat(self, body: object, columns: Columns) -> Place | None:
        """Return the place a row claims where it comes next; None for a stray, whose own place will be found empty.

        Raises Bad where the row shows that another is missing.
        """
        epoch, seq = columns.epoch, columns.seq
        claimed = (epoch, seq) if isinstance(epoch, int) and isinstance(seq, int) else None
        if claimed == self.next:
            return claimed
        own = _own_place(body)
        if claimed and claimed == own and self.chain.may_follow(*claimed):
            return claimed
        if own and own != claimed:
            self._strays[own] = f"stored as epoch {epoch!r} seq {seq!r}"
            return None
        if claimed and claimed > self.next:
            opens = self.chain.seq > 0 and claimed[0] > self.chain.epoch
            empty = (claimed[0], 1) if opens and self.next not in self._strays else self.next
            raise Bad(self._strays.get(empty, "missing"), empty)
        raise Bad(f"out of place: {place(*self.next)} comes next", claimed)


def _own_place(body: object) -> Place | None:
    """Where a body says it belongs, None where it is not one that could be believed even so far."""
    if not isinstance(body, bytes):
        return None
    try:
        record = parse(body, bytes(SIGNATURE_BYTES))
    except SyncError:
        return None
    return record.epoch, record.seq


def _check_mark(acked: object, record: Record, acks: Acks) -> None:
    covered = (record.epoch, record.seq) <= acks.last()  # an ack covers every earlier epoch too
    if type(acked) is not int or acked not in (0, 1):
        raise BadRecord(f"acked is {acked!r}, neither 0 nor 1")
    if acked and not covered:
        raise BadRecord("marked acked, but no stored ack covers it")
    if covered and not acked:
        raise BadRecord("not marked acked, but a stored ack covers it")


def _check_columns(columns: Columns, record: Record) -> None:
    if columns.kind not in (record.kind, record.kind.encode()):
        raise BadRecord(f"stored kind {columns.kind!r}, the body says {record.kind}")
    if columns.prev_hash != record.prev_hash:
        raise BadRecord("stored prev_hash does not match the body")
