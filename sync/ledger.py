"""The node's ledger: one table that is evidence and outbox both. Its SQL is here; what leaves it: purge.py."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import sqlite_utils
from sqlite_utils.migrations import Migrations

from sync import SyncError
from sync.canonical import Fields
from sync.database import LEDGER_FORMAT, Patience, create, give_up, immediate, named, open_checked
from sync.in_force import KeysInForce
from sync.messages import Ack
from sync.notices import KeyRevoked
from sync.records import GENESIS_PREV, ROLE_OF_KIND, VERSION, Record, Role, parse, seal
from sync.signing import PublicKey, Signer, digest
from sync.stamp import Stamp
from sync.wire import (
    FRAME_OVERHEAD_BYTES,
    MAX_FRAME_BYTES,
    MAX_FRAME_RECORDS,
    RECORD_OVERHEAD_BYTES,
    SignedBody,
)

MIGRATIONS = Migrations("ledger")
SAME_ACK_INTERVAL_US = 60_000_000
EpochReason: TypeAlias = Literal["init", "restore", "clone", "fork", "rekey"]
KEPT = ("epoch.started", "key.rotated", "policy.changed", "node.boot")
"""Kinds that stay when their time is up: the keys of the chain, how far back "first" reaches, the last start."""
_ENVELOPE = frozenset(("v", "node", "epoch", "seq", "prev", "kind", "key", "at", "anchor"))


@MIGRATIONS()
def records(db: sqlite_utils.Database) -> None:
    """The chain; `acked` makes it the outbox too."""
    db.execute(
        """
        CREATE TABLE ledger (
          epoch     INTEGER NOT NULL,
          seq       INTEGER NOT NULL,
          kind      TEXT    NOT NULL,
          body      BLOB    NOT NULL,
          hash      BLOB    NOT NULL,
          prev_hash BLOB    NOT NULL,
          signature BLOB    NOT NULL,
          acked     INTEGER NOT NULL DEFAULT 0,
          PRIMARY KEY (epoch, seq),
          UNIQUE (epoch, prev_hash)
        ) STRICT
        """
    )
    db.execute("CREATE INDEX ledger_unacked ON ledger (epoch, seq, acked) WHERE acked = 0")  # acked: covers the count
    db.execute("CREATE INDEX ledger_kind ON ledger (kind, epoch, seq)")


@MIGRATIONS()
def acks(db: sqlite_utils.Database) -> None:
    """Every ack ever verified: the evidence that central held a prefix of the chain at a time."""
    db.table("acks").create(
        {
            "ack_hash": bytes,
            "epoch": int,
            "upto_seq": int,
            "central_time_us": int,
            "data": bytes,
        },
        pk="ack_hash",
        not_null={"epoch", "upto_seq", "central_time_us", "data"},
    )
    db.table("acks").create_index(["epoch", "upto_seq"])
    db.table("acks").create_index(["central_time_us"])


@MIGRATIONS()
def kept(db: sqlite_utils.Database) -> None:
    """Records that a purge has spared, since what is left cannot be read without them."""
    db.execute(
        """
        CREATE TABLE kept_records (
          epoch     INTEGER NOT NULL,
          seq       INTEGER NOT NULL,
          kind      TEXT    NOT NULL,
          body      BLOB    NOT NULL,
          hash      BLOB    NOT NULL,
          prev_hash BLOB    NOT NULL,
          signature BLOB    NOT NULL,
          PRIMARY KEY (epoch, seq)
        ) STRICT
        """
    )


@dataclass(frozen=True, slots=True)
class Writer:
    """Who appends: the node, in one role, with that role's key and a reading of the clocks.

    stamp: called inside the transaction with the stamp of the record before, or None for the first. patience: whether
    to wait on while somebody else holds the write lock. renew: reads the role's key anew where the one at hand has
    been retired by a rotation, in whichever process; raises SyncError.
    """

    node_id: str
    role: Role
    signer: Signer
    stamp: Callable[[Stamp | None], Stamp]
    patience: Patience = give_up
    renew: Callable[[], Signer] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A row as stored, nothing about it believed."""

    epoch: int
    seq: int
    kind: str
    body: bytes
    hash: bytes
    prev_hash: bytes
    signature: bytes
    acked: bool


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain; hash: 32 bytes."""

    epoch: int
    seq: int
    hash: bytes


class Transaction:
    """One BEGIN IMMEDIATE: appends records, and lets the caller write other tables with them or not at all."""

    def __init__(self, connection: sqlite3.Connection, writer: Writer) -> None:
        """writer: with the key in force."""
        self.connection = connection
        self._writer = writer

    def append(self, kind: str, fields: Fields) -> Record:
        """Sign and insert the next record; raises SyncError where the kind is not this writer's.

        Where the wall clock was moved, the node's `clock.step` comes before it.
        """
        return self.append_placed(kind, lambda _epoch, _seq: fields)

    def append_placed(self, kind: str, make: Callable[[int, int], Fields]) -> Record:
        """`append`, for fields that depend on the place, (epoch, seq), which the record gets."""
        self._hold_role(kind)
        before, now = self._last_and_now()
        before = self._step_between(before, now) or before
        epoch, seq = (before.epoch, before.seq + 1) if before else (1, 1)
        return self._put(kind, make(epoch, seq), before, now, epoch, seq)

    def revokes(self, order: KeyRevoked) -> bool:
        """Whether the key of this writer may not sign the next record once `order` stands."""
        at = _next_place(self.connection)
        return order.key_id == self._writer.signer.public.key_id and at > (order.epoch, order.seq)

    def begin_epoch(self, reason: EpochReason, fields: Fields, epoch: int | None = None) -> Record:
        """Append the first record of a new epoch, `epoch.started`, behind the last record there is.

        fields: its `site` and `keys`. epoch: its number where the next one is taken, by a clone of this machine.
        Raises SyncError where there is no record yet, or the number is none of a later epoch.
        """
        self._hold_role("epoch.started")
        before, now = self._last_and_now()
        if before is None:
            raise SyncError("an empty chain begins its first epoch with its first record")
        epoch = before.epoch + 1 if epoch is None else epoch
        if epoch <= before.epoch:
            raise SyncError(f"epoch {epoch} cannot follow epoch {before.epoch}")
        started = self._put("epoch.started", {"reason": reason, **fields}, before, now, epoch, 1)
        if step := self._unnamed_step(before, now):  # behind it: the epoch before may be closed already
            self._put("clock.step", step, started, now, epoch, 2)
        return started

    def name_step(self) -> Record | None:
        """Append `clock.step` where the wall clock was moved since the node's last record; None where it was not."""
        return self._step_between(*self._last_and_now())

    def _hold_role(self, kind: str) -> None:
        if ROLE_OF_KIND.get(kind) != self._writer.role:
            raise SyncError(f"{kind} is not for the {self._writer.role} key")

    def _last_and_now(self) -> tuple[Record | None, Stamp]:
        """One reading of the clocks for the next record and for the step before it: nothing can happen in between."""
        before = _last(self.connection)
        return before, self._writer.stamp(before.stamp if before else None)

    def _step_between(self, before: Record | None, now: Stamp) -> Record | None:
        if before is None or self._writer.role != "node":
            return None
        fields = self._unnamed_step(before, now)
        return self._put("clock.step", fields, before, now, before.epoch, before.seq + 1) if fields else None

    def _unnamed_step(self, before: Record, now: Stamp) -> Fields | None:
        """The body of the `clock.step` that must come before a record stamped `now`, None where none must.

        The desk's key may not sign one: what its records have met since the node's last is the node's to name.
        """
        if now.steps == 0 or before.stamp.boot_id != now.boot_id:
            return None
        named = before.stamp
        if ROLE_OF_KIND.get(before.kind) != "node":
            rows = self.connection.execute("SELECT body, signature FROM ledger ORDER BY epoch DESC, seq DESC")
            for record in (parse(*row) for row in rows):
                if record.stamp.boot_id != now.boot_id:
                    break
                named = record.stamp
                if ROLE_OF_KIND.get(record.kind) == "node":
                    break
            rows.close()
        if now.steps == named.steps:
            return None
        jump_us = now.wall_us - named.wall_us - (now.boot_us - named.boot_us)
        return {"jump_us": jump_us, "before_us": named.wall_us}

    def _put(self, kind: str, fields: Fields, before: Record | None, at: Stamp, epoch: int, seq: int) -> Record:
        writer = self._writer
        if before and before.node_id != writer.node_id:
            raise SyncError(f"this chain is node {before.node_id}'s, {writer.node_id} cannot continue it")
        if taken := _ENVELOPE & fields.keys():
            raise SyncError(f"{kind}: {', '.join(sorted(taken))} belongs to the envelope")
        body: Fields = {
            "v": VERSION,
            "node": writer.node_id,
            "epoch": epoch,
            "seq": seq,
            "prev": before.hash.hex() if before else GENESIS_PREV,
            "kind": kind,
            "key": writer.signer.public.key_id,
            "at": at.fields(),
            **fields,
        }
        anchor = self.connection.execute(
            # the newest by arrival: a central whose clock once ran ahead must not anchor every later record
            "SELECT central_time_us, ack_hash FROM acks ORDER BY rowid DESC LIMIT 1"
        ).fetchone()
        if anchor:
            body["anchor"] = {"central_time_us": anchor[0], "ack_hash": anchor[1].hex()}
        record = seal(body, writer.signer)
        stored = self.connection.execute(
            "INSERT INTO ledger (epoch, seq, kind, body, hash, prev_hash, signature) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (record.epoch, record.seq, kind, record.body, record.hash, record.prev_hash, record.signature),
        )
        if stored.rowcount != 1:
            raise SyncError(f"the database did not keep {kind} at epoch {record.epoch} seq {record.seq}")
        return record


