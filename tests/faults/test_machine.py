"""A state machine over node, line and central against a model of who may hold what; the databases are real, on disk.

The node's ledger, vault, uplink and keys and central's ingest and store are the product's; the line is a list of
messages, and the clocks are numbers. `FIRSTVISIT_MACHINE_EXAMPLES` and `FIRSTVISIT_MACHINE_STEPS` make it longer.
"""

import os
import random
import shutil
import tempfile
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from edge.clock import Clock, KernelTime
from edge.home import Home, create_home
from edge.keys.epochs import begin_epoch
from edge.keys.key_rotation import rotate
from edge.people.vault import Vault
from edge.rights.retention import erase
from edge.settings import new_config
from sync.central.enrol import enrol, readmit
from sync.central.ingest import Arrived, Ingest
from sync.central.keys import create_keys, load_serving_keys
from sync.central.store.location import create_store, open_store
from sync.format.records import Record, parse
from sync.format.wire import SignedBody, decode_frame, encode_frame
from sync.node.purge import base_of, purge
from sync.node.trust import join
from sync.node.uplink import Uplink
from sync.node.uplink_thread import UplinkThread
from sync.transport.mqtt import BrokerAddress
from sync.verify.verify import verify
from tests.faults.checker import central_rows, node_rows
from tests.faults.feed import PACK_ID, vector
from tests.faults.journal import Place

EXAMPLES = int(os.environ.get("FIRSTVISIT_MACHINE_EXAMPLES", "6"))
STEPS = int(os.environ.get("FIRSTVISIT_MACHINE_STEPS", "30"))
SECOND_US = 1_000_000
START_US = 1_790_000_000 * SECOND_US
SETTLE_ROUNDS = 60


class Crash(Exception):
    """The process ends inside a transaction."""


