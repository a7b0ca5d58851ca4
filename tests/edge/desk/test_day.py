"""A day counted and closed: heads, each state, by shift and host; once a day, caught up after being off."""

import contextlib
import json
import secrets
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from edge.clock import Clock, KernelTime, read_kernel
from edge.desk.arrivals import Arrivals
from edge.desk.day import MOST_HOSTS, Day, HostTally, Tally, closed_fields, count, read_closed
from edge.desk.day_closing import DayClosing, closed_days, closings
from edge.desk.folding import KINDS
from edge.desk.shifts import Shifts
from edge.home import Home
from edge.settings import Shift
from sync.format.canonical import encode
from sync.format.records import Record
from sync.format.stamp import Stamp
from sync.node.append import Writer
from sync.node.ledger import Ledger
from tests.edge.test_cli import Call, call

__all__ = ["call"]  # pytest finds the fixture here

DAY_US = 86_400_000_000
TODAY = date(2031, 3, 10)  # later than any HOME is made
SHIFTS = Shifts((Shift(id="morning", starts="08:30"), Shift(id="evening", starts="14:00")), "Asia/Shanghai")


class Past:
    """A HOME whose records are stamped whenever a test says."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.now_us = 0
        self.node, self.desk = self._ledger("node"), self._ledger("desk")

    def _ledger(self, role: Any) -> Ledger:
        clock = Clock()

        def stamp(before: Stamp | None) -> Stamp:
            return replace(clock.stamp(before), wall_us=self.now_us)

        return Ledger(self.home.database, Writer("puxi-01-a", role, self.home.signer(role), stamp))

    def at(self, moment: str, day: date = TODAY) -> int:
        hour, minute = map(int, moment.split(":"))
        self.now_us = SHIFTS.span_us(day)[0] + (hour * 60 + minute) * 60_000_000
        return self.now_us

    def see(self, moment: str, party_id: str | None = None, day: date = TODAY) -> str:
        visit = f"v{secrets.token_hex(8)}"
        fields: dict[str, Any] = {
            "visit": visit, "site": "puxi-01", "camera": "door", "source": "rtsp", "source_hash": "0" * 64,
            "arrived_us": self.at(moment, day), "shots": 3, "quality_e6": 600_000, "party": 1, "grade": "C",
        }  # fmt: skip
        self.node.append("visit.seen", fields | ({} if party_id is None else {"party_id": party_id}))
        return visit

    def close(self, moment: str, visit: str, state: str, account: str = "u-li", **more: Any) -> Record:
        self.at(moment)
        body = {"visit": visit, "request": secrets.token_hex(16), "account": account, "state": state}
        return self.desk.append("visit.checkin", {**body, "arrived_us": 0, "since_us": 0, **more})

    def counted(self, day: date = TODAY) -> Day:
        arrivals = Arrivals()
        for record in self.node.records(KINDS):
            arrivals.add(record)
        return count(arrivals.since(0), day, SHIFTS)

    def closing(self) -> DayClosing:
        return DayClosing(lambda: self._ledger("desk"), self.home.path, SHIFTS, "00:30")


@pytest.fixture
def past(make_home: Callable[..., Home]) -> Past:
    return Past(make_home(mode="after_consent"))


def test_every_arrival_counts_once_as_what_it_was_closed_as_or_as_missed(past: Past) -> None:
    registered, friend, courier, gone, _missed = (past.see(f"09:0{n}") for n in range(5))
    past.close("09:10", registered, "registered", way="walk_in")
    past.close("09:10", friend, "companion", lead=registered)
    past.close("09:11", courier, "not_customer", reason="courier")
    past.close("09:12", gone, "left", account="u-wang")
    day = past.counted()
    assert day.total == Tally(registered=1, companion=1, not_customer=1, left=1, unclosed=1)
    assert (day.heads, day.total.customers, day.total.missed) == (5, 4, 0.25)
    assert [(one.shift_id, one.tally.arrivals) for one in day.shifts] == [("morning", 5), ("evening", 0)]
    hosts = {one.account_id: one.tally for one in day.hosts}
    assert hosts["u-wang"].left == 1


def test_what_nobody_closed_is_put_to_who_was_at_the_desk_in_that_shift(past: Past) -> None:
    first, _early = past.see("08:40"), past.see("08:35")
    second = past.see("10:00")
    past.close("09:00", first, "registered", "u-li", way="walk_in")
    past.close("10:05", second, "registered", "u-wang", way="walk_in")
    past.see("09:30")
    past.see("11:00")
    past.see("15:00")
    unclosed = {one.account_id: one.tally.unclosed for one in past.counted().hosts}
    assert unclosed == {"u-li": 2, "u-wang": 1, None: 1}, "before anybody closed one: the first after; no evening host"


def test_a_dismissal_taken_back_counts_to_whom_had_dismissed(past: Past) -> None:
    visit = past.see("09:00")
    past.close("09:01", visit, "left", "u-li")
    past.close("09:05", visit, "registered", "u-wang", way="walk_in")
    day = past.counted()
    assert day.total == Tally(registered=1)
    assert day.taken_back == 1
    assert {one.account_id: one.taken_back for one in day.hosts} == {"u-li": 1, "u-wang": 0}


def test_heads_that_no_camera_saw_count_as_heads_and_never_lower_the_rate(past: Past) -> None:
    bus = [past.see("09:00", "g-bus") for _ in range(3)]
    past.close("09:05", bus[0], "registered", way="walk_in", heads=40)
    for one in bus[1:]:
        past.close("09:05", one, "companion", lead=bus[0])
    past.see("10:00")
    day = past.counted()
    assert (day.heads, day.unseen, day.total.arrivals) == (41, 37, 4)
    assert day.total.missed == 0.25


def test_a_visit_belongs_to_the_day_of_its_arrival_by_the_site_s_clock(past: Past) -> None:
    past.see("23:59", day=TODAY - timedelta(days=1))
    past.see("00:00")
    past.see("23:59")
    assert past.counted().total.arrivals == 2
    before_eight = past.counted().shifts[0]
    assert (before_eight.shift_id, before_eight.tally.arrivals) == ("morning", 1)


def at(day: date, moment: str = "01:00") -> datetime:
    hour, minute = map(int, moment.split(":"))
    return datetime.fromtimestamp(SHIFTS.span_us(day)[0] / 1e6, UTC) + timedelta(hours=hour, minutes=minute)


def test_a_day_is_closed_once_after_its_end_and_says_what_stood_then(past: Past) -> None:
    visit = past.see("09:00")
    past.see("15:00")
    past.close("09:01", visit, "registered", way="walk_in")
    tomorrow, job = TODAY + timedelta(days=1), past.closing()
    before = job.close_due(at(tomorrow, "00:29"))
    assert TODAY.isoformat() not in {record.fields["day"] for record in before}
    last = past.node.head()
    (record,) = job.close_due(at(tomorrow, "00:31"))
    assert job.close_due(at(tomorrow, "00:32")) == []
    assert past.closing().close_due(at(tomorrow, "23:59")) == []
    fields = record.fields
    assert (fields["day"], fields["heads"], fields["registered"], fields["unclosed"]) == ("2031-03-10", 2, 1, 1)
    assert (fields["from_us"], fields["until_us"]) == SHIFTS.span_us(TODAY)
    assert last is not None
    assert fields["upto"] == {"epoch": last.epoch, "seq": last.seq}
    assert fields["shifts"] == [
        {"shift": "morning", "starts_min": 510, "registered": 1},
        {"shift": "evening", "starts_min": 840, "unclosed": 1},
    ]
    assert read_closed(fields) == replace(past.counted(), hosts=read_closed(fields).hosts)


@pytest.mark.parametrize("records", [1, 4, 12])
def test_an_arrival_before_a_start_with_a_wrong_clock_is_counted_however_long_that_was(
    past: Past, records: int
) -> None:
    for minute in range(4):
        past.see(f"09:0{minute}")
    past.at("00:00", TODAY - timedelta(days=40))  # no battery behind the clock, and no network yet
    for _ in range(records):
        past.node.append("node.alive", {"cameras": []})
    past.see("15:00")
    (*_, closed) = past.closing().close_due(at(TODAY + timedelta(days=1)))
    assert (closed.fields["day"], closed.fields["unclosed"]) == (TODAY.isoformat(), 5)


def test_days_it_was_off_are_caught_up_each_once_whoever_else_closes_them(past: Past) -> None:
    past.see("09:00")
    job, other = past.closing(), past.closing()
    job.close_due(at(TODAY + timedelta(days=1)))
    later = job.close_due(at(TODAY + timedelta(days=6))) + other.close_due(at(TODAY + timedelta(days=6)))
    assert [record.fields["day"] for record in later] == [f"2031-03-{day}" for day in range(11, 16)]
    assert {record.fields["arrivals"] for record in later} == {0}
    with closing(past.home.open_ledger()) as ledger:
        days = [day.day for day, _ in closed_days(past.home.path, ledger)]
    assert len(days) == len(set(days))
    assert days[-1] == date(2031, 3, 15)


def test_a_clock_set_forward_closes_no_day_before_it_is_over(past: Past) -> None:
    (begun,) = past.node.records(("epoch.started",))
    today = SHIFTS.day(begun.stamp.wall_us)
    time_now = replace(read_kernel(), synced=False)
    past.now_us, ahead_us = time_now.wall_us, 9 * 365 * DAY_US
    unset = replace(time_now, wall_us=time_now.wall_us + ahead_us)

    def closing(moment: KernelTime) -> DayClosing:
        return DayClosing(lambda: past._ledger("desk"), past.home.path, SHIFTS, "00:30", lambda: moment)

    job = closing(unset)
    job.close_due()
    assert job._sure.now(past.desk).ahead
    with contextlib.closing(past.home.open_ledger()) as ledger:
        days = [record.fields["day"] for record in ledger.records(("day.closed",))]
    assert all(day < today.isoformat() for day in days)
    offline = 20 * DAY_US  # running on, and no word from anybody
    later = replace(time_now, wall_us=time_now.wall_us + offline, boot_us=time_now.boot_us + offline)
    assert [one.fields["day"] for one in closing(later).close_due()] == [
        (today + timedelta(days=n)).isoformat() for n in range(20)
    ]


def test_a_day_closed_under_a_wrong_clock_is_closed_anew_when_it_is_over_and_both_records_stay(
    past: Past, call: Call
) -> None:
    past.see("09:00")
    past.at("10:00")
    job, tomorrow = past.closing(), TODAY + timedelta(days=1)
    job.close_due(at(TODAY + timedelta(days=5)))  # somebody has set the clock forward, and sets it right again
    visit = past.see("15:00")
    past.close("15:01", visit, "registered", way="walk_in")
    past.see("16:00")
    assert job.close_due(at(TODAY, "23:00")) == [], "it is not over"
    (anew,) = job.close_due(at(tomorrow))
    assert (anew.fields["day"], anew.fields["late"]) == (TODAY.isoformat(), 2)
    assert (anew.fields["arrivals"], anew.fields["registered"], anew.fields["unclosed"]) == (3, 1, 2)
    assert job.close_due(at(tomorrow, "02:00")) == []
    with contextlib.closing(past.home.open_ledger()) as ledger:
        (told,) = [one for one in closings(past.home.path, ledger) if one[0][0].day == TODAY]
        (stands,) = [one for one in closed_days(past.home.path, ledger) if one[0].day == TODAY]
        assert [day.total.arrivals for day, _ in told] == [1, 3]
        assert anew.fields["anew"] == told[0][1].hash.hex()
        assert stands[1].hash == anew.hash
        forged = past.desk.append("day.closed", {**_numbers(anew), "arrivals": 0, "anew": "0" * 64})
        assert forged.hash not in {record.hash for _, record in closed_days(past.home.path, ledger)}
    listed = json.loads(call("desk", "days", "--home", past.home.path, "--last", "4000", "--json").out)
    (row,) = [one for one in listed if one["day"] == TODAY.isoformat()]
    assert (row["arrivals"], [one["seq"] for one in row["before"]]) == (3, [told[0][1].seq])


def _numbers(record: Record) -> dict[str, Any]:
    return {name: record.fields[name] for name in ("day", "from_us", "until_us", "heads", "arrivals", "upto")}


def test_two_that_close_at_the_same_moment_write_one_record_a_day(past: Past) -> None:
    past.see("09:00")

    class Rival(DayClosing):
        """Another process that is quicker, between this one's counting and its writing."""

        def _due(self, ledger: Ledger, now: datetime) -> Any:
            due = dict(super()._due(ledger, now)).items()
            past.closing().close_due(now)
            return iter(due)

    slower = Rival(lambda: past._ledger("desk"), past.home.path, SHIFTS, "00:30")
    moment = at(TODAY + timedelta(days=1))
    slower.close_due(moment)
    with closing(past.home.open_ledger()) as ledger:
        days = [record.fields["day"] for record in ledger.records(("day.closed",))]
    assert len(days) == len(set(days))


