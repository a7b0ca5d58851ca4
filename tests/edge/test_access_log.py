import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from edge.access_log import AGAIN_S, KIND, AccessLog, NotNoted, check, newest, sign
from edge.home import Home
from sync.node.ledger import Ledger

Tamper = Callable[[str], None]


class _Time:
    now_us = 1_760_000_000_000_000

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def time() -> _Time:
    return _Time()


@pytest.fixture
def log(home: Home, time: _Time) -> Iterator[AccessLog]:
    log = AccessLog(home.database, time)
    yield log
    log.close()


@pytest.fixture
def tamper(home: Home) -> Tamper:
    def tamper(sql: str) -> None:
        with closing(sqlite3.connect(home.database)) as connection, connection:
            connection.execute(sql)

    return tamper


def _look(log: AccessLog, *subjects: str) -> None:
    for subject in subjects:
        log.note("acc-1", "face", subject)


def _why(home: Home) -> str:
    found = check(home.database)
    assert found is not None
    return found.why


def test_each_look_is_a_row_with_who_when_what_and_whom(home: Home, log: AccessLog, desk: Ledger, time: _Time) -> None:
    log.note("acc-1", "why", "v-1")
    time.now_us += 5
    log.note("acc-2", "camera", "entrance")
    rows = [(row.number, row.at_us, row.account_id, row.action, row.subject) for row in newest(desk.connection, 10)]
    assert rows == [(2, time.now_us, "acc-2", "camera", "entrance"), (1, time.now_us - 5, "acc-1", "why", "v-1")]
    assert [row.number for row in newest(desk.connection, 10, account_id="acc-1")] == [1]
    assert [row.number for row in newest(desk.connection, 10, subject="entrance")] == [2]
    assert [row.number for row in newest(desk.connection, 10, before=2)] == [1]
    assert _why(home) == ""


def test_the_same_look_within_ten_minutes_is_one(log: AccessLog, desk: Ledger, time: _Time) -> None:
    _look(log, "v-1", "v-1", "v-2", "v-1")
    assert len(newest(desk.connection, 10)) == 2
    time.now_us += round(AGAIN_S * 1e6)
    _look(log, "v-1")
    assert len(newest(desk.connection, 10)) == 3


def test_looks_from_many_threads_are_all_there_and_in_one_chain(home: Home, log: AccessLog, desk: Ledger) -> None:
    threads = [threading.Thread(target=lambda n=n: _look(log, *(f"v-{n}-{i}" for i in range(20)))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(newest(desk.connection, 1000)) == 160
    assert _why(home) == ""


def test_a_digest_is_signed_when_something_was_added_and_only_then(home: Home, log: AccessLog, desk: Ledger) -> None:
    assert sign(desk) is None
    _look(log, "v-1", "v-2")
    record = sign(desk)
    assert record is not None
    assert (record.kind, record.fields["entries"]) == (KIND, 2)
    assert record.key_id == home.signer("desk").public.key_id
    assert sign(desk) is None
    _look(log, "v-3")
    found = check(home.database)
    assert found is not None
    assert (found.entries, found.signed, found.why) == (3, 2, "")


def test_a_log_goes_on_after_a_restart(home: Home, log: AccessLog, desk: Ledger) -> None:
    _look(log, "v-1")
    log.close()
    again = AccessLog(home.database)
    _look(again, "v-2")
    again.close()
    assert [row.subject for row in newest(desk.connection, 10)] == ["v-2", "v-1"]
    assert _why(home) == ""


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("UPDATE access_log SET account_id = 'acc-9' WHERE number = 2", "entry 2 is not what its link says"),
        ("UPDATE access_log SET at_us = at_us + 1 WHERE number = 3", "entry 3 is not what its link says"),
        ("UPDATE access_log SET link = zeroblob(32) WHERE number = 1", "entry 1 is not what its link says"),
        ("DELETE FROM access_log WHERE number = 2", "entry 2 is missing"),
        ("DELETE FROM access_log WHERE number >= 3", "entries 3 to 4 are missing, which were signed"),
        ("DELETE FROM access_log", "entries 1 to 4 are missing, which were signed"),
        ("UPDATE access_log SET number = number + 1 WHERE number = 4", "entry 4 is missing"),
    ],
)
def test_a_row_changed_or_left_out_is_found(
    home: Home, log: AccessLog, desk: Ledger, tamper: Tamper, sql: str, why: str
) -> None:
    _look(log, "v-1", "v-2", "v-3", "v-4")
    sign(desk)
    assert _why(home) == ""
    tamper(sql)
    assert _why(home) == why


def test_a_log_written_anew_with_good_links_is_found_by_its_digest(
    home: Home, log: AccessLog, desk: Ledger, tamper: Tamper
) -> None:
    _look(log, "v-1", "v-2")
    sign(desk)
    tamper("DELETE FROM access_log")
    forged = AccessLog(home.database)
    _look(forged, "v-1", "v-1", "v-7", "v-8")
    forged.close()
    assert _why(home) == "entry 2 is not the one that was signed"


def test_what_cannot_be_written_down_is_refused_and_the_next_look_asked_again(
    log: AccessLog, desk: Ledger, tamper: Tamper
) -> None:
    tamper("ALTER TABLE access_log RENAME TO hidden")
    with pytest.raises(NotNoted, match="access_log"):
        _look(log, "v-1")
    tamper("ALTER TABLE hidden RENAME TO access_log")
    _look(log, "v-1")
    assert len(newest(desk.connection, 10)) == 1


def test_a_database_of_an_older_version_has_no_log_to_check(home: Home, tamper: Tamper) -> None:
    tamper("DROP TABLE access_log")
    assert check(home.database) is None
