"""When a record was signed and a visitor arrived: intervals of true time, from central's acks and the node's clocks.

True time is central's clock. Three kinds of word are kept apart, because they bind different people:

- *signed*: central's acks alone. A record is later than the ack its anchor names and earlier than the first ack that
  covers it, and both hold for its neighbours in the chain too. Nobody without central's key can move these bounds.
- *carried*: the same bounds of other records of one boot, carried over CLOCK_BOOTTIME, which nobody can set, and
  along an unbroken run of hashes only.
- *claimed*: the node's own wall clock with the kernel's error bound, only where the kernel called itself synchronised.

Over CLOCK_BOOTTIME an elapsed time is right to DRIFT_PPM and SLEW_US: the kernel corrects frequency by at most 500 ppm
(MAXFREQ, adjtimex(2)), a crystal adds at most 100 ppm, and a phase correction is slewed up to 0.5 s (MAXPHASE,
linux/timex.h) while a larger one is stepped, which CLOCK_BOOTTIME does not follow.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

from sync.format.messages import Ack
from sync.format.records import Record
from sync.format.stamp import Stamp

Place: TypeAlias = tuple[int, int]  # (epoch, seq)
TimeGrade: TypeAlias = Literal["A", "B", "C"]
"""A: synchronised and anchored on both sides. B: the same boot, anchored on one. C: order only."""

DRIFT_PPM = 600
SLEW_US = 500_000
AGREE_US = 1_000_000
"""How far apart a node's claim and central's bounds may lie before the claim counts as wrong: both clocks are
disciplined by NTP, some of whose clients tell the kernel an error of 0 right after a look (systemd-timesyncd does)."""
UNSEEN_STEP_US = (
    1_000_000  # a jump of the wall clock that step detection may miss between two heartbeats: 0.5 s + 0.3 s
)
PROMPT_US = 600_000_000
"""How long before its record an arrival may lie and be believed: a node decides within seconds of the first frame, and
whoever holds its key could sign now that somebody came hours ago. What is said later than this bounds nothing."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A span of true time, microseconds since 1970 UTC, both ends included; None: unbounded on that side."""

    lo_us: int | None = None
    hi_us: int | None = None

    @property
    def empty(self) -> bool:
        return self.lo_us is not None and self.hi_us is not None and self.lo_us > self.hi_us

    @property
    def width_us(self) -> int | None:
        """None where a side is unbounded."""
        return None if self.lo_us is None or self.hi_us is None else self.hi_us - self.lo_us

    def meet(self, other: "Interval") -> "Interval":
        """What lies in both; may be empty."""
        return Interval(_most(self.lo_us, other.lo_us), _least(self.hi_us, other.hi_us))

    def widened(self, by_us: int) -> "Interval":
        lo, hi = self.lo_us, self.hi_us
        return Interval(None if lo is None else lo - by_us, None if hi is None else hi + by_us)

    def before(self, other: "Interval") -> bool:
        """Whether everything here is earlier than everything there."""
        return self.hi_us is not None and other.lo_us is not None and self.hi_us < other.lo_us

    def holds(self, moment_us: int) -> bool:
        return not Interval(_most(self.lo_us, moment_us), _least(self.hi_us, moment_us)).empty


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happened.

    signed, carried, claimed: see the module; claimed is None where the clock was not synchronised, or its word
    contradicts central's or its own. contradicted: whether it does. grade: how far the time carries.
    """

    signed: Interval
    carried: Interval
    claimed: Interval | None
    contradicted: bool
    grade: TimeGrade

    @property
    def whole(self) -> Interval:
        """The narrowest: what central's bounds leave of the node's claim."""
        both = self.carried.meet(self.claimed) if self.claimed is not None else self.carried
        return self.carried if both.empty else both


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a visitor's first frame was taken.

    record: when its record was signed. moment: of the first frame; its `signed` has an upper end only, for that the
    frame came so long before the record is the node's word. boot: which uninterrupted run of the boot clock it lies in.
    boot_us: the reading then, earliest and latest; None where the first frame's time fits to none of the clock's.
    """

    record: Moment
    moment: Moment
    boot: int
    boot_us: tuple[int, int] | None


