"""Central on a disk that fills up: nothing is acknowledged that is not stored, and it goes on by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.transport.broker import mosquitto
from sync.verify.verify import verify
from tests.small_disk import SmallDisk, small_disk
from tests.sync.broker_process import BrokerProcess
from tests.sync.uplink_site import Central, Node, Site, enrolled, free_port, wait_for

FILLING = 2000  # records at a time


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 24) as mounted:
        yield mounted


@pytest.fixture
def site(disk: SmallDisk, tmp_path: Path) -> Iterator[Site]:
    """A site whose central lies on the small disk, its node elsewhere."""
    broker = BrokerProcess(free_port(), "mosquitto" if mosquitto() else "amqtt")
    broker.start()
    site = Site(tmp_path / "site", broker)
    site.central = Central(disk.path / "central")
    site.node = enrolled(Node(tmp_path / "home"), site.central)
    try:
        yield site
    finally:
        site.stop()


def test_a_full_central_acknowledges_nothing_it_has_not_stored_and_recovers(site: Site, disk: SmallDisk) -> None:
    site.node.record(10)
    site.start()
    site.drain()
    disk.fill()
    for _ in range(4):  # what room is left in its write-ahead log is used up
        site.node.record(FILLING)
        if not site.node.uplink or not site.node.uplink.drained(3):
            break
    else:
        pytest.fail("central's disk was not full")
    held, acked = site.central.held(), site.node.acked_upto()
    assert held == list(range(1, len(held) + 1))
    assert acked == (1, held[-1]), "acknowledged is exactly what is stored"
    assert held[-1] < site.node.head()
    disk.free()
    site.drain()
    wait_for(lambda: len(site.central.held()) == site.node.head(), "all of it is there")
    for place in (site.central.directory, site.node.home):
        verdict = verify(place)
        assert verdict.ok, verdict.why
