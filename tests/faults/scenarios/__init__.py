"""The twelve scenarios of `make faults`, a module each."""

from tests.faults.scenario import Scenario
from tests.faults.scenarios import bad_line, broker_state, clocks, kills, power_cut

_MODULES = (kills, broker_state, power_cut, bad_line, clocks)
SCENARIOS: tuple[Scenario, ...] = tuple(module.SCENARIO for module in _MODULES)
