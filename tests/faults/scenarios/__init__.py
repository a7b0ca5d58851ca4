"""The twelve scenarios of `make faults`, a module each."""

from tests.faults.scenario import Scenario
from tests.faults.scenarios import bad_line, broker_state, kills, power_cut

SCENARIOS: tuple[Scenario, ...] = (kills.SCENARIO, broker_state.SCENARIO, power_cut.SCENARIO, bad_line.SCENARIO)
