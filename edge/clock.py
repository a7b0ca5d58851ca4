"""The machine's clocks, read as what they are: an estimate with an error."""

import ctypes
import errno
import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge import EdgeError
from sync.format.stamp import Stamp

STEP_US = 500_000  # a change of wall minus boot time that no slewing explains
SLEW_PPM = 500  # the kernel's limit on slewing, adjtimex(2)
UNKNOWN_ERROR_US = 16_000_000  # the kernel's NTP_PHASE_LIMIT: what it reports when it has never been synchronised
MOST_ERROR_US = 2**52  # 142 years, which says nothing at all; records hold no integer of 2^53
_STA_UNSYNC = 0x0040  # linux/timex.h
_TIME_ERROR = 5
_LIBC = ctypes.CDLL(None, use_errno=True)  # the C library this process already has


@dataclass(frozen=True, slots=True)
class KernelTime:
    """One reading; wall_us since 1970 UTC, boot_us CLOCK_BOOTTIME, maxerror_us and synced as adjtimex(2) says."""

    wall_us: int
    boot_us: int
    boot_id: str
    maxerror_us: int
    synced: bool


@dataclass(frozen=True, slots=True)
class Step:
    """The wall clock jumped by jump_us (forward positive) after having read before_us."""

    jump_us: int
    before_us: int


def wall_us() -> int:
    """The wall clock in microseconds since 1970 UTC, with nothing said of its error: no stamp of a record."""
    return time.time_ns() // 1000


class _Timex(ctypes.Structure):
    # struct timex of linux/timex.h; the tail is padding we never read
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def read_kernel() -> KernelTime:
    """Read the kernel's clocks; changes nothing (modes 0), so it needs no privilege."""
    timex = _Timex(modes=0)
    state = _LIBC.adjtimex(ctypes.byref(timex))
    if state == -1:
        code = ctypes.get_errno()
        if code not in (errno.EPERM, errno.ENOSYS):  # a container may forbid even reading
            raise EdgeError(f"adjtimex: {os.strerror(code)}")
        maxerror_us, synced = UNKNOWN_ERROR_US, False
    else:
        maxerror_us = int(timex.maxerror)
        synced = state != _TIME_ERROR and not timex.status & _STA_UNSYNC
    wall_us, boot_us = _both_clocks()
    return KernelTime(
        wall_us=wall_us,
        boot_us=boot_us,
        boot_id=_boot_id(),
        maxerror_us=maxerror_us,
        synced=synced,
    )


@functools.cache
def _boot_id() -> str:
    """Which boot this is: no process outlives one, and every frame asks."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")


def _both_clocks() -> tuple[int, int]:
    """Wall and boot time of one moment: a machine paused between the two readings would look like a clock step."""
    for _ in range(10):
        before_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall_ns = time.time_ns()
        after_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if after_ns - before_ns < 1_000_000:
            break
    return wall_ns // 1000, (before_ns + after_ns) // 2000


class Clock:
    """Stamps records, and notices when the wall clock is moved."""

    def __init__(self, read: Callable[[], KernelTime] = read_kernel) -> None:
        self._read = read
        self._last = read()
        self._right_us = -1  # boot time of the newest look before a jump was noticed; -1: none was

    def stamp(self, before: Stamp | None) -> Stamp:
        """Return the stamp of the next record, given the one before it in the chain.

        `steps` goes up where the wall clock jumped since that record, or between two looks since it.
        """
        now = self._read()
        steps = 0
        if before is not None and before.boot_id == now.boot_id:
            noticed = self._right_us > before.boot_us
            steps = before.steps + (noticed or _jump_us(before.wall_us, before.boot_us, now) != 0)
        return Stamp(
            wall_us=now.wall_us,
            boot_us=now.boot_us,
            boot_id=now.boot_id,
            maxerror_us=now.maxerror_us if now.synced else _unsynced_error_us(before, now),
            source="synced" if now.synced else "unsynced",
            steps=steps,
        )

    def step(self) -> Step | None:
        """The jump of the wall clock since the last call, if there was one; the next stamp counts it too."""
        last, now = self._last, self._read()
        self._last = now
        jump_us = _jump_us(last.wall_us, last.boot_us, now)
        if not jump_us:
            return None
        self._right_us = last.boot_us
        return Step(jump_us, last.wall_us)


def _unsynced_error_us(before: Stamp | None, now: KernelTime) -> int:
    """How wrong the wall clock may be while nothing disciplines it, never less than the kernel's own value.

    The kernel's bound stops growing at 16 s. Ours grows on, at the kernel's own rate, from the record before in this
    boot (whose bound began at the last synchronised one), and by as far as the wall clock was moved since. Before the
    first synchronisation of a boot it says little: nobody has checked the clock.
    """
    if before is None or before.boot_id != now.boot_id:
        return max(now.maxerror_us, UNKNOWN_ERROR_US + _drift_us(now.boot_us))
    elapsed_us = abs(now.boot_us - before.boot_us)
    moved_us = abs(now.wall_us - before.wall_us - (now.boot_us - before.boot_us))
    return min(MOST_ERROR_US, max(now.maxerror_us, before.maxerror_us + _drift_us(elapsed_us) + moved_us))


def _drift_us(elapsed_us: int) -> int:
    return -(-elapsed_us * SLEW_PPM // 1_000_000)  # rounded up


def _jump_us(wall_us: int, boot_us: int, now: KernelTime) -> int:
    elapsed_us = now.boot_us - boot_us
    jump_us = now.wall_us - wall_us - elapsed_us
    return jump_us if abs(jump_us) > STEP_US + abs(elapsed_us) * SLEW_PPM // 1_000_000 else 0
