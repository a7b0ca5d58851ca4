"""The broker goes, central goes, the node is killed: nothing is lost, nothing is there twice."""

import os
import random
import time
from pathlib import Path

import pytest

from tests.faults.rig import Rig, eventually

OUTAGE_S = float(os.environ.get("FIRSTVISIT_OUTAGE_S", "6"))  # the acceptance run takes 60
KILLS = int(os.environ.get("FIRSTVISIT_KILLS", "5"))  # and 20
WATCH = ("--visit-gap", "0", "--allow-file", "--fast", "--until-end", "--source")


@pytest.mark.parametrize("victim", ["broker", "central"])
@pytest.mark.timeout(300 + 2 * OUTAGE_S)
def test_visits_during_an_outage_arrive_afterwards(rig: Rig, film: Path, victim: str) -> None:
    rig.start_broker()
    rig.start_central()
    node = rig.start_node(*WATCH, str(film), "--drain", "0")
    eventually(lambda: len(rig.held()) > 3, "the first records are at central")
    rig.kill(victim)
    held = len(rig.held())
    lost_at = time.monotonic()
    # visits go on being decided while nobody takes them: one film after another, for as long as the outage lasts
    while time.monotonic() - lost_at < OUTAGE_S or rig.seq() == held:
        assert node.wait(240) in (0, 1)  # 1: not drained, which --drain 0 asks to be told
        node = rig.start_node(*WATCH, str(film), "--drain", "0")
    node.wait(240)
    assert rig.backlog() > 0, "the outage left nothing to send, so it tested nothing"
    assert len(rig.held()) <= held + 100, "records reached central during the outage"
    getattr(rig, f"start_{victim}")()
    assert rig.start_node(*WATCH, str(film), "--drain", "90").wait(300) == 0, rig.log("node")
    rig.check()


@pytest.mark.timeout(120 + 30 * KILLS)
def test_a_node_killed_in_the_middle_continues_its_chain(rig: Rig, film: Path) -> None:
    rng = random.Random(7)  # the moments of the kills; any will do
    rig.start_broker()
    rig.start_central()
    for _ in range(KILLS):
        before = rig.seq()
        rig.start_node(*WATCH, str(film))
        eventually(lambda b=before: rig.seq() >= b + 2, "the node writes")  # type: ignore[misc]
        time.sleep(rng.uniform(0.0, 4.0))
        acked = rig.seq() - rig.backlog()
        rig.kill("node")
        assert rig.seq() - rig.backlog() >= acked, "an acknowledged record is gone"
    assert rig.start_node(*WATCH, str(film), "--drain", "90").wait(300) == 0, rig.log("node")
    node, _ = rig.check()
    assert node.checked >= 2 * KILLS
    left = list(rig.home.open_ledger().records(["visit.left"]))
    assert all("end_us" not in record.fields for record in left if record.fields["reason"] == "crash")
