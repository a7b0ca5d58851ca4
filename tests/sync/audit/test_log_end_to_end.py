"""Central's log over a real broker: followed, signed back, and exposed where it was rewritten."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from sync.central.keys import load_role
from sync.central.store.location import open_store
from sync.central.store.rows import SignedBack
from sync.format.log_proof import LogHead
from sync.format.merkle import Edge, leaf_hash
from sync.format.messages import Ack
from sync.format.signing import SIGNATURE_BYTES, digest
from sync.node.witness import LOG_SILENCE_US, log_fields, newest
from sync.verify.verify import verify
from sync.verify.verify_both import verify_both
from tests.sync.broker_process import BrokerProcess
from tests.sync.uplink_site import Site, free_port, wait_for


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    broker = BrokerProcess(free_port())
    broker.start()
    made = Site(tmp_path, broker)
    yield made
    made.stop()


def witnessed(site: Site) -> LogHead | None:
    ledger = site.node.ledger()
    try:
        found = newest(ledger)
    finally:
        ledger.close()
    return found[0] if found else None


def alive(site: Site) -> None:
    """A sign of life, as the watch appends it."""
    ledger = site.node.ledger()
    try:
        ledger.append("node.alive", {"people": 0, **log_fields(ledger)})
    finally:
        ledger.close()


def signed_back(site: Site) -> list[SignedBack]:
    with open_store(site.central.directory) as store:
        return store.signed_back()


def follow(site: Site) -> None:
    """Let the node witness the log and sign it back."""
    site.node.record(20)
    site.start()
    wait_for(lambda: witnessed(site) is not None, "the node hears of the log")
    alive(site)
    wait_for(lambda: bool(signed_back(site)), "central hears what was signed back")
    site.drain()


def rebuild(site: Site) -> None:
    """What a stopped central can do with its real keys: exchange two leaves and make the tree anew."""
    with open_store(site.central.directory) as store:
        stated = {leaf: digest("statement", data[SIGNATURE_BYTES:]) for leaf, data in store.statements()}
        records = iter([row.hash for row in store.records("n1")])
        held = [stated.get(leaf) or next(records) for leaf in range(store.log_size())]
        held[0], held[1] = held[1], held[0]
        _, tiles = Edge().grown([leaf_hash(one) for one in held])
        with store.database.transaction():
            store.database.many(
                "UPDATE log_tiles SET data = ? WHERE level = ? AND number = ?",
                [(one.data, one.level, one.number) for one in tiles],
            )


def test_a_node_witnesses_the_log_signs_it_back_and_both_ends_agree(site: Site) -> None:
    follow(site)
    head = witnessed(site)
    (back,) = signed_back(site)
    assert (back.node_id, back.head, back.matches) == ("n1", head, True)
    site.node.stop()
    site.central.stop()
    verdict = verify_both(site.node.home, site.central.directory)
    assert verdict.ok, verdict.lines
    assert "LOG_FORK" not in site.node.alarms()


def test_a_central_that_rewrote_its_log_is_exposed_at_both_ends(site: Site) -> None:
    follow(site)
    site.central.stop()
    rebuild(site)
    site.central.start(site.broker.url)  # its first ack carries a checkpoint
    site.node.record()
    wait_for(lambda: "LOG_FORK" in site.node.alarms(), "the node sees the fork")
    alive(site)
    wait_for(lambda: not signed_back(site)[0].matches, "central sees what was signed back")
    site.drain()  # the records are held all the same
    site.stop()
    assert "central's log" in (verify(site.node.home).why or "")
    assert "central's log" in (verify(site.central.directory).why or "")


def test_a_central_that_was_put_back_to_yesterday_is_exposed(site: Site, tmp_path: Path) -> None:
    site.node.record(5)
    site.start()
    site.drain()
    site.central.stop()
    site.central.copy_store(tmp_path / "yesterday.db")
    site.central.start(site.broker.url)
    site.node.record(50)
    site.drain()
    site.central.stop()
    site.central.start(site.broker.url)  # a checkpoint a minute, but one at once after a start
    wait_for(lambda: (witnessed(site) or LogHead(0, b"")).size > 50, "the node witnesses more")
    site.central.stop()
    site.central.restore_store(tmp_path / "yesterday.db")
    site.central.start(site.broker.url)
    wait_for(lambda: {"LOG_FORK", "CENTRAL_ROLLBACK"} <= site.node.alarms().keys(), "the node sees both")


def test_a_central_that_stops_speaking_of_its_log_is_noticed(site: Site) -> None:
    follow(site)
    site.central.stop()
    ledger = site.node.ledger()
    head, last_us = ledger.head(), ledger.last_ack_us()
    ledger.close()
    assert head
    assert last_us
    link = Client(CallbackAPIVersion.VERSION2, client_id="central-of-an-older-mind")
    link.connect("127.0.0.1", site.broker.port)
    link.loop_start()
    for later_us in (1_000_000, 2_000_000 + LOG_SILENCE_US):
        key = load_role(site.central.directory, "ack")
        ack = Ack.seal("n1", head.epoch, head.seq, head.hash, last_us + later_us, 8, key)
        link.publish("fv1/n1/ack", ack.data, qos=1).wait_for_publish(10)
    wait_for(lambda: "LOG_WITHHELD" in site.node.alarms(), "the silence is noticed")
    link.disconnect()
    link.loop_stop()
