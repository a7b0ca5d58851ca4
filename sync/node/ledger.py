"""The node's ledger: one table that is evidence and outbox both. Writing to it: append.py; what leaves it: purge.py."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sync import SyncError
from sync.format.canonical import Fields
from sync.format.chain import Head
from sync.format.messages import Ack
from sync.format.notices import KeyRevoked
from sync.format.records import Record, Role, parse
from sync.format.signing import PublicKey, digest
from sync.format.wire import (
    FRAME_OVERHEAD_BYTES,
    MAX_FRAME_BYTES,
    MAX_FRAME_RECORDS,
    RECORD_OVERHEAD_BYTES,
    SignedBody,
)
from sync.node.append import Transaction, Writer, last_record, next_place
from sync.node.in_force import KeysInForce
from sync.storage.database import LEDGER_FORMAT, create, immediate, named, open_checked
from sync.storage.ledger_tables import MIGRATIONS, held_upto, kept_rows, key_records

SAME_ACK_INTERVAL_US = 60_000_000


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
        force and its `renew` brings no other, and where central has revoked it and it is a desk's. new_keys: it is a
        key of the epoch that this transaction begins.
        """
        if self._writer is None:
            raise SyncError(f"{self._path}: opened for reading")
        with self._errors(), immediate(self.connection, self._writer.patience):
            self._read_keys()
            if not new_keys:
                at = next_place(self.connection)
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
            return self._keys.revocation(key, next_place(self.connection))

    def revoked(self) -> tuple[KeyRevoked, ...]:
        """Every key that central has revoked, by the notices applied here; what is void by them: `voided_by`."""
        with self._errors():
            self._read_keys()
            return tuple(self._keys.revoked)

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
            last = last_record(self.connection)
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

    def before_newest_time(self) -> tuple[int, int]:
        """(epoch, seq) just before the last record that does not know the newest ack yet.

        Where none has ever come, just before the newest record of a synchronised clock; (0, 0): before them all.
        """
        anchor, source = (f"json_extract(CAST(body AS TEXT), '$.{name}')" for name in ("anchor.ack_hash", "at.source"))
        with self._errors():
            newest = self.connection.execute(
                f"SELECT {anchor} FROM ledger ORDER BY epoch DESC, seq DESC LIMIT 1"
            ).fetchone()
            if newest is None:
                return (0, 0)
            wanted, value = (f"{anchor} IS NOT ?", newest[0]) if newest[0] else (f"{source} = ?", "synced")
            found = self.connection.execute(
                f"SELECT epoch, seq - 1 FROM ledger WHERE {wanted} ORDER BY epoch DESC, seq DESC LIMIT 1", (value,)
            ).fetchone()
        return (found[0], found[1]) if found else (0, 0)

    def naming(self, id: str, kinds: Iterable[str], after: tuple[int, int] = (0, 0)) -> list[Record]:
        """Every record of these kinds after (epoch, seq) that names a random id in its body, in chain order.

        Of KEPT kinds the purged too.
        """
        wanted, named = tuple(kinds), f'"{id}"'.encode()
        with self._errors():
            found = [row for row in kept_rows(self.connection, wanted, after) if named in row[0]]
            found += self.connection.execute(
                f"SELECT body, signature FROM ledger WHERE kind IN ({','.join('?' * len(wanted))})"
                " AND (epoch, seq) > (?, ?) AND instr(body, ?) ORDER BY epoch, seq",
                (*wanted, *after, named),
            ).fetchall()
        return [parse(body, signature) for body, signature in found]

    def about(
        self, id: str, kinds: Iterable[str], after: tuple[int, int] = (0, 0), *, key: str = "visit"
    ) -> list[Record]:
        """Of `naming`, the records whose own subject it is: `visit`, or another key of the body, is this id."""
        return [record for record in self.naming(id, kinds, after) if record.fields.get(key) == id]

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
        """How many records central does not hold, as its newest ack says: of what it had lost, they count again."""
        with self._errors():
            (count,) = self.connection.execute(
                "SELECT count(*) FROM ledger WHERE (epoch, seq) > (?, ?)", held_upto(self.connection)
            ).fetchone()
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
        """(epoch, seq) of the last record that central will never take, (0, 0) where there is none.

        It takes nothing of what lies before an epoch that began because of a fork; nor of an epoch of new keys that it
        never answered and that was given up for other new keys: it was never told of the first. The next epoch's first
        record holds it all by its hash.
        """
        begun = [(one.epoch, one.fields.get("reason")) for one in self.records(("epoch.started",))]
        acked = self.acked_upto()
        unheard = [epoch for epoch, reason in begun if reason == "rekey" and (epoch, 1) > acked]
        ends = [epoch for epoch, reason in begun if reason == "fork"] + unheard[1:]
        if not ends:
            return (0, 0)
        with self._errors():
            found = self.connection.execute(
                "SELECT epoch, seq FROM ledger WHERE epoch < ? ORDER BY epoch DESC, seq DESC LIMIT 1", (max(ends),)
            ).fetchone()
        return (found[0], found[1]) if found else (0, 0)

    def accept_ack(self, ack: Ack, also: Callable[[sqlite3.Connection], None] = lambda _: None) -> bool:
        """Mark what `ack` covers, in its epoch and all before, and keep it as evidence.

        Its signature is the caller's to check. also: done in the same transaction where the ack is kept.

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
            also(self.connection)
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
        for body, signature in key_records(self.connection, self._keys.upto):
            self._keys.follow(parse(body, signature))
        if self.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'revoked_keys'").fetchone():
            # made with the notices' tables, and written by them alone (orders.py)
            revoked = self.connection.execute("SELECT key_id, epoch, seq, reason FROM revoked_keys").fetchall()
            self._keys.revoked = [KeyRevoked(*row) for row in revoked]

    def _errors(self) -> AbstractContextManager[None]:
        return named(self._path)
