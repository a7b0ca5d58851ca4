"""What leaves a ledger when its time is up, and what stays so that the rest still verifies.

A chain may begin later than at its first record: behind a *base*, a record that central acknowledged with a checkpoint
of its log. Everything up to the base is deleted, the ack stays, and a `retention.run` further up says so under the
node's key. The few records without which the rest cannot be read, `KEPT`, go to a table of their own; that same
`retention.run` carries their digest.
"""

import hashlib
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from sync import SyncError
from sync.format import canonical
from sync.format.canonical import Fields
from sync.format.records import Record
from sync.format.signing import digest
from sync.node.ledger import Ledger
from sync.storage.ledger_tables import KEPT, KEPT_WITH, held_upto

AT_ONCE = 2000  # records deleted in one transaction, unless one ack covers more
DAY_US = 86_400_000_000
_WITH_CHECKPOINT = b'"checkpoint":'  # in canonical JSON these bytes are that key and nothing else


@dataclass(frozen=True, slots=True)
class Base:
    """What a purged chain begins behind, as a `retention.run` says it under `purged`.

    head: the hash of the record (epoch, upto), 32 bytes. kept: how many records the table `kept_records` holds, and
    kept_sha256: the SHA-256 over their hashes in order.
    """

    epoch: int
    upto: int
    head: bytes
    kept: int
    kept_sha256: bytes

    @property
    def at(self) -> tuple[int, int]:
        return self.epoch, self.upto

    def fields(self) -> Fields:
        return {
            "epoch": self.epoch,
            "upto": self.upto,
            "head": self.head.hex(),
            "kept": self.kept,
            "kept_sha256": self.kept_sha256.hex(),
        }

    @classmethod
    def of(cls, body: Fields) -> "Base | None":
        """Read it out of a record's body, None where the body tells of no purge; raises SyncError."""
        fields = body.get("purged")
        if body.get("kind") != "retention.run" or fields is None:
            return None
        try:
            epoch, upto, kept = (fields[name] for name in ("epoch", "upto", "kept"))
            head, kept_sha256 = (canonical.hex_bytes(fields[name]) for name in ("head", "kept_sha256"))
        except (KeyError, TypeError, SyncError) as error:
            raise SyncError("purged: not what a purge says") from error
        if any(type(n) is not int or n < 0 for n in (epoch, upto, kept)) or {len(head), len(kept_sha256)} != {32}:
            raise SyncError("purged: not what a purge says")
        return cls(epoch, upto, head, kept, kept_sha256)


def kept_sha256(hashes: Iterable[bytes]) -> bytes:
    """The digest of kept records: SHA-256 over their hashes (32 bytes each) in chain order."""
    return hashlib.sha256(b"".join(hashes)).digest()


def base_of(connection: sqlite3.Connection) -> Base | None:
    """The base that the newest purge told of in this database names; believed by nobody until that record verifies.

    Where no record can be read that tells of one, a stored ack of what the first row follows counts.
    """
    told = connection.execute(
        "SELECT body FROM ledger WHERE kind = 'retention.run' AND instr(body, ?) ORDER BY epoch DESC, seq DESC",
        (b'"purged":',),
    )
    for (body,) in told:
        try:
            if (base := Base.of(canonical.decode(body))) is not None:
                return base
        except (SyncError, TypeError):  # damaged: it will be met on the way
            continue
    first = connection.execute("SELECT epoch, seq, prev_hash FROM ledger ORDER BY epoch, seq LIMIT 1").fetchone()
    if first is None or (first[0], first[1]) == (1, 1):
        return None
    for epoch, upto, data in connection.execute("SELECT epoch, upto_seq, data FROM acks"):
        try:
            head = canonical.decode(data[64:])["head_hash"]
        except (SyncError, TypeError, KeyError):
            continue
        if isinstance(first[2], bytes) and head == first[2].hex():
            return Base(epoch, upto, first[2], 0, kept_sha256(()))
    return None


