"""Opening central.db: what is not one is named and left alone."""

import sqlite3
from pathlib import Path

import pytest

from sync.central.store.sqlite import Store
from sync.database import CENTRAL_FORMAT, DatabaseError, NewerFormat


def test_a_store_opens_again_in_wal_mode_and_fully_synchronous(tmp_path: Path) -> None:
    path = tmp_path / "central.db"
    Store.create(path)
    with Store(path) as store:
        assert store.nodes() == []
        assert store.visits() == []
        assert list(store.records()) == []
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_create_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "central.db"
    path.write_bytes(b"somebody's")
    with pytest.raises(DatabaseError, match="already there"):
        Store.create(path)
    assert path.read_bytes() == b"somebody's"


def test_a_missing_a_foreign_and_a_damaged_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "central.db"
    with pytest.raises(DatabaseError, match=r"central\.db: no central store there"):
        Store(path)
    sqlite3.connect(path).execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(DatabaseError, match="not a FirstVisit central store"):
        Store(path)
    path.write_bytes(b"no database at all " * 100)
    with pytest.raises(DatabaseError, match=r"central\.db: file is not a database"):
        Store(path)


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "central.db"
    Store.create(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {CENTRAL_FORMAT.version + 1}")
    connection.close()
    with pytest.raises(NewerFormat, match="written by a newer FirstVisit"):
        Store(path)
