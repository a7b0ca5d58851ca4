"""Writing to the chain: who appends, and the one transaction in which the next record is signed and kept."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sync import SyncError
from sync.format.canonical import Fields
from sync.format.records import ENVELOPE, GENESIS_PREV, ROLE_OF_KIND, VERSION, Record, Role, parse, seal
from sync.format.signing import PublicKey, Signer, digest
from sync.format.stamp import Stamp
from sync.storage.database import Patience, give_up

EpochReason: TypeAlias = Literal["init", "restore", "clone", "fork", "rekey"]


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

    @property
    def key(self) -> PublicKey:
        """The key that signs what is appended."""
        return self._writer.signer.public

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
        before = last_record(self.connection)
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
        if taken := ENVELOPE & fields.keys():
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


def next_place(connection: sqlite3.Connection) -> tuple[int, int]:
    """(epoch, seq) of the record that would be appended now."""
    found = connection.execute("SELECT epoch, seq FROM ledger ORDER BY epoch DESC, seq DESC LIMIT 1").fetchone()
    return (found[0], found[1] + 1) if found else (1, 1)


def last_record(connection: sqlite3.Connection) -> Record | None:
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
