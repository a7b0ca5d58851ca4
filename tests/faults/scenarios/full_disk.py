"""6. The disk is full: at the node, then at central."""

import json
import time
from contextlib import ExitStack

from tests.faults.checker import central_rows, check, check_acked, check_node, node_rows
from tests.faults.scenario import Result, Scenario, Work
from tests.faults.site import NodeUnderTest, Site, reading, wait_until
from tests.faults.small_disk import MIB, SmallDisk, small_disk

TITLE = "disk full at the node, then at central"
DISK_BYTES = 96 * MIB  # room for what all rounds record beside the ballast
RESERVE_MB = 1
STAYS_FULL_S = 4.0


def run(work: Work) -> Result:
    """Fill, watch it refuse and say so, make room, watch it go on by itself; at the end the set checker."""
    result, rounds, took_s = Result(), work.times(5, 1), list[float]()
    with ExitStack() as stack:
        ours = stack.enter_context(small_disk(work.root / "site" / "n1", DISK_BYTES))
        theirs = stack.enter_context(small_disk(work.root / "site" / "central", DISK_BYTES))
        tested = Site(work.root / "site")
        stack.callback(tested.close)
        node = tested.node
        node.rate_per_s, node.mutants = 50.0, work.mutants("oldest-make-room")
        with node.home.config.open("a") as config:
            config.write(f"\n[storage]\nreserve_mb = {RESERVE_MB}\n")
        tested.start_broker()
        tested.start_central()
        tested.start_node()
        for _ in range(rounds):
            took_s.append(_fill_node(tested, node, ours, result))
            if work.mutant and result.problems:
                return result
            took_s.append(_fill_central(tested, node, theirs, result))
        tested.drain()
        tally = check(tested)
        refusals = _refusals(node, result)
    result.problems += tally.problems
    result.figures = (
        f"{rounds} times each, {refusals} refusals on record, on again {max(took_s):.1f} s after there was room;"
        f" {tally.figures()}"
    )
    return result


def _fill_node(tested: Site, node: NodeUnderTest, disk: SmallDisk, result: Result) -> float:
    """Returns how long after there was room again it recorded."""
    disk.fill()
    _until_quiet(node)
    time.sleep(STAYS_FULL_S)
    if not tested.running(node.node_id):
        result.problems.append("the node ended on a full disk instead of refusing")
        disk.make_room()
        tested.start_node()
        return 0.0
    result.problems += check_node(node.account, node_rows(node.home.database)).problems
    if "STORAGE_FULL" not in node.alarms():
        result.problems.append("no alarm of a full disk")
    shown = len(node.account.shown)
    disk.make_room()
    return wait_until(lambda: len(node.account.shown) > shown + 10, "the node records again once there is room")


def _fill_central(tested: Site, node: NodeUnderTest, disk: SmallDisk, result: Result) -> float:
    """Returns how long after there was room again it acknowledged."""
    disk.fill()
    head = node.head()
    wait_until(lambda: node.head()[1] > head[1] + 50, "the node goes on while central's disk is full")
    time.sleep(STAYS_FULL_S)
    result.problems += check_acked(node.account, central_rows(tested.central / "central.db", node.node_id))
    if not tested.running("central"):
        result.problems.append("central ended on a full disk instead of waiting")
    upto = node.acked_upto()
    disk.make_room()
    return wait_until(lambda: node.acked_upto() > upto, "central acknowledges again once there is room")


def _until_quiet(node: NodeUnderTest) -> None:
    """Wait until nothing has been shown for a second: everything is refused."""
    before = -1
    while before != (now := len(node.account.shown)):
        before = now
        time.sleep(1.0)


def _refusals(node: NodeUnderTest, result: Result) -> int:
    """How many refusals the chain tells of; each must have its end."""
    with reading(node.home.database) as connection:
        rows = connection.execute("SELECT body FROM ledger WHERE kind = 'storage.full' ORDER BY epoch, seq").fetchall()
    bodies = [json.loads(body) for (body,) in rows]
    begun = {body["since_us"] for body in bodies}
    ended = {body["since_us"] for body in bodies if "until_us" in body}
    if not begun:
        result.problems.append("no storage.full in the chain")
    if begun - ended:
        result.problems.append(f"{len(begun - ended)} refusals on record without their end")
    return len(begun)


SCENARIO = Scenario(6, TITLE, run, {"oldest-make-room": "shown and not in the ledger"})
