"""The shifts of a front desk (班次), and which day and shift a moment lies in by the site's own clock."""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from edge.settings import Shift


class Shifts:
    """Of one site: each lasts until the next one starts; what comes before the first counts to the first."""

    def __init__(self, shifts: Sequence[Shift], timezone: str) -> None:
        """shifts: one at least, in their order. timezone: an IANA name."""
        self._ids = tuple(shift.id for shift in shifts)
        self._starts_min = [_minutes(shift.starts) for shift in shifts]
        self._zone = ZoneInfo(timezone)

    def __iter__(self) -> "zip[tuple[str, int]]":
        """Each shift's id, and when it starts in minutes since midnight."""
        return zip(self._ids, self._starts_min, strict=True)

    def at(self, us: int) -> str:
        """The id of the shift that a moment lies in."""
        local = self.local(us)
        return self._ids[max(0, bisect_right(self._starts_min, local.hour * 60 + local.minute) - 1)]

    def local(self, us: int) -> datetime:
        return datetime.fromtimestamp(us / 1e6, UTC).astimezone(self._zone)

    def day(self, us: int) -> date:
        return self.local(us).date()

    def span_us(self, day: date) -> tuple[int, int]:
        """From a day's midnight to the next, which may be 23 or 25 hours later."""
        midnights = (datetime.combine(one, time(), self._zone) for one in (day, day + timedelta(days=1)))
        begins_us, ends_us = (round(midnight.timestamp() * 1_000_000) for midnight in midnights)
        return begins_us, ends_us


def _minutes(time_of_day: str) -> int:
    hours, minutes = time_of_day.split(":")
    return int(hours) * 60 + int(minutes)
