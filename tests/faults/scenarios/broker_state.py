"""2. The broker dies with a queue, and its state directory with it."""

import shutil
import time
from pathlib import Path

from tests.faults.checker import central_rows, check, check_acked
from tests.faults.rig import installed_pack
from tests.faults.scenario import Result, Scenario, Work
from tests.faults.site import NodeUnderTest, Site, site, wait_until

TITLE = "broker dies with a queue, loses its state"
QUEUED = 400  # records that the broker has confirmed and central has not seen


def run(work: Work) -> Result:
    """Central stands still, the broker confirms and queues; then it and all it kept are gone."""
    rounds, result, queued = work.times(5, 1, 1), Result(), 0
    pack = None if work.mutant or work.cut else installed_pack()  # the cut leaves films to the outage tests
    with site(work.root, ("n1", "filmed") if pack else ("n1",), persistent_broker=True) as tested:
        node = tested.node
        filmed = _with_film(tested, work.root, pack) if pack else None
        node.rate_per_s, node.mutants = 100.0, work.mutants("puback-is-ack")
        tested.start_broker()
        tested.start_central()
        tested.start_node()
        for _ in range(rounds):
            wait_until(lambda: node.acked_upto() > node.baseline, "the first records are acknowledged")
            tested.pause("central")
            held = node.acked_upto()[1]
            if filmed is not None:
                tested.start_node(filmed, True, "--drain", "0")
                tested.wait_for_end(filmed)
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
        if filmed is None:
            result.figures += "" if work.cut else "; no film, for no model pack is installed"
        else:
            tested.drain(filmed)
            seen = check(tested, filmed)
            result.problems += [f"filmed: {problem}" for problem in seen.problems]
            result.figures += f"; filmed node: {seen.figures()}"
    return result


def _with_film(tested: Site, root: Path, pack: str) -> NodeUnderTest:
    """The node of the one scenario with a camera, or what stands for one: the demo's walk-in, through real networks."""
    from edge.demo_film import write_walk_in
    from models.pack import open_pack
    from models.store import Store, default_root

    node = tested.nodes["filmed"]
    node.rate_per_s, node.film = None, root / "walk-in.mp4"
    write_walk_in(node.film, open_pack(Store(default_root()), pack).detector)
    return node


SCENARIO = Scenario(2, TITLE, run, {"puback-is-ack": "acknowledged and not at central"})