class Timeline:
    """The records of one node, all or a selection, dated by all that is known of them."""

    def __init__(self, records: Iterable[Record], acks: Iterable[Ack]) -> None:
        """records: verified, in chain order. acks: verified, of this node."""
        self._records = list(records)
        self._stamps = [record.stamp for record in self._records]
        self._places = [(record.epoch, record.seq) for record in self._records]
        self._acks = {ack.ack_hash: ack for ack in acks}
        self._ends = sorted((ack.epoch, ack.upto_seq) for ack in self._acks.values())
        self._boots = _boots(self._stamps)
        self._runs = _runs(self._records)
        signed_lo, signed_hi = self._anchored(), self._covered()
        signed = [Interval(lo, hi) for lo, hi in zip(signed_lo, signed_hi, strict=True)]
        carried = self._ordered(_carry(_meeting(self._boots, self._runs), self._stamps, signed))
        claims = _carry(self._boots, self._stamps, [_claim(stamp) for stamp in self._stamps])
        self._moments: list[Moment] = []
        self._boot_of: list[int] = []
        for number, boot in enumerate(self._boots):
            contradicted = any(claims[i].empty or claims[i].widened(AGREE_US).meet(carried[i]).empty for i in boot)
            for i in boot:
                self._moments.append(self._moment(i, boot, signed[i], carried[i], claims[i], contradicted))
                self._boot_of.append(number)

    def of(self, record: Record) -> Moment:
        """When one of these records was signed."""
        return self._moments[self._index(record)]

    def arrival(self, record: Record, arrived_us: int) -> Arrival:
        """When the first frame of a visit was taken, whose record says `arrived_us` by the wall clock of then."""
        index = self._index(record)
        moment, number = self._moments[index], self._boot_of[index]
        stamp = self._stamps[index]
        elapsed = self._elapsed(index, arrived_us)
        if elapsed is None:
            upper = Moment(Interval(None, moment.signed.hi_us), Interval(None, moment.carried.hi_us), None, True, "C")
            return Arrival(moment, upper, number, None)
        grade = moment.grade
        if elapsed[1] > PROMPT_US:  # anywhere up to the record, for all that anybody else knows
            elapsed, grade = (0, elapsed[1]), max(grade, "B")
        earlier = Moment(
            Interval(None, moment.signed.hi_us),
            _back(moment.carried, elapsed),
            None if moment.claimed is None else _back(moment.claimed, elapsed),
            moment.contradicted,
            grade,
        )
        return Arrival(moment, earlier, number, (stamp.boot_us - elapsed[1], stamp.boot_us - elapsed[0]))

    # -- inside ----------------------------------------------------------------------------------------------------

    def _index(self, record: Record) -> int:
        index = bisect_left(self._places, (record.epoch, record.seq))
        if index == len(self._records) or self._records[index].hash != record.hash:
            raise ValueError(f"seq {record.seq} is not of this timeline")
        return index

    def _anchored(self) -> list[int | None]:
        """Of each record: central's time in the newest ack that it names, or one that its hash leads back to."""
        found: list[int | None] = []
        for run in self._runs:
            newest: int | None = None
            for i in run:
                ack = self._anchor(self._records[i])
                newest = _most(newest, ack.central_time_us if ack else None)
                found.append(newest)
        return found

    def _anchor(self, record: Record) -> Ack | None:
        anchor = record.fields.get("anchor")
        return self._acks.get(bytes.fromhex(anchor["ack_hash"])) if anchor else None

    def _covered(self) -> list[int | None]:
        """Of each record: central's time in the earliest ack that covers it."""
        acks = sorted(self._acks.values(), key=lambda ack: (ack.epoch, ack.upto_seq), reverse=True)
        found: list[int | None] = []
        earliest: int | None = None
        at = 0
        for place in reversed(self._places):
            while at < len(acks) and (acks[at].epoch, acks[at].upto_seq) >= place:
                earliest = _least(earliest, acks[at].central_time_us)
                at += 1
            found.append(earliest)
        return found[::-1]

    def _ordered(self, spans: Sequence[Interval]) -> list[Interval]:
        """Narrow each record's interval by those of its run: nothing is earlier than what it follows."""
        held = list(spans)
        for run in self._runs:
            for i, j in pairwise(run):
                held[j] = Interval(_most(held[j].lo_us, held[i].lo_us), held[j].hi_us)
            for j, i in pairwise(reversed(run)):
                held[i] = Interval(held[i].lo_us, _least(held[i].hi_us, held[j].hi_us))
        return held

    def _moment(
        self, i: int, boot: range, signed: Interval, carried: Interval, claimed: Interval, contradicted: bool
    ) -> Moment:
        if signed.empty:  # central's own clock was set back: its word on this record is no bound
            return Moment(Interval(), Interval(), None, True, "C")
        bounds = signed if carried.empty else carried
        synced = self._stamps[i].source == "synced" and not contradicted and not carried.empty
        before, after = signed.lo_us is not None, signed.hi_us is not None
        grade: TimeGrade = "C"
        if synced and before and after:
            grade = "A"
        elif not carried.empty and (self._anchored_in_boot(i, boot) or self._covered_in_boot(i, boot)):
            grade = "B"
        known = claimed if claimed != Interval() and not contradicted and not carried.empty else None
        return Moment(signed, bounds, known, contradicted or carried.empty, grade)

    def _anchored_in_boot(self, i: int, boot: range) -> bool:
        """Whether the node had heard from central in this boot: its anchor covers a record of it, or has changed."""
        mine, first = self._anchor(self._records[i]), self._records[boot[0]]
        if mine is None:
            return False
        return (mine.epoch, mine.upto_seq) >= self._places[boot[0]] or mine is not self._anchor(first)

    def _covered_in_boot(self, i: int, boot: range) -> bool:
        """Whether an ack that covers this record ends within its boot."""
        at = bisect_left(self._ends, self._places[i])
        return at < len(self._ends) and self._ends[at] <= self._places[boot[-1]]

    def _elapsed(self, index: int, arrived_us: int) -> tuple[int, int] | None:
        """Boot time from the first frame to the record, least and most; None where the wall time fits nowhere.

        The wall clock may have been moved in between: each of its runs without a jump tells another boot time for the
        frame, and those that fall into their own run are possible.
        """
        boot, stamp = self._boots[self._boot_of[index]], self._stamps[index]
        possible: list[int] = []
        end_us, at = stamp.boot_us, index
        while True:
            run = self._stamps[at]
            while at > boot[0] and self._stamps[at - 1].steps == run.steps:
                at -= 1
            begin_us = self._stamps[at - 1].boot_us if at > boot[0] else 0
            reading_us = arrived_us - (run.wall_us - run.boot_us)
            if begin_us - UNSEEN_STEP_US <= reading_us <= end_us + UNSEEN_STEP_US:
                possible.append(max(0, stamp.boot_us - reading_us))
            if at == boot[0]:
                break
            end_us, at = self._stamps[at].boot_us, at - 1
        return (min(possible), max(possible)) if possible else None


