"""The manager's page: how many customers nobody registered (漏登率), today and on the days that are closed."""

import logging
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from edge.clock import wall_us
from edge.desk.day import Day, HostTally, Tally, count
from edge.desk.day_closing import DayClosing, closings
from edge.desk.shifts import Shifts
from edge.kiosk.roles import MANAGER
from edge.kiosk.shell import Shell
from sync import SyncError
from sync.format.records import Record
from sync.web.sessions import Session

_log = logging.getLogger(__name__)
_DAYS = 30
GRACE_US = 30 * 60 * 1_000_000  # reasoned: who came just now waits to be served, and is not missed yet
_AGAIN_S = 3600  # looked whether a day is due, where the wall clock was moved past the time for it
_WIDTH, _HEIGHT = 720, 180  # of the chart, in its own units
_GRID = (0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Bar:
    """One day of the chart; height 0 with a rate: nobody was missed. x, y, height: in the chart's units."""

    day: date
    rate: float | None
    x: float
    y: float
    height: float
    labelled: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """The rates of the last days; top: the rate at the upper edge."""

    bars: tuple[Bar, ...]
    bar_width: float
    top: float
    width: int = _WIDTH
    height: int = _HEIGHT


def mount(shell: Shell) -> None:
    """Add /manager and its fragment, and the job that closes each day that has ended."""
    app, settings = shell.app, shell.home.settings()
    shifts = Shifts(settings.desk.shift, settings.site.timezone)
    page = Annotated[Session, Depends(shell.gate.page(*MANAGER))]
    part = Annotated[Session, Depends(shell.gate.part(*MANAGER))]
    job = DayClosing(shell.desk_ledger, shell.home.path, shifts, settings.desk.close_at)

    def close_due() -> None:
        try:
            job.close_due()
        except SyncError as error:
            _log.error("no day closed: %s", error)

    hour, minute = map(int, settings.desk.close_at.split(":"))
    shell.jobs.once(close_due)  # the days it was off
    shell.jobs.daily(close_due, hour, minute)
    shell.jobs.every(close_due, _AGAIN_S)

    def numbers() -> dict[str, Any]:
        now_us = wall_us()
        today = shifts.day(now_us)
        arrived = shell.arrivals.since(shifts.span_us(today)[0])
        rated = count((v for v in arrived if v.state != "open" or v.arrived_us < now_us - GRACE_US), today, shifts)
        since = today - timedelta(days=_DAYS)
        with closing(shell.home.open_ledger()) as ledger:
            told = [one for one in closings(shell.home.path, ledger) if since <= one[0][0].day < today]
        closed = [one[-1] for one in told]
        left_open = [v for v in shell.arrivals.since(shifts.span_us(since)[0]) if v.state == "open"]
        signed_off = {day.day for day, _ in closed}
        past: dict[str | None, HostTally] = {}
        for day, _ in closed:
            for host in day.hosts:
                before = past.get(host.account_id, HostTally(host.account_id, Tally(), 0))
                both = before.tally + host.tally, before.taken_back + host.taken_back
                past[host.account_id] = HostTally(host.account_id, *both)
        return {
            "today": rated,
            "waiting": len(arrived) - rated.total.arrivals,
            "shift_now": shifts.at(now_us),
            "left_open": [v for v in left_open if shifts.day(v.arrived_us) in signed_off],
            "days": closed[::-1],
            "before": {one[-1][0].day: one[:-1] for one in told},
            "total": sum((day.total for day, _ in closed), Tally()),
            "past_shifts": _by_shift(closed, shifts),
            "past_hosts": sorted(past.values(), key=lambda host: -host.tally.arrivals),
            "chart": chart({day.day: day for day, _ in closed} | {today: rated}, today),
        }

    @app.get("/manager")
    def manager_page(request: Request, session: page) -> Response:
        return shell.page(request, "manager.html", session, **numbers())

    @app.get("/fragments/manager")
    def manager_fragment(request: Request, _session: part) -> Response:
        return shell.part(request, "manager_numbers.html", **numbers())


def chart(days: dict[date, Day], today: date) -> Chart:
    """Bars for the last days up to today; a day without a customer has none."""
    rates = {day: told.total.missed for day, told in days.items()}
    highest = max((rate for rate in rates.values() if rate is not None), default=0.0)
    top = next(line for line in _GRID if line >= highest)
    step = _WIDTH / (_DAYS + 1)
    bars = []
    for number in range(_DAYS + 1):
        day = today - timedelta(days=_DAYS - number)
        rate = rates.get(day)
        height = 0.0 if rate is None else round(rate / top * _HEIGHT, 1)
        labelled = day == today or (day.weekday() == 0 and number < _DAYS - 2)
        bars.append(Bar(day, rate, round(number * step + step * 0.15, 1), round(_HEIGHT - height, 1), height, labelled))
    return Chart(tuple(bars), round(step * 0.7, 1), top)


def _by_shift(closed: list[tuple[Day, Record]], shifts: Shifts) -> list[tuple[str, Tally]]:
    """The sums of each shift that the desk has now, and of those it had."""
    sums: dict[str, Tally] = {shift_id: Tally() for shift_id, _ in shifts}
    for day, _ in closed:
        for shift in day.shifts:
            sums[shift.shift_id] = sums.get(shift.shift_id, Tally()) + shift.tally
    return list(sums.items())
