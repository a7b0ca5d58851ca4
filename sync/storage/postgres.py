"""A connection to PostgreSQL as ours are: durable at commit, as patient as SQLite's, silent about passwords."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sync import SyncError
from sync.storage.database import BUSY_TIMEOUT_S, DatabaseError, DiskFull

if TYPE_CHECKING:
    from psycopg import Connection

CONNECT_TIMEOUT_S = 5
_SCHEMES = ("postgresql", "postgres")
_DURABLE = ("on", "remote_apply")  # of synchronous_commit; anything else may lose what was acknowledged


def check_url(url: str) -> str:
    """Return what errors may call the database of this URL, which holds no password; raises SyncError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SyncError("store URL: not of the form postgresql://user:password@host/database") from error
    if parts.scheme not in _SCHEMES:
        raise SyncError(f"store URL: scheme {parts.scheme!r}, expected postgresql")
    return f"postgresql://{host or ''}{f':{port}' if port else ''}{parts.path}"


def connect(url: str) -> "Connection":
    """Connect in autocommit; raises DatabaseError, also where the server would not keep what it has committed."""
    name = check_url(url)
    try:
        import psycopg  # not at the top: a central on SQLite does without
    except ImportError as error:
        raise SyncError(f"{name}: psycopg is missing; install firstvisit[postgres]") from error
    with named(name):
        try:
            connection = psycopg.connect(
                url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, application_name="firstvisit"
            )
        except psycopg.ProgrammingError as error:  # its text quotes the URL
            raise SyncError(f"{name}: the URL is not understood") from error
        try:
            connection.execute(f"SET lock_timeout = '{BUSY_TIMEOUT_S:.0f}s'")
            connection.execute("SET client_encoding = 'UTF8'")
            if _show(connection, "synchronous_commit") not in _DURABLE:
                connection.execute("SET synchronous_commit = on")
            if _show(connection, "fsync") != "on":
                raise DatabaseError(f"{name}: the server runs with fsync=off: it would lose what was acknowledged")
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def named(name: str) -> Iterator[None]:
    """Raise what PostgreSQL raises as DatabaseError or DiskFull, in one line that names the database.

    What it says of a value alone (psycopg.DataError, ProgramLimitExceeded) stays what it is: the store is well, and
    whoever sent the value must not stop the others.
    """
    import psycopg

    try:
        yield
    except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded):
        raise
    except psycopg.errors.DiskFull as error:
        raise DiskFull(f"{name}: no room on the server's disk; nothing was written") from error
    except psycopg.Error as error:
        text = str(error).strip() or type(error).__name__
        raise DatabaseError(f"{name}: {text.splitlines()[0]}") from error


def statement(sql: str) -> str:
    """A statement as psycopg wants it, from one with `?` for values."""
    return sql.replace("%", "%%").replace("?", "%s")


def definition(sql: str) -> str:
    """A CREATE as PostgreSQL wants it: text ordered by its bytes, integers of 64 bits, no STRICT, as all of it is."""
    for pattern, ours in ((r"\bTEXT\b", 'TEXT COLLATE "C"'), (r"\bINTEGER\b", "BIGINT"), (r"\bBLOB\b", "BYTEA")):
        sql = re.sub(pattern, ours, sql)
    return re.sub(r"\)\s*STRICT\s*$", ")", sql)


def _show(connection: "Connection", setting: str) -> str:
    found = connection.execute("SELECT current_setting(%s)", (setting,)).fetchone()
    return str(found[0]) if found else ""
