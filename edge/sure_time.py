"""What time it surely is already: a wall clock that somebody has set forward must do nothing for good.

Days are closed, faces and phones forgotten by this time, never by the wall clock's word alone. It is carried from what
is known on the boot clock, which nobody can set: from central's newest ack (`anchor`), from a synchronised clock, and
before either from the first record's own wall time. Then

- running time counts as the boot clock has it;
- a machine that was off is believed by its wall clock for MOST_OFF_US, and for that again once it has run a third as
  long: shut at night and at weekends it keeps up, and restarting it over and over wins nothing;
- a synchronised clock is believed, where central has been heard by LEAP_US at most: time servers are anybody's;
- a wall clock that runs ahead, and that neither central nor a synchronised clock contradicts, is believed once the
  machine has run for TRIAL_US: a box that is offline for months, its clock rightly set, is not held up for ever.

So nothing happens early by more than MOST_OFF_US within TRIAL_US of running; and what waits, waits no longer than that.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge.clock import KernelTime, read_kernel
from sync.format.records import Record
from sync.node.ledger import Ledger

_DAY_US = 24 * 3600 * 1_000_000
MOST_OFF_US = 4 * _DAY_US  # a long weekend; reasoned, not measured
LEAP_US = _DAY_US
TRIAL_US = 7 * _DAY_US  # a week of an office that sees the date on every page
AHEAD_US = 3600 * 1_000_000  # within this the wall clock is right enough for whatever is counted in hours and days
_OFF_A_RUN = 3  # shut for 14 hours and at weekends, an office is off three times as long as it runs, at most


@dataclass(frozen=True, slots=True)
class _Reading:
    wall_us: int
    boot_us: int
    boot_id: str
    synced: bool
    central_us: int | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known as of a reading.

    off_us: for how long its being off would be believed now. ahead_us: for how long it has run with a wall clock ahead.
    """

    sure_us: int
    last: _Reading
    off_us: int = MOST_OFF_US
    ahead_us: int = 0

    def then(self, now: _Reading) -> "_Known":
        """As of the next reading."""
        heard = now.central_us is not None and now.central_us != self.last.central_us
        if now.boot_id == self.last.boot_id and now.boot_us >= self.last.boot_us:
            ran_us, off_us = now.boot_us - self.last.boot_us, 0
        else:
            ran_us = now.boot_us
            off_us = min(max(0, now.wall_us - self.last.wall_us - ran_us), self.off_us)
        sure_us = self.sure_us + ran_us + off_us
        credit_us = min(MOST_OFF_US, self.off_us - off_us + _OFF_A_RUN * ran_us)
        if heard and now.central_us is not None:
            # an ack is an hour old at most when it arrives; what says much later has been refuted by it
            sure_us = now.central_us if sure_us > now.central_us + LEAP_US else max(sure_us, now.central_us)
        if now.synced and (now.central_us is None or abs(now.wall_us - sure_us) <= LEAP_US):
            sure_us = now.wall_us
        if now.wall_us - sure_us <= AHEAD_US or heard:
            return _Known(sure_us, now, credit_us)
        if self.ahead_us + ran_us >= TRIAL_US:
            return _Known(now.wall_us, now, credit_us)
        return _Known(sure_us, now, credit_us, self.ahead_us + ran_us)


@dataclass(frozen=True, slots=True)
class Now:
    """One look: what the wall clock says, and the latest moment that surely is past; on a right clock, the same."""

    wall_us: int
    sure_us: int

    @property
    def ahead(self) -> bool:
        """Whether the wall clock says more than anybody knows."""
        return self.wall_us > self.sure_us


class SureTime:
    """Follows one HOME's chain; any thread may ask it."""

    def __init__(self, read: Callable[[], KernelTime] = read_kernel) -> None:
        self._read = read
        self._known: _Known | None = None
        self._upto = (0, 0)
        self._lock = threading.Lock()

    def judging_us(self, ledger: Ledger) -> int:
        """The moment by which codes and reports are good or not: a clock set back makes none good that has run out."""
        return max(self.now(ledger).sure_us, ledger.last_ack_us() or 0)

    def past_us(self, ledger: Ledger) -> int:
        """The moment that surely is past even where the wall clock, set back, says less."""
        now = self._read()
        known = self._as_of(now, ledger)
        return max(now.wall_us if known is None else known.sure_us, ledger.last_ack_us() or 0)

    def now(self, ledger: Ledger) -> Now:
        """What time it is, never later than the wall clock says."""
        now = self._read()
        known = self._as_of(now, ledger)
        if known is None or now.wall_us - known.sure_us <= AHEAD_US:
            return Now(now.wall_us, now.wall_us)
        return Now(now.wall_us, known.sure_us)

    def _as_of(self, now: KernelTime, ledger: Ledger) -> _Known | None:
        """What the chain and the clocks know together; None of an empty chain."""
        reading = _Reading(now.wall_us, now.boot_us, now.boot_id, now.synced)
        with self._lock:
            if self._known is None:
                self._upto = ledger.before_newest_time()
            head = ledger.head()
            for record in ledger.between(self._upto, (head.epoch, head.seq)) if head is not None else ():
                told = _of(record)
                self._known = self._known.then(told) if self._known is not None else _first(told)
                self._upto = record.epoch, record.seq
            if self._known is None:
                return None
            return self._known.then(replace(reading, central_us=self._known.last.central_us))


def _first(reading: _Reading) -> _Known:
    return _Known(reading.wall_us if reading.central_us is None else reading.central_us, reading)


def _of(record: Record) -> _Reading:
    stamp, anchor = record.stamp, record.fields.get("anchor")
    central_us = anchor["central_time_us"] if anchor else None
    return _Reading(stamp.wall_us, stamp.boot_us, stamp.boot_id, stamp.source == "synced", central_us)
