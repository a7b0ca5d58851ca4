"""What a person must look at: alarms of one HOME, counted by code. Their table is made with that of the notices."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sync import SyncError
from sync.storage.database import LEDGER_FORMAT, Patience, give_up, immediate, named, open_checked


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something a person must look at, counted; detail: of the newest.

    settled_us: when somebody said that it was looked at, and it has not happened since; None: nobody has.
    """

    code: str
    detail: str
    count: int
    first_us: int
    last_us: int
    settled_us: int | None = None


class Alarms:
    """The alarms of a database. It holds no connection, so any thread may ask it."""

    def __init__(self, database: Path, patience: Patience = give_up) -> None:
        """patience: whether to wait on while somebody else holds the write lock."""
        self._database = database
        self._patience = patience

    def raise_alarm(self, code: str, detail: str, now_us: int, count: int = 1) -> None:
        """Count an alarm, for `doctor` and the pages to show; one that was settled is open again."""
        with self._open() as connection, immediate(connection, self._patience):
            count_alarm(connection, code, detail, now_us, count)

    def settle(self, code: str, now_us: int) -> None:
        """Keep an alarm as looked at by somebody, until it happens again; raises SyncError where there is none such."""
        with self._open() as connection, immediate(connection, self._patience):
            listed = [row[0] for row in connection.execute("SELECT code FROM alarms ORDER BY code")]
            if code not in listed:
                raise SyncError(f"no alarm {code!r} here to settle; there are: {', '.join(listed) or 'none'}")
            connection.execute(
                "INSERT INTO settled_alarms (code, settled_us) VALUES (?, ?)"
                " ON CONFLICT (code) DO UPDATE SET settled_us = excluded.settled_us",
                (code, now_us),
            )

    def forget(self, *codes: str) -> None:
        """Drop alarms whose cause is mended, as the node itself sees; what they were about stays in the chain."""
        with self._open() as connection, immediate(connection, self._patience):
            connection.executemany("DELETE FROM alarms WHERE code = ?", [(code,) for code in codes])
            if _settles(connection):
                connection.executemany("DELETE FROM settled_alarms WHERE code = ?", [(code,) for code in codes])

    def all(self) -> list[Alarm]:
        """Every alarm, the open ones first, and the newest first among them."""
        with self._open() as connection:
            settled = "settled_us FROM alarms LEFT JOIN settled_alarms USING (code)"
            rows = connection.execute(
                "SELECT code, detail, count, first_us, last_us,"
                f" {settled if _settles(connection) else 'NULL AS settled_us FROM alarms'}"
                " ORDER BY settled_us IS NOT NULL, last_us DESC"
            )
            return [Alarm(*row) for row in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(open_checked(self._database, LEDGER_FORMAT)) as connection, named(self._database):
            yield connection


def count_alarm(connection: sqlite3.Connection, code: str, detail: str, now_us: int, count: int = 1) -> None:
    """`raise_alarm` in somebody else's transaction."""
    connection.execute(
        "INSERT INTO alarms (code, detail, count, first_us, last_us) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (code) DO UPDATE SET detail = excluded.detail, count = count + excluded.count,"
        " last_us = excluded.last_us",
        (code, detail, count, now_us, now_us),
    )
    if _settles(connection):
        connection.execute("DELETE FROM settled_alarms WHERE code = ?", (code,))


def _settles(connection: sqlite3.Connection) -> bool:
    """Whether there is a table for it: not in a HOME that an older version ran last."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'settled_alarms'").fetchone() is not None
