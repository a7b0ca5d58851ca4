"""The kernel's clocks are read as they are, and a wall clock that jumps is noticed."""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.clock import MOST_ERROR_US, STEP_US, Clock, KernelTime, Step, read_kernel
from sync.format.canonical import encode
from sync.format.stamp import Stamp

NOW = KernelTime(1_790_000_000_000_000, 50_000_000, "a" * 32, 1500, True)
HOUR_US = 3_600_000_000


class Kernel:
    """A kernel whose clocks go only when told to."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> KernelTime:
        return self.now

    def go(self, elapsed_us: int, wall_jump_us: int = 0) -> None:
        self.now = replace(
            self.now, wall_us=self.now.wall_us + elapsed_us + wall_jump_us, boot_us=self.now.boot_us + elapsed_us
        )

    def reboot(self, wall_us: int) -> None:
        self.now = KernelTime(wall_us, 3_000_000, "b" * 32, 16_000_000, False)


def test_the_real_kernel_is_read_without_privilege() -> None:
    before, reading, after = time.time_ns() // 1000, read_kernel(), time.time_ns() // 1000
    assert before <= reading.wall_us <= after
    assert 0 < reading.boot_us <= time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    assert len(reading.boot_id) == 32
    assert int(reading.boot_id, 16) > 0
    assert 0 <= reading.maxerror_us <= 16_000_000 or not reading.synced
    later = read_kernel()
    assert later.boot_id == reading.boot_id
    assert later.boot_us >= reading.boot_us


def test_a_pause_between_reading_the_two_clocks_is_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    paused = iter([True])

    def time_ns(real: Callable[[], int] = time.time_ns) -> int:
        now_ns = real()
        if next(paused, False):
            time.sleep(0.7)  # the machine stands still just here, longer than any slewing explains
        return now_ns

    monkeypatch.setattr("edge.clock.time.time_ns", time_ns)
    assert clock.step() is None
    assert next(paused, None) is None  # the pause did happen


def test_the_stamp_of_the_real_clock_survives_its_record_form() -> None:
    stamp = Clock().stamp(None)
    assert Stamp.parse(stamp.fields()) == stamp
    assert stamp.steps == 0


def test_a_clock_that_goes_steadily_has_no_steps() -> None:
    kernel = Kernel()
    clock = Clock(kernel)
    stamp = clock.stamp(None)
    for _ in range(20):
        kernel.go(10 * 60_000_000)
        stamp = clock.stamp(stamp)
        assert clock.step() is None
    assert stamp.steps == 0
    assert stamp.source == "synced"
    assert stamp.maxerror_us == 1500


def test_steps_in_both_directions_are_told_once_with_what_was_read_before() -> None:
    kernel = Kernel()
    clock = Clock(kernel)
    kernel.go(1_000_000, 2 * HOUR_US)
    assert clock.step() == Step(2 * HOUR_US, NOW.wall_us)
    assert clock.step() is None
    kernel.go(1_000_000, -HOUR_US)
    step = clock.step()
    assert step is not None
    assert step.jump_us == -HOUR_US
    assert clock.step() is None


def test_a_step_back_to_1970_is_a_step_and_still_a_stamp() -> None:
    kernel = Kernel()
    clock = Clock(kernel)
    first = clock.stamp(None)
    kernel.go(1_000_000, 5_000_000 - kernel.now.wall_us)
    step = clock.step()
    assert step is not None
    assert step.jump_us < -56 * 365 * 24 * HOUR_US
    stamp = clock.stamp(first)
    assert stamp.steps == 1
    assert Stamp.parse(stamp.fields()) == stamp
    assert stamp.wall_us == 6_000_000


def test_steps_are_counted_along_the_chain_whoever_writes_it() -> None:
    kernel = Kernel()
    node, desk = Clock(kernel), Clock(kernel)
    stamp = node.stamp(None)
    kernel.go(1_000_000, 10_000_000)
    stamp = desk.stamp(stamp)
    assert stamp.steps == 1
    kernel.go(1_000_000)
    stamp = node.stamp(stamp)
    assert stamp.steps == 1
    kernel.go(1_000_000, -10_000_000)
    assert node.stamp(stamp).steps == 2


def test_a_reboot_starts_the_count_again_and_is_no_step() -> None:
    kernel = Kernel()
    stamp = Clock(kernel).stamp(None)
    kernel.go(1_000_000, 10_000_000)
    stamp = Clock(kernel).stamp(stamp)
    assert stamp.steps == 1
    kernel.reboot(1_000_000)
    clock = Clock(kernel)
    after = clock.stamp(stamp)
    assert (after.steps, after.source, after.boot_id) == (0, "unsynced", "b" * 32)
    assert clock.step() is None


@given(st.integers(0, 30 * 24 * 3600), st.floats(-1, 1))
def test_slewing_within_the_kernels_limit_is_never_a_step(elapsed_s: int, share: float) -> None:
    kernel = Kernel()
    clock = Clock(kernel)
    stamp = clock.stamp(None)
    kernel.go(elapsed_s * 1_000_000, int(share * elapsed_s * 500))
    assert clock.step() is None
    assert clock.stamp(stamp).steps == 0


@given(st.integers(0, 3600), st.integers(STEP_US + 3_600 * 500 + 1, 10**15), st.sampled_from((-1, 1)))
def test_a_jump_beyond_what_slewing_explains_is_always_a_step(elapsed_s: int, jump_us: int, sign: int) -> None:
    kernel = Kernel()
    clock = Clock(kernel)
    stamp = clock.stamp(None)
    kernel.go(elapsed_s * 1_000_000, sign * jump_us)
    step = clock.step()
    assert step is not None
    assert step.jump_us == sign * jump_us
    assert clock.stamp(stamp).steps == 1


# -- the bound while nothing disciplines the clock ---------------------------------------------------------------------


def unsynced(kernel: Kernel, maxerror_us: int = 16_000_000) -> None:
    kernel.now = replace(kernel.now, synced=False, maxerror_us=maxerror_us)


def test_a_synced_clock_has_the_kernels_own_bound() -> None:
    kernel = Kernel()
    stamp = Clock(kernel).stamp(None)
    kernel.go(HOUR_US)
    assert Clock(kernel).stamp(stamp).maxerror_us == NOW.maxerror_us


def test_without_ntp_the_bound_grows_past_the_kernels_cap_by_the_drift_since_the_last_sync() -> None:
    kernel = Kernel()
    stamp = Clock(kernel).stamp(None)
    unsynced(kernel)
    for hour in range(1, 24 * 30 + 1):
        kernel.go(HOUR_US)
        stamp = Clock(kernel).stamp(stamp)  # whoever writes: the bound goes on from the chain
        assert stamp.source == "unsynced"
        drift_us = hour * HOUR_US * 500 // 1_000_000
        assert NOW.maxerror_us + drift_us <= stamp.maxerror_us <= 16_000_000 + drift_us
    assert stamp.maxerror_us > 20 * 60 * 1_000_000


def test_a_clock_moved_by_hand_is_as_wrong_as_it_was_moved() -> None:
    kernel = Kernel()
    stamp = Clock(kernel).stamp(None)
    kernel.go(1_000_000, HOUR_US)
    unsynced(kernel)
    assert Clock(kernel).stamp(stamp).maxerror_us >= HOUR_US


def test_a_clock_moved_to_and_fro_over_centuries_can_still_be_recorded() -> None:
    kernel = Kernel()
    unsynced(kernel)
    clock = Clock(kernel)
    stamp = clock.stamp(None)
    for jump_years in (150, -150) * 4:
        kernel.go(1_000_000, jump_years * 365 * 24 * HOUR_US)
        stamp = clock.stamp(stamp)
        encode(stamp.fields())
    assert stamp.maxerror_us == MOST_ERROR_US


def test_a_boot_that_was_never_synced_knows_less_with_every_hour() -> None:
    kernel = Kernel()
    before = Clock(kernel).stamp(None)
    kernel.reboot(5_000_000)  # 1970
    first = Clock(kernel).stamp(before)
    assert first.maxerror_us >= 16_000_000
    kernel.go(10 * HOUR_US)
    assert Clock(kernel).stamp(first).maxerror_us >= first.maxerror_us + 10 * HOUR_US * 500 // 1_000_000


def test_a_clock_from_before_1970_is_stamped_as_it_is() -> None:
    kernel = Kernel()
    kernel.reboot(-86_400_000_000)
    stamp = Clock(kernel).stamp(None)
    assert Stamp.parse(stamp.fields()) == stamp
    assert stamp.wall_us == -86_400_000_000


def test_a_jump_seen_at_a_look_is_counted_though_too_small_for_the_time_since_the_last_record() -> None:
    kernel = Kernel()
    clock = Clock(kernel)
    stamp = clock.stamp(None)
    kernel.go(HOUR_US)
    assert clock.step() is None
    kernel.go(200_000, STEP_US + 200_000)  # an hour without a record would hide it: slewing explains 1.8 s of that
    assert clock.step() is not None
    after = clock.stamp(stamp)
    assert after.steps == 1
    kernel.go(1_000_000)
    assert clock.stamp(after).steps == 1