def _boots(stamps: Sequence[Stamp]) -> list[range]:
    """Runs of neighbours whose boot clock went on: one boot id, and never backwards (a restored machine's does)."""
    starts = [0] if stamps else []
    starts += [
        i + 1
        for i, (one, two) in enumerate(pairwise(stamps))
        if one.boot_id != two.boot_id or two.boot_us < one.boot_us
    ]
    return [range(start, end) for start, end in pairwise([*starts, len(stamps)])]


def _runs(records: Sequence[Record]) -> list[range]:
    """Runs of neighbours each of which names the hash of the one before.

    Bounds hold along these alone. What is left out between two records may say that the boot clock began anew, and a
    record that no hash ties to the chain may have been written at any time by whoever holds the key.
    """
    starts = [0] if records else []
    starts += [i + 1 for i, (one, two) in enumerate(pairwise(records)) if two.prev_hash != one.hash]
    return [range(start, end) for start, end in pairwise([*starts, len(records)])]


def _meeting(ones: Sequence[range], others: Sequence[range]) -> list[range]:
    """What ranges of two divisions of the same whole have in common."""
    starts = sorted({each.start for each in (*ones, *others)})
    return [range(start, end) for start, end in pairwise([*starts, ones[-1].stop])] if starts else []


def _carry(boots: Sequence[range], stamps: Sequence[Stamp], own: Sequence[Interval]) -> list[Interval]:
    """Narrow each record's interval by those of its stretch of one boot."""
    return [
        narrowed for boot in boots for narrowed in _carried([stamps[i].boot_us for i in boot], [own[i] for i in boot])
    ]


