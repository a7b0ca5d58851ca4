"""The manager's page: the share that nobody registered comes first; today as it stands, the past as it was signed."""

import re
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import httpx
import pytest

from edge.clock import Clock
from edge.desk.day import Day, HostTally, ShiftTally, Tally, closed_fields
from edge.desk.shifts import Shifts
from edge.kiosk.manager import GRACE_US, chart
from tests.conftest import form_token
from tests.edge.kiosk.conftest import Desk, until
from tests.edge.kiosk.door import Door

Visitor = Callable[..., httpx.Client]


def shifts_of(desk: Desk) -> Shifts:
    settings = desk.home.settings()
    return Shifts(settings.desk.shift, settings.site.timezone)


def close_day(desk: Desk, days_ago: int, morning: Tally, evening: Tally = Tally()) -> None:
    shifts = shifts_of(desk)
    day = shifts.day(time.time_ns() // 1000) - timedelta(days=days_ago)
    parts = (ShiftTally("morning", 510, morning), ShiftTally("evening", 840, evening))
    hosts = (HostTally(desk.li.account_id, morning + evening, 0),)
    told = Day(day, morning + evening, 0, 0, parts, hosts)
    with closing(desk.home.open_ledger("desk", Clock())) as ledger:
        ledger.append("day.closed", closed_fields(told, shifts, (1, 1)))


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_the_first_number_is_the_share_of_customers_nobody_closed(desk: Desk, door: Door, visitor: Visitor) -> None:
    midnight_us = shifts_of(desk).span_us(shifts_of(desk).day(time.time_ns() // 1000))[0]
    since_midnight_s = time.time() - midnight_us / 1e6
    if since_midnight_s < GRACE_US / 1e6 + 600:
        pytest.skip("nobody can have come half an hour ago: the day has just begun")
    now_us, oldest_us = time.time_ns() // 1000, GRACE_US + 200 * 1_000_000
    if shifts_of(desk).at(now_us - oldest_us) != shifts_of(desk).at(now_us):
        pytest.skip("whom they missed was another shift's: it has just changed")
    served, _missed, courier = (door.see(ago_s=GRACE_US / 1e6 + 60 * n) for n in (1, 2, 3))
    door.see()  # just come: not missed yet
    client = visitor("wang")
    until(lambda: "另有" in client.get("/manager").text)
    for visit, path, form in ((served, "checkin", {"way": "walk_in"}), (courier, "dismiss", {"dismissal": "courier"})):
        page = client.get(f"/visits/{visit}/checkin").text
        hidden = dict(re.findall(r'name="(csrf_token|request_id)" value="([^"]+)"', page))
        assert client.post(f"/visits/{visit}/{path}", data={**hidden, **form}).status_code == 303
    page = client.get("/manager").text
    assert text_of(page.split('class="hero-rate')[1].split("</p>")[0].split(">", 1)[1]) == "50.0 %"
    assert "2 位客人中" in page
    assert "另有 1 位刚到" in page
    host = text_of(page.split("今日各接待人")[-1].split("<tbody>")[1].split("</tbody>")[0])
    assert host == "wang 1 0 1 0 0 0 1 50.0 %"


def test_the_past_is_what_was_signed_each_night(desk: Desk, door: Door, visitor: Visitor) -> None:
    close_day(desk, 40, Tally(registered=1))
    close_day(desk, 2, Tally(registered=15, unclosed=5), Tally(registered=10))
    close_day(desk, 1, Tally(registered=10))
    page = visitor("wang").get("/manager").text
    rows = [text_of(row) for row in page.split("日结记录")[-1].split("<tbody>")[1].split("</tbody>")[0].split("</tr>")]
    today = shifts_of(desk).day(time.time_ns() // 1000)
    told = {row.split()[0]: row.split()[1:9] for row in rows if row}  # and the empty days that the kiosk has caught up
    assert list(told) == sorted(told, reverse=True)
    assert {str(today - timedelta(days=n)) for n in (1, 2)} <= told.keys()
    assert str(today - timedelta(days=40)) not in told
    assert told[str(today - timedelta(days=2))] == ["30", "25", "0", "0", "0", "0", "5", "16.7"]
    assert "漏登率 12.5 %" in page
    assert page.count('<rect class="bar') == 2
    assert "早班" in page.split("past-shifts")[1]
    assert door.ledger.last_of("day.closed") is not None


def test_a_kiosk_that_was_off_closes_the_days_it_missed_when_it_starts(
    desk: Desk, request: pytest.FixtureRequest
) -> None:
    close_day(desk, 5, Tally(registered=1))
    request.getfixturevalue("kiosk")
    today = shifts_of(desk).day(time.time_ns() // 1000)

    def closed() -> list[Any]:
        with closing(desk.home.open_ledger()) as ledger:
            return [record.fields["day"] for record in ledger.records(("day.closed",))]

    until(lambda: len(closed()) >= 4)
    assert closed()[:4] == [str(today - timedelta(days=n)) for n in (5, 4, 3, 2)]
    assert len(closed()) == len(set(closed()))


def test_a_day_s_bar_is_as_high_as_its_rate_and_one_without_customers_has_none(desk: Desk) -> None:
    today = shifts_of(desk).day(time.time_ns() // 1000)

    def day(days_ago: int, tally: Tally) -> Day:
        return Day(today - timedelta(days=days_ago), tally, 0, 0, (), ())

    days = [day(3, Tally(registered=9, unclosed=1)), day(2, Tally(registered=20)), day(1, Tally(not_customer=3))]
    drawn = chart({one.day: one for one in days}, today)
    heights = {bar.day: (bar.rate, bar.height) for bar in drawn.bars}
    assert drawn.top == 0.1
    assert heights[days[0].day] == (0.1, drawn.height)
    assert heights[days[1].day] == (0.0, 0.0)
    assert heights[days[2].day] == (None, 0.0)


def test_the_front_desk_does_not_see_it(visitor: Visitor) -> None:
    client = visitor("li")
    assert client.get("/manager").status_code == 403
    assert 'href="/manager"' not in client.get("/").text
    assert form_token(client, "/")
