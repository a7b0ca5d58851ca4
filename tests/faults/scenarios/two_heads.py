"""10. A cloned node, and a node restored from its backup."""

import shutil
import time
from pathlib import Path

from edge.home import Home
from sync.verify.verify import verify
from tests.faults.checker import (
    Held,
    central_alarms,
    central_rows,
    check_acked,
    check_node,
    node_rows,
)
from tests.faults.journal import Place
from tests.faults.scenario import Result, Scenario, Work
from tests.faults.site import Failed, NodeUnderTest, Site, command, reading, site, wait_until

TITLE = "cloned node, restored backup"
PASSPHRASE = "a passphrase of a test"


def run(work: Work) -> Result:
    """Two live heads are a fork at both ends; a restored machine goes on in an epoch of its own."""
    result, figures = Result(), list[str]()
    with site(work.root / "site", ("n1", "n2")) as tested:
        for node in tested.nodes.values():
            node.rate_per_s = 20.0
        tested.central_mutants = work.mutants("duplicates-are-not-compared")
        tested.start_broker()
        tested.start_central()
        figures.append(_clone(tested, result))
        if not work.mutant:
            figures.append(_restore(tested, work.root, result))
        tested.terminate("central")
        if not (verdict := verify(tested.central, tested.central / "central.pub")).ok:
            result.problems.append(f"verify of central: {verdict.why}")
    result.figures = "; ".join(figures)
    return result


def _clone(tested: Site, result: Result) -> str:
    """The disk of n1 in a second box, both running: each end says FORK, nothing is rewritten, and n1 comes back."""
    node = tested.nodes["n1"]
    tested.start_node(node)
    wait_until(lambda: node.acked_upto()[1] > 30, "the first records are acknowledged")
    tested.drain(node)
    shutil.copytree(node.home.path, tested.root / "clone")
    clone = NodeUnderTest(
        "n1", Home(tested.root / "clone"), tested.root / "clone.journal", rate_per_s=20.0, name="clone"
    )
    clone.baseline = common = node.head()
    tested.start_node(node)
    tested.start_node(clone)
    names = {"the node": node, "its clone": clone}

    def told() -> bool:
        return all("FORK" in one.alarms() for one in names.values())

    try:
        wait_until(told, "FORK is raised at the node and at its clone", 30.0)
    except Failed:  # which of them was told is the finding
        for name, one in names.items():
            if "FORK" not in one.alarms():
                result.problems.append(f"{name} was not told of the fork")
    for name in ("n1", "clone"):
        tested.terminate(name)
    theirs = central_rows(tested.central / "central.db", "n1")
    state = _state(tested, "n1")
    if state != "fork":
        result.problems.append(f"central says {state}, not fork")
    quarantined = _quarantined(tested, "n1")
    if quarantined < 2:
        result.problems.append(f"{quarantined} records in quarantine, both of the contradiction are to be there")
    mine, copy = node_rows(node.home.database), node_rows(clone.home.database)
    if not (_is_prefix(theirs, mine) or _is_prefix(theirs, copy)):
        result.problems.append("central holds a mixture of two chains")
    if result.problems:
        return "clone"
    result.problems += check_node(node.account, mine).problems
    command("central", "readmit", "--dir", str(tested.central), "n1")
    epoch = str(max(place[0] for place in theirs) + 1)
    command("keys", "new-epoch", "--home", str(node.home.path), "--reason", "fork", "--epoch", epoch)
    tested.terminate("central")
    tested.start_central()
    tested.drain(node)
    held = central_rows(tested.central / "central.db", "n1")
    new = {place: row for place, row in held.items() if place[0] == int(epoch)}
    if not new or max(held) != node.head():
        result.problems.append("the node was not heard again after its new epoch")
    if not (verdict := verify(node.home.path, node.home.node_pub)).ok:
        result.problems.append(f"verify of the node after the fork: {verdict.why}")
    return f"clone: common to seq {common[1]}, FORK at both ends, {quarantined} in quarantine, epoch {epoch} heard"


def _restore(tested: Site, root: Path, result: Result) -> str:
    """n2 loses its machine after a backup; what the backup lacks is at central, and the chain goes on in epoch 2."""
    node, secret = tested.nodes["n2"], root / "passphrase"
    secret.write_text(PASSPHRASE + "\n")
    tested.start_node(node)
    wait_until(lambda: node.acked_upto()[1] > 30, "the first records are acknowledged")
    common = ("--passphrase-file", str(secret))
    command("backup", "--home", str(node.home.path), "--out", str(root / "n2.backup"), *common)
    behind = node.head()[1]
    wait_until(lambda: node.acked_upto()[1] > behind + 30, "more records are acknowledged")
    tested.drain(node)
    before = central_rows(tested.central / "central.db", "n2")
    command("restore", str(root / "n2.backup"), "--home", str(tested.root / "restored"), *common)
    restored = NodeUnderTest(
        "n2", Home(tested.root / "restored"), tested.root / "restored.journal", rate_per_s=20.0, name="restored"
    )
    restored.baseline = restored.head()
    tested.start_node(restored)
    wait_until(lambda: restored.acked_upto()[0] == restored.baseline[0], "the restored node's epoch is acknowledged")
    time.sleep(2.0)
    tested.drain(restored)
    held, ours = central_rows(tested.central / "central.db", "n2"), node_rows(restored.home.database)
    result.problems += check_node(restored.account, ours).problems + check_acked(restored.account, held)
    result.problems += check_acked(node.account, held)
    if lost := before.keys() - held.keys():
        result.problems.append(f"{len(lost)} records that central held before are gone")
    if any(held.get(place) != row for place, row in ours.items()):
        result.problems.append("the restored node and central hold different records")
    if _state(tested, "n2") != "ok" or central_alarms(tested.central / "central.db").get(("n2", "FORK")):
        result.problems.append("the restored node is taken for a fork")
    if not (verdict := verify(restored.home.path, restored.home.node_pub)).ok:
        result.problems.append(f"verify of the restored node: {verdict.why}")
    missing = len(before) - sum(place in ours for place in before)
    return f"restore: {missing} records younger than the backup kept at central, {len(held) - len(before)} in epoch 2"


def _state(tested: Site, node_id: str) -> str:
    with reading(tested.central / "central.db") as connection:
        return str(connection.execute("SELECT state FROM nodes WHERE node_id = ?", (node_id,)).fetchone()[0])


def _quarantined(tested: Site, node_id: str) -> int:
    with reading(tested.central / "central.db") as connection:
        return int(connection.execute("SELECT count(*) FROM quarantine WHERE node_id = ?", (node_id,)).fetchone()[0])


def _is_prefix(part: dict[Place, Held], whole: dict[Place, Held]) -> bool:
    return all(whole.get(place) == row for place, row in part.items())


SCENARIO = Scenario(10, TITLE, run, {"duplicates-are-not-compared": "fork"})
