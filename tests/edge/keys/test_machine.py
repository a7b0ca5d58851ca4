"""A HOME remembers the machine it runs on, and a copied one does not go on as if nothing had happened."""

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.clock import Clock
from edge.doctor import examine
from edge.home import Home
from edge.keys.epochs import begin_epoch, continue_here, rekey
from edge.keys.machine import Trait, elsewhere, read_traits, remember
from edge.kiosk.app import create_app
from edge.node import RunOptions, run
from sync.central.enrol import enrol, readmit
from sync.central.notices import order
from sync.format.notices import KeyRevoked
from sync.format.records import Record
from sync.node.alarms import Alarms
from sync.node.trust import join
from sync.node.uplink_thread import UplinkThread
from sync.transport.mqtt import BrokerAddress
from sync.verify.verify import verify
from sync.verify.verify_both import verify_both
from tests.edge.conftest import FindBytes
from tests.sync.broker_process import BrokerProcess
from tests.sync.uplink_site import Central, free_port, wait_for

MakeMachine = Callable[..., Path]


@pytest.fixture
def machine(tmp_path: Path) -> MakeMachine:
    """Makes the root of a machine's file system, as far as it says which machine it is."""

    def make(name: str, installation: str, cards: tuple[str, ...] = (), kind: str = "0") -> Path:
        root = tmp_path / f"machine-{name}"
        (root / "etc").mkdir(parents=True)
        (root / "etc/machine-id").write_text(f"{installation}\n")
        for number, card in enumerate(cards):
            interface = root / f"sys/class/net/eth{number}"
            (interface / "device").mkdir(parents=True)
            (interface / "address").write_text(f"{card}\n")
            (interface / "addr_assign_type").write_text(f"{kind}\n")
        return root

    return make


def _moved(home: Home, first: Path, second: Path) -> bool:
    with closing(sqlite3.connect(home.database)) as connection, connection:
        remember(connection, read_traits(first))
        return elsewhere(connection, read_traits(second))


def test_the_same_machine_is_known_again_and_another_is_not(home: Home, machine: MakeMachine) -> None:
    box = machine("box", "a" * 32, ("02:00:00:00:00:01", "02:00:00:00:00:02"))
    assert not _moved(home, box, box)
    assert _moved(home, box, machine("other", "b" * 32, ("02:00:00:00:00:03",)))


def test_a_cloned_disk_on_other_hardware_is_another_machine(home: Home, machine: MakeMachine) -> None:
    box = machine("box", "a" * 32, ("02:00:00:00:00:01",))
    assert _moved(home, box, machine("clone", "a" * 32, ("02:00:00:00:00:09",)))


@pytest.mark.parametrize(
    ("installation", "cards"),
    [
        ("b", ("02:00:00:00:00:01",)),  # the system was installed anew
        ("a", ("02:00:00:00:00:02", "02:00:00:00:00:07")),  # one card of two was changed
        ("a", ()),  # the cards are not to be seen
    ],
)
def test_a_machine_that_was_mended_is_the_same(
    home: Home, machine: MakeMachine, installation: str, cards: tuple[str, ...]
) -> None:
    box = machine("box", "a" * 32, ("02:00:00:00:00:01", "02:00:00:00:00:02"))
    assert not _moved(home, box, machine("mended", installation * 32, cards))


def test_addresses_made_up_at_start_say_nothing(machine: MakeMachine) -> None:
    assert read_traits(machine("phone", "a" * 32, ("02:00:00:00:00:01",), kind="1")) == [
        Trait("installation", "a" * 32)
    ]


def test_what_is_remembered_gives_nothing_away(home: Home, machine: MakeMachine, find_bytes: FindBytes) -> None:
    _moved(home, machine("box", "a" * 32, ("02:00:00:00:00:01",)), machine("other", "b" * 32))
    assert find_bytes(home.path, b"02:00:00:00:00:01") == []
    assert find_bytes(home.path, b"a" * 32) == []


