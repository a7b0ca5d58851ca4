"""What is due is forgotten by the time that surely is, not by whatever the clock is set to."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from edge.clock import Clock, KernelTime, read_kernel
from edge.consent import CapturePolicy
from edge.home import Home
from edge.people.vault import Vault, opened
from edge.rights.due import ALARM, Retention
from edge.sure_time import SureTime
from sync.node.alarms import Alarms
from sync.node.ledger import Ledger

PACK = "test@000000000000"
DAY_US = 86_400_000_000
POLICY = CapturePolicy("ephemeral", "test", timedelta(hours=24))


class Machine:
    """A HOME whose wall clock a test sets; the boot clock goes on."""

    def __init__(self, home: Home, vault: Vault, ledger: Ledger) -> None:
        self.vault, self.ledger = vault, ledger
        self.time = replace(read_kernel(), synced=False)
        self.alarms = Alarms(home.database)
        self.retention = Retention(ledger, vault, self.alarms, SureTime(lambda: self.time))

    def remember(self, person: str, moment: KernelTime) -> None:
        self.vault.create_key(person)
        vector = np.eye(1, 128, dtype=np.float32)[0]
        stored = datetime.fromtimestamp(moment.wall_us / 1e6, UTC)
        with self.ledger.transaction() as transaction:
            self.vault.add_person(transaction.connection, person, PACK, vector, stored, True)
            self.vault.of_visits.add_crop(transaction.connection, f"v-{person}", person, b"\xff\xd8\xff", stored)

    def run(self, us: int) -> None:
        self.time = replace(self.time, wall_us=self.time.wall_us + us, boot_us=self.time.boot_us + us)

    def alarmed(self) -> bool:
        return any(alarm.code == ALARM for alarm in self.alarms.all())


@pytest.fixture
def machine(home: Home) -> Iterator[Machine]:
    with opened(home.database, home.keys_database) as vault, closing(home.open_ledger("node", Clock())) as ledger:
        yield Machine(home, vault, ledger)


def test_a_clock_set_to_another_year_forgets_nobody_and_is_an_alarm(machine: Machine) -> None:
    machine.remember("p-1", machine.time)
    right = machine.time
    machine.time = replace(right, wall_us=right.wall_us + 9 * 365 * DAY_US)
    assert machine.retention.run(POLICY) == 0
    assert machine.vault.remembers("p-1")
    assert machine.alarmed()
    machine.time = right
    assert machine.retention.run(POLICY) == 0
    assert not machine.alarmed()
    machine.run(DAY_US + 60_000_000)
    assert machine.retention.run(POLICY) == 1, "and in time it goes as promised, offline and all"
    assert not machine.vault.remembers("p-1")


def test_who_was_stored_under_a_clock_ahead_is_kept_no_longer_than_others_once_it_is_right(machine: Machine) -> None:
    ahead = replace(machine.time, wall_us=machine.time.wall_us + 9 * 365 * DAY_US)
    machine.remember("p-1", ahead)
    machine.retention.run(POLICY)
    machine.run(DAY_US - 60_000_000)
    assert machine.retention.run(POLICY) == 0
    machine.run(120_000_000)
    assert machine.retention.run(POLICY) == 1
    assert not machine.vault.remembers("p-1")
