"""2. The broker dies with a queue, and its state directory with it."""

import shutil
import time

from tests.faults.checker import central_rows, check, check_acked
from tests.faults.scenario import Result, Scenario, Work
from tests.faults.site import site, wait_until

TITLE = "broker dies with a queue, loses its state"
QUEUED = 400  # records that the broker has confirmed and central has not seen


def run(work: Work) -> Result:
    """Central stands still, the broker confirms and queues; then it and all it kept are gone."""
    rounds, result, queued = work.times(5, 1, 1), Result(), 0
    with site(work.root, persistent_broker=True) as tested:
        node = tested.node
        node.rate_per_s, node.mutants = 100.0, work.mutants("puback-is-ack")
        tested.start_broker()
        tested.start_central()
        tested.start_node()
        for _ in range(rounds):
            wait_until(lambda: node.acked_upto() > node.baseline, "the first records are acknowledged")
            tested.pause("central")
            held = node.acked_upto()[1]
            wait_until(lambda h=held: node.head()[1] >= h + QUEUED, "the node records on")  # type: ignore[misc]
            time.sleep(1.0)
            queued += node.head()[1] - held
            tested.kill("broker")
            shutil.rmtree(tested.broker_state)
            result.problems += check_acked(node.account, central_rows(tested.central / "central.db", "n1"))
            tested.resume("central")
            tested.start_broker()
            wait_until(lambda h=held: node.acked_upto()[1] >= h + QUEUED, "they are acknowledged")  # type: ignore[misc]
        tested.drain()
        tally = check(tested)
    result.problems += tally.problems
    result.figures = f"{rounds} losses of {queued} records under way, {tally.figures()}"
    return result


SCENARIO = Scenario(2, TITLE, run, {"puback-is-ack": "acknowledged and not at central"})
