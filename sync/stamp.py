"""The time of a record: an interval, never a point."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from sync import SyncError
from sync.canonical import Fields

TimeSource: TypeAlias = Literal["synced", "unsynced"]


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
        if not isinstance(fields, dict):
            raise SyncError("at: not an object")
        numbers = {}
        for name in ("wall_us", "boot_us", "maxerror_us", "steps"):
            value = fields.get(name)
            if type(value) is not int or (value < 0 and name != "wall_us"):
                raise SyncError(f"at.{name}: {value!r} is not a whole number of 0 or more")
            numbers[name] = value
        boot_id = fields.get("boot_id")
        if not isinstance(boot_id, str):
            raise SyncError(f"at.boot_id: {boot_id!r} is not a string")
        source: TimeSource
        match fields.get("source"):
            case "synced" | "unsynced" as source:
                return cls(boot_id=boot_id, source=source, **numbers)
            case other:
                raise SyncError(f"at.source: {other!r} is neither synced nor unsynced")
