"""What the node does with a night's check: it keeps it, shouts about damage, and purges behind a good one only."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyrage
import pytest

from edge.access_log import AccessLog, sign
from edge.access_log import check as check_access
from edge.backup import back_up
from edge.clock import Clock
from edge.doctor import _chain
from edge.home import Home
from edge.keys.sealed import Lock, Secret
from edge.nightly import KEPT_CHECKS, Checks, Night
from edge.restore import restore
from sync.format.messages import Ack
from sync.format.public_keys import CentralKeys
from sync.node.alarms import Alarms
from sync.node.ledger import Ledger
from sync.node.purge import DAY_US
from sync.node.trust import Trust
from sync.node.witness import witness
from sync.verify.nightly import Checked
from sync.verify.verify import verify
from tests.sync.a_log import ALog
from tests.sync.conftest import key

NOON = datetime(2026, 7, 1, 4, tzinfo=UTC)


@pytest.fixture
def held(home: Home) -> Home:
    """A HOME with 30 records, three days of them held by central with checkpoints of its log."""
    roles = ("ack", "notice", "checkpoint", "code")
    pinned = CentralKeys("hq", key("root").public, {role: key(role).public for role in roles})  # type: ignore[misc]
    home.central_pub.write_text(pinned.text(key("root")))
    log = ALog(key("checkpoint"))
    with closing(home.open_ledger("node", Clock())) as ledger:
        for row in ledger.rows():
            log.add(row.hash)
        for day in range(3):
            for number in range(10):
                log.add(ledger.append("camera.up", {"camera": "door", "number": number}).hash)
            head = ledger.head()
            assert head
            time_us = 1_760_000_000_000_000 + day * DAY_US
            proof = log.proof(head.hash)
            ack = Ack.seal("puxi-01-a", 1, head.seq, head.hash, time_us, 8, key("ack"), proof)
            assert ledger.accept_ack(ack)
            witness(ack, ledger.connection, Trust(home.path).keys())
    return home


def night_of(home: Home, ledger: Ledger, days: int = 1) -> Night:
    return Night(home.path, home.database, ledger, "Asia/Shanghai", days)


def through_the_night(night: Night, done: Callable[[], bool]) -> None:
    """Follow it by a clock that goes half an hour a step, until done; generous with a slow machine."""
    deadline_s, now = time.monotonic() + 60, NOON
    while not done():
        assert time.monotonic() < deadline_s
        night.follow(now)
        now += timedelta(minutes=30)
        time.sleep(0.01)
    for _ in range(5):  # what follows upon what it found
        night.follow(now)


def test_a_good_night_is_kept_and_what_central_holds_leaves(held: Home) -> None:
    with closing(held.open_ledger("node", Clock())) as ledger:
        night = night_of(held, ledger)
        through_the_night(night, lambda: Checks(held.database).last() is not None)
        night.stop()
        found = Checks(held.database).last()
        assert found is not None
        assert (found.ok, found.checked, found.seq) == (True, 32, 32)
        record = ledger.last_of("retention.run")
        assert record is not None
        assert record.fields["purged"]["upto"] == 22
        assert [row.seq for row in ledger.rows()] == list(range(23, 34))
    assert Alarms(held.database).all() == []
    assert verify(held.path).ok
    finding = _chain(held)
    assert finding.state == "good"
    assert finding.text.startswith("32 records verified ")
    assert finding.text.endswith(", 1 more now")


def test_the_log_of_looks_outlives_the_records_that_leave_and_still_verifies(held: Home) -> None:
    looks = AccessLog(held.database)
    with closing(held.open_ledger("desk", Clock())) as desk:
        looks.note("acc-1", "face", "v-1")
        sign(desk)
        looks.close()
    with closing(held.open_ledger("node", Clock())) as ledger:
        night = night_of(held, ledger)
        through_the_night(night, lambda: Checks(held.database).last() is not None)
        night.stop()
        record = ledger.last_of("retention.run")
        assert record is not None
        assert record.fields["purged"]["upto"] == 22
    checked = check_access(held.database)
    assert checked is not None
    assert (checked.why, checked.entries) == ("", 1)


def test_a_damaged_night_is_an_alarm_and_nothing_is_purged(held: Home) -> None:
    with closing(sqlite3.connect(held.database)) as connection, connection:
        connection.execute("UPDATE ledger SET body = x'00' WHERE seq = 7")
    with closing(held.open_ledger("node", Clock())) as ledger:
        night = night_of(held, ledger)
        through_the_night(night, lambda: Checks(held.database).last() is not None)
        night.stop()
        assert [row.seq for row in ledger.rows()] == list(range(1, 33)), "the damage is evidence"
    (alarm,) = Alarms(held.database).all()
    assert (alarm.code, alarm.detail) == ("CHAIN_DAMAGED", "seq 7: hash does not match the body")
    finding = _chain(held)
    assert finding.state == "bad"
    assert finding.text.startswith("seq 7: hash does not match the body (found ")


def test_doctor_sees_a_tail_damaged_after_a_good_night(held: Home) -> None:
    assert _chain(held).text == "32 records verify"
    with closing(held.open_ledger("node", Clock())) as ledger:
        head = ledger.head()
        assert head
        now_us = time.time_ns() // 1000
        good = Checked(now_us, now_us, ok=True, checked=32, epoch=1, seq=32, head=head.hash.hex())
        Checks(held.database).keep(good)
        ledger.append("camera.up", {"camera": "door"})
    assert _chain(held).state == "good"
    with closing(sqlite3.connect(held.database)) as connection, connection:
        connection.execute("UPDATE ledger SET kind = 'camera.down' WHERE seq = 33")
    assert _chain(held).state == "bad"
    assert _chain(held).text.startswith("seq 33: ")


def test_a_box_without_nights_for_days_is_warned_of(held: Home) -> None:
    with closing(held.open_ledger()) as ledger:
        head = ledger.head()
    assert head
    then_us = time.time_ns() // 1000 - 4 * DAY_US
    Checks(held.database).keep(Checked(then_us, then_us, ok=True, checked=32, epoch=1, seq=32, head=head.hash.hex()))
    assert _chain(held).state == "warn"


def test_a_check_that_failed_is_said(home: Home) -> None:
    Checks(home.database).keep(Checked(1, 2, ok=False, failed=True, why="killed"))
    assert _chain(home).text == "the check of 1970-01-01T00:00:00Z failed: killed"


def test_the_oldest_nights_go(home: Home) -> None:
    checks = Checks(home.database)
    for number in range(KEPT_CHECKS + 3):
        checks.keep(Checked(number, number, ok=True))
    assert checks.last() == Checked(KEPT_CHECKS + 2, KEPT_CHECKS + 2, ok=True)
    with closing(sqlite3.connect(home.database)) as connection:
        assert connection.execute("SELECT min(started_us), count(*) FROM checks").fetchone() == (3, KEPT_CHECKS)


def test_a_central_that_contradicts_itself_is_its_own_alarm_and_no_reason_not_to_back_up(
    held: Home, tmp_path: Path
) -> None:
    with closing(held.open_ledger("node", Clock())) as ledger:
        head = ledger.head()
        assert head
        rewritten = ALog(key("checkpoint"), [head.hash, *(bytes([n]) * 32 for n in range(31))])  # 32 entries before too
        proof = rewritten.proof(head.hash)
        ack = Ack.seal("puxi-01-a", 1, head.seq, head.hash, 1_760_000_900_000_000, 8, key("ack"), proof)
        assert ledger.accept_ack(ack)
        night = night_of(held, ledger)
        through_the_night(night, lambda: Checks(held.database).last() is not None)
        night.stop()
        assert len(list(ledger.rows())) == 32, "nothing is purged that may be evidence"
    (alarm,) = Alarms(held.database).all()
    assert alarm.code == "LOG_FORK"
    identity = pyrage.x25519.Identity.generate()
    done = back_up(held, tmp_path / "b", Lock.of_recipient(str(identity.to_public())), None, 1)
    restored = restore(tmp_path / "b", tmp_path / "new", Secret(identity=str(identity)), None, Clock())
    assert restored.manifest == done.manifest


def test_somebody_who_holds_the_lock_delays_the_night_and_does_not_end_it(
    held: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.storage.database.BUSY_TIMEOUT_S", 0.05)
    waits: list[int] = []
    with closing(sqlite3.connect(held.database, isolation_level=None)) as other:

        def patience() -> bool:
            waits.append(1)
            if len(waits) == 3:
                other.execute("ROLLBACK")
            return True

        other.execute("BEGIN IMMEDIATE")
        Checks(held.database, patience).keep(Checked(1, 2, ok=True))
        other.execute("BEGIN IMMEDIATE")
        waits.clear()
        Alarms(held.database, patience).raise_alarm("CHAIN_DAMAGED", "seq 1", 1)
    assert len(waits) >= 3
    assert Checks(held.database).last() == Checked(1, 2, ok=True)
    assert len(Alarms(held.database).all()) == 1


def test_a_good_night_ends_the_alarm_of_a_bad_one(held: Home) -> None:
    Alarms(held.database).raise_alarm("CHAIN_DAMAGED", "seq 7: hash does not match the body", 1)
    Alarms(held.database).raise_alarm("FORK", "sending has stopped", 1)
    with closing(held.open_ledger("node", Clock())) as ledger:
        night = night_of(held, ledger)
        through_the_night(night, lambda: Checks(held.database).last() is not None)
        night.stop()
    assert [alarm.code for alarm in Alarms(held.database).all()] == ["FORK"]
