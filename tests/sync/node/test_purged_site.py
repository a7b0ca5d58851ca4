"""A node that has purged goes on beside a real central, whatever happens in between."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.node.purge import purge
from sync.transport.broker import mosquitto
from sync.verify.verify import verify
from tests.sync.broker_process import BrokerProcess
from tests.sync.uplink_site import Site, free_port


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    broker = BrokerProcess(free_port(), "mosquitto" if mosquitto() else "amqtt")
    broker.start()
    site = Site(tmp_path, broker)
    try:
        yield site
    finally:
        site.stop()


def test_a_purged_node_goes_on_sending_and_both_ends_verify(site: Site) -> None:
    site.node.record(300)
    site.start()
    site.drain()
    ledger = site.node.ledger()
    try:
        record = purge(ledger, 0)
        assert record is not None, "the first ack of a central carries a checkpoint"
        upto = record.fields["purged"]["upto"]
        assert next(iter(ledger.rows())).seq == upto + 1
        site.node.record(50)
        site.drain()
        site.node.stop()
        site.central.stop()
        site.node.record(50)
        site.central.start(site.broker.url)
        site.node.start(site.broker.url, seed=2)
        site.drain()
        site.node.record(1)
        assert purge(ledger, 0) is not None, "and so does the first after a restart"
        site.node.record(1)
        site.drain()
        head = ledger.head()
    finally:
        ledger.close()
    assert head is not None
    assert site.central.held() == list(range(1, head.seq + 1)), "central holds all of it"
    assert site.node.alarms() == {}
    for place in (site.node.home, site.central.directory):
        verdict = verify(place)
        assert verdict.ok, verdict.why


def test_not_even_everything_acknowledged_and_due_takes_the_last_record(site: Site) -> None:
    site.node.record(1)
    site.start()
    site.drain()
    ledger = site.node.ledger()
    try:
        while purge(ledger, 0) is not None:
            site.drain()
        head = ledger.head()
        assert head is not None
        assert head.seq > 1
    finally:
        ledger.close()
    assert verify(site.node.home).ok
