"""The tables of both pages: who may sign in, from where, and who is signed in now."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlite_utils
from sqlite_utils.migrations import Migrations

from sync.storage.database import connect, immediate, named

MIGRATIONS = Migrations("web")


@MIGRATIONS()
def sign_in(db: sqlite_utils.Database) -> None:
    db.table("accounts").create(
        {
            "account_id": str,
            "name": str,
            "role": str,
            "password_hash": str,  # empty: signs in by PIN only
            "pin_hash": str,  # empty: no PIN
            "created_s": float,
        },
        pk="account_id",
        not_null={"name", "role", "password_hash", "pin_hash", "created_s"},
    )
    db.table("accounts").create_index(["name"], unique=True)
    db.table("tablets").create(
        {"tablet_id": str, "token_hash": bytes, "name": str, "registered_by": str, "registered_s": float},
        pk="tablet_id",
        not_null={"token_hash", "name", "registered_by", "registered_s"},
    )
    db.table("tablets").create_index(["token_hash"], unique=True)
    db.table("web_sessions").create(
        {
            "token_hash": bytes,
            "account_id": str,
            "tablet_id": str,  # empty: not on a registered tablet
            "csrf_token": str,
            "started_s": float,
            "used_s": float,
        },
        pk="token_hash",
        not_null={"account_id", "tablet_id", "csrf_token", "started_s", "used_s"},
    )
    db.table("sign_in_failures").create(
        {"subject": str, "failures": int, "last_s": float}, pk="subject", not_null={"failures", "last_s"}
    )


@MIGRATIONS()
def disabling(db: sqlite_utils.Database) -> None:
    """Who may not sign in (any more), without forgetting who they were: records name their account."""
    db.table("accounts").add_column("enabled", int, not_null_default=1)


@MIGRATIONS()
def offices(db: sqlite_utils.Database) -> None:
    """Where each belongs: who approves must not be of the office that asks."""
    db.table("accounts").add_column("office", str, not_null_default="")


@MIGRATIONS()
def displays(db: sqlite_utils.Database) -> None:
    """display: a screen that shows one page to everybody, on which nobody signs in by PIN."""
    db.table("tablets").add_column("display", int, not_null_default=0)


@contextmanager
def opened(path: Path) -> Iterator[sqlite_utils.Database]:
    """A connection for one piece of work: pages are served by many threads, and SQLite's belong to one each.

    Raises DatabaseError or DiskFull, naming the file.
    """
    with named(path), closing(connect(path)) as connection:
        yield sqlite_utils.Database(connection)


@contextmanager
def locked(path: Path) -> Iterator[sqlite_utils.Database]:
    """The same, holding the write lock: what is read inside is still true when it is written upon."""
    with opened(path) as db, immediate(db.conn):
        yield db
