"""A region's mosquitto, bridged by the example configuration: records reach headquarters and acks come back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.transport.broker import mosquitto
from tests.sync.broker_process import BrokerProcess, ConfiguredBroker
from tests.sync.uplink_site import Central, Node, enrolled, free_port, wait_for

EXAMPLE = Path(__file__).parents[3] / "config" / "brokers" / "mosquitto-region.conf"


@pytest.fixture
def headquarters() -> Iterator[BrokerProcess]:
    if not mosquitto():
        pytest.skip("mosquitto is not installed")
    broker = BrokerProcess(free_port(), "mosquitto")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def region(headquarters: BrokerProcess, tmp_path: Path) -> Iterator[ConfiguredBroker]:
    """The example as it is, but for addresses and the TLS that the broker's own tests cover."""
    port = free_port()
    lines = [line for line in EXAMPLE.read_text().splitlines() if not line.startswith("bridge_")]
    text = "\n".join(lines).replace("hq.example:8883", f"127.0.0.1:{headquarters.port}")
    config = tmp_path / "region.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n{text}\n")
    broker = ConfiguredBroker(config, port)
    broker.start()
    yield broker
    broker.stop()


def test_records_cross_the_bridge_and_acks_come_back_whichever_side_goes_away(
    headquarters: BrokerProcess, region: ConfiguredBroker, tmp_path: Path
) -> None:
    central = Central(tmp_path / "central")
    node = enrolled(Node(tmp_path / "home"), central)
    node.record(250)
    central.start(headquarters.url)
    uplink = node.start(region.url)
    try:
        assert uplink.drained(60)
        region.stop()
        node.record(50)
        region.start()
        assert uplink.drained(90), "the region's broker was away"
        headquarters.stop()
        node.record(50)
        headquarters.start()
        assert uplink.drained(120), "the line to headquarters was down"
        with central.store() as store:
            wait_for(lambda: store.nodes()[0].online, "its status has crossed too")
            assert [row.seq for row in store.records("n1")] == list(range(1, node.head() + 1))
            assert {refusal.reason for refusal in store.refusals()} <= {"GAP"}
        assert node.alarms() == {}
    finally:
        node.stop()
        central.stop()