def purge(ledger: Ledger, days: int, most: int = AT_ONCE) -> Record | None:
    """Delete the oldest records that central has held for `days`, some `most` of them, and say so in the chain.

    Counted by central's clock, from its newest ack: no clock of this machine can purge. Returns the `retention.run`,
    None where nothing is due. ledger: opened by the node's writer. Raises SyncError where the record that would become
    the base is damaged; nothing is changed then.
    """
    newest_us = ledger.last_ack_us()
    if newest_us is None:
        return None
    with ledger.transaction() as transaction:
        connection = transaction.connection
        ack = _due(connection, newest_us - days * DAY_US, most)
        if ack is None:
            return None
        epoch, upto, head = ack
        found = connection.execute(
            "SELECT body FROM ledger WHERE epoch = ? AND seq = ? AND hash = ?", (epoch, upto, head)
        ).fetchone()
        if found is None or digest("record-hash", found[0]) != head:
            raise SyncError(f"epoch {epoch} seq {upto} is not the record that central acknowledged: nothing is purged")
        (expired,) = connection.execute(
            "SELECT count(*) FROM ledger WHERE (epoch, seq) <= (?, ?)", (epoch, upto)
        ).fetchone()
        marks = ", ".join("?" * len(KEPT))
        those = "".join(" OR (kind = ? AND instr(body, ?))" for _ in KEPT_WITH)
        connection.execute(
            "INSERT INTO kept_records SELECT epoch, seq, kind, body, hash, prev_hash, signature FROM ledger"
            f" WHERE (epoch, seq) <= (?, ?) AND (kind IN ({marks}){those}) ORDER BY epoch, seq",
            (epoch, upto, *KEPT, *chain.from_iterable(KEPT_WITH.items())),
        )
        connection.execute("DELETE FROM ledger WHERE (epoch, seq) <= (?, ?)", (epoch, upto))
        _thin_acks(connection, (epoch, upto))
        hashes = [row[0] for row in connection.execute("SELECT hash FROM kept_records ORDER BY epoch, seq")]
        base = Base(epoch, upto, head, len(hashes), kept_sha256(hashes))
        return transaction.append(
            "retention.run", {"expired": [], "basis": "ledger", "records": expired, "purged": base.fields()}
        )


def _due(connection: sqlite3.Connection, cutoff_us: int, most: int) -> tuple[int, int, bytes] | None:
    """The ack to purge up to: (epoch, upto, head hash); the furthest within `most` records, else the next one."""
    first = connection.execute("SELECT epoch, seq FROM ledger ORDER BY epoch, seq LIMIT 1").fetchone()
    if first is None:
        return None
    limit = connection.execute(
        "SELECT epoch, seq FROM ledger ORDER BY epoch, seq LIMIT 1 OFFSET ?", (most - 1,)
    ).fetchone() or (2**62, 0)
    acks = (
        "SELECT epoch, upto_seq, data FROM acks WHERE central_time_us <= ? AND instr(data, ?)"
        " AND (epoch, upto_seq) >= (?, ?)"
        # nothing that a central that went back behind an ack of its own has not said again that it holds
        " AND (epoch, upto_seq) <= (?, ?)"
        # nothing beyond the newest checkpoint verified here: whoever sees a fork of central's log keeps what is left
        " AND (epoch, upto_seq) <= (SELECT epoch, upto_seq FROM log_head)"
        # a chain needs a last record to continue from
        " AND (epoch, upto_seq) < (SELECT epoch, seq FROM ledger ORDER BY epoch DESC, seq DESC LIMIT 1)"
    )
    values = (cutoff_us, _WITH_CHECKPOINT, *first, *held_upto(connection))
    found = (
        connection.execute(
            f"{acks} AND (epoch, upto_seq) <= (?, ?) ORDER BY epoch DESC, upto_seq DESC LIMIT 1", (*values, *limit)
        ).fetchone()
        or connection.execute(f"{acks} ORDER BY epoch, upto_seq LIMIT 1", values).fetchone()
    )
    return (found[0], found[1], bytes.fromhex(canonical.decode(found[2][64:])["head_hash"])) if found else None


def _thin_acks(connection: sqlite3.Connection, base: tuple[int, int]) -> None:
    """Let go of acks below the base that no record left names as its anchor, but for one a day with a checkpoint.

    Anchors only ever go on to acks that arrived later, so that all below the first one left are free. One a day holds
    central to its log as well as one a minute does. Where central's log has contradicted itself, every checkpoint
    stays: one of them is the evidence.
    """
    (body,) = connection.execute("SELECT body FROM ledger ORDER BY epoch, seq LIMIT 1").fetchone()
    anchor = canonical.decode(body).get("anchor")
    if anchor is None:
        return
    connection.execute(
        "DELETE FROM acks WHERE (epoch, upto_seq) < (?, ?) AND rowid < (SELECT rowid FROM acks WHERE ack_hash = ?)"
        " AND NOT (instr(data, ?) AND (EXISTS (SELECT 1 FROM alarms WHERE code = 'LOG_FORK') OR rowid IN"
        " (SELECT min(rowid) FROM acks WHERE instr(data, ?) GROUP BY central_time_us / ?)))",
        (*base, bytes.fromhex(anchor["ack_hash"]), _WITH_CHECKPOINT, _WITH_CHECKPOINT, DAY_US),
    )
