"""The whole way up and down, over real brokers: no record lost, none twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.broker import BrokerProcess, Kind, mosquitto
from tests.sync.uplink_site import Site, free_port, wait_for

BROKERS: tuple[Kind, ...] = ("mosquitto", "amqtt")


@pytest.fixture(params=BROKERS)
def any_site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site on each broker there is."""
    yield from _site(request.param, tmp_path)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site on the better broker there is."""
    yield from _site("mosquitto" if mosquitto() else "amqtt", tmp_path)


def _site(kind: Kind, folder: Path) -> Iterator[Site]:
    if kind == "mosquitto" and not mosquitto():
        pytest.skip("mosquitto is not installed")
    broker = BrokerProcess(free_port(), kind)
    broker.start()
    site = Site(folder, broker)
    yield site
    site.stop()


def test_what_a_node_records_is_held_and_acknowledged(any_site: Site) -> None:
    any_site.node.record(250)
    any_site.start()
    any_site.drain()
    wait_for(lambda: any_site.node.head() == 251, "notice 1 is answered by a record")
    any_site.drain()
    assert any_site.central.held() == list(range(1, 252))
