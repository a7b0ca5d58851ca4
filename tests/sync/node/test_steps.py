"""Before any record that follows a jump of the wall clock stands the node's `clock.step`, once, in the same commit."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from edge.clock import Clock, KernelTime
from sync import SyncError
from sync.format.signing import Signer
from sync.format.stamp import Stamp
from sync.node.append import Writer
from sync.node.ledger import Ledger

HOUR_US = 3_600_000_000
NOW = KernelTime(1_790_000_000_000_000, 50_000_000, "a" * 32, 1500, True)


class Machine:
    """A kernel whose clocks go only when told to, and the two writers of one HOME."""

    def __init__(self, home, signer: Callable[[str], Signer]) -> None:
        self.now = NOW
        self.clock = Clock(self.read)
        self.node = Ledger(home.database, Writer("gate-1", "node", signer("node"), self.clock.stamp))
        self.desk = Ledger(home.database, Writer("gate-1", "desk", signer("desk"), Clock(self.read).stamp))

    def read(self) -> KernelTime:
        return self.now

    def go(self, elapsed_us: int, jump_us: int = 0) -> None:
        self.now = replace(
            self.now, wall_us=self.now.wall_us + elapsed_us + jump_us, boot_us=self.now.boot_us + elapsed_us
        )

    def look(self) -> None:
        """What the watch does before every frame."""
        if self.clock.step() is not None:
            self.node.name_step()

    def kinds(self) -> list[str]:
        return [row.kind for row in self.node.rows()]

    def jumps(self) -> list[int]:
        return [record.fields["jump_us"] for record in self.node.records(("clock.step",))]


@pytest.fixture
def machine(home, signer: Callable[[str], Signer]) -> Machine:
    machine = Machine(home, signer)
    machine.node.append("node.boot", {})
    machine.go(1_000_000)
    return machine


def test_a_steady_clock_writes_no_step(machine: Machine) -> None:
    for _ in range(5):
        machine.go(600_000_000)
        machine.look()
        machine.node.append("node.alive", {})
    assert machine.jumps() == []


@pytest.mark.parametrize("jump_us", [HOUR_US, -HOUR_US, -NOW.wall_us])
def test_a_jump_is_named_before_the_record_that_follows_it(machine: Machine, jump_us: int) -> None:
    machine.go(1_000_000, jump_us)
    after = machine.node.append("visit.first", {"visit": "v1"})
    assert machine.kinds() == ["node.boot", "clock.step", "visit.first"]
    assert machine.jumps() == [jump_us]
    step = machine.node.last_of("clock.step")
    assert step is not None
    assert step.fields["before_us"] == NOW.wall_us
    assert (step.stamp.steps, after.stamp.steps) == (1, 1)
    machine.look()
    machine.node.append("node.alive", {})
    assert machine.jumps() == [jump_us]


def test_whoever_looks_first_the_step_is_there_once(machine: Machine) -> None:
    machine.go(200_000, HOUR_US)
    machine.look()
    machine.node.append("node.alive", {})
    machine.look()
    assert machine.kinds() == ["node.boot", "clock.step", "node.alive"]
    machine.go(200_000, -HOUR_US)
    machine.node.append("node.alive", {})
    machine.look()
    assert machine.jumps() == [HOUR_US, -HOUR_US]


def test_a_jump_there_and_back_between_two_records_is_seen_by_the_look_between(machine: Machine) -> None:
    machine.go(200_000, HOUR_US)
    machine.look()
    machine.go(200_000, -HOUR_US)
    machine.look()
    machine.node.append("node.alive", {})
    assert machine.kinds() == ["node.boot", "clock.step", "clock.step", "node.alive"]
    assert machine.jumps() == [HOUR_US, -HOUR_US]


def test_what_the_desks_records_met_is_named_by_the_nodes_next(machine: Machine) -> None:
    machine.desk.append("access.digest", {})
    machine.go(1_000_000, HOUR_US)
    met = machine.desk.append("visit.corrected", {"visit": "v1"})
    assert met.stamp.steps == 1
    machine.go(1_000_000)
    machine.desk.append("export.made", {})
    machine.node.append("node.alive", {})
    assert machine.kinds()[-3:] == ["export.made", "clock.step", "node.alive"]
    assert machine.jumps() == [HOUR_US]


def test_a_reboot_is_no_step(machine: Machine) -> None:
    machine.go(1_000_000, HOUR_US)
    machine.node.append("node.alive", {})
    machine.now = KernelTime(5_000_000, 2_000_000, "b" * 32, 16_000_000, False)
    machine.node.append("node.boot", {})
    assert machine.kinds() == ["node.boot", "clock.step", "node.alive", "node.boot"]


def test_a_desk_that_wrote_first_in_a_boot_leaves_its_step_to_the_node(machine: Machine) -> None:
    machine.now = KernelTime(NOW.wall_us, 2_000_000, "b" * 32, 16_000_000, False)
    machine.desk.append("access.digest", {})
    machine.go(1_000_000, HOUR_US)
    machine.desk.append("access.digest", {})
    machine.node.append("node.boot", {})
    assert machine.kinds()[-2:] == ["clock.step", "node.boot"]
    assert machine.jumps() == [HOUR_US]


def test_a_step_and_its_record_are_kept_or_lost_together(machine: Machine) -> None:
    machine.go(1_000_000, HOUR_US)
    with pytest.raises(SyncError), machine.node.transaction() as transaction:
        _ = transaction.append("visit.first", {"visit": "v1"}), transaction.append("export.made", {})  # not the node's
    assert machine.kinds() == ["node.boot"]
    machine.node.append("visit.first", {"visit": "v1"})
    assert machine.kinds() == ["node.boot", "clock.step", "visit.first"]


def test_a_clock_that_never_stands_still_still_lets_records_through(home, signer: Callable[[str], Signer]) -> None:
    walls = iter(range(NOW.wall_us, NOW.wall_us + 10**13, HOUR_US))

    def restless() -> KernelTime:
        return replace(NOW, wall_us=next(walls))

    ledger = Ledger(home.database, Writer("gate-1", "node", signer("node"), Clock(restless).stamp))
    ledger.append("node.boot", {})
    assert ledger.append("node.alive", {}).kind == "node.alive"


def test_the_stamp_says_how_many_steps_the_chain_has_seen(machine: Machine) -> None:
    stamps: list[Stamp] = []
    for jump_us in (0, HOUR_US, 0, -HOUR_US):
        machine.go(1_000_000, jump_us)
        stamps.append(machine.node.append("node.alive", {}).stamp)
    assert [stamp.steps for stamp in stamps] == [0, 1, 1, 2]