def _claim(stamp: Stamp) -> Interval:
    if stamp.source != "synced":
        return Interval()
    return Interval(stamp.wall_us - stamp.maxerror_us, stamp.wall_us + stamp.maxerror_us)


def _carried(readings: Sequence[int], own: Sequence[Interval]) -> list[Interval]:
    """Each interval narrowed by all the others: `elapsed` apart by the boot clock means DRIFT_PPM and SLEW_US about it.

    The bounds from one side are a running maximum or minimum of what lies on a line of slope 1 ± DRIFT_PPM.
    """
    lows: list[int | None] = [span.lo_us for span in own]
    highs: list[int | None] = [span.hi_us for span in own]
    for order, ahead in ((range(len(own)), True), (range(len(own) - 1, -1, -1), False)):
        # later records: at least the slow elapsed time after a low, at most the fast one after a high; mirrored back
        for_low, for_high = (1_000_000 - DRIFT_PPM, 1_000_000 + DRIFT_PPM) if ahead else (
            1_000_000 + DRIFT_PPM, 1_000_000 - DRIFT_PPM
        )  # fmt: skip
        low: int | None = None  # in millionths of a microsecond, so that nothing is rounded on the way
        high: int | None = None
        for i in order:
            if low is not None:
                lows[i] = _most(lows[i], (low + readings[i] * for_low) // 1_000_000 - SLEW_US)
            if high is not None:
                highs[i] = _least(highs[i], -(-(high + readings[i] * for_high) // 1_000_000) + SLEW_US)
            lo_us, hi_us = own[i].lo_us, own[i].hi_us
            if lo_us is not None:
                low = _most(low, lo_us * 1_000_000 - readings[i] * for_low)
            if hi_us is not None:
                high = _least(high, hi_us * 1_000_000 - readings[i] * for_high)
    return [Interval(lo, hi) for lo, hi in zip(lows, highs, strict=True)]


def _back(span: Interval, elapsed_us: tuple[int, int]) -> Interval:
    """The interval of what happened `elapsed_us` (least, most, by the boot clock) before something in `span`."""
    least_us, most_us = elapsed_us
    slack_us = SLEW_US + UNSEEN_STEP_US
    lo = None if span.lo_us is None else span.lo_us - most_us - most_us * DRIFT_PPM // 1_000_000 - 1 - slack_us
    hi = None if span.hi_us is None else span.hi_us - least_us + least_us * DRIFT_PPM // 1_000_000 + 1 + slack_us
    return Interval(lo, _least(hi, span.hi_us))  # nobody is recorded before they came


def _most(one: int | None, two: int | None) -> int | None:
    return two if one is None else one if two is None else max(one, two)


def _least(one: int | None, two: int | None) -> int | None:
    return two if one is None else one if two is None else min(one, two)
