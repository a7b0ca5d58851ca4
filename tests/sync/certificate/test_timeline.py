"""A simulated world, whose true time the intervals must hold: clocks moved, lost, reset; reboots; acks late or lost."""

import random
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from edge.clock import Clock, KernelTime
from sync.certificate.timeline import Arrival, Interval, Moment, TimeGrade, Timeline
from sync.format.messages import Ack
from sync.format.records import GENESIS_PREV, Record, seal
from sync.format.signing import Ed25519Signer
from sync.format.stamp import Stamp

NODE, CENTRAL = Ed25519Signer(SigningKey(b"n" * 32)), Ed25519Signer(SigningKey(b"a" * 32))
HOUR_US = 3_600_000_000
START_US = 1_790_000_000_000_000
NTP_ERROR_US = 50_000


@dataclass
class Machine:
    """A box in a world of true time: a kernel as Linux keeps one, a chain, and what it has heard from central.

    The wall clock is `boot clock + offset`. A step moves the offset and leaves the kernel unsynchronised; a slewed
    correction moves the boot clock with it; while nothing disciplines it the kernel's bound grows by 500 ppm, and at
    16 s it calls itself unsynchronised.
    """

    rate_ppm: int  # of its crystal
    true_us: int = START_US
    boots: int = 0
    boot_us: int = 5_000_000
    offset_us: int = START_US - 5_000_000
    maxerror_us: int = 16_000_000
    disciplined: bool = False
    records: list[Record] = field(default_factory=list)
    true_of: list[int] = field(default_factory=list)
    arrivals: list[tuple[Record, int, int]] = field(default_factory=list)  # record, arrived_us, true time
    acks: list[Ack] = field(default_factory=list)
    heard: Ack | None = None
    slew_us: int = 0

    def __post_init__(self) -> None:
        self.clock = Clock(self.read)

    def read(self) -> KernelTime:
        synced = self.maxerror_us < 16_000_000
        return KernelTime(
            self.boot_us + self.offset_us, self.boot_us, f"{self.boots:032x}", min(self.maxerror_us, 16_000_000), synced
        )

    # -- what happens --------------------------------------------------------------------------------------------------

    def sleep(self, true_us: int) -> None:
        true_us = max(true_us, 2_000_000 if self.slew_us else 0)
        if self.disciplined and true_us > HOUR_US:
            self.sync()
        self.true_us += true_us
        self.boot_us += true_us + true_us * self.rate_ppm // 1_000_000 + self.slew_us
        self.slew_us = 0
        self.maxerror_us = min(16_000_000, self.maxerror_us + true_us * 500 // 1_000_000)
        if self.disciplined:
            self.sync()

    def sync(self) -> None:
        """NTP's daemon looks: a small error is slewed, a large one stepped, and the bound starts again."""
        self.disciplined = True
        error_us = self.boot_us + self.offset_us - self.true_us
        if abs(error_us) < 400_000 and not self.slew_us:
            self.slew_us = -error_us
            self.maxerror_us = abs(error_us) + NTP_ERROR_US
        else:
            self.step(-error_us, NTP_ERROR_US)

    def lose_ntp(self) -> None:
        self.disciplined = False

    def set_clock(self, jump_us: int) -> None:
        """Somebody sets the clock; the kernel is unsynchronised by that (ntp_clear in kernel/time/ntp.c)."""
        self.disciplined = False
        self.step(jump_us, 16_000_000)

    def step(self, jump_us: int, maxerror_us: int) -> None:
        """The wall clock is stepped; the watch, which looks every 0.2 s, looks before and after."""
        self.look()
        self.offset_us += jump_us
        self.maxerror_us = maxerror_us
        self.look()

    def look(self) -> None:
        if self.clock.step() is not None:
            self.name_step()

    def reboot(self, wall_us: int, off_us: int) -> None:
        """Off for a while, back with whatever its battery clock says, and nobody to ask."""
        self.true_us += off_us
        self.boots += 1
        self.boot_us, self.slew_us = 5_000_000, 0
        self.offset_us = wall_us - self.boot_us
        self.maxerror_us, self.disciplined = 16_000_000, False
        self.clock = Clock(self.read)
        self.append("node.boot")

    def name_step(self) -> None:
        before = self.records[-1].stamp if self.records else None
        stamp = self.clock.stamp(before)
        if before is not None and before.boot_id == stamp.boot_id and before.steps != stamp.steps:
            self._put("clock.step", stamp)

    def append(self, kind: str) -> Record:
        self.name_step()
        return self._put(kind, self.clock.stamp(self.records[-1].stamp if self.records else None))

    def visit(self, lasting_us: int, jump_us: int) -> None:
        """Somebody is seen, and decided a while later; the clock may be moved in between."""
        self.look()  # the watch does, before every frame
        arrived_us, true_us = self.boot_us + self.offset_us, self.true_us
        self.sleep(lasting_us)
        if jump_us:
            self.set_clock(jump_us)
            self.look()
            self.sleep(lasting_us)
        self.arrivals.append((self.append("visit.first"), arrived_us, true_us))

    def deliver(self, delay_us: int, *, lost: bool = False) -> None:
        """Central takes everything, and says so a while later, unless its word is lost on the way."""
        if not self.records:
            return
        head = self.records[-1]
        self.sleep(delay_us)
        ack = Ack.seal("n", 1, head.seq, head.hash, self.true_us, 8, CENTRAL)
        self.sleep(delay_us)
        if not lost:
            self.acks.append(ack)
            self.heard = ack

    def _put(self, kind: str, stamp: Stamp) -> Record:
        before = self.records[-1] if self.records else None
        fields = {
            "v": 1, "node": "n", "epoch": 1, "seq": len(self.records) + 1, "kind": kind,
            "prev": before.hash.hex() if before else GENESIS_PREV, "key": NODE.public.key_id, "at": stamp.fields(),
        }  # fmt: skip
        if self.heard is not None:
            anchor = {"central_time_us": self.heard.central_time_us, "ack_hash": self.heard.ack_hash.hex()}
            fields["anchor"] = anchor
        self.records.append(seal(fields, NODE))
        self.true_of.append(self.true_us)
        return self.records[-1]

    # -- what it is held against ---------------------------------------------------------------------------------------

    def timeline(self) -> Timeline:
        return Timeline(self.records, self.acks)

    def check(self) -> Counter[TimeGrade]:
        """Hold every record and every arrival against the truth; returns how often each grade was given."""
        timeline, grades = self.timeline(), Counter[TimeGrade]()
        for record, true_us in zip(self.records, self.true_of, strict=True):
            moment = timeline.of(record)
            assert_holds(moment, true_us, record)
            assert not moment.contradicted
            grades[moment.grade] += 1
        for record, arrived_us, true_us in self.arrivals:
            arrival = timeline.arrival(record, arrived_us)
            assert arrival.boot_us is not None
            assert_holds(arrival.moment, true_us, record)
        return grades


def assert_holds(moment: Moment, true_us: int, record: Record) -> None:
    for span in (moment.signed, moment.carried, moment.claimed or Interval(), moment.whole):
        assert span.holds(true_us), (record.seq, record.kind, true_us, moment)


EVENTS = st.one_of(
    st.tuples(st.just("sleep"), st.integers(0, 40 * HOUR_US)),
    st.tuples(st.just("alive"), st.integers(0, 600_000_000)),
    st.tuples(st.just("look"), st.just(0)),
    st.tuples(st.just("set"), st.sampled_from((HOUR_US, -HOUR_US, 600_000, -600_000, -START_US))),
    st.tuples(st.just("sync"), st.just(0)),
    st.tuples(st.just("lose"), st.just(0)),
    st.tuples(st.just("deliver"), st.integers(0, 60_000_000)),
    st.tuples(st.just("lost"), st.integers(0, 60_000_000)),
    st.tuples(st.just("reboot"), st.sampled_from((0, START_US, START_US - HOUR_US, -HOUR_US))),
    st.tuples(st.just("visit"), st.integers(0, 600_000_000)),
    st.tuples(st.just("visit-over-jump"), st.sampled_from((HOUR_US, -HOUR_US, -START_US))),
)


def happen(machine: Machine, what: str, value: int) -> None:
    match what:
        case "sleep":
            machine.sleep(value)
        case "alive":
            machine.sleep(value)
            machine.append("node.alive")
        case "look":
            machine.look()
        case "set":
            machine.set_clock(value)
        case "sync":
            machine.sync()
        case "lose":
            machine.lose_ntp()
        case "deliver" | "lost":
            machine.deliver(value, lost=what == "lost")
        case "reboot":
            machine.reboot(value, off_us=7_000_000_000)
        case "visit":
            machine.visit(value, 0)
        case "visit-over-jump":
            machine.visit(3_000_000, value)


@settings(max_examples=150, deadline=None)
@given(st.integers(-450, 450), st.lists(EVENTS, max_size=40))
def test_true_time_lies_in_every_interval_whatever_happens_to_the_clocks(
    rate_ppm: int, events: list[tuple[str, int]]
) -> None:
    machine = Machine(rate_ppm)
    machine.append("node.boot")
    for what, value in events:
        happen(machine, what, value)
    machine.check()


def test_true_time_lies_in_every_interval_of_a_long_life() -> None:
    rng = random.Random(7)
    machine = Machine(rate_ppm=-380)
    machine.sync()
    weights = {"sleep": 2, "alive": 20, "look": 8, "set": 1, "sync": 3, "lose": 1, "deliver": 8, "lost": 1, "visit": 8}
    for what in rng.choices(list(weights), list(weights.values()), k=3000):
        value = rng.choice((HOUR_US, -HOUR_US)) if what == "set" else rng.randrange(60_000_000)
        happen(machine, what, value)
    grades = machine.check()
    assert grades["A"] > 500
    assert grades["B"] > 100


# -- the grade drops as it should ----------------------------------------------------------------------------------


def settled(machine: Machine) -> None:
    """Synchronised, and heard by central once before."""
    machine.sync()
    machine.append("node.boot")
    machine.deliver(1_000_000)
    machine.sleep(60_000_000)


def grade(machine: Machine, record: Record) -> TimeGrade:
    machine.check()
    return machine.timeline().of(record).grade


def test_synced_and_anchored_on_both_sides_is_a() -> None:
    machine = Machine(20)
    settled(machine)
    record = machine.append("visit.first")
    assert grade(machine, record) == "B"  # not yet confirmed
    machine.deliver(500_000)
    assert grade(machine, record) == "A"


def test_ntp_lost_for_long_drops_to_b_and_the_claim_goes() -> None:
    machine = Machine(20)
    settled(machine)
    machine.lose_ntp()
    machine.sleep(10 * HOUR_US)
    record = machine.append("visit.first")
    machine.deliver(500_000)
    assert grade(machine, record) == "B"
    moment = machine.timeline().of(record)
    assert moment.claimed is not None  # carried from the synchronised stamps of this boot, some 22 s wide
    assert moment.claimed.width_us is not None
    assert moment.claimed.width_us > 10 * HOUR_US * 600 // 1_000_000


@pytest.mark.parametrize("jump_us", [HOUR_US, -HOUR_US, -START_US])
def test_a_clock_set_by_hand_drops_to_b_and_the_order_stays(jump_us: int) -> None:
    machine = Machine(20)
    settled(machine)
    machine.set_clock(jump_us)
    record = machine.append("visit.first")
    machine.deliver(500_000)
    assert grade(machine, record) == "B"
    assert [r.kind for r in machine.records][-2:] == ["clock.step", "visit.first"]


def test_a_reboot_offline_is_order_only_until_central_is_back() -> None:
    machine = Machine(20)
    settled(machine)
    machine.append("node.alive")
    machine.reboot(wall_us=0, off_us=3 * HOUR_US)
    record = machine.append("visit.first")
    assert grade(machine, record) == "C"
    machine.sleep(HOUR_US)
    machine.append("node.alive")
    machine.deliver(500_000)
    assert grade(machine, record) == "B"
    after = machine.timeline().of(record).carried
    assert after.width_us is not None
    assert after.width_us < 4 * HOUR_US  # it lay after the last record before the reboot, and an hour before the ack


def test_acks_of_another_boot_leave_order_only() -> None:
    machine = Machine(20)
    settled(machine)
    machine.reboot(wall_us=START_US, off_us=HOUR_US)
    record = machine.append("visit.first")
    machine.reboot(wall_us=START_US, off_us=HOUR_US)
    machine.deliver(500_000)
    assert grade(machine, record) == "C"
    assert machine.timeline().of(record).signed.width_us is not None


def test_a_claim_that_central_contradicts_is_dropped() -> None:
    machine = Machine(20)
    settled(machine)
    machine.offset_us += HOUR_US  # and the kernel still calls itself synchronised
    record = machine.append("visit.first")
    machine.deliver(500_000)
    moment = machine.timeline().of(record)
    assert moment.contradicted
    assert moment.claimed is None
    assert moment.grade == "B"
    assert moment.whole.holds(machine.true_of[record.seq - 1])


def test_two_clocks_that_ntp_keeps_need_not_agree_to_the_millisecond() -> None:
    machine = Machine(0)
    settled(machine)
    machine.lose_ntp()
    machine.offset_us -= 300_000  # behind central's, by more than the kernel admits
    machine.deliver(1_000)
    record = machine.append("visit.first")
    machine.deliver(1_000)
    moment = machine.timeline().of(record)
    assert (moment.grade, moment.contradicted) == ("A", False)
    assert moment.claimed is not None
    assert not moment.whole.empty


def test_a_clock_that_contradicts_itself_claims_nothing() -> None:
    machine = Machine(20)
    machine.sync()
    machine.append("node.boot")
    machine.offset_us += HOUR_US
    record = machine.append("visit.first")
    moment = machine.timeline().of(record)
    assert (moment.claimed, moment.contradicted, moment.grade) == (None, True, "C")


def test_a_central_whose_clock_went_back_bounds_nothing() -> None:
    machine = Machine(20)
    settled(machine)
    record = machine.append("visit.first")
    head = machine.records[-1]
    machine.acks.append(Ack.seal("n", 1, head.seq, head.hash, START_US - HOUR_US, 8, CENTRAL))
    moment = machine.timeline().of(record)
    assert (moment.signed, moment.contradicted, moment.grade) == (Interval(), True, "C")


def test_a_machine_restored_to_an_earlier_moment_is_another_run_of_its_boot_clock() -> None:
    machine = Machine(20)
    settled(machine)
    machine.sleep(5 * HOUR_US)
    machine.append("node.alive")
    machine.deliver(500_000)
    snapshot_us = machine.boot_us - 4 * HOUR_US
    machine.disciplined = False
    machine.sleep(HOUR_US)
    machine.boot_us = snapshot_us
    machine.offset_us, machine.maxerror_us = machine.true_us - snapshot_us, 16_000_000
    record = machine.append("visit.first")
    machine.deliver(500_000)
    assert_holds(machine.timeline().of(record), machine.true_of[record.seq - 1], record)


# -- arrivals ------------------------------------------------------------------------------------------------------


def test_an_arrival_is_dated_through_a_jump_of_the_wall_clock() -> None:
    machine = Machine(20)
    settled(machine)
    machine.visit(3_000_000, HOUR_US)
    machine.deliver(500_000)
    machine.check()
    record, arrived_us, true_us = machine.arrivals[0]
    arrival = machine.timeline().arrival(record, arrived_us)
    assert arrival.moment.carried.holds(true_us)
    span = arrival.moment.carried.width_us
    assert span is not None
    assert span < 70_000_000


@pytest.mark.parametrize("jump_us", [450_000, -450_000])
def test_a_jump_too_small_to_be_noticed_is_allowed_for(jump_us: int) -> None:
    machine = Machine(0)
    settled(machine)
    machine.look()
    arrived_us, true_us = machine.boot_us + machine.offset_us, machine.true_us
    machine.sleep(1_000_000)
    machine.slew_us = -(jump_us + jump_us // abs(jump_us) * 40_000)  # and a correction at work besides
    machine.sleep(2_000_000)
    machine.offset_us += jump_us
    record = machine.append("visit.first")
    machine.acks.append(Ack.seal("n", 1, record.seq, record.hash, machine.true_us, 8, CENTRAL))
    machine.heard = machine.acks[-1]
    machine.append("node.alive")
    assert machine.timeline().arrival(record, arrived_us).moment.carried.holds(true_us)


def test_an_arrival_that_fits_no_clock_has_an_upper_bound_and_grade_c() -> None:
    machine = Machine(20)
    settled(machine)
    record = machine.append("visit.first")
    machine.deliver(500_000)
    arrival = machine.timeline().arrival(record, record.stamp.wall_us + HOUR_US)
    assert arrival.boot_us is None
    assert arrival.moment.grade == "C"
    assert arrival.moment.carried == Interval(None, machine.timeline().of(record).carried.hi_us)


def test_the_narrowest_interval_of_a_good_day_is_about_a_second() -> None:
    machine = Machine(20)
    settled(machine)
    machine.visit(2_000_000, 0)
    machine.deliver(500_000)
    arrival: Arrival = machine.timeline().arrival(*machine.arrivals[0][:2])
    assert arrival.moment.grade == "A"
    assert arrival.moment.whole.width_us is not None
    assert arrival.moment.whole.width_us < 4_000_000


@given(st.lists(st.integers(-10, 10), min_size=2, max_size=2), st.lists(st.integers(-10, 10), min_size=2, max_size=2))
def test_an_interval_before_another_shares_nothing_with_it(one: list[int], two: list[int]) -> None:
    a, b = Interval(*sorted(one)), Interval(*sorted(two))
    assert not (a.before(b) and b.before(a))
    assert a.meet(b).empty == (a.before(b) or b.before(a))
    assert replace(a, lo_us=None).before(b) == a.before(b)
