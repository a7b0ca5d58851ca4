"""The node's sidecars: phones sealed to central, kept until their owner is erased, sent once their record is held.

The table is beside the chain and outside it. Whoever can read phones here fills it (`edge/people/sealed_phones.py`);
the uplink's thread empties it and marks what central has taken.
"""

import sqlite3
from collections.abc import Iterable, Sequence

import sqlite_utils
from sqlite_utils.migrations import Migrations

from sync.format.sidecar import MAX_SIDECARS, Sidecar

MIGRATIONS = Migrations("sidecars")
_COLUMNS = "epoch, seq, record, contact_id, number_hmac, sealed, seal_key"


@MIGRATIONS()
def sidecars(db: sqlite_utils.Database) -> None:
    """taken: central has said that it holds it, or never will."""
    db.table("sidecars").create(
        {
            "record": bytes,
            "epoch": int,
            "seq": int,
            "contact_id": str,
            "number_hmac": bytes,
            "sealed": bytes,
            "seal_key": str,
            "taken": int,
        },
        pk="record",
        not_null={"epoch", "seq", "contact_id", "number_hmac", "sealed", "seal_key", "taken"},
    )
    db.table("sidecars").create_index(["contact_id"])
    db.table("sidecars").create_index(["taken", "epoch", "seq"])


def add(connection: sqlite3.Connection, sidecar: Sidecar) -> None:
    """Keep a sidecar to be sent, in the caller's transaction."""
    connection.execute(
        f"INSERT OR IGNORE INTO sidecars ({_COLUMNS}, taken) VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
        (
            sidecar.epoch,
            sidecar.seq,
            sidecar.record,
            sidecar.contact,
            sidecar.number_hmac,
            sidecar.sealed,
            sidecar.seal_key,
        ),
    )


def waiting(connection: sqlite3.Connection, upto: tuple[int, int]) -> list[Sidecar]:
    """The first sidecars that central has not taken, of records it has acknowledged: those up to (epoch, seq)."""
    if not _there(connection):
        return []
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM sidecars WHERE taken = 0 AND (epoch, seq) <= (?, ?) ORDER BY epoch, seq LIMIT ?",
        (*upto, MAX_SIDECARS),
    )
    return [Sidecar(*row) for row in rows]


def taken(connection: sqlite3.Connection, records: Sequence[bytes]) -> None:
    """Central has dealt with these."""
    connection.executemany("UPDATE sidecars SET taken = 1 WHERE record = ?", [(record,) for record in records])


def lost(connection: sqlite3.Connection, after: tuple[int, int]) -> None:
    """Central has lost what it held behind a place: its sidecars are to be sent again."""
    if _there(connection):
        connection.execute("UPDATE sidecars SET taken = 0 WHERE (epoch, seq) > (?, ?)", after)


def forget(connection: sqlite3.Connection, contact_ids: Iterable[str]) -> None:
    """Their owners are erased: drop them, in the transaction that says so."""
    connection.executemany("DELETE FROM sidecars WHERE contact_id = ?", [(one,) for one in contact_ids])


def rehash(connection: sqlite3.Connection, contact_id: str, number_hmac: bytes) -> None:
    """The number is known by another HMAC from now on: central is to hear it, in the caller's transaction."""
    connection.execute(
        "UPDATE sidecars SET number_hmac = ?, taken = 0 WHERE contact_id = ? AND number_hmac <> ?",
        (number_hmac, contact_id, number_hmac),
    )


def withdraw(connection: sqlite3.Connection, records: Sequence[bytes]) -> None:
    """Drop the sidecars of these records, in the transaction that takes the records back."""
    connection.executemany("DELETE FROM sidecars WHERE record = ?", [(record,) for record in records])


def _there(connection: sqlite3.Connection) -> bool:
    """Not in a HOME that no command of this version has written to yet."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'sidecars'").fetchone() is not None
