"""3. Power cuts of the node and of central: what was not synced is gone."""

import time

from tests.faults.checker import central_rows, check, check_acked, check_node, node_rows
from tests.faults.powercut import Disk, Loss, build
from tests.faults.scenario import Result, Scenario, Work
from tests.faults.site import site

TITLE = "power cut, unsynced writes discarded"
SHARE_OF_CENTRAL = 0.35  # of the cuts; the node writes more kinds of files


def run(work: Work) -> Result:
    """Cut, check that nothing shown or acknowledged went with it, start on what the disk held."""
    cuts, result, losses = work.times(100, 8, 12), Result(), list[Loss]()
    library = build(work.root)
    with site(work.root / "site") as tested:
        node = tested.node
        node.rate_per_s, node.mutants = 60.0, work.mutants("synchronous-normal")
        disks = {
            "n1": Disk(node.home.path, library, work.root / "node.writes"),
            "central": Disk(tested.central, library, work.root / "central.writes"),
        }
        node.environment = disks["n1"].environment()
        tested.central_environment = disks["central"].environment()
        tested.start_broker()
        tested.start_central()
        tested.start_node()
        for number in range(cuts):
            victim = "central" if work.mutant is None and work.rng.random() < SHARE_OF_CENTRAL else "n1"
            time.sleep(work.rng.uniform(0.2, 1.2))
            tested.kill(victim)
            losses.append(disks[victim].cut(work.rng))
            found = check_node(node.account, node_rows(node.home.database)).problems if victim == "n1" else []
            if victim == "central":
                found = check_acked(node.account, central_rows(tested.central / "central.db", "n1"))
            result.problems += [f"cut {number + 1}, {victim}: {problem}" for problem in found]
            if found:
                break
            disks[victim].keep()  # reading has emptied the log into the database, as any opening does
            if victim == "n1":
                tested.start_node()
            else:
                tested.start_central()
        if not result.problems:
            tested.drain()
            tally = check(tested)
            result.problems += tally.problems
            result.figures = f"{tally.figures()}; "
    lost = sum(loss.operations for loss in losses)
    result.figures = (
        f"{len(losses)} cuts, {result.figures}{lost} unsynced writes of"
        f" {sum(loss.bytes for loss in losses) // 1024} KiB and {sum(loss.names for loss in losses)} names discarded"
    )
    if not lost:
        result.problems.append("no cut found anything unsynced, so nothing was tested")
    return result


SCENARIO = Scenario(3, TITLE, run, {"synchronous-normal": "shown and not in the ledger"})
