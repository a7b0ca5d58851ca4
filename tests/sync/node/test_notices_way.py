"""Notices over a real broker: weeks of them in order, once each, whoever is killed in between."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync import SyncError
from sync.central import keys as central_keys
from sync.central.keys import key_path, load_public, load_serving_keys
from sync.central.lock import only_one
from sync.central.notices import announce, order, rotate
from sync.central.shard import WHOLE, Shard
from sync.format.notices import AccountSet, Erase, KeyRevoked, Policy
from sync.node.trust import Trust
from sync.transport.broker import mosquitto
from sync.verify.verify import verify
from tests.sync.broker_process import BrokerProcess
from tests.sync.uplink_site import Site, free_port, wait_for

PERSON = "p-" + "0a" * 10
ACCOUNT = AccountSet("acc-" + "0b" * 8, True)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    broker = BrokerProcess(free_port(), "mosquitto" if mosquitto() else "amqtt")
    broker.start()
    site = Site(tmp_path, broker)
    try:
        yield site
    finally:
        site.stop()


def applied(site: Site) -> list[int]:
    """The nseqs that the node's chain answers, in its order."""
    ledger = site.node.ledger()
    try:
        return [record.fields["nseq"] for record in ledger.records(("notice.applied",))]
    finally:
        ledger.close()


def still_open(site: Site) -> int:
    with site.central.store() as store:
        return len(store.open_notices("n1", 1000))


def test_weeks_of_notices_are_applied_once_and_in_order_through_kills_of_the_node(site: Site) -> None:
    site.node.record(1)
    people = [f"p-{number:020x}" for number in range(199)]
    for person in people:
        order(site.central.directory, "n1", Erase(person, "request"))
    site.central.start(site.broker.url)
    program = "import sys; from pathlib import Path; from tests.sync.uplink_site import run_node;"
    program += " run_node(Path(sys.argv[1]), sys.argv[2], recording=False)"
    command = [sys.executable, "-c", program, str(site.node.home), site.broker.url]
    kills = 0
    for upto in (20, 70, 130):
        running = subprocess.Popen(command)
        try:
            wait_for(lambda upto=upto: len(applied(site)) >= upto, f"{upto} notices are applied")  # type: ignore[misc]
        finally:
            running.kill()
            running.wait(10)
        kills += len(applied(site)) < 200
    assert kills >= 2  # in the middle
    site.node.start(site.broker.url)
    wait_for(lambda: len(applied(site)) == 200, "all notices are applied")
    site.drain()
    wait_for(lambda: still_open(site) == 0, "central has every answer")
    assert applied(site) == list(range(1, 201))
    assert [erasure.person_id for erasure in Trust(site.node.home).erasures()] == people
    assert site.node.alarms() == {}
    verdict = verify(site.node.home)
    assert verdict.ok, verdict.why


def test_a_notice_reaches_a_node_online_within_seconds(site: Site) -> None:
    site.node.record(1)
    site.start()
    wait_for(lambda: applied(site) == [1], "central's keys are applied")
    began_s = time.monotonic()
    order(site.central.directory, "n1", Policy(unconsented_h=2))
    wait_for(lambda: applied(site) == [1, 2], "the policy is applied")
    assert time.monotonic() - began_s < 20  # not with the next reminder, a minute later
    assert Trust(site.node.home).policy() == (2, Policy(unconsented_h=2))


def test_a_node_that_slept_through_two_rotations_catches_up_and_its_old_acks_still_verify(site: Site) -> None:
    site.node.record(3)
    site.start()
    site.drain()
    wait_for(lambda: applied(site) == [1], "central's keys are applied")
    site.drain()
    site.node.stop()
    site.central.stop()
    directory = site.central.directory
    root = key_path(directory, "root")
    order(directory, "n1", ACCOUNT)
    rotate(directory, "ack", root)
    rotate(directory, "notice", root)
    order(directory, "n1", Policy(unconsented_h=3))  # under the second notice key
    rotate(directory, "notice", root)
    public, told = rotate(directory, "ack", root)
    order(directory, "n1", ACCOUNT)
    assert told == 1
    site.node.record(3)
    site.start()
    wait_for(lambda: applied(site) == list(range(1, 9)), "all is applied, in order")
    site.drain()
    assert Trust(site.node.home).keys() == public
    assert Trust(site.node.home).policy() == (5, Policy(unconsented_h=3))
    verdict = verify(site.node.home)
    assert verdict.ok, verdict.why
    with site.central.store() as store:
        assert verify(directory).ok
        assert store.nodes()[0].chain == "ok"


