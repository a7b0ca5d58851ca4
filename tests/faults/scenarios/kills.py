"""1. kill -9 of node, central and broker at random, under load."""

import os
import time

from tests.faults.checker import central_rows, check, check_acked, check_node, node_rows
from tests.faults.journal import quantile
from tests.faults.scenario import Result, Scenario, Work
from tests.faults.site import READY_S, Site, listens, site, wait_until

TITLE = "kill -9 of node, central, broker"
BUSY_LOAD = 2.5  # of the load average for each core; this row alone makes about 1
TOGETHER = 0.25  # of the kills take a second victim with them


def run(work: Work) -> Result:
    """Kill, check what may be checked at that moment, start again, wait until it serves; at the end the set checker."""
    kills, result, ready_s, busy = work.times(200, 12, 60), Result(), dict[str, list[float]](), 0
    with site(work.root) as tested:
        tested.node.rate_per_s = 50.0
        tested.central_mutants = work.mutants("ack-before-commit")
        tested.start_broker()
        tested.start_central()
        tested.start_node()
        victims = _order(work, kills)
        while victims and not (work.mutant and result.problems):
            here = [victims.pop()]
            if victims and victims[-1] != here[0] and work.rng.random() < TOGETHER:
                here.append(victims.pop())
            time.sleep(work.rng.uniform(0.0, 0.8))
            for name in here:
                tested.kill(name)
            result.problems += _at_once(tested, here)
            for name in here:
                _start(tested, name)
            crowded = os.getloadavg()[0] > BUSY_LOAD * (os.cpu_count() or 1)
            for name in here:
                took_s = _ready(tested, name)
                ready_s.setdefault(name, []).append(took_s)
                busy += crowded
                if took_s > READY_S and not crowded:
                    result.problems.append(f"{name} took {took_s:.1f} s to be ready again")
        tested.drain()
        tally = check(tested)
    result.problems += tally.problems
    times = "; ".join(f"{n} ready p50 {quantile(t, 0.5):.1f} max {max(t):.1f} s" for n, t in sorted(ready_s.items()))
    silence_s = tested.node.account.longest_silence_s()
    result.figures = (
        f"{sum(len(t) for t in ready_s.values())} kills, {tally.figures()}; {times}; longest without an ack"
        f" {silence_s:.1f} s"
    )
    if busy:
        result.figures += f"; {busy} of them while others kept the machine busy, and not held to {READY_S:.0f} s"
    return result


def _order(work: Work, kills: int) -> list[str]:
    """Whom, one after the other; for the mutant, which is central's, only central."""
    names = ("central",) if work.mutant else ("broker", "central", "n1")
    victims = [names[number % len(names)] for number in range(kills)]
    work.rng.shuffle(victims)
    return victims


def _at_once(tested: Site, killed: list[str]) -> list[str]:
    """Whatever was shown is on the disk, whatever was acknowledged is at central, before anybody sends it again."""
    problems = []
    if "n1" in killed:
        problems += check_node(tested.node.account, node_rows(tested.node.home.database)).problems
    if "central" in killed:
        account = tested.node.account  # before central's rows: what is acknowledged meanwhile is nobody's fault
        problems += check_acked(account, central_rows(tested.central / "central.db", "n1"))
    return problems


def _start(tested: Site, name: str) -> None:
    if name == "broker":
        tested.start_broker()
    elif name == "central":
        tested.start_central(wait=False)
    else:
        tested.start_node(wait=False)


def _ready(tested: Site, name: str) -> float:
    """Seconds from here until it serves: the node records, central and the broker can be reached."""
    if name == "broker":
        return wait_until(lambda: listens(tested.broker_port), "the broker listens")
    return tested.wait_for_central() if name == "central" else tested.wait_for_node()


SCENARIO = Scenario(1, TITLE, run, {"ack-before-commit": "acknowledged and not at central"})
