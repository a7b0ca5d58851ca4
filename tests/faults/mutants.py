"""Faults put into the product on purpose, each in the process that is started with its name.

A scenario that does not notice its mutant tests nothing. Each is what somebody might write who does not know better.
"""

import importlib
import pkgutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

MUTANTS: dict[str, Callable[[], None]] = {}


def _mutant(function: Callable[[], None]) -> Callable[[], None]:
    MUTANTS[function.__name__.replace("_", "-")] = function
    return function


@_mutant
def ack_before_commit() -> None:
    """Central answers when it has written, and commits with the next batch."""
    for module in _modules("sync.central.store"):
        if hasattr(module, "immediate"):
            module.immediate = _late_commit


@contextmanager
def _late_commit(connection: sqlite3.Connection, *_patience: object) -> Iterator[None]:
    if connection.in_transaction:
        connection.execute("COMMIT")
    connection.execute("BEGIN IMMEDIATE")
    yield


@_mutant
def synchronous_normal() -> None:
    """A commit returns before its log is on the disk."""
    import sync.storage.database as database

    module: Any = database
    connect = module.connect

    def careless(*arguments: Any, **options: Any) -> Any:
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    module.connect = careless


@_mutant
def puback_is_ack() -> None:
    """What the broker has confirmed counts as held by central."""
    from sync.node.uplink_thread import UplinkThread

    thread: Any = UplinkThread
    watch = thread._watch_timeout

    def believe(self: Any, uplink: Any, *rest: Any) -> Any:
        sent = uplink._sent
        if self._link.connected and not self._link.unconfirmed and sent > uplink._acked:
            uplink._acked = sent
            _acknowledge(self._home, sent)
        return watch(self, uplink, *rest)

    thread._watch_timeout = believe


