"""A node is restored beside a real central: its join stays, central follows it, and the old machine has forked."""

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyrage
import pytest

from edge.backup import back_up
from edge.clock import Clock
from edge.home import Home
from edge.keys.sealed import Lock, Secret
from edge.restore import restore
from edge.settings import set_broker
from sync.central.enrol import enrol
from sync.node.alarms import Alarms
from sync.node.trust import join
from sync.node.uplink_thread import UplinkThread
from sync.transport.broker import mosquitto
from sync.transport.mqtt import BrokerAddress
from sync.verify.verify import verify
from tests.sync.broker_process import BrokerProcess
from tests.sync.uplink_site import Central, free_port, wait_for

IDENTITY = pyrage.x25519.Identity.generate()


@pytest.fixture
def broker() -> Iterator[BrokerProcess]:
    process = BrokerProcess(free_port(), "mosquitto" if mosquitto() else "amqtt")
    process.start()
    yield process
    process.stop()


@pytest.fixture
def central(tmp_path: Path, broker: BrokerProcess) -> Iterator[Central]:
    central = Central(tmp_path / "central")
    central.start(broker.url)
    yield central
    central.stop()


def record(home: Home, count: int) -> None:
    with closing(home.open_ledger("node", Clock())) as ledger:
        for number in range(count):
            ledger.append("camera.up", {"camera": "door", "number": number})


def send(home: Home, broker: BrokerProcess) -> UplinkThread:
    uplink = UplinkThread(home.path, home.writer("node", Clock()), BrokerAddress.parse(broker.url), random.Random(1))
    uplink.start()
    return uplink


def held(central: Central) -> list[tuple[int, int]]:
    with central.store() as store:
        return [(row.epoch, row.seq) for row in store.records("puxi-01-a")]


def test_a_restored_node_goes_on_and_the_old_machine_has_forked(
    home: Home, central: Central, broker: BrokerProcess, tmp_path: Path
) -> None:
    join(home.path, central.public)
    set_broker(home.config, broker.url)
    enrol(central.directory, home.node_pub)
    record(home, 5)
    old = send(home, broker)
    assert old.drained(40)
    lock, secret = Lock.of_recipient(str(IDENTITY.to_public())), Secret(identity=str(IDENTITY))
    backed_up = back_up(home, tmp_path / "b", lock, tmp_path / "keys", 1).manifest
    record(home, 4)  # what it recorded after its last backup central has, and keeps
    assert old.drained(40)
    old.stop()
    before = held(central)
    assert len(before) > backed_up.seq

    new = Home(tmp_path / "new")
    done = restore(tmp_path / "b", new.path, secret, tmp_path / "keys", Clock())
    assert new.joined
    assert new.settings().uplink.broker == broker.url
    record(new, 3)
    uplink = send(new, broker)
    assert uplink.drained(40), Alarms(new.database).all()
    assert held(central) == [*before, *((2, seq) for seq in range(1, 5))]
    assert (done.began.epoch, done.manifest.seq) == (2, backed_up.seq)
    assert Alarms(new.database).all() == []
    uplink.stop()

    record(home, 1)  # somebody finds the old machine and plugs it in
    old = send(home, broker)
    wait_for(lambda: "FORK" in {alarm.code for alarm in Alarms(home.database).all()}, "the old machine hears of it")
    old.stop()
    with central.store() as store:
        node = store.node("puxi-01-a")
        assert node is not None
        assert node.chain == "fork", "so does whoever looks at the console"
    assert held(central) == [*before, *((2, seq) for seq in range(1, 5))]
    for place in (new.path, home.path, central.directory):
        verdict = verify(place)
        assert verdict.ok, verdict.why
