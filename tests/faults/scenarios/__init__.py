"""The twelve scenarios of `make faults`, a module each."""

from tests.faults.scenario import Scenario
from tests.faults.scenarios import (
    bad_line,
    bit_rot,
    broker_state,
    catching_up,
    clocks,
    full_disk,
    hostile_peer,
    kills,
    leaving,
    power_cut,
    tampering,
    two_heads,
)

_MODULES = (
    kills, broker_state, power_cut, catching_up, bad_line, full_disk, clocks, bit_rot, tampering, two_heads,
    hostile_peer, leaving,
)  # fmt: skip
SCENARIOS: tuple[Scenario, ...] = tuple(module.SCENARIO for module in _MODULES)
