"""The time of a record: an interval, never a point."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from sync import SyncError
from sync.format.canonical import Fields

TimeSource: TypeAlias = Literal["synced", "unsynced"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stamp:
    """One reading of a machine's clocks.

    wall_us: microseconds since 1970 UTC. boot_us: CLOCK_BOOTTIME. boot_id: the kernel's, 32 hex digits.
    maxerror_us: the kernel's own bound on the wall clock's error. source: whether the kernel calls itself
    synchronised. steps: jumps of the wall clock seen in the chain since this boot.
    """

    wall_us: int
    boot_us: int
    boot_id: str
    maxerror_us: int
    source: TimeSource
    steps: int

    def fields(self) -> Fields:
        return {
            "wall_us": self.wall_us,
            "boot_us": self.boot_us,
            "boot_id": self.boot_id,
            "maxerror_us": self.maxerror_us,
            "source": self.source,
            "steps": self.steps,
        }

    @classmethod
    def parse(cls, fields: object) -> "Stamp":
        """Read what `fields()` wrote; raises SyncError naming the key. Keys of later versions are ignored."""
        checked = check(fields)
        return cls(**{name: checked[name] for name in cls.__slots__})


def check(fields: object) -> Fields:
    """Return the fields of a stamp that `Stamp.parse` reads; raises SyncError naming the key of another."""
    if not isinstance(fields, dict):
        raise SyncError("at: not an object")
    for name in ("wall_us", "boot_us", "maxerror_us", "steps"):
        value = fields.get(name)
        if type(value) is not int or (value < 0 and name != "wall_us"):
            raise SyncError(f"at.{name}: {value!r} is not a whole number of 0 or more")
    boot_id = fields.get("boot_id")
    if not isinstance(boot_id, str):
        raise SyncError(f"at.boot_id: {boot_id!r} is not a string")
    if (source := fields.get("source")) not in ("synced", "unsynced"):
        raise SyncError(f"at.source: {source!r} is neither synced nor unsynced")
    return fields


def to_us(moment: datetime) -> int:
    """Return a moment as microseconds since 1970 UTC."""
    return round(moment.timestamp() * 1e6)


def from_us(microseconds: int) -> datetime:
    """Return microseconds since 1970 as a moment in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def rfc3339(microseconds: int, *, timespec: Literal["seconds", "milliseconds"] = "milliseconds") -> str:
    """Return microseconds since 1970 as people and programs read them: RFC 3339 with a Z."""
    return from_us(microseconds).isoformat(timespec=timespec).replace("+00:00", "Z")
