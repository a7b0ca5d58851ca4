"""The lane of nodes that catch up: the rate is kept, nobody live is held back, everybody's turn comes."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.central.backfill import CREDIT_S, LIVE_RECORDS, LIVE_RECORDS_PER_S, Backfill
from sync.format.wire import MAX_FRAME_RECORDS, MAX_WINDOW_FRAMES
from tests.sync.broker_process import BrokerProcess
from tests.sync.uplink_site import Central, Node, enrolled, free_port, wait_for


def drain(lane: Backfill, behind: dict[str, int], step_s: float = 0.05) -> tuple[float, dict[str, float]]:
    """Let nodes send as the protocol lets them until all is acknowledged; when the last was, and each one's end."""
    now_s, in_flight = 1000.0, dict.fromkeys(behind, 0)
    left, ended = dict(behind), dict[str, float]()
    while len(ended) < len(behind):
        for node_id in behind:
            if in_flight[node_id] == 0 and left[node_id]:
                frames = min(lane.window(), -(-left[node_id] // MAX_FRAME_RECORDS))
                for _ in range(frames):
                    count = min(MAX_FRAME_RECORDS, left[node_id])
                    lane.took(node_id, count, now_s)
                    left[node_id] -= count
                in_flight[node_id] = frames
            elif in_flight[node_id] and lane.due(node_id, now_s):
                in_flight[node_id] = 0
                if not left[node_id]:
                    ended[node_id] = now_s - 1000
        now_s += step_s
    return now_s - 1000, ended


@pytest.mark.parametrize("rate", [50, 200, 2000, 10_000])
def test_one_node_s_backlog_drains_at_the_rate(rate: int) -> None:
    took_s, _ = drain(Backfill(rate), {"a": 20_000})
    assert 0.98 * (20_000 - LIVE_RECORDS) / rate - CREDIT_S <= took_s <= 1.15 * 20_000 / rate + 1


@settings(deadline=None, max_examples=40)
@given(nodes=st.integers(1, 40), rate=st.sampled_from([100, 500, 2000]))
def test_many_nodes_share_the_rate_and_none_of_them_goes_first(nodes: int, rate: int) -> None:
    behind = {f"n{i}": 3000 for i in range(nodes)}
    took_s, ended = drain(Backfill(rate), behind)
    counted = nodes * (3000 - LIVE_RECORDS)
    assert 0.98 * counted / rate - CREDIT_S <= took_s <= 1.2 * nodes * 3000 / rate + 2
    assert min(ended.values()) >= 0.5 * max(ended.values()) - 3, "by turns"


@given(st.integers(0, 2**32))
def test_a_live_node_is_never_held_back_whatever_the_others_do(seed: int) -> None:
    rng, lane, now_s = random.Random(seed), Backfill(50), 0.0
    for _ in range(300):
        now_s += rng.expovariate(LIVE_RECORDS_PER_S / 3)
        lane.took("behind", MAX_FRAME_RECORDS, now_s)
        lane.took("live", rng.randint(1, 3), now_s)
        assert lane.due("live", now_s)
    assert not lane.due("behind", now_s)


def test_an_outage_of_minutes_is_caught_up_without_waiting() -> None:
    lane = Backfill(10)
    lane.took("a", LIVE_RECORDS, 0.0)
    assert lane.due("a", 0.0)
    lane.took("a", 10, 0.0)
    assert not lane.due("a", 0.9 - CREDIT_S)
    assert lane.due("a", 1.01 - CREDIT_S)


def test_waiting_in_the_lane_earns_no_allowance() -> None:
    lane = Backfill(100)
    lane.took("a", LIVE_RECORDS + 1000, 0.0)
    lane.took("a", 100, 9.0)  # while its ack still waits
    assert not lane.due("a", 10.5)
    assert lane.due("a", 11.0)


@given(st.integers(1, 1_000_000), st.integers(0, 500))
def test_the_window_is_one_a_node_accepts(rate: int, nodes: int) -> None:
    lane = Backfill(rate)
    for number in range(nodes):
        lane.took(f"n{number}", 1000, 0.0)
    assert 1 <= lane.window() <= MAX_WINDOW_FRAMES


@pytest.fixture
def broker() -> Iterator[BrokerProcess]:
    process = BrokerProcess(free_port())
    process.start()
    yield process
    process.stop()


def test_a_node_weeks_behind_drains_at_the_rate_while_a_live_one_is_answered_at_once(
    tmp_path: Path, broker: BrokerProcess
) -> None:
    rate, behind_by = 500, 3200
    central = Central(tmp_path / "central")
    behind, live = (enrolled(Node(tmp_path / name, name), central) for name in ("behind", "live"))
    behind.record(behind_by)
    live.record(1)
    central.start(broker.url, backfill_per_s=rate)
    waits_s: list[float] = []
    try:
        uplink = live.start(broker.url)
        wait_for(lambda: live.head() == 2, "notice 1 is answered")
        assert uplink.drained(20)
        began_s = time.monotonic()
        draining = behind.start(broker.url)
        while not draining.drained(0.01):
            asked_s = time.monotonic()
            live.record(1)
            assert uplink.drained(20)
            waits_s.append(time.monotonic() - asked_s)
            assert time.monotonic() - began_s < 60
        took_s = time.monotonic() - began_s
    finally:
        behind.stop()
        live.stop()
        central.stop()
    # the notice it answers is a record more
    assert (behind_by - LIVE_RECORDS) / rate - CREDIT_S <= took_s <= 2 * behind_by / rate + 5
    assert len(waits_s) >= 5
    assert sorted(waits_s)[len(waits_s) // 2] < 1.0, waits_s
    assert central.held("behind") == list(range(1, behind.head() + 1))
