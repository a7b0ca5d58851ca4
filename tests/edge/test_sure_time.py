"""What surely is past: carried on the boot clock, whatever the wall clock is set to."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from edge.clock import Clock, KernelTime
from edge.home import Home
from edge.sure_time import LEAP_US, MOST_OFF_US, TRIAL_US, SureTime
from sync.format.messages import Ack
from sync.format.signing import Signer, create_key_file
from sync.node.ledger import Ledger

DAY_US, HOUR_US = 24 * 3600 * 1_000_000, 3600 * 1_000_000


class Box:
    """A machine whose clocks a test moves; every look at it is a record, as the node's heartbeat is."""

    def __init__(self, home: Home) -> None:
        with closing(home.open_ledger()) as ledger:
            (genesis,) = ledger.records(("epoch.started",))
        self.true_us = genesis.stamp.wall_us + 5_000_000
        self.time = KernelTime(self.true_us, 5_000_000, "a" * 32, 16_000_000, False)
        self.ledger = Ledger(home.database, home.writer("node", Clock(lambda: self.time)))
        self.sure = SureTime(lambda: self.time)
        self.ledger.append("node.alive", {"cameras": []})

    def run(self, us: int, *, beats: int = 4) -> None:
        for _ in range(beats):
            step = us // beats
            self.true_us += step
            self.time = replace(self.time, wall_us=self.time.wall_us + step, boot_us=self.time.boot_us + step)
            self.ledger.append("node.alive", {"cameras": []})

    def set_clock(self, ahead_us: int, *, synced: bool = False) -> None:
        """Set the wall clock to so far ahead of true time."""
        self.time = replace(self.time, wall_us=self.true_us + ahead_us, synced=synced)
        self.ledger.append("node.alive", {"cameras": []})

    def off(self, us: int, ahead_us: int = 0) -> None:
        """Shut down for so long, and come back with the wall clock so far ahead of true time."""
        self.true_us += us
        boot = f"{int(self.time.boot_id, 16) + 1:032x}"
        self.time = replace(self.time, wall_us=self.true_us + ahead_us, boot_us=0, boot_id=boot)
        self.ledger.append("node.boot", {"mode": "after_consent"})

    def hear_central(self, key: Signer) -> None:
        """Have an ack of now, by central's clock, in the chain's next record."""
        head = self.ledger.head()
        assert head is not None
        ack = Ack.seal("puxi-01-a", head.epoch, head.seq, head.hash, self.true_us, 8, key)
        assert self.ledger.accept_ack(ack)
        self.ledger.append("node.alive", {"cameras": []})

    def behind_us(self) -> int:
        """How far what surely is past lies behind true time; a fresh reader finds the same as one that followed."""
        found = self.sure.now(self.ledger)
        assert found == SureTime(lambda: self.time).now(self.ledger)
        return self.true_us - found.sure_us


@pytest.fixture
def box(make_home: Callable[..., Home]) -> Iterator[Box]:
    box = Box(make_home(mode="after_consent"))
    with closing(box.ledger):
        yield box


@pytest.fixture
def central(tmp_path: Path) -> Signer:
    return create_key_file(tmp_path / "ack.key")


def test_on_a_right_clock_it_is_now_also_months_offline_and_shut_every_night(box: Box) -> None:
    for day in range(90):
        box.run(10 * HOUR_US, beats=2)
        assert abs(box.behind_us()) < HOUR_US, day
        box.off(62 * HOUR_US if day % 7 == 6 else 14 * HOUR_US)
    assert abs(box.behind_us()) < HOUR_US


def test_a_clock_set_to_2035_moves_nothing_and_set_right_again_leaves_nothing(box: Box) -> None:
    box.run(DAY_US)
    box.set_clock(9 * 365 * DAY_US)
    box.run(2 * DAY_US)
    assert abs(box.behind_us()) < HOUR_US
    box.set_clock(0)
    assert abs(box.behind_us()) < HOUR_US


def test_a_clock_set_forward_while_it_is_off_wins_a_long_weekend_and_restarting_wins_no_more(box: Box) -> None:
    box.run(DAY_US)
    for _ in range(50):
        box.off(60_000_000, ahead_us=9 * 365 * DAY_US)
        box.run(60_000_000, beats=1)
    assert -MOST_OFF_US - HOUR_US <= box.behind_us() < HOUR_US


def test_a_clock_that_nobody_contradicts_for_a_week_of_running_is_believed(box: Box) -> None:
    box.run(DAY_US)
    box.off(30 * DAY_US)  # a closed season, and no network after it
    assert box.behind_us() > 20 * DAY_US
    box.run(TRIAL_US - HOUR_US)
    assert box.behind_us() > 20 * DAY_US
    box.run(2 * HOUR_US)
    assert abs(box.behind_us()) < HOUR_US


def test_central_s_word_sets_it_right_at_once_and_refutes_a_clock_ahead_for_as_long_as_it_speaks(
    box: Box, central: Signer
) -> None:
    box.run(DAY_US)
    box.off(30 * DAY_US)
    box.hear_central(central)
    assert abs(box.behind_us()) < HOUR_US
    box.set_clock(9 * 365 * DAY_US)
    for _ in range(10):
        box.run(DAY_US, beats=2)
        box.hear_central(central)
        assert abs(box.behind_us()) < HOUR_US, "ten days, and it is not believed"


def test_a_time_server_moves_it_by_a_day_at_most_once_central_has_been_heard(box: Box, central: Signer) -> None:
    box.set_clock(30 * DAY_US, synced=True)
    assert box.behind_us() == -30 * DAY_US, "before central nobody knows better"
    box.set_clock(0, synced=True)
    box.hear_central(central)
    box.set_clock(30 * DAY_US, synced=True)
    box.run(DAY_US)
    assert abs(box.behind_us()) <= LEAP_US
    box.set_clock(LEAP_US - HOUR_US, synced=True)
    assert box.behind_us() == HOUR_US - LEAP_US


def test_a_clock_set_back_is_told_as_it_is(box: Box) -> None:
    box.run(DAY_US)
    box.set_clock(-10 * DAY_US)
    assert box.behind_us() == 10 * DAY_US


def test_codes_are_judged_by_a_time_that_no_clock_set_forward_or_back_moves(box: Box, central: Signer) -> None:
    box.run(DAY_US)
    box.hear_central(central)
    for ahead_us in (9 * 365 * DAY_US, -9 * 365 * DAY_US):
        box.set_clock(ahead_us)
        assert abs(box.sure.judging_us(box.ledger) - box.true_us) < HOUR_US, ahead_us
