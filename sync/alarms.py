"""What a person must look at: alarms of one HOME, counted by code. Their table is made with that of the notices."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sync.database import LEDGER_FORMAT, Patience, give_up, immediate, named, open_checked


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something a person must look at, counted; detail: of the newest."""

    code: str
    detail: str
    count: int
    first_us: int
    last_us: int


class Alarms:
    """The alarms of a database. It holds no connection, so any thread may ask it."""

    def __init__(self, database: Path, patience: Patience = give_up) -> None:
        """patience: whether to wait on while somebody else holds the write lock."""
        self._database = database
        self._patience = patience

    def raise_alarm(self, code: str, detail: str, now_us: int, count: int = 1) -> None:
        """Count an alarm, for `doctor` and the pages to show."""
        with self._open() as connection, immediate(connection, self._patience):
            connection.execute(
                "INSERT INTO alarms (code, detail, count, first_us, last_us) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (code) DO UPDATE SET detail = excluded.detail, count = count + excluded.count,"
                " last_us = excluded.last_us",
                (code, detail, count, now_us, now_us),
            )

    def settle(self, *codes: str) -> None:
        """Forget alarms whose cause somebody has mended; what they were about stays in the chain and at central."""
        with self._open() as connection, immediate(connection, self._patience):
            connection.executemany("DELETE FROM alarms WHERE code = ?", [(code,) for code in codes])

    def all(self) -> list[Alarm]:
        """Every alarm, the newest first."""
        with self._open() as connection:
            rows = connection.execute("SELECT code, detail, count, first_us, last_us FROM alarms ORDER BY last_us DESC")
            return [Alarm(*row) for row in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(open_checked(self._database, LEDGER_FORMAT)) as connection, named(self._database):
            yield connection
