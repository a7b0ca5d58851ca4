"""5. A line that drops, doubles, reorders and cuts messages, and goes silent without closing."""

import time

from tests.faults.checker import check
from tests.faults.proxy import Line, Proxy
from tests.faults.scenario import Result, Scenario, Work
from tests.faults.site import site, wait_until

TITLE = "dropped, doubled, reordered, cut, half-open"


def run(work: Work) -> Result:
    """Feed over the bad line, and drain over it too; at the end the set checker."""
    result, silences = Result(), work.times(5, 1, 0)
    with site(work.root) as tested:
        node = tested.node
        node.rate_per_s, node.mutants = 50.0, work.mutants("lost-frames-are-skipped")
        tested.central_mutants = work.mutants("gaps-are-taken")
        tested.start_broker()
        tested.start_central()
        proxy = Proxy(tested.broker_port, Line(), work.rng)
        tested.send_through(node, proxy.port)
        tested.start_node()
        for _ in range(silences):
            time.sleep(work.times(12, 6) / 2)
            upto = node.acked_upto()
            wait_until(lambda u=upto: node.acked_upto() > u, "records are acknowledged over the bad line")  # type: ignore[misc]
            proxy.half_open()
            upto = node.acked_upto()
            wait_until(lambda u=upto: node.acked_upto() > u, "the node noticed that its connection is dead")  # type: ignore[misc]
        time.sleep(work.times(30, 5, 6))
        tested.drain(within_s=40.0 if work.mutant else 180.0)
        proxy.close()
        tally = check(tested)
    result.problems += tally.problems
    counts = proxy.counts
    struck = ", ".join(
        f"{counts[name]} {name}" for name in ("dropped", "duplicated", "reordered", "truncated", "torn", "half-open")
    )
    result.figures = f"{counts['messages']} messages: {struck}; {tally.figures()}"
    return result


SCENARIO = Scenario(5, TITLE, run, {"lost-frames-are-skipped": "is not drained", "gaps-are-taken": "is not drained"})
