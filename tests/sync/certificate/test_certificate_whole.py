"""A certificate from a node and a central that talk over a real broker: its acks and its log are central's own."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync import verify_standalone
from sync.certificate.bundle import zipped
from sync.certificate.compare import compare
from sync.certificate.examine import examine
from sync.certificate.found import bundle_of
from sync.certificate.paper_code import code
from sync.transport.broker import mosquitto
from sync.verify.verify import verify
from tests.sync.broker_process import BrokerProcess
from tests.sync.uplink_site import Site, free_port, wait_for


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    broker = BrokerProcess(free_port(), "mosquitto" if mosquitto() else "amqtt")
    broker.start()
    site = Site(tmp_path, broker)
    yield site
    site.stop()


def visit(site: Site, name: str) -> str:
    ledger = site.node.ledger()
    fields = {
        "visit": name, "site": "site-1", "camera": "door", "source": "rtsp", "source_hash": "5" * 64, "shots": 3,
        "arrived_us": time.time_ns() // 1000 - 1_500_000, "quality_e6": 700_000, "grade": "B", "person": f"p-{name}",
        "gallery_n": 3, "gallery_since_us": 1_790_000_000_000_000, "unconsented_horizon_s": 86_400, "pack": "m@1",
    }  # fmt: skip
    try:
        ledger.append("visit.first", fields)
    finally:
        ledger.close()
    return name


def test_what_a_real_central_acknowledged_certifies_and_compares(site: Site, tmp_path: Path) -> None:
    site.node.record(3)
    site.start()
    site.drain()
    first = visit(site, "v-first")
    site.drain()
    time.sleep(4)  # further apart than two arrivals must be to be told apart by one clock
    second = visit(site, "v-second")
    site.drain()
    certificates = [examine(bundle_of(site.node.home, one)) for one in (first, second)]
    for found in certificates:
        moment = found.arrival.moment
        assert found.confirmed is not None
        assert moment.grade == "A"
        assert moment.whole.holds(found.fields["arrived_us"])
        assert not moment.contradicted
        path = tmp_path / f"{found.visit}.zip"
        path.write_bytes(zipped(found.bundle.encode(), {}))
        made = code(found)
        assert made is not None
        (tmp_path / "code.txt").write_text(made.text())
        for evidence in (path, tmp_path / "code.txt"):
            for key in (site.node.home / "node.pub", site.central.public):
                assert verify(evidence, key).ok
            assert verify_standalone.verify(evidence, verify_standalone.Given(site.central.public))
    compared = compare(certificates[1], certificates[0])
    assert (compared.answer, compared.first, compared.reason) == ("proven", 1, "one_clock")


def test_central_s_log_is_in_it_once_a_checkpoint_came(site: Site) -> None:
    visit(site, "v-1")
    site.start()  # the first ack after a start carries a checkpoint
    site.drain()
    ledger = site.node.ledger()
    wait_for(lambda: any(b'"checkpoint":' in data for data in ledger.acks()), "an ack with a checkpoint")
    ledger.close()
    found = examine(bundle_of(site.node.home, "v-1"))
    assert found.log is not None
    assert found.log.size >= 1
