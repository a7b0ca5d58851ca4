"""A clock that a test sets from outside the process that believes it."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, tzinfo
from pathlib import Path

from edge.clock import KernelTime


@dataclass(frozen=True, slots=True)
class ClockSetting:
    """How a machine's clocks differ from the true ones.

    wall_offset_us: what the wall clock is ahead. boot_offset_us: what boot time has less than the true monotonic one.
    maxerror_us, synced: what the kernel would say of itself.
    """

    wall_offset_us: int = 0
    boot_offset_us: int = 0
    boot_id: str = "b" * 32
    maxerror_us: int = 2_000
    synced: bool = True

    def write(self, path: Path) -> None:
        """Put it in force, all of it at once."""
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self)))
        part.replace(path)


def reading(path: Path) -> Callable[[], KernelTime]:
    """What `Clock` calls instead of asking the kernel: the true clocks, altered as the file says now."""

    def read() -> KernelTime:
        setting = ClockSetting(**json.loads(path.read_text()))
        boot_us = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
        return KernelTime(
            wall_us=time.time_ns() // 1000 + setting.wall_offset_us,
            boot_us=boot_us - setting.boot_offset_us,
            boot_id=setting.boot_id,
            maxerror_us=setting.maxerror_us,
            synced=setting.synced,
        )

    return read


def datetime_of(path: Path) -> type[datetime]:
    """A `datetime` whose now() is the same wrong clock, for the modules that ask it instead of `Clock`."""
    read = reading(path)

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # a plain datetime is what it is
            return datetime.fromtimestamp(read().wall_us / 1e6, tz)

    return Wrong