def test_a_record_of_a_day_stays_under_its_limit_however_many_hosts() -> None:
    tally = Tally(99_999, 99_999, 99_999, 99_999, 99_999, 99_999)
    hosts = tuple(HostTally(f"a{n:020}", tally, 99_999) for n in range(100))
    day = Day(TODAY, tally, 0, 0, (), hosts)
    fields = closed_fields(day, SHIFTS, (1, 1))
    assert len(encode(fields)) < 7_000
    assert len(fields["hosts"]) == MOST_HOSTS + 1
    assert sum(one["registered"] for one in fields["hosts"]) == 100 * 99_999


def test_a_day_that_somebody_wrote_into_the_database_closes_nothing(past: Past) -> None:
    past.see("09:00")
    past.at("10:00")
    past.desk.append("day.closed", {"day": TODAY.isoformat(), "heads": 0})
    with sqlite3.connect(past.home.database) as database:
        database.execute("UPDATE ledger SET signature = zeroblob(64) WHERE kind = 'day.closed'")
    past.closing().close_due(at(TODAY + timedelta(days=1)))
    with closing(past.home.open_ledger()) as ledger:
        ((day, _),) = [one for one in closed_days(past.home.path, ledger) if one[0].day == TODAY]
    assert day.total == Tally(unclosed=1)


def test_the_command_lists_closed_days_by_day_shift_and_host(past: Past, call: Call) -> None:
    yesterday = SHIFTS.day(time.time_ns() // 1000) - timedelta(days=1)
    visit = past.see("09:00", day=yesterday)
    past.see("15:00", day=yesterday)
    past.at("09:10", yesterday)
    past.desk.append("visit.checkin", {"visit": visit, "request": "0" * 32, "account": "u-li", "state": "registered"})
    past.desk.append("day.closed", closed_fields(past.counted(yesterday), SHIFTS, (1, 1)))
    (day,) = json.loads(call("desk", "days", "--home", past.home.path, "--json").out)
    assert (day["day"], day["heads"], day["registered"], day["missed"]) == (yesterday.isoformat(), 2, 1, 0.5)
    by_shift = json.loads(call("desk", "days", "--home", past.home.path, "--by", "shift", "--json").out)
    assert [(row["shift"], row["missed"]) for row in by_shift] == [("morning", 0.0), ("evening", 1.0)]
    table = call("desk", "days", "--home", past.home.path, "--by", "host").out.splitlines()
    assert table[0].split()[:3] == ["day", "host", "registered"]
    assert any("u-li" in line for line in table)
