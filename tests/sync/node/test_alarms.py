"""Alarms are counted, settled by whoever has looked into them, and open again when they happen again."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sync import SyncError
from sync.node.alarms import Alarm, Alarms
from sync.node.ledger import Ledger
from sync.node.trust import MIGRATIONS
from sync.storage.database import LEDGER_FORMAT, migrate


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "firstvisit.db"
    Ledger.create(path)
    migrate(path, LEDGER_FORMAT, MIGRATIONS)
    return path


def test_a_settled_alarm_stays_with_its_count_and_is_open_again_when_it_happens_again(database: Path) -> None:
    alarms = Alarms(database)
    alarms.raise_alarm("BAD_SIG", "seq 3", 10, 2)
    alarms.raise_alarm("TOO_BIG", "seq 4", 5)
    alarms.settle("BAD_SIG", 20)
    settled = Alarm("BAD_SIG", "seq 3", 2, 10, 10, 20)
    assert alarms.all() == [Alarm("TOO_BIG", "seq 4", 1, 5, 5), settled], "the open ones first"
    alarms.settle("BAD_SIG", 25)
    assert alarms.all()[1].settled_us == 25
    alarms.raise_alarm("BAD_SIG", "seq 9", 30)
    assert alarms.all()[0] == Alarm("BAD_SIG", "seq 9", 3, 10, 30)


def test_an_alarm_that_is_not_there_cannot_be_settled(database: Path) -> None:
    alarms = Alarms(database)
    with pytest.raises(SyncError, match="no alarm 'FORK' here to settle; there are: none"):
        alarms.settle("FORK", 1)
    alarms.raise_alarm("BAD_SIG", "seq 3", 10)
    with pytest.raises(SyncError, match="no alarm 'FORK' here to settle; there are: BAD_SIG"):
        alarms.settle("FORK", 1)
    alarms.raise_alarm("FORK", "seq 3", 10)
    assert {alarm.settled_us for alarm in alarms.all()} == {None}


def test_an_alarm_that_the_node_saw_mended_is_gone_and_was_never_settled(database: Path) -> None:
    alarms = Alarms(database)
    alarms.raise_alarm("FORK", "seq 3", 10)
    alarms.settle("FORK", 20)
    alarms.forget("FORK")
    assert alarms.all() == []
    alarms.raise_alarm("FORK", "seq 5", 30)
    assert alarms.all() == [Alarm("FORK", "seq 5", 1, 30, 30)]


def test_alarms_of_a_home_that_an_older_version_ran_last_are_told_and_counted(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DROP TABLE settled_alarms")
    alarms = Alarms(database)
    alarms.raise_alarm("FORK", "seq 3", 10)
    assert alarms.all() == [Alarm("FORK", "seq 3", 1, 10, 10)]
    alarms.forget("FORK")
    assert alarms.all() == []