def _continue(home: Home) -> Record | None:
    ledger = home.open_ledger("node", Clock())
    try:
        return continue_here(home, ledger)
    finally:
        ledger.close()


def test_a_copied_home_begins_a_new_epoch_once(
    home: Home, machine: MakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.keys.machine.ROOT", machine("box", "a" * 32))
    assert _continue(home) is None
    assert _continue(home) is None
    monkeypatch.setattr("edge.keys.machine.ROOT", machine("other", "b" * 32))
    record = _continue(home)
    assert record is not None
    assert (record.epoch, record.fields["reason"]) == (2, "clone")
    assert _continue(home) is None
    verdict = verify(home.path)
    assert verdict.ok, verdict.lines


def test_a_home_restored_elsewhere_has_had_its_new_epoch(
    home: Home, machine: MakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.keys.machine.ROOT", machine("box", "a" * 32))
    _continue(home)
    monkeypatch.setattr("edge.keys.machine.ROOT", machine("other", "b" * 32))
    begin_epoch(home, "restore", Clock())
    assert _continue(home) is None


def test_the_kiosk_of_a_copied_home_waits_for_its_node(
    home: Home, machine: MakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.keys.machine.ROOT", machine("box", "a" * 32))
    _continue(home)
    monkeypatch.setattr("edge.keys.machine.ROOT", machine("other", "b" * 32))
    with pytest.raises(Exception, match="was last run on another machine: start the node here first"):
        create_app(home)
    _continue(home)
    create_app(home)


@pytest.mark.usefixtures("pack")
def test_a_node_that_starts_on_another_machine_begins_the_epoch_before_anything_else(
    home: Home, machine: MakeMachine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    cv2.imwrite(str(frames / "0.png"), np.zeros((64, 64, 3), np.uint8))
    options = RunOptions(sources=(str(frames),), until_end=True, fast=True)
    monkeypatch.setattr("edge.keys.machine.ROOT", machine("box", "a" * 32))
    run(home, options)
    monkeypatch.setattr("edge.keys.machine.ROOT", machine("other", "b" * 32))
    run(home, options)
    assert "last run on another machine: epoch 2 begins here" in caplog.text
    run(home, options)
    ledger = home.open_ledger()
    starts = [(one.epoch, one.fields["reason"]) for one in ledger.records(("epoch.started",))]
    boots = [(one.epoch, one.fields["custody"]) for one in ledger.records(("node.boot",))]
    ledger.close()
    assert starts == [(1, "init"), (2, "clone")]
    assert boots == [(1, "file"), (2, "file"), (2, "file")]


class Live:
    """A broker and a central, and the uplinks of HOMEs that run at the same time."""

    def __init__(self, folder: Path) -> None:
        self.broker = BrokerProcess(free_port())
        self.broker.start()
        self.central = Central(folder / "central")
        self.central.start(self.broker.url)
        self._uplinks: list[UplinkThread] = []

    def start(self, home: Home) -> UplinkThread:
        uplink = UplinkThread(
            home.path, home.writer("node", Clock()), BrokerAddress.parse(self.broker.url), random.Random(1)
        )
        uplink.start()
        self._uplinks.append(uplink)
        return uplink

    def stop(self) -> None:
        for uplink in self._uplinks:
            uplink.stop()
        self.central.stop()
        self.broker.stop()

    def state(self, node_id: str) -> str:
        with self.central.store() as store:
            node = store.node(node_id)
        assert node is not None
        return node.chain


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    made = Live(tmp_path)
    yield made
    made.stop()


def _record(home: Home, count: int = 1) -> None:
    ledger = home.open_ledger("node", Clock())
    try:
        with ledger.transaction() as transaction:
            for _ in range(count):
                transaction.append("node.alive", {})
    finally:
        ledger.close()


def _alarms(home: Home) -> set[str]:
    return {alarm.code for alarm in Alarms(home.database).all()}


def _joined(home: Home, live: Live) -> Home:
    join(home.path, live.central.public)
    enrol(live.central.directory, home.node_pub)
    return home


def test_two_machines_on_one_home_are_a_fork_at_both_ends_until_it_is_lifted(
    home: Home, live: Live, machine: MakeMachine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("edge.keys.machine.ROOT", machine("box", "a" * 32))
    _joined(home, live)
    _continue(home)
    _record(home, 20)
    assert live.start(home).drained(60)
    clone = Home(Path(shutil.copytree(home.path, tmp_path / "clone")))
    monkeypatch.setattr("edge.keys.machine.ROOT", machine("other", "b" * 32))
    assert _continue(clone) is not None
    assert live.start(clone).drained(60), _alarms(clone)  # it is the newer one, and nobody has contradicted it yet
    assert "FORK" not in _alarms(clone)
    _record(home)  # the first machine lives
    wait_for(lambda: "FORK" in _alarms(home), "the first machine is told")
    assert live.state("puxi-01-a") == "fork"
    _record(clone)
    wait_for(lambda: "FORK" in _alarms(clone), "the copy is told")
    for one in (home, clone):
        assert any(finding.part == "alarm" and finding.text.startswith("FORK") for finding in examine(one))
    assert readmit(live.central.directory, "puxi-01-a") == 3
    begin_epoch(home, "fork", Clock(), 3)
    _record(home, 5)
    assert live.start(home).drained(60), _alarms(home)
    assert live.state("puxi-01-a") == "ok"
    assert not {"FORK", "ACK_NOT_OURS"} & _alarms(home)  # it was looked at, at central
    assert "FORK" in _alarms(clone)
    for place in (home.path, live.central.directory):
        verdict = verify(place)
        assert verdict.ok, verdict.lines
    assert not home.open_ledger().backlog()


def test_a_restored_machine_raises_no_false_alarm_where_central_holds_more(
    home: Home, live: Live, tmp_path: Path
) -> None:
    _joined(home, live)
    _record(home, 1500)  # more than fits the window
    backup = Home(Path(shutil.copytree(home.path, tmp_path / "backup")))  # nothing in it is acknowledged
    _record(home, 500)
    uplink = live.start(home)
    assert uplink.drained(60)
    uplink.stop()
    begin_epoch(backup, "restore", Clock())
    _record(backup, 10)
    assert live.start(backup).drained(90), _alarms(backup)
    assert _alarms(backup) == set()
    assert backup.open_ledger().backlog() == 0
    for place in (backup.path, live.central.directory):
        verdict = verify(place)
        assert verdict.ok, verdict.lines


def test_a_node_whose_key_was_revoked_unheard_goes_on_under_new_keys(home: Home, live: Live) -> None:
    """What the revoked key signed meanwhile stays on the box, and holds by its hash in what central takes."""
    _joined(home, live)
    uplink = live.start(home)
    wait_for(lambda: home.open_ledger().last_of("notice.applied") is not None, "notice 1 is answered")
    assert uplink.drained(60)
    uplink.stop()
    head = home.open_ledger().head()
    assert head is not None
    key_id = home.signer("node").public.key_id
    order(live.central.directory, "puxi-01-a", KeyRevoked(key_id, head.epoch, head.seq, "compromised"))
    _record(home, 5)  # it has not heard
    assert rekey(home, Clock(), None, None).epoch == 2
    enrol(live.central.directory, home.node_pub, rekey=True)
    _record(home, 3)
    assert live.start(home).drained(60), _alarms(home)
    assert "REVOKED" in _alarms(home)
    with live.central.store() as store:
        held = [(row.epoch, row.seq) for row in store.records("puxi-01-a")]
    assert (1, head.seq) in held
    assert (1, head.seq + 1) not in held
    assert (2, 4) in held
    for verdict in (verify(live.central.directory), verify(home.path), verify_both(home.path, live.central.directory)):
        assert verdict.ok, verdict.lines
    assert any(line.startswith(f"void: seq {head.seq + 1}..{head.seq + 5}, ") for line in verdict.lines)
