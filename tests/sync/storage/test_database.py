"""Opening, locking, migrating and failing, on real files and with real processes."""

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlite_utils
from sqlite_utils.migrations import Migrations

from sync.storage.database import (
    DatabaseError,
    DiskFull,
    Format,
    NewerFormat,
    connect,
    create,
    immediate,
    migrate,
    named,
    open_checked,
)

THING = Format("thing", 3)
TABLES = Migrations("things")


@TABLES()
def things(db: sqlite_utils.Database) -> None:
    db.table("things").create({"id": int, "name": str}, pk="id")


LATER = Migrations("things")
LATER()(things)


@LATER()
def colours(db: sqlite_utils.Database) -> None:
    db.execute("ALTER TABLE things ADD COLUMN colour TEXT")


MIGRATE = """
import sys
from pathlib import Path
from sync.storage.database import migrate
from tests.sync.storage.test_database import LATER, THING
sys.stdin.readline()
migrate(Path(sys.argv[1]), THING, LATER)
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "thing.db"
    create(path, THING, TABLES)
    return path


def columns(path: Path) -> list[str]:
    with closing(connect(path)) as connection:
        return [row[1] for row in connection.execute("PRAGMA table_info(things)")]


def test_a_database_is_wal_fully_synchronous_and_overwrites_what_is_deleted(database: Path) -> None:
    with closing(open_checked(database, THING)) as connection:
        told = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        assert told == ["wal", 2]
        assert connection.execute("PRAGMA secure_delete").fetchone()[0] == 1


def test_what_is_no_such_database_is_named_and_never_made(tmp_path: Path, database: Path) -> None:
    none = tmp_path / "none.db"
    with pytest.raises(DatabaseError, match=r"none\.db: no thing there"):
        open_checked(none, THING)
    with pytest.raises(sqlite3.OperationalError):
        connect(none)
    assert not none.exists()
    with pytest.raises(DatabaseError, match=r"thing\.db: not a FirstVisit thing"):
        open_checked(database, Format("thing", 4))
    with pytest.raises(NewerFormat, match=r"thing\.db: written by a newer FirstVisit \(format 3, this one knows 2\)"):
        open_checked(database, Format("thing", 2))
    with pytest.raises(DatabaseError, match=r"thing\.db: already there"):
        create(database, THING, TABLES)
    with pytest.raises(DatabaseError, match=r"nowhere/thing\.db: No such file"):
        create(tmp_path / "nowhere" / "thing.db", THING, TABLES)


def test_a_migration_reaches_a_database_made_before_it_and_keeps_its_rows(database: Path) -> None:
    with closing(connect(database)) as connection:
        connection.execute("INSERT INTO things VALUES (1, 'cup')")
    for _ in range(2):
        migrate(database, THING, LATER)
    assert columns(database) == ["id", "name", "colour"]
    with closing(connect(database)) as connection:
        assert connection.execute("SELECT * FROM things").fetchall() == [(1, "cup", None)]


def test_processes_that_migrate_at_once_all_succeed(database: Path) -> None:
    racing = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE, str(database)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in racing:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = [(process.communicate(timeout=60)[1], process.returncode) for process in racing]
    assert ended == [("", 0)] * 4
    assert columns(database) == ["id", "name", "colour"]


def test_a_block_that_fails_leaves_nothing_behind_and_keeps_its_error(database: Path) -> None:
    with closing(connect(database)) as connection:
        with pytest.raises(sqlite3.IntegrityError), immediate(connection):
            connection.executemany("INSERT INTO things VALUES (?, ?)", [(1, "cup"), (1, "plate")])
        assert connection.execute("SELECT count(*) FROM things").fetchone() == (0,)
        with immediate(connection):
            connection.execute("INSERT INTO things VALUES (1, 'cup')")
        assert connection.execute("SELECT count(*) FROM things").fetchone() == (1,)


def test_a_full_disk_is_called_so_though_sqlite_has_rolled_back_by_itself(database: Path) -> None:
    with closing(connect(database)) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(DiskFull, match=r"thing\.db: no room"), named(database), immediate(connection):
            connection.execute("INSERT INTO things VALUES (1, ?)", ("x" * 100_000,))
        assert not connection.in_transaction


def test_a_lock_held_by_somebody_else_is_named(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.storage.database.BUSY_TIMEOUT_S", 0.1)
    locked = pytest.raises(DatabaseError, match=r"^[^\n]*thing\.db: database is locked$")
    with closing(connect(database)) as holder, immediate(holder), locked:
        migrate(database, THING, LATER)


TRIGGER = "CREATE TRIGGER swallow BEFORE INSERT ON things BEGIN SELECT RAISE(IGNORE); END"
VIEW = "CREATE VIEW things_seen AS SELECT * FROM things"


@pytest.mark.parametrize(("planted", "name"), [(TRIGGER, "trigger 'swallow'"), (VIEW, "view 'things_seen'")])
def test_a_database_with_a_program_in_it_is_not_opened(database: Path, planted: str, name: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(planted)
    for use in (open_checked, migrate):
        with pytest.raises(DatabaseError, match=rf"thing\.db: it holds the {name}"):
            use(database, THING)


def test_a_trigger_planted_while_the_database_is_open_stops_the_next_write(database: Path) -> None:
    with closing(open_checked(database, THING)) as connection:
        with immediate(connection):
            connection.execute("INSERT INTO things VALUES (1, 'cup')")
        with closing(sqlite3.connect(database)) as other:
            other.execute(TRIGGER)
        refused = pytest.raises(DatabaseError, match=r"thing\.db: it holds the trigger 'swallow'")
        with refused, named(database), immediate(connection):
            raise AssertionError("nothing is to be written any more")
        with closing(sqlite3.connect(database)) as other:
            other.execute("DROP TRIGGER swallow")
        with immediate(connection):
            connection.execute("INSERT INTO things VALUES (2, 'plate')")
        assert connection.execute("SELECT count(*) FROM things").fetchone() == (2,)


def test_a_migration_beside_an_open_database_stops_nobody(database: Path) -> None:
    with closing(open_checked(database, THING)) as connection:
        migrate(database, THING, LATER)
        with immediate(connection):
            connection.execute("INSERT INTO things VALUES (1, 'cup', 'blue')")


def test_a_database_and_its_logs_are_closed_to_everybody_but_owner_and_group(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create(tmp_path / "shared.db", THING, TABLES)
        create(tmp_path / "own.db", THING, TABLES, mode=0o600)
        with closing(open_checked(tmp_path / "own.db", THING)), closing(open_checked(tmp_path / "shared.db", THING)):
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert len(modes) == 6
    assert modes == {name: 0o600 if name.startswith("own") else 0o660 for name in modes}