class Ledger:
    """The ledger of one HOME, opened by one thread; open another for another thread or process.

    Without a writer it reads, and marks what central has acknowledged.
    """

    def __init__(self, path: Path, writer: Writer | None = None) -> None:
        """Open an existing database; raises DatabaseError (missing, damaged) or NewerFormat."""
        self._path = path
        self._writer = writer
        self._keys = KeysInForce()
        self.connection = open_checked(path, LEDGER_FORMAT)

    @staticmethod
    def create(path: Path) -> None:
        """Make an empty ledger at `path`; raises DatabaseError where something is already there."""
        create(path, LEDGER_FORMAT, MIGRATIONS)

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def transaction(self, new_keys: bool = False) -> Iterator[Transaction]:
        """Hold the write lock, commit durably at the end, roll back on any error.

        A key that another process has rotated is read anew. Raises KeyNotInForce where the writer's key is none in
        force and its `renew` brings no other, and where central has revoked it. new_keys: it is a key of the epoch that
        this transaction begins.
        """
        if self._writer is None:
            raise SyncError(f"{self._path}: opened for reading")
        with self._errors(), immediate(self.connection, self._writer.patience):
            self._read_keys()
            if not new_keys:
                at = _next_place(self.connection)
                signer = self._keys.signer(self._writer.role, self._writer.signer, self._writer.renew, at)
                self._writer = replace(self._writer, signer=signer)
            yield Transaction(self.connection, self._writer)

    def key_in_force(self, role: Role) -> PublicKey | None:
        """The key that signs the next record in this role, None where the chain does not say."""
        with self._errors():
            self._read_keys()
        return self._keys.key(role)

    def revocation(self, key: PublicKey) -> KeyRevoked | None:
        """Central's word that forbids this key the next record."""
        with self._errors():
            self._read_keys()
            return self._keys.revocation(key, _next_place(self.connection))

    def append(self, kind: str, fields: Fields) -> Record:
        """Append one record in a transaction of its own and return it, durable."""
        with self.transaction() as transaction:
            return transaction.append(kind, fields)

    def name_step(self) -> Record | None:
        """Append `clock.step` where the wall clock was moved since the node's last record; None where it was not."""
        with self.transaction() as transaction:
            return transaction.name_step()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read everything inside as of one moment, while others append."""
        with self._errors():
            self.connection.execute("BEGIN")
            try:
                yield
            finally:
                self.connection.execute("ROLLBACK")  # nothing was written

    def head(self) -> Head | None:
        with self._errors():
            last = _last(self.connection)
        return Head(last.epoch, last.seq, last.hash) if last else None

    def rows(self, from_seq: int = 1) -> Iterator[Row]:
        """Every row from `from_seq` of each epoch on, as stored, in chain order."""
        with self._errors():
            cursor = self.connection.execute(
                "SELECT epoch, seq, kind, body, hash, prev_hash, signature, acked FROM ledger"
                " WHERE seq >= ? ORDER BY epoch, seq",
                (from_seq,),
            )
            for epoch, seq, kind, body, digest, prev, signature, acked in cursor:
                yield Row(epoch, seq, kind, body, digest, prev, signature, bool(acked))

    def records(self, kinds: Iterable[str], after: tuple[int, int] = (0, 0)) -> Iterator[Record]:
        """Every record of these kinds after (epoch, seq), parsed, in chain order; of KEPT kinds the purged too."""
        wanted = tuple(kinds)
        with self._errors():
            for body, signature in kept_rows(self.connection, wanted, after):
                yield parse(body, signature)
            cursor = self.connection.execute(
                f"SELECT body, signature FROM ledger WHERE kind IN ({','.join('?' * len(wanted))})"
                " AND (epoch, seq) > (?, ?) ORDER BY epoch, seq",
                (*wanted, *after),
            )
            for body, signature in cursor:
                yield parse(body, signature)

    def between(self, after: tuple[int, int], upto: tuple[int, int]) -> Iterator[Record]:
        """Every record behind `after` up to `upto`, both (epoch, seq), parsed, in chain order."""
        with self._errors():
            for body, signature in self.connection.execute(
                "SELECT body, signature FROM ledger WHERE (epoch, seq) > (?, ?) AND (epoch, seq) <= (?, ?)"
                " ORDER BY epoch, seq",
                (*after, *upto),
            ):
                yield parse(body, signature)

    def naming(self, id: str, kinds: Iterable[str], after: tuple[int, int] = (0, 0)) -> list[Record]:
        """Every record of these kinds after (epoch, seq) that names a random id in its body, in chain order."""
        wanted = tuple(kinds)
        with self._errors():
            found = self.connection.execute(
                f"SELECT body, signature FROM ledger WHERE kind IN ({','.join('?' * len(wanted))})"
                " AND (epoch, seq) > (?, ?) AND instr(body, ?) ORDER BY epoch, seq",
                (*wanted, *after, f'"{id}"'.encode()),
            ).fetchall()
        return [parse(body, signature) for body, signature in found]

    def data_version(self) -> int:
        """A number that changes when somebody else has written to the database; asking reads no table."""
        with self._errors():
            (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def record(self, epoch: int, seq: int) -> Record | None:
        with self._errors():
            found = self.connection.execute(
                "SELECT body, signature FROM ledger WHERE epoch = ? AND seq = ?", (epoch, seq)
            ).fetchone()
        return parse(*found) if found else None

    def last_of(self, kind: str) -> Record | None:
        """The newest record of a kind."""
        with self._errors():
            found = self.connection.execute(
                "SELECT body, signature FROM ledger WHERE kind = ? ORDER BY epoch DESC, seq DESC LIMIT 1", (kind,)
            ).fetchone()
            if found is None:
                found = next(reversed(kept_rows(self.connection, (kind,))), None)
        return parse(*found) if found else None

    def backlog(self) -> int:
        """How many records central has not acknowledged."""
        with self._errors():
            (count,) = self.connection.execute("SELECT count(*) FROM ledger WHERE acked = 0").fetchone()
        return int(count)

    # -- outbox ------------------------------------------------------------------------------------------------

    def acked_upto(self) -> tuple[int, int]:
        """(epoch, seq) of the last acknowledged record, (0, 0) before the first."""
        with self._errors():
            found = self.connection.execute(
                # out of the acks' index: what is marked lies anywhere in a long ledger
                "SELECT epoch, upto_seq FROM acks ORDER BY epoch DESC, upto_seq DESC LIMIT 1"
            ).fetchone()
        return (found[0], found[1]) if found else (0, 0)

    def next_frame(self, after: tuple[int, int]) -> tuple[tuple[int, int], list[SignedBody]] | None:
        """The records that follow `after` = (epoch, seq), as many of one epoch as fit a frame.

        Returns the (epoch, seq) of the last one and the records, or None where there are none.
        """
        with self._errors():
            rows = self.connection.execute(
                "SELECT epoch, seq, body, signature FROM ledger"
                " WHERE (epoch, seq) > (?, ?) ORDER BY epoch, seq LIMIT ?",
                (*after, MAX_FRAME_RECORDS),
            ).fetchall()
        frame: list[SignedBody] = []
        size, last = FRAME_OVERHEAD_BYTES, after
        for epoch, seq, body, signature in rows:
            size += RECORD_OVERHEAD_BYTES + len(body)
            if frame and (epoch != last[0] or size > MAX_FRAME_BYTES):
                break
            frame.append(SignedBody(body, signature))
            last = (epoch, seq)
        return (last, frame) if frame else None

    def closed_at(self, epoch: int) -> int | None:
        """The last seq of an epoch behind which a later one has begun, None of the newest."""
        with self._errors():
            found = self.connection.execute(
                "SELECT seq FROM ledger WHERE epoch = ? AND epoch < (SELECT max(epoch) FROM ledger)"
                " ORDER BY seq DESC LIMIT 1",
                (epoch,),
            ).fetchone()
        return int(found[0]) if found else None

    def given_up(self) -> tuple[int, int]:
        """(epoch, seq) of the last record before the newest epoch that began because of a fork, (0, 0) without one.

        Central takes nothing more of what lies before it; the epoch's first record holds it all by its hash.
        """
        begun = [one.epoch for one in self.records(("epoch.started",)) if one.fields.get("reason") == "fork"]
        if not begun:
            return (0, 0)
        with self._errors():
            found = self.connection.execute(
                "SELECT epoch, seq FROM ledger WHERE epoch < ? ORDER BY epoch DESC, seq DESC LIMIT 1", (begun[-1],)
            ).fetchone()
        return (found[0], found[1]) if found else (0, 0)

    def accept_ack(self, ack: Ack) -> bool:
        """Mark what `ack` covers, in its epoch and all before, and keep it as evidence.

        Its signature is the caller's to check.

        One that repeats the place of the newest kept, and says nothing of central's log, is kept only a minute later:
        a stranger can draw one a second out of central. Returns False, and changes nothing, where the ack's head is
        not this chain's record at that place.
        """
        with self._errors(), immediate(self.connection):
            held = self.connection.execute(
                "SELECT body, hash FROM ledger WHERE epoch = ? AND seq = ?", (ack.epoch, ack.upto_seq)
            ).fetchone()
            if held is None or not digest("record-hash", held[0]) == held[1] == ack.head_hash:
                return False
            newest = self.connection.execute(
                "SELECT epoch, upto_seq, central_time_us FROM acks ORDER BY rowid DESC LIMIT 1"
            ).fetchone()
            repeats = newest is not None and newest[:2] == (ack.epoch, ack.upto_seq)
            if repeats and ack.checkpoint is None and abs(ack.central_time_us - newest[2]) < SAME_ACK_INTERVAL_US:
                return True
            self.connection.execute(
                # every epoch before, too: each begins with the hash of the last record of the one before it
                "UPDATE ledger SET acked = 1 WHERE acked = 0 AND (epoch, seq) <= (?, ?)",
                (ack.epoch, ack.upto_seq),
            )
            self.connection.execute(
                "INSERT OR IGNORE INTO acks (ack_hash, epoch, upto_seq, central_time_us, data) VALUES (?, ?, ?, ?, ?)",
                (ack.ack_hash, ack.epoch, ack.upto_seq, ack.central_time_us, ack.data),
            )
        return True

    def has_ack(self, ack_hash: bytes) -> bool:
        """Whether this very ack was accepted before; then it says nothing new, whoever sends it again."""
        with self._errors():
            found = self.connection.execute("SELECT 1 FROM acks WHERE ack_hash = ?", (ack_hash,)).fetchone()
        return found is not None

    def ack(self, ack_hash: bytes) -> bytes | None:
        """The signed bytes of a stored ack."""
        with self._errors():
            found = self.connection.execute("SELECT data FROM acks WHERE ack_hash = ?", (ack_hash,)).fetchone()
        return found[0] if found else None

    def acks_covering(self, epoch: int, seq: int) -> Iterator[bytes]:
        """The signed bytes of the acks that cover a record, those of the nearest place first."""
        with self._errors():
            for (data,) in self.connection.execute(
                "SELECT data FROM acks WHERE (epoch, upto_seq) >= (?, ?) ORDER BY epoch, upto_seq, rowid", (epoch, seq)
            ):
                yield data

    def last_ack_us(self) -> int | None:
        """Central's time in the newest ack, by arrival; None before the first."""
        with self._errors():
            found = self.connection.execute("SELECT central_time_us FROM acks ORDER BY rowid DESC LIMIT 1").fetchone()
        return int(found[0]) if found else None

    def acks(self) -> Iterator[bytes]:
        """Every stored ack's signed bytes, oldest first."""
        with self._errors():
            yield from (row[0] for row in self.connection.execute("SELECT data FROM acks ORDER BY rowid"))

    def _read_keys(self) -> None:
        first_look = self._keys.upto == (0, 0)
        rows = kept_rows(self.connection, ("epoch.started", "key.rotated")) if first_look else []
        rows += self.connection.execute(
            "SELECT body, signature FROM ledger WHERE kind IN ('epoch.started', 'key.rotated')"
            " AND (epoch, seq) > (?, ?) ORDER BY epoch, seq",
            self._keys.upto,
        ).fetchall()
        for body, signature in rows:
            self._keys.follow(parse(body, signature))
        if self.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'revoked_keys'").fetchone():
            # made with the notices' tables, and written by them alone (orders.py)
            revoked = self.connection.execute("SELECT key_id, epoch, seq, reason FROM revoked_keys").fetchall()
            self._keys.revoked = [KeyRevoked(*row) for row in revoked]

    def _errors(self) -> AbstractContextManager[None]:
        return named(self._path)


