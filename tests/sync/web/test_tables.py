import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sync.storage.database import DatabaseError, DiskFull, connect, immediate
from sync.web.accounts import Accounts
from sync.web.tables import locked


def test_a_lock_that_another_process_holds_is_named(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.storage.database.BUSY_TIMEOUT_S", 0.1)
    accounts = Accounts(db)
    with closing(connect(db)) as holder, immediate(holder):
        with pytest.raises(DatabaseError, match=r"^[^\n]*pages\.db: database is locked$"):
            accounts.add("wang", "correct horse battery", "manager")
        assert accounts.empty()  # reading goes on
    accounts.add("wang", "correct horse battery", "manager")


def test_a_full_disk_is_not_masked_by_the_rollback_it_has_caused(db: Path) -> None:
    def fill() -> None:
        with locked(db) as tables:
            (pages,) = tables.execute("PRAGMA page_count").fetchone()
            tables.execute(f"PRAGMA max_page_count = {pages}")
            tables.execute("INSERT INTO sign_in_failures VALUES (?, 1, 1)", ("x" * 100_000,))

    with pytest.raises(DiskFull, match=r"pages\.db: no room on the disk"):
        fill()
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("SELECT count(*) FROM sign_in_failures").fetchone() == (0,)
