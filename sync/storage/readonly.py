"""Reading a database that may be in use, or a bare copy of one, without leaving a trace beside it."""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from sync import SyncError
from sync.storage.database import BUSY_TIMEOUT_S

T = TypeVar("T")
READ_ERRORS = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What reading a damaged database raises; the second where SQLite's own message quotes the damage."""
# What says that the database could not be looked at, rather than that it is damaged.
_NOT_NOW = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
    )
)


def read_snapshot(path: Path, read: Callable[[sqlite3.Connection], T]) -> T:
    """Return what `read` makes of the database as of one moment; nothing is written or created beside it.

    A WAL without its index (a HOME copied by hand) is read through a temporary copy, a database without a WAL as
    immutable, and once more where a writer came by meanwhile. Text comes as bytes, as stored. Raises SyncError
    where it cannot be opened; damage reaches `read` as one of READ_ERRORS.
    """
    wal, index = path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")
    try:
        while True:
            if _size(wal) and not index.exists():
                with tempfile.TemporaryDirectory(prefix="firstvisit-") as folder:
                    copy = Path(folder) / path.name
                    shutil.copyfile(path, copy)
                    shutil.copyfile(wal, copy.with_name(wal.name))
                    return _read(copy, "mode=ro", read)
            if index.exists() and wal.exists():
                return _read(path, "mode=ro", read)
            before = _state(path)  # mode=ro would create both files
            found = _read(path, "immutable=1", read)
            if not _size(wal) and _state(path) == before:
                return found
    except OSError as error:
        raise SyncError(f"{path}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise SyncError(f"{path}: {error}") from error


def damage(error: Exception) -> str | None:
    """What one of READ_ERRORS says of the bytes on the disk; None where it tells of the circumstances of reading."""
    if isinstance(error, UnicodeDecodeError):
        return "database disk image is malformed"
    code = getattr(error, "sqlite_errorcode", None)
    return str(error) if code is None or code & 0xFF not in _NOT_NOW else None


def _read(path: Path, mode: str, read: Callable[[sqlite3.Connection], T]) -> T:
    uri = f"{path.absolute().as_uri()}?{mode}"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S)) as connection:
        connection.text_factory = bytes  # damaged text is for `read` to judge
        connection.execute("BEGIN")
        return read(connection)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
