"""The twelve scenarios of `make faults`, a module each."""

from tests.faults.scenario import Scenario
from tests.faults.scenarios import bad_line, bit_rot, broker_state, clocks, full_disk, kills, power_cut, tampering

_MODULES = (kills, broker_state, power_cut, bad_line, full_disk, clocks, bit_rot, tampering)
SCENARIOS: tuple[Scenario, ...] = tuple(module.SCENARIO for module in _MODULES)
