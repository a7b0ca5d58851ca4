"""The night's check runs beside the work, at its time, and finds what SQLite does not."""

import random
import shutil
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from sync.format.stamp import to_us
from sync.verify import nightly
from sync.verify.ledgers import verify_after
from sync.verify.nightly import Checked, Nightly, Running, check, next_night
from sync.verify.verify import verify
from tests.sync.conftest import BuiltHome

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def ended(running: Running) -> Checked:
    deadline_s = time.monotonic() + 60
    while (found := running.poll()) is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    return found


def flip(home: BuiltHome, seq: int) -> None:
    """One bit of a stored body, by its bytes in the file: what a bad sector or a bad chip does."""
    with closing(sqlite3.connect(home.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (body,) = connection.execute("SELECT body FROM ledger WHERE seq = ?", (seq,)).fetchone()
    data = bytearray(home.database.read_bytes())
    data[data.index(body) + 40] ^= 1
    home.database.write_bytes(data)
    with closing(sqlite3.connect(home.database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",), "SQLite sees nothing"


def test_a_good_home_is_found_good_by_a_process_of_its_own(filled_home: BuiltHome) -> None:
    found = ended(Running(filled_home.path))
    assert found.ok
    assert (found.checked, found.epoch, found.seq, found.why) == (40, 1, 40, "")
    assert found.head == verify(filled_home.path).lines[1].split("head ")[1]
    assert found.started_us <= found.ended_us


def test_a_flipped_bit_is_found_and_named(filled_home: BuiltHome) -> None:
    flip(filled_home, 17)
    found = ended(Running(filled_home.path))
    assert not found.ok
    assert not found.failed
    assert found.alarm == "CHAIN_DAMAGED"
    assert found.damage == "seq 17: hash does not match the body"


def test_a_check_that_cannot_be_done_says_nothing_of_the_chain(tmp_path: Path) -> None:
    found = ended(Running(tmp_path))
    assert found.failed
    assert found.alarm == "CHECK_FAILED"
    assert "neither a HOME" in found.damage
    gone = ended(Running(tmp_path / "gone"))
    assert gone.failed


def test_a_check_ends_when_it_is_told_to(filled_home: BuiltHome) -> None:
    running = Running(filled_home.path)
    began_s = time.monotonic()
    running.stop()
    assert time.monotonic() - began_s < 3


def test_a_check_that_hangs_or_complains_at_length_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def runs(script: str) -> None:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        (tmp_path / "python").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "python").chmod(0o755)

    runs("yes 'no such thing' | head -n 20000 >&2; exit 3")
    found = ended(Running(tmp_path))
    assert (found.alarm, found.why) == ("CHECK_FAILED", "no such thing")
    runs("exec sleep 600")
    monkeypatch.setattr(nightly, "LIMIT_S", 0.2)
    found = ended(Running(tmp_path))
    assert found.alarm == "CHECK_FAILED"
    assert found.why.startswith("not done within")


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/New_York", "Europe/London"])
def test_a_night_lies_between_two_and_five_of_its_own_zone(zone: str) -> None:
    found = {next_night(NOW, ZoneInfo(zone), random.Random(seed)) for seed in range(200)}
    assert all(2 <= moment.astimezone(ZoneInfo(zone)).hour < 5 for moment in found)
    assert all(NOW < moment <= NOW + timedelta(hours=27) for moment in found)
    assert len(found) > 50, "a fleet's nights are not one"


def good(ended_at: datetime) -> Checked:
    return Checked(to_us(ended_at), to_us(ended_at), ok=True)


def steps(nightly: Nightly, begin: datetime, hours: int) -> list[datetime]:
    """When checks ended, walking through time by minutes of a fake clock."""
    found = []
    for minute in range(hours * 60):
        now = begin + timedelta(minutes=minute)
        if nightly.follow(now) is not None:
            found.append(now)
        elif nightly._running is not None:
            ended(nightly._running)
    return found


def test_it_is_done_once_a_night(filled_home: BuiltHome) -> None:
    nightly = Nightly(filled_home.path, SHANGHAI, random.Random(1), good(NOW - timedelta(hours=10)))
    found = steps(nightly, NOW, 72)
    assert len(found) == 3
    assert all(2 <= moment.astimezone(SHANGHAI).hour < 6 for moment in found)


def test_a_missed_night_is_made_up_for_soon_after_the_start(filled_home: BuiltHome) -> None:
    for last in (None, good(NOW - timedelta(days=3))):
        nightly = Nightly(filled_home.path, SHANGHAI, random.Random(1), last)
        (found,) = steps(nightly, NOW, 1)
        assert timedelta(minutes=9) < found - NOW < timedelta(minutes=33)


def test_a_clock_set_back_by_years_does_not_end_the_nights(filled_home: BuiltHome) -> None:
    nightly = Nightly(filled_home.path, SHANGHAI, random.Random(1), good(NOW))
    assert nightly.follow(NOW) is None
    assert len(steps(nightly, NOW - timedelta(days=4000), 48)) == 2


def test_a_tail_is_verified_behind_what_the_night_has_seen(filled_home: BuiltHome) -> None:
    night = check(filled_home.path)
    node, desk = filled_home.ledger(), filled_home.ledger("desk")
    for number in range(5):
        node.append("camera.up", {"camera": f"c{number}"})
        desk.append("visit.corrected", {"visit": f"v{number}", "decision": "first"})
    verdict = verify_after(filled_home.path, night.epoch, night.seq, night.head)
    assert verdict.ok, verdict.why
    assert verdict.checked == 10


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("UPDATE ledger SET kind = 'visit.return' WHERE seq = 44", 44),
        ("UPDATE ledger SET signature = zeroblob(64) WHERE seq = 43", 43),
        ("DELETE FROM ledger WHERE seq = 42", 42),
        ("UPDATE ledger SET seq = 99 WHERE seq = 45", 45),
        ("UPDATE ledger SET body = x'00' WHERE seq = 40", 40),
        ("DELETE FROM ledger WHERE seq = 40", 40),
    ],
)
def test_a_damaged_tail_is_named(filled_home: BuiltHome, statement: str, first_bad: int) -> None:
    night = check(filled_home.path)
    node = filled_home.ledger()
    for _ in range(5):
        node.append("camera.up", {"camera": "door"})
    with closing(sqlite3.connect(filled_home.database)) as connection, connection:
        connection.execute(statement)
    verdict = verify_after(filled_home.path, night.epoch, night.seq, night.head)
    assert (verdict.ok, verdict.first_bad) == (False, first_bad)


def test_a_check_says_the_same_of_a_copy(filled_home: BuiltHome, tmp_path: Path) -> None:
    copy = shutil.copytree(filled_home.path, tmp_path / "copy")
    times = {"started_us": 0, "ended_us": 0}
    assert replace(check(copy), **times) == replace(check(filled_home.path), **times)  # type: ignore[arg-type]
