"""Moments as people read them, in a site's own time."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from sync.web.languages import Texts


class Times:
    """Formats microseconds since 1970 UTC in one time zone."""

    def __init__(self, timezone: str) -> None:
        self._zone = ZoneInfo(timezone)
        self.name = timezone

    def local(self, us: int) -> datetime:
        return datetime.fromtimestamp(us / 1e6, UTC).astimezone(self._zone)

    def clock(self, us: int) -> str:
        """14:32"""
        return f"{self.local(us):%H:%M}"

    def seconds(self, us: int) -> str:
        """14:32:07"""
        return f"{self.local(us):%H:%M:%S}"

    def date(self, us: int) -> str:
        """2026-11-21"""
        return f"{self.local(us):%Y-%m-%d}"

    def moment(self, us: int) -> str:
        """2026-11-21 14:32"""
        return f"{self.local(us):%Y-%m-%d %H:%M}"

    def moment_s(self, us: int) -> str:
        """2026-11-21 14:32:07, where rows follow each other within a minute."""
        return f"{self.local(us):%Y-%m-%d %H:%M:%S}"

    def exact(self, us: int) -> str:
        """RFC 3339 with the zone's offset, for the `datetime` attribute."""
        return self.local(us).isoformat(timespec="milliseconds")

    def parsed_us(self, text: str) -> int | None:
        """What a field of a form says, 2026-11-21T14:32 in the site's own time; None where it says no moment."""
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        return round((moment if moment.tzinfo else moment.replace(tzinfo=self._zone)).timestamp() * 1e6)

    def midnight_us(self, now_us: int) -> int:
        """When this day began."""
        return round(self.local(now_us).replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1e6)

    def today(self, us: int, now_us: int) -> bool:
        return self.local(us).date() == self.local(now_us).date()


def bounded(us: int, t: Texts) -> str:
    """A bound of an error of time: 4 ms, and from a second on 37.2 s."""
    return t("span.milliseconds", n=f"{us / 1e3:.0f}") if us < 999_500 else t("span.tenths", n=f"{us / 1e6:,.1f}")


def lasting(seconds: float, t: Texts) -> str:
    """A length of time in its largest fitting unit: 40 s, 12 min, 3 h, 2 d."""
    seconds = max(0.0, seconds)
    for limit, unit, key in ((90, 1, "seconds"), (90 * 60, 60, "minutes"), (48 * 3600, 3600, "hours")):
        if seconds < limit:
            return t(f"span.{key}", n=round(seconds / unit))
    return t("span.days", n=round(seconds / 86400))
