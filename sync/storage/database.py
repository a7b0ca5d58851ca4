"""Every database of a HOME and of central: how it is opened, locked and migrated, and what is said when that fails."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import sqlite_utils
from sqlite_utils.migrations import Migrations

from sync import SyncError

BUSY_TIMEOUT_S = 5.0
_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)  # the second: no room for the wal-index at opening


Patience: TypeAlias = Callable[[], bool]
"""Asked each time somebody else has held the write lock for BUSY_TIMEOUT_S: whether to go on waiting."""


def give_up() -> bool:
    """The patience of pages and commands, which have somebody to tell."""
    return False


class DatabaseError(SyncError):
    """A database that cannot be opened, read or written; the text names the file and the cause."""


class NewerFormat(DatabaseError):
    """The database was written by a later version."""


class DiskFull(DatabaseError):
    """Nothing was written, for want of room; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Format:
    """What a database file is. what: as errors call it. version: its PRAGMA user_version."""

    what: str
    version: int


class _Connection(sqlite3.Connection):
    """Remembers the schema in which no program was found."""

    schema_version = -1


LEDGER_FORMAT = Format("ledger", 1)
CENTRAL_FORMAT = Format("central store", 1)  # here for the verifier, which reads central.db and imports no central


def connect(path: Path) -> sqlite3.Connection:
    """Open an existing database as all of ours are: WAL, FULL, 5 s of patience, what is deleted overwritten."""
    uri = f"{path.absolute().as_uri()}?mode=rw"  # never makes the file
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S, factory=_Connection)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def open_checked(path: Path, expected: Format) -> sqlite3.Connection:
    """`connect`, held to a format and without triggers or views; raises DatabaseError or NewerFormat."""
    if not path.is_file():
        raise DatabaseError(f"{path}: no {expected.what} there")
    with named(path):
        connection = connect(path)
        try:
            check_format(connection, path, expected)
            _refuse_programs(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def check_format(connection: sqlite3.Connection, path: Path, expected: Format) -> None:
    """Raise NewerFormat or DatabaseError where the database at `path` is not of this format."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > expected.version:
        raise NewerFormat(
            f"{path}: written by a newer FirstVisit (format {version}, this one knows {expected.version})"
        )
    if version != expected.version:
        raise DatabaseError(f"{path}: not a FirstVisit {expected.what}")


def program(connection: sqlite3.Connection) -> str | None:
    """Name a trigger or view of the database, None where it has none.

    FirstVisit makes neither. A trigger would drop records on their way in, or keep the keys of the erased.
    """
    found = connection.execute("SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'view')").fetchone()
    if found is None:
        return None
    kind, name = (part.decode(errors="replace") if isinstance(part, bytes) else part for part in found)
    return f"{kind} {name!r}"


def create(path: Path, made: Format, *sets: Migrations, mode: int = 0o660) -> None:
    """Make a new database with the tables of these sets; raises DatabaseError where something is already there.

    mode: of the file and of the logs beside it, less the umask.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode))
    except FileExistsError as error:
        raise DatabaseError(f"{path}: already there") from error
    except OSError as error:
        raise DatabaseError(f"{path}: {error.strerror}") from error
    with named(path), closing(connect(path)) as connection, immediate(connection):
        _apply(connection, sets)
        connection.execute(f"PRAGMA user_version = {made.version}")


def migrate(path: Path, expected: Format, *sets: Migrations) -> None:
    """Bring an existing database's tables up to these sets, under the write lock: who comes second finds it done."""
    with closing(open_checked(path, expected)) as connection, named(path), immediate(connection):
        _apply(connection, sets)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Raise what SQLite raises as DatabaseError or DiskFull, naming the file."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) in _NO_ROOM:
            raise DiskFull(f"{path}: no room on the disk; nothing was written") from error
        raise DatabaseError(f"{path}: {error}") from error


@contextmanager
def immediate(connection: sqlite3.Connection, patience: Patience = give_up) -> Iterator[None]:
    """Hold the write lock for the block, commit at its end, roll back on any error.

    Refused where somebody has put a trigger or a view into the database since it was opened.
    """
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or not patience():
                raise
    try:
        _refuse_programs(connection)
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite has already rolled back after a full disk
            connection.execute("ROLLBACK")
        raise


def _refuse_programs(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA schema_version").fetchone()
    if isinstance(connection, _Connection) and connection.schema_version == version:
        return
    if found := program(connection):
        raise sqlite3.DatabaseError(f"it holds the {found}, which FirstVisit never makes: nothing is written")
    if isinstance(connection, _Connection):
        connection.schema_version = version


def _apply(connection: sqlite3.Connection, sets: tuple[Migrations, ...]) -> None:
    database = sqlite_utils.Database(connection)
    for one in sets:
        one.apply(database)
