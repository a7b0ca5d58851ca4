"""Opening central.db: what is not one is named and left alone."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sync.central.store.location import create_store, migrate_store, open_store
from sync.central.store.sqlite import SqliteDatabase
from sync.format.records import ROLE_OF_KIND
from sync.storage.database import CENTRAL_FORMAT, DatabaseError, NewerFormat
from sync.storage.schema import RECORDS
from sync.verify.verify import verify


def test_a_store_opens_again_in_wal_mode_and_fully_synchronous(tmp_path: Path) -> None:
    path = tmp_path / "central.db"
    create_store(tmp_path)
    with open_store(tmp_path) as store:
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
        create_store(tmp_path)
    assert path.read_bytes() == b"somebody's"


def test_a_missing_a_foreign_and_a_damaged_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "central.db"
    with pytest.raises(DatabaseError, match=r"central\.db: no central store there"):
        open_store(tmp_path)
    sqlite3.connect(path).execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(DatabaseError, match="not a FirstVisit central store"):
        open_store(tmp_path)
    path.write_bytes(b"no database at all " * 100)
    with pytest.raises(DatabaseError, match=r"central\.db: file is not a database"):
        open_store(tmp_path)


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "central.db"
    create_store(tmp_path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {CENTRAL_FORMAT.version + 1}")
    connection.close()
    with pytest.raises(NewerFormat, match="written by a newer FirstVisit"):
        open_store(tmp_path)


_MADE_BY_0_1 = """
CREATE TABLE nodes (node_id TEXT PRIMARY KEY, site_id TEXT NOT NULL, enrolment TEXT NOT NULL,
  fingerprint TEXT NOT NULL, state TEXT NOT NULL, enrolled_us INTEGER NOT NULL, online INTEGER NOT NULL DEFAULT 0,
  last_seen_us INTEGER, claimed_epoch INTEGER, claimed_seq INTEGER, claimed_acked INTEGER, pack TEXT,
  alive_us INTEGER, cameras TEXT);
CREATE TABLE notices (node_id TEXT, nseq INTEGER, hash BLOB NOT NULL, kind TEXT NOT NULL, data BLOB NOT NULL,
  created_us INTEGER NOT NULL, applied_us INTEGER, PRIMARY KEY (node_id, nseq));
CREATE TABLE quarantine (node_id TEXT, epoch INTEGER, seq INTEGER, hash BLOB, body BLOB NOT NULL,
  signature BLOB NOT NULL, received_us INTEGER NOT NULL, reason TEXT NOT NULL,
  PRIMARY KEY (node_id, epoch, seq, hash));
CREATE TABLE refusals (node_id TEXT, reason TEXT, count INTEGER NOT NULL, last_us INTEGER NOT NULL,
  detail TEXT NOT NULL, PRIMARY KEY (node_id, reason));
CREATE INDEX records_arrivals ON records (json_extract(CAST(body AS TEXT), '$.arrived_us'));
INSERT INTO _sqlite_migrations (migration_set, name) VALUES ('central', 'evidence'), ('central', 'nodes_and_notices');
"""


def test_a_store_of_0_1_is_brought_up_and_lists_the_visits_it_held(filled_home, tmp_path: Path) -> None:
    ledger = filled_home.ledger()
    SqliteDatabase.create(tmp_path / "central.db").close()
    with closing(sqlite3.connect(tmp_path / "central.db")) as old, old:
        old.execute(RECORDS)
        old.executescript(_MADE_BY_0_1)
        old.execute("INSERT INTO nodes VALUES ('gate-1', 's1', ?, '', 'ok', 1, 0, 1, 1, 1, 1, '', 1, '[]')",
                    (filled_home.node_pub.read_text(),))  # fmt: skip
        for record in ledger.records(ROLE_OF_KIND):
            values = (record.node_id, record.epoch, record.seq, record.kind, record.body, record.hash)
            old.execute(
                "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, record.prev_hash, record.signature, 1_770_000_000_000_000 + record.seq),
            )
    ledger.close()
    for _again in range(2):
        migrate_store(tmp_path)
    with open_store(tmp_path) as store:
        assert [visit.seq for visit in store.visits(3)] == [39, 38, 37]
        assert len(store.visits(100)) == 35
        assert len(store.database.query("SELECT * FROM corrections")) == 4
    assert verify(tmp_path).ok
