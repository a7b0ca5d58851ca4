"""Once a night everything stored is verified anew: SQLite's own check sees neither a flipped bit nor a changed word.

The check runs in a process of its own with the lowest priority, so that what it checks goes on undisturbed:
`python -m sync.verify.nightly PATH` prints what it found as one line of JSON.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

from sync import SyncError
from sync.format.stamp import from_us, to_us
from sync.verify.verify import verify

FIRST_HOUR, HOURS = 2, 3  # a random minute from 02:00 to 05:00, so that a fleet's nights are not one
MISSED_AFTER = timedelta(hours=26)
SOON_MINUTES = (10, 30)  # after a start that finds the last night missed
STOP_S = 1.0
LIMIT_S = 12 * 3600.0  # a check that hangs must not be the last


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found.

    ok: everything verified. failed: it could not be done, so nothing is known. why: one line, empty where ok.
    first_bad: seq of the first bad record, where one is at fault. checked: records that verified. epoch, seq, head: the
    last record of a HOME whose chain is good, whatever central's log is; head its hash in hex; 0 and empty otherwise.
    """

    started_us: int
    ended_us: int
    ok: bool
    failed: bool = False
    why: str = ""
    first_bad: int | None = None
    checked: int = 0
    epoch: int = 0
    seq: int = 0
    head: str = ""

    @property
    def alarm(self) -> str:
        """The code of the alarm it raises."""
        if self.failed:
            return "CHECK_FAILED"
        return "LOG_FORK" if self.seq else "CHAIN_DAMAGED"  # the chain is good then, and central contradicts itself

    @property
    def damage(self) -> str:
        """What is wrong, for people; names the first bad record."""
        return self.why if self.first_bad is None else f"seq {self.first_bad}: {self.why}"


def check(path: Path) -> Checked:
    """Verify everything at PATH, a HOME or a central's folder."""
    started_us = time.time_ns() // 1000
    found = Checked(started_us, started_us, ok=False)
    try:
        verdict = verify(path)
    except SyncError as error:
        found = replace(found, failed=True, why=str(error))
    else:
        found = replace(found, ok=verdict.ok, why=verdict.why or "", first_bad=verdict.first_bad)
        found = replace(found, checked=verdict.checked)
        if verdict.end is not None:
            epoch, seq, head = verdict.end
            found = replace(found, epoch=epoch, seq=seq, head=head)
    return replace(found, ended_us=time.time_ns() // 1000)


class Running:
    """A check in its own process."""

    def __init__(self, path: Path) -> None:
        self._started_us, self._began_s = time.time_ns() // 1000, time.monotonic()
        # files, for nobody reads a pipe while the process looks, and a full one would hold it for ever
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  # both go with this object
        self._complained = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        command = [sys.executable, "-m", "sync.verify.nightly", str(path.absolute())]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._complained, text=True
        )

    def poll(self) -> Checked | None:
        """What it found, None while it looks."""
        if self._process.poll() is None:
            if time.monotonic() - self._began_s < LIMIT_S:
                return None
            self.stop()
            return self._failed(f"not done within {LIMIT_S / 3600:.0f} hours")
        self._said.seek(0)
        self._complained.seek(0)
        complained = self._complained.read().strip().splitlines()
        try:
            return Checked(**json.load(self._said))
        except (ValueError, TypeError):
            return self._failed((complained or [f"exit code {self._process.returncode}"])[-1])

    def stop(self) -> None:
        """End it, whatever it has found until now; returns within STOP_S."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _failed(self, why: str) -> Checked:
        return Checked(self._started_us, time.time_ns() // 1000, ok=False, failed=True, why=why)


class Nightly:
    """When the checks of one place are due, and the one that runs."""

    def __init__(self, path: Path, zone: tzinfo | None, rng: random.Random, last: Checked | None) -> None:
        """zone: whose nights; None: this machine's. last: the newest check there is."""
        self._path = path
        self._zone = zone
        self._rng = rng
        self._last = last
        self._due: datetime | None = None  # before the first look
        self._running: Running | None = None

    def follow(self, now: datetime) -> Checked | None:
        """Begin a check when its time has come; returns what one has found, once, when it has ended."""
        if self._running is not None:
            found = self._running.poll()
            if found is not None:
                self._running, self._last = None, found
            return found
        if self._due is None or self._due - now > timedelta(days=2):  # at the start, or the clock was set back
            missed = self._last is None or now - from_us(self._last.ended_us) > MISSED_AFTER
            soon = now + timedelta(minutes=self._rng.uniform(*SOON_MINUTES))
            self._due = soon if missed else next_night(now, self._zone, self._rng)
        elif now >= self._due:
            self._due = next_night(now, self._zone, self._rng)
            try:
                self._running = Running(self._path)
            except OSError as error:  # no process to be had: said in the morning, tried again the next night
                now_us = to_us(now)
                self._last = Checked(now_us, now_us, ok=False, failed=True, why=str(error))
                return self._last
        return None

    def stop(self) -> None:
        if self._running is not None:
            self._running.stop()
            self._running = None


def next_night(now: datetime, zone: tzinfo | None, rng: random.Random) -> datetime:
    """A random minute of the next night that has not begun, 02:00 to 05:00 in `zone`."""
    local = now.astimezone(zone)
    begin = local.replace(hour=FIRST_HOUR, minute=0, second=0, microsecond=0)
    if begin <= local:
        begin += timedelta(days=1)
    return begin + timedelta(minutes=rng.randrange(HOURS * 60))


if __name__ == "__main__":
    with suppress(OSError):  # a sandbox may forbid even to stand back
        os.nice(19)
    print(json.dumps(asdict(check(Path(sys.argv[1])))))