def has_kept(connection: sqlite3.Connection) -> bool:
    """Whether there is a table of kept records: not in a HOME that no command of this version has written to yet."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'kept_records'").fetchone() is not None


def kept_rows(
    connection: sqlite3.Connection, kinds: tuple[str, ...], after: tuple[int, int] = (0, 0)
) -> list[tuple[bytes, bytes]]:
    """Body and signature of every record of these kinds that a purge has spared, after (epoch, seq), in chain order."""
    wanted = [kind for kind in kinds if kind in KEPT]
    if not wanted or not has_kept(connection):
        return []
    return connection.execute(
        f"SELECT body, signature FROM kept_records WHERE kind IN ({','.join('?' * len(wanted))})"
        " AND (epoch, seq) > (?, ?) ORDER BY epoch, seq",
        (*wanted, *after),
    ).fetchall()


def key_records(connection: sqlite3.Connection, upto: tuple[int, int]) -> list[tuple[bytes, bytes]]:
    """Body and signature of every record up to (epoch, seq) that changes the keys of the chain, in chain order."""
    kinds = ("epoch.started", "key.rotated")
    return (
        kept_rows(connection, kinds)
        + connection.execute(
            "SELECT body, signature FROM ledger WHERE kind IN (?, ?) AND (epoch, seq) <= (?, ?) ORDER BY epoch, seq",
            (*kinds, *upto),
        ).fetchall()
    )


def _next_place(connection: sqlite3.Connection) -> tuple[int, int]:
    found = connection.execute("SELECT epoch, seq FROM ledger ORDER BY epoch DESC, seq DESC LIMIT 1").fetchone()
    return (found[0], found[1] + 1) if found else (1, 1)


def _last(connection: sqlite3.Connection) -> Record | None:
    """The head; raises SyncError where it is damaged: nothing may continue from it, or be said of it."""
    found = connection.execute(
        "SELECT body, signature, hash FROM ledger ORDER BY epoch DESC, seq DESC LIMIT 1"
    ).fetchone()
    if found is None:
        return None
    body, signature, stored_hash = found
    if digest("record-hash", body) != stored_hash:
        raise SyncError("the last record of the chain is damaged: nothing can follow it (firstvisit verify)")
    return parse(body, signature)