def test_what_a_revoked_key_signed_behind_its_place_is_refused_and_stops_its_node(site: Site) -> None:
    site.node.record(5)
    site.start()
    wait_for(lambda: applied(site) == [1], "central's keys are applied")
    site.drain()
    held = len(site.central.held())
    site.node.stop()
    site.central.stop()
    site.node.record(3)  # it has not heard yet
    order(site.central.directory, "n1", KeyRevoked(site.node.key.public.key_id, 1, held, "compromised"))
    site.start()
    wait_for(lambda: "REVOKED" in site.node.alarms(), "central refuses what came behind")
    wait_for(lambda: len(Trust(site.node.home).revoked_keys()) == 1, "and the node hears why")
    assert len(site.central.held()) == held
    assert still_open(site) == 1  # nobody can answer under that key


def test_a_node_restored_from_a_copy_hears_again_what_the_copy_had_not_heard(site: Site, tmp_path: Path) -> None:
    site.node.record(2)
    site.start()
    wait_for(lambda: applied(site) == [1], "central's keys are applied")
    site.drain()
    site.node.stop()
    shutil.copytree(site.node.home, tmp_path / "copy")
    site.node.start(site.broker.url)
    order(site.central.directory, "n1", Erase(PERSON, "request"))
    order(site.central.directory, "n1", ACCOUNT)
    wait_for(lambda: still_open(site) == 0, "both are answered")
    site.node.stop()
    shutil.rmtree(site.node.home)
    shutil.copytree(tmp_path / "copy", site.node.home)
    ledger = site.node.ledger()
    with ledger.transaction() as transaction:
        keys = {"node": str(site.node.key.public), "desk": str(site.node.desk.public)}
        transaction.begin_epoch("restore", {"site": "site-1", "keys": keys})
    ledger.close()
    assert Trust(site.node.home).erasures() == []  # the copy would go on knowing who was to be forgotten
    site.node.start(site.broker.url)
    wait_for(lambda: applied(site) == [1, 2, 3], "both are applied again, in the new epoch")
    site.drain()
    assert [erasure.person_id for erasure in Trust(site.node.home).erasures()] == [PERSON]


def test_no_key_is_rotated_under_a_running_central(site: Site) -> None:
    root = key_path(site.central.directory, "root")
    for shard in (WHOLE, Shard(2, 3)):
        with (
            only_one(site.central.directory, shard),
            pytest.raises(SyncError, match="another central is running on it"),
        ):
            rotate(site.central.directory, "ack", root)
    with pytest.raises(SyncError, match="not the root key"):
        rotate(site.central.directory, "ack", key_path(site.central.directory, "code"))


@pytest.mark.parametrize("cut", ["before central.pub", "behind central.pub", "before the nodes are told"])
def test_a_rotation_cut_short_leaves_a_central_that_starts_and_a_second_try_that_works(
    site: Site, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    class PowerCutError(Exception):
        pass

    def fail(*_arguments: object, **_named: object) -> None:
        raise PowerCutError

    directory = site.central.directory
    root, before = key_path(directory, "root"), load_public(directory)
    with monkeypatch.context() as power:
        match cut:
            case "before central.pub":
                power.setattr(central_keys, "write_durably", fail)
            case "behind central.pub":
                power.setattr(central_keys, "_install", fail)
            case _:
                power.setattr("sync.central.notices._announce", fail)
        with pytest.raises(PowerCutError):
            rotate(directory, "ack", root)
    public = load_public(directory)
    assert (public == before) == (cut == "before central.pub")
    assert load_serving_keys(directory).ack.public == public.keys["ack"]
    assert announce(directory, root) == (0 if cut == "before central.pub" else 1)
    assert announce(directory, root) == 0
    again, told = rotate(directory, "ack", root)
    assert load_serving_keys(directory).ack.public == again.keys["ack"] != public.keys["ack"]
    assert told == 1
    assert sorted(path.name for path in (directory / "keys").glob("ack*")) == ["ack.key"]