def _acknowledge(home: Any, upto: tuple[int, int]) -> None:
    from sync.format.messages import Ack
    from sync.node.ledger import Ledger
    from sync.storage.database import connect

    connection = connect(home / "firstvisit.db")
    found = connection.execute("SELECT hash FROM ledger WHERE epoch = ? AND seq = ?", upto).fetchone()
    connection.close()
    ledger = Ledger(home / "firstvisit.db")
    fields: dict[str, Any] = dict.fromkeys(Ack.__dataclass_fields__)
    fields |= {"node_id": "", "epoch": upto[0], "upto_seq": upto[1], "head_hash": found[0], "data": bytes(64)}
    fields |= {"central_time_us": time.time_ns() // 1000, "window": 8}
    ledger.accept_ack(Ack(**fields))
    ledger.close()


@_mutant
def lost_frames_are_skipped() -> None:
    """A gap is not sent again: the node goes on behind it."""
    from sync.node.uplink import Uplink

    uplink: Any = Uplink

    def ignore(*_arguments: Any) -> str:
        return "ignored"

    def forget(self: Any, now_s: float) -> bool:
        if self._deadline_s is None or now_s < self._deadline_s:
            return False
        self._in_flight.clear()
        self._deadline_s = None
        return True

    uplink.on_nack, uplink.tick = ignore, forget


@_mutant
def gaps_are_taken() -> None:
    """Central stores whatever comes next, in whatever order."""
    from sync.central.ingest import Ingest

    ingest: Any = Ingest
    judge = ingest._judge

    def lenient(self: Any, frame: Any, node: Any, *rest: Any) -> Any:
        from sync.format.records import parse
        from sync.format.wire import BadFrame, decode_frame

        try:
            first = decode_frame(frame.payload)[0]
            record = parse(first.body, first.signature)
            if (record.epoch, record.seq) > (node.epoch, node.seq + 1):
                node.epoch, node.seq, node.hash = record.epoch, record.seq - 1, record.prev_hash
        except (BadFrame, ValueError):
            pass
        return judge(self, frame, node, *rest)

    ingest._judge = lenient


@_mutant
def oldest_make_room() -> None:
    """On a full disk the oldest records go, acknowledged or not."""
    from edge.full_disk import FullDisk

    disk: Any = FullDisk
    strike = disk.strike

    def overwrite(self: Any, now: Any) -> None:
        strike(self, now)
        self._ledger.connection.execute("DELETE FROM ledger WHERE rowid IN (SELECT rowid FROM ledger LIMIT 50)")

    disk.strike = overwrite


@_mutant
def wall_clock_is_true() -> None:
    """The stamp claims synchronised time, whatever the kernel says of it."""
    import edge.clock

    clock: Any = edge.clock.Clock
    stamp = clock.stamp

    def confident(self: Any, before: Any) -> Any:
        return replace(stamp(self, before), source="synced", maxerror_us=500, steps=0)

    clock.stamp = confident


def claims_are_believed() -> None:
    """A record's interval is what its node claims, and nothing is held against it; for whoever reads the stamps."""
    import sync.certificate.timeline as timeline

    reader: Any = timeline.Timeline
    of = reader.of

    def credulous(self: Any, record: Any) -> Any:
        claim = timeline._claim(record.stamp)
        return replace(of(self, record), carried=claim, claimed=claim, contradicted=False)

    reader.of = credulous


@_mutant
def stored_hash_is_believed() -> None:
    """The verifier links the chain by the hashes stored beside the bodies, and computes none."""
    import sync.audit.chain_audit
    import sync.format.chain

    chain: Any = sync.format.chain.Chain
    audit: Any = sync.audit.chain_audit.Audit
    row = audit.row

    def trusting(self: Any, body: Any, signature: Any, columns: Any = None) -> None:
        self.chain._stored = columns.hash if columns else None
        row(self, body, signature, columns)

    def add(self: Any, body: bytes, signature: bytes) -> Any:
        record = sync.format.chain.parse(body, signature)
        if self._stored is not None:
            record = replace(record, hash=self._stored)
        if record.prev_hash != self.head_hash:
            raise sync.format.chain.BadRecord("prev is not the hash of the record before")
        self.epoch, self.seq, self.head_hash = record.epoch, record.seq, record.hash
        return record

    audit.row, chain.add = trusting, add
    module: Any = sync.audit.chain_audit
    module.digest = lambda *_: _Anything()


class _Anything:
    def __eq__(self, _other: object) -> bool:
        return True

    def __ne__(self, _other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0


@_mutant
def acks_are_not_compared() -> None:
    """The verifier looks at the chain alone and holds no stored ack against it."""
    import sync.audit.chain_audit

    acks: Any = sync.audit.chain_audit.Acks
    acks.add = lambda *_: None
    acks.check = lambda *_: None
    module: Any = sync.audit.chain_audit
    module._check_mark = lambda *_: None


@_mutant
def duplicates_are_not_compared() -> None:
    """Central acknowledges again whatever claims a place it has filled."""
    from sync.central.ingest import Ingest

    ingest: Any = Ingest
    ingest._again = lambda *_: None


@_mutant
def signatures_are_not_checked() -> None:
    """Central believes a record by its form."""
    from sync.format.keyring import KeyRing

    ring: Any = KeyRing
    ring.check = lambda *_: None


@_mutant
def nobody_is_paced() -> None:
    """Central answers a node that catches up as fast as it can."""
    from sync.central.backfill import Backfill

    backfill: Any = Backfill
    backfill.due = lambda *_: True


@_mutant
def erased_keys_stay() -> None:
    """An erasure drops the rows and leaves the person's key where it is."""
    from edge.people.vault import Vault

    vault: Any = Vault
    vault.destroy_keys = lambda *_: True
    vault.keyless = lambda *_: []


@_mutant
def deleted_bytes_stay() -> None:
    """What is deleted is only unlinked inside the database file."""
    import sync.storage.database as database

    module: Any = database
    connect = module.connect

    def careless(*arguments: Any, **options: Any) -> Any:
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA secure_delete = OFF")
        return connection

    module.connect = careless


@_mutant
def purge_takes_unanchored() -> None:
    """A purge counts days and asks neither for an ack nor for a checkpoint."""
    import sync.node.purge

    def newest(connection: Any, *_rest: Any) -> Any:
        rows = connection.execute(
            "SELECT epoch, seq, hash FROM ledger ORDER BY epoch DESC, seq DESC LIMIT 2"
        ).fetchall()
        return rows[1] if len(rows) > 1 else None

    module: Any = sync.node.purge
    module._due = newest


def apply(name: str) -> None:
    """Put a mutant into this very process."""
    MUTANTS[name]()


def _modules(package: str) -> Iterator[Any]:
    """A package and its modules, each imported."""
    root = importlib.import_module(package)
    yield root
    for found in pkgutil.iter_modules(root.__path__):
        yield importlib.import_module(f"{package}.{found.name}")
