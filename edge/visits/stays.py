"""Where on the site a visitor was seen and for how long: the path of one visit over the zones of the cameras."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sync.format.canonical import Fields
from sync.format.stamp import from_us, to_us

SAME_STAY = timedelta(seconds=10)  # where two cameras overlap, one person is seen in two zones in turn
STAY_ENDS_AFTER = timedelta(minutes=5)  # unseen for so long is also what makes a re-entry
MAX_STAYS = 24  # named in one record: 1.8 KB of its 8


@dataclass(slots=True)
class _Stay:
    zone: str
    from_at: datetime
    until_at: datetime | None  # None: a crash, nobody knows


class Path:
    """The stays of one visit, of which the first and the last MAX_STAYS / 2 are kept, and the time they add up to.

    A stay goes from the first sighting in a zone to the last: nothing is claimed of the time nobody was seen.
    """

    def __init__(self) -> None:
        self._stays: list[_Stay] = []
        self._omitted = 0
        self._omitted_us: dict[str, int] = {}

    def seen(self, zone: str, from_at: datetime, until_at: datetime) -> None:
        """Somebody was in view of this zone's camera from one moment to another."""
        stay = next((one for one in reversed(self._stays) if one.zone == zone), None)
        if stay is not None and self._goes_on(stay, from_at):
            stay.until_at = max(stay.until_at or until_at, until_at)
            return
        self._stays.append(_Stay(zone, from_at, until_at))
        if len(self._stays) > MAX_STAYS:
            dropped = self._stays.pop(MAX_STAYS // 2)
            self._omitted += 1
            self._omitted_us[dropped.zone] = self._omitted_us.get(dropped.zone, 0) + _length_us(dropped)

    def began(self, zone: str, at: datetime) -> None:
        """A stay that a crash has left without an end."""
        self._stays.append(_Stay(zone, at, None))

    def shift(self, jump: timedelta) -> None:
        """The wall clock was moved."""
        for stay in self._stays:
            stay.from_at += jump
            if stay.until_at is not None:
                stay.until_at += jump

    def fields(self) -> Fields:
        """`path` and `dwell_us` of a visit.left, and `path_omitted` where there were more stays than it names."""
        totals = dict(self._omitted_us)
        for stay in self._stays:
            totals[stay.zone] = totals.get(stay.zone, 0) + _length_us(stay)
        fields: Fields = {"path": [_stay_fields(stay) for stay in self._stays], "dwell_us": totals}
        if self._omitted:
            fields["path_omitted"] = self._omitted
        return fields

    @classmethod
    def parse(cls, fields: Fields) -> "Path":
        """Read `fields()` back; a visit.left of an earlier version has none of them and gives an empty path."""
        path = cls()
        for one in fields.get("path", ()):
            until_us = one.get("until_us")
            path._stays.append(
                _Stay(one["zone"], from_us(one["from_us"]), None if until_us is None else from_us(until_us))
            )
        path._omitted = fields.get("path_omitted", 0)
        path._omitted_us = dict(fields.get("dwell_us", {}))
        for stay in path._stays:
            path._omitted_us[stay.zone] = path._omitted_us.get(stay.zone, 0) - _length_us(stay)
        path._omitted_us = {zone: us for zone, us in path._omitted_us.items() if us}
        return path

    def _goes_on(self, stay: _Stay, from_at: datetime) -> bool:
        last_at = stay.until_at or stay.from_at
        unseen = from_at - last_at
        if unseen <= SAME_STAY:
            return True
        return unseen < STAY_ENDS_AFTER and not any(other.from_at > last_at for other in self._stays)


def _length_us(stay: _Stay) -> int:
    return 0 if stay.until_at is None else to_us(stay.until_at) - to_us(stay.from_at)


def _stay_fields(stay: _Stay) -> Fields:
    fields: Fields = {"zone": stay.zone, "from_us": to_us(stay.from_at)}
    if stay.until_at is not None:
        fields["until_us"] = to_us(stay.until_at)
    return fields