class Evidence(RuleBasedStateMachine):
    """One node, one central, and what must hold of them at every moment."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="firstvisit-machine-"))
        self.now_us = START_US
        self.clock = Clock(self._read)
        basis = {"mode": "ephemeral", "legal_basis": "test"}
        config = new_config(site="s1", node="n1", place={}, capture=basis)
        self.home = create_home(self.folder / "home", config, None)
        self.central = self.folder / "central"
        self.central.mkdir()
        create_keys(self.central, "hq")
        create_store(self.central)
        join(self.home.path, self.central / "central.pub")
        enrol(self.central, self.home.node_pub)
        self.up: list[bytes] = []  # frames on the line
        self.answers: list[bytes] = []
        self.shown: dict[Place, str] = {at: row.hash for at, row in node_rows(self.home.database).items()}
        self.attempted: set[str] = set(self.shown.values())
        self.acked: dict[Place, str] = {}
        self.cloned: set[str] = set()  # hashes of what a copy of the machine signed
        self.people: dict[str, int] = {}  # remembered, by id: the number of their vector
        self.erased: set[str] = set()
        self._start_node()
        self._start_central()

    # -- the two ends --------------------------------------------------------------------------------------------

    def _read(self) -> KernelTime:
        self.now_us += 1000
        return KernelTime(self.now_us, self.now_us - START_US + SECOND_US, "b" * 32, 1500, True)

    @property
    def now_s(self) -> float:
        return self.now_us / 1e6

    def _start_node(self) -> None:
        self.ledger = self.home.open_ledger("node", self.clock)
        self.vault = Vault(self.home.database, self.home.keys_database)
        writer = self.home.writer("node", self.clock)
        # never started: its answers to central's words are the product's, the line is ours
        self.thread = UplinkThread(self.home.path, writer, BrokerAddress.parse("mqtt://127.0.0.1:1"), random.Random(1))
        acked, newest = self.ledger.acked_upto(), self.ledger.last_ack_us()
        self.uplink = Uplink(acked, newest, random.Random(1), self.ledger.given_up())
        self.uplink.connect()

    def _end_node(self) -> None:
        self.ledger.close()
        self.vault.close()

    def _start_central(self) -> None:
        self.store = open_store(self.central)
        self.ingest = Ingest(self.store, load_serving_keys(self.central), monotonic=lambda: self.now_us / 1e6)

    def _restart_central(self) -> None:
        self.store.close()
        self._start_central()

    def _appended(self, records: list[Record]) -> None:
        for record in records:
            self.attempted.add(record.hash.hex())
            self.shown[record.epoch, record.seq] = record.hash.hex()

    def _catch_up_with_ledger(self) -> None:
        """Rows that a command appended by itself."""
        for place, row in node_rows(self.home.database).items():
            self.attempted.add(row.hash)
            self.shown[place] = row.hash

    # -- what happens --------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 5))
    def stamp(self, count: int) -> None:
        with self.ledger.transaction() as transaction:
            records = [transaction.append("camera.up", {"camera": "door", "number": n}) for n in range(count)]
        self._appended(records)

    @rule(number=st.integers(0, 1 << 30))
    def arrive(self, number: int) -> None:
        person = f"p-{len(self.people) + len(self.erased)}"
        self.vault.create_key(person)
        with self.ledger.transaction() as transaction:
            record = transaction.append("visit.first", {"visit": f"v-{person}", "person": person, "camera": "door"})
            at = datetime.fromtimestamp(self.now_s, UTC)
            self.vault.add_person(transaction.connection, person, PACK_ID, vector(number), at, True)
        self._appended([record])
        self.people[person] = number

    @rule(inside=st.booleans())
    def crash(self, inside: bool) -> None:
        """The node's process ends, perhaps between the signature and the commit."""
        if inside:
            try:
                with self.ledger.transaction() as transaction:
                    record = transaction.append("camera.up", {"camera": "door"})
                    self.attempted.add(record.hash.hex())
                    raise Crash
            except Crash:
                pass
        self._end_node()
        self._start_node()

    @rule()
    def crash_central(self) -> None:
        self._restart_central()

    @rule()
    def send(self) -> None:
        self.now_us += SECOND_US // 10
        self.uplink.tick(self.now_s)
        after = self.uplink.send_after()
        if after is not None and (frame := self.ledger.next_frame(after)) is not None:
            last, records = frame
            self.up.append(encode_frame(records))
            self.uplink.sent(last, self.now_s)

    @precondition(lambda self: self.up)
    @rule(at=st.integers(0, 1000), twice=st.booleans())
    def deliver(self, at: int, twice: bool) -> None:
        """A frame reaches central, in any order, perhaps twice."""
        frame = self.up.pop(at % len(self.up))
        if twice:
            self.up.append(frame)
        self._take(frame)

    def _take(self, frame: bytes) -> None:
        self.now_us += SECOND_US // 10
        held = central_rows(self.central / "central.db", "n1")
        record = parse(*astuple(decode_frame(frame)[0]))
        contradicts = (at := (record.epoch, record.seq)) in held and held[at].hash != record.hash.hex()
        for answer in self.ingest.take(self.ingest.read([Arrived("n1", frame)]), self.now_us):
            if answer.channel == "ack":
                self.answers.append(answer.payload)
        assert not contradicts or self._state() == "fork", "central holds another record of its place and says nothing"

    @precondition(lambda self: self.answers)
    @rule(at=st.integers(0, 1000), twice=st.booleans())
    def ack(self, at: int, twice: bool) -> None:
        """One of central's words reaches the node, in any order, perhaps twice."""
        answer = self.answers.pop(at % len(self.answers))
        if twice:
            self.answers.append(answer)
        self.thread._answer(answer, self.uplink, self.ledger, self.now_s)
        self._note_acked()

    def _note_acked(self) -> None:
        place = self.ledger.acked_upto()
        if place in self.shown:
            self.acked[place] = self.shown[place]

    @precondition(lambda self: self.up or self.answers)
    @rule(at=st.integers(0, 1000))
    def drop(self, at: int) -> None:
        line = self.up if self.up and (at % 2 or not self.answers) else self.answers
        line.pop(at % len(line))

    @rule(minutes=st.integers(1, 30))
    def wait(self, minutes: int) -> None:
        self.now_us += minutes * 60 * SECOND_US

    # a rotation that central refused with the fork needs `keys new-epoch --reason rekey` and `enroll --rekey` instead
    @precondition(lambda self: not self.cloned)
    @rule(role=st.sampled_from(["node", "desk"]))
    def rotate(self, role: str) -> None:
        rotate(self.home, role, None, self.clock)  # type: ignore[arg-type]  # one of the two
        self._catch_up_with_ledger()

    @precondition(lambda self: self.people)
    @rule(at=st.integers(0, 1000))
    def erase(self, at: int) -> None:
        person = sorted(self.people)[at % len(self.people)]
        desk = self.home.open_ledger("desk", self.clock)
        erasure = erase(desk, self.vault, person, "request", None)
        desk.close()
        self._appended([erasure.record])
        del self.people[person]
        self.erased.add(person)

    @rule()
    def purge(self) -> None:
        record = purge(self.ledger, 0)
        if record is not None:
            self._appended([record])
            base = base_of(self.ledger.connection)
            assert base is not None
            assert base.at <= self.ledger.acked_upto(), "what central has not acknowledged was purged"
            self.shown = {place: digest for place, digest in self.shown.items() if place > base.at}

    @precondition(lambda self: not self.cloned)
    @rule(count=st.integers(1, 3))
    def clone(self, count: int) -> None:
        """A copy of the machine records beside it, and its frame gets on the line."""
        copy = self.folder / "clone"
        shutil.rmtree(copy, ignore_errors=True)
        self.ledger.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copytree(self.home.path, copy)
        ledger = Home(copy).open_ledger("node", self.clock)
        records = [ledger.append("camera.down", {"camera": "door", "clone": n}) for n in range(count)]
        ledger.close()
        self.cloned |= {record.hash.hex() for record in records}
        self.up.append(encode_frame([SignedBody(record.body, record.signature) for record in records]))

    # -- what must hold ------------------------------------------------------------------------------------------

    @invariant()
    def what_was_shown_is_in_the_ledger_and_nothing_else(self) -> None:
        rows = {place: row.hash for place, row in node_rows(self.home.database).items()}
        assert rows == self.shown

    @invariant()
    def central_holds_a_chain_of_what_was_signed(self) -> None:
        held = central_rows(self.central / "central.db", "n1")
        by_epoch: dict[int, list[int]] = {}
        for epoch, seq in held:
            by_epoch.setdefault(epoch, []).append(seq)
        for seqs in by_epoch.values():
            assert seqs == list(range(1, len(seqs) + 1))
        assert {row.hash for row in held.values()} <= self.attempted | self.cloned

    @invariant()
    def what_was_acknowledged_is_at_central(self) -> None:
        held = central_rows(self.central / "central.db", "n1")
        assert all(place in held and held[place].hash == digest for place, digest in self.acked.items())

    @invariant()
    def without_a_clone_there_is_no_fork(self) -> None:
        if not self.cloned:
            assert self._state() == "ok"
            assert not {"FORK", "ACK_NOT_OURS", "LOG_FORK", "CENTRAL_ROLLBACK"} & self.thread._alarms.keys()

    @invariant()
    def the_erased_are_gone_and_the_others_are_not(self) -> None:
        assert {person.person_id for person in self.vault.people()} == self.people.keys()
        templates = [sealed.opened() for sealed in self.vault.templates.sealed(PACK_ID)]
        assert all((template.vector == vector(self.people[template.person_id])).all() for template in templates)
        with_keys = self.vault._safe.keys.owners()
        assert self.people.keys() <= with_keys
        assert not with_keys & self.erased

    def _state(self) -> str:
        held = self.store.enrolment("n1")
        assert held is not None
        return held[1]

    def teardown(self) -> None:
        """Everything on the line arrives or is lost, a fork is lifted, and then both ends must come to agree."""
        if not hasattr(self, "store"):
            return
        try:
            self._settle()
        finally:
            self._end_node()
            self.store.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _settle(self) -> None:
        while self.up:
            self._take(self.up.pop(0))
        self._drain()
        assert self.cloned or self.ledger.acked_upto() == self._head(), "not drained, though nobody else ever wrote"
        if self.cloned:  # central may hold more than the node has: the contradiction comes with its next record
            self.stamp(1)
            self._drain()
            self._end_node()
            if self._state() == "fork":
                epoch = readmit(self.central, "n1")
                self._restart_central()
                begin_epoch(self.home, "fork", self.clock, epoch)
                self._catch_up_with_ledger()
            self._start_node()
            self._drain()
        held, ours = central_rows(self.central / "central.db", "n1"), node_rows(self.home.database)
        assert max(held) == max(ours)
        assert held[max(held)].hash == ours[max(ours)].hash
        if not self.cloned:
            assert all(held.get(place) == row for place, row in ours.items())
        for path, key in ((self.home.path, self.home.node_pub), (self.central, self.central / "central.pub")):
            verdict = verify(path, key)
            assert verdict.ok, f"{path.name}: {verdict.why}"

    def _head(self) -> Place:
        head = self.ledger.head()
        return (head.epoch, head.seq) if head else (0, 0)

    def _drain(self) -> None:
        """A good line, for as long as something moves."""
        for _ in range(SETTLE_ROUNDS):
            if self.ledger.acked_upto() == self._head():
                return
            self.now_us += int(timedelta(minutes=2) / timedelta(microseconds=1))  # past any timeout
            self.send()
            while self.up:
                self._take(self.up.pop(0))
            while self.answers:
                self.thread._answer(self.answers.pop(0), self.uplink, self.ledger, self.now_s)
            self._note_acked()


PATIENT = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
Evidence.TestCase.settings = PATIENT
TestEvidence = Evidence.TestCase


def test_the_walk_notices_a_central_that_compares_no_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ingest, "_again", lambda *_: None)
    walk = Evidence()
    walk.begin()
    walk.clone(1)
    walk.stamp(1)
    walk.send()
    walk.deliver(1, False)  # the node's own
    with pytest.raises(AssertionError, match="another record of its place"):
        walk.deliver(0, False)  # the clone's
    walk.up.clear()
    walk.teardown()


def test_the_two_ends_agree_though_a_clone_wrote_on_from_the_record_that_central_acknowledged_last() -> None:
    walk = Evidence()
    walk.begin()
    walk.clone(1)
    walk.send()
    walk.deliver(1, False)  # the node's own: acknowledged to its head when the line is settled
    assert len(walk.up) == 1, "the clone's frame is still on its way"
    walk.teardown()
