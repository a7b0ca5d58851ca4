"""The tables of a HOME's chain: the records, the acks of them, and what a purge has spared."""

import sqlite3

import sqlite_utils
from sqlite_utils.migrations import Migrations

MIGRATIONS = Migrations("ledger")
KEPT = ("epoch.started", "key.rotated", "policy.changed", "node.boot", "person.enrolled", "person.erased")
"""Kinds that stay when their time is up: the keys of the chain, how far back "first" reaches, the last start, who is
of the roster and who no longer is.
"""
KEPT_WITH = {"access.digest": b'"accounts":', "notice.applied": b'"account":'}
"""Kinds of which those stay that hold this: who may sign in, and what central has said of them."""


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


_THE_END = (2**63 - 1, 0)  # no epoch is higher


def has_kept(connection: sqlite3.Connection) -> bool:
    """Whether there is a table of kept records: not in a HOME that no command of this version has written to yet."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'kept_records'").fetchone() is not None


def kept_rows(
    connection: sqlite3.Connection, kinds: tuple[str, ...], after: tuple[int, int] = (0, 0)
) -> list[tuple[bytes, bytes]]:
    """Body and signature of every record of these kinds that a purge has spared, after (epoch, seq), in chain order."""
    wanted = [kind for kind in kinds if kind in KEPT or kind in KEPT_WITH]
    if not wanted or not has_kept(connection):
        return []
    return connection.execute(
        f"SELECT body, signature FROM kept_records WHERE kind IN ({','.join('?' * len(wanted))})"
        " AND (epoch, seq) > (?, ?) ORDER BY epoch, seq",
        (*wanted, *after),
    ).fetchall()


def key_records(
    connection: sqlite3.Connection, after: tuple[int, int] = (0, 0), upto: tuple[int, int] = _THE_END
) -> list[tuple[bytes, bytes]]:
    """Body and signature of every record that changes the keys of the chain, after one (epoch, seq) up to another.

    In chain order; those that a purge has spared are among them.
    """
    kinds = ("epoch.started", "key.rotated")
    rows = connection.execute(
        "SELECT body, signature FROM ledger WHERE kind IN (?, ?) AND (epoch, seq) > (?, ?) AND (epoch, seq) <= (?, ?)"
        " ORDER BY epoch, seq",
        (*kinds, *after, *upto),
    ).fetchall()
    return kept_rows(connection, kinds, after) + rows


def held_upto(connection: sqlite3.Connection) -> tuple[int, int]:
    """(epoch, seq) of the last record that central holds by the newest ack to arrive; (0, 0) before the first.

    After a CENTRAL_ROLLBACK it lies below what earlier acks cover.
    """
    found = connection.execute("SELECT epoch, upto_seq FROM acks ORDER BY rowid DESC LIMIT 1").fetchone()
    return (found[0], found[1]) if found else (0, 0)
