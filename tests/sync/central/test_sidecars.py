"""Phones go to central sealed, beside the chain; erased at one end they are erased at the other, and elsewhere."""

import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sync import SyncError
from sync.central.cli import app
from sync.central.ingest import Arrived, Ingest
from sync.central.keys import load_public, load_serving_keys, load_unsealing
from sync.central.notices import rotate
from sync.central.sidecars import SidecarDesk, unmask
from sync.central.store.sqlite import FILE_NAME
from sync.central.store.store import Store
from sync.format.messages import Notice, Statement
from sync.format.notices import Erase
from sync.format.records import Record
from sync.format.sidecar import Opened, Sidecar, open_taken, seal_sidecars
from sync.format.signing import commitment
from sync.format.wire import SignedBody, encode_frame
from sync.node import sidecars
from sync.node.ledger import Ledger
from sync.node.trust import DATABASE_FILE
from sync.transport.broker import mosquitto
from sync.verify.verify import verify
from tests.sync.api_site import ApiSite
from tests.sync.broker_process import BrokerProcess
from tests.sync.uplink_site import Central, Node, Site, enrolled, free_port, wait_for

LI, WANG = "+8613800005678", "+8613911112222"
NOW_US = 1_790_000_000_000_000


def hmac_of(e164: str) -> bytes:
    return hashlib.sha256(e164.encode()).digest()


def desk_record(node: Node, kind: str, fields: dict[str, object]) -> Record:
    with closing(Ledger(node.home / DATABASE_FILE, node.desk_writer)) as ledger:
        return ledger.append(kind, fields)


def check_in(node: Node, central: Central, visit: str, contact: str, e164: str, person: str = "") -> Record:
    """A check-in by phone and its sidecar, as the node makes it."""
    salt = secrets.token_bytes(32)
    fields: dict[str, object] = {"visit": visit, "state": "registered", "phone": commitment(salt, e164.encode()).hex()}
    record = desk_record(node, "visit.checkin", fields | ({"person": person} if person else {}))
    key = load_public(central.directory).seal
    assert key is not None
    sealed = Opened(e164, salt).seal(key)
    with closing(node.ledger()) as ledger:
        sidecars.add(
            ledger.connection,
            Sidecar(record.epoch, record.seq, record.hash, contact, hmac_of(e164), sealed, key.key_id),
        )
    return record


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    broker = BrokerProcess(free_port(), "mosquitto" if mosquitto() else "amqtt")
    broker.start()
    site = Site(tmp_path, broker)
    try:
        yield site
    finally:
        site.stop()


def held(central: Central) -> int:
    with central.store() as store:
        return store.sidecar_count()


def untaken(node: Node) -> int:
    with closing(node.ledger()) as ledger:
        return len(sidecars.waiting(ledger.connection, (9, 0)))


def test_a_phone_reaches_central_sealed_and_is_read_there_only_with_a_reason_on_record(site: Site) -> None:
    site.node.record(1)
    record = check_in(site.node, site.central, "v-1", "c-" + "1" * 20, LI)
    site.start()
    wait_for(lambda: untaken(site.node) == 0, "central has taken it")
    assert held(site.central) == 1
    for name in (FILE_NAME, f"{FILE_NAME}-wal"):
        assert LI.encode() not in (site.central.directory / name).read_bytes()
    with pytest.raises(SyncError, match="one of dispute"):
        unmask(site.central.directory, "n1", "v-1", "curiosity")
    shown = CliRunner().invoke(
        app,
        ["unmask", "--dir", str(site.central.directory), "n1", "v-1", "--reason", "dispute"],
        catch_exceptions=False,
    )
    assert LI in shown.stdout
    with site.central.store() as store:
        (said,) = [data for _, data in store.statements("n1") if b"phone.unmasked" in data]
    statement = Statement.parse(said, load_public(site.central.directory).keys["notice"])
    assert statement.fields == {"node": "n1", "visit": "v-1", "record": record.hash.hex(), "reason": "dispute"}
    site.drain()
    site.node.stop()
    site.central.stop()
    for place in (site.node.home, site.central.directory):
        verdict = verify(place)
        assert verdict.ok, verdict.why


def test_erased_at_the_node_it_is_gone_from_every_byte_of_central_and_comes_back_by_no_replay(site: Site) -> None:
    contact = "c-" + "1" * 20
    site.node.record(1)
    record = check_in(site.node, site.central, "v-1", contact, LI)
    site.start()
    wait_for(lambda: untaken(site.node) == 0, "central has taken it")
    with site.central.store() as store:
        (row,) = store.sidecars_of("n1", "v-1")
    with closing(site.node.ledger()) as ledger:
        ledger.connection.execute("UPDATE sidecars SET taken = 0")
        (again,) = sidecars.waiting(ledger.connection, (1, 99))
        sidecars.forget(ledger.connection, [contact])
    desk_record(site.node, "person.erased", {"person": contact, "reason": "request", "reached": [contact]})
    wait_for(lambda: held(site.central) == 0, "central has deleted it")

    def anywhere() -> bool:
        files = [site.central.directory / f"{FILE_NAME}{suffix}" for suffix in ("", "-wal")]
        return any(row.sealed in file.read_bytes() for file in files if file.exists())

    wait_for(lambda: not anywhere(), "the log of central's database is emptied")
    with site.central.store() as store:
        desk = SidecarDesk(store, load_serving_keys(site.central.directory))
        answer = desk.take("n1", seal_sidecars("n1", [again], site.node.key), NOW_US)
        assert answer is not None, "the node would send it for ever"
        assert open_taken("n1", answer, load_public(site.central.directory).keys["ack"]) == [record.hash]
        assert store.sidecar_count() == 0
    with pytest.raises(SyncError, match="or it is erased"):
        unmask(site.central.directory, "n1", "v-1", "dispute")
    wait_for(lambda: _confirmed(site.node, contact) == 0, "the node hears that there were no others")


def _confirmed(node: Node, subject: str) -> int | None:
    from sync.node.orders import confirmed

    with closing(node.ledger()) as ledger:
        return confirmed(ledger.connection, subject)


def test_what_was_sealed_before_a_rotation_is_read_after_it(tmp_path: Path) -> None:
    central = Central(tmp_path / "central")
    before = load_public(central.directory).seal
    assert before is not None
    box = Opened(LI, bytes(32)).seal(before)
    after, _ = rotate(central.directory, "seal", central.directory / "keys/root.key")
    assert after.seal is not None
    assert after.seal != before
    assert Opened.open(box, load_unsealing(central.directory, before.key_id)) == Opened(LI, bytes(32))
    with pytest.raises(SyncError, match="not sealed to key"):
        Opened.open(box, load_unsealing(central.directory, after.seal.key_id))


@dataclass
class Group:
    """A central in this thread, and nodes whose records and answers are handed over without a broker."""

    central: Central
    store: Store
    nodes: dict[str, Node]

    def deliver(self) -> None:
        """Hand over everything central lacks, sidecars behind it."""
        keys = load_serving_keys(self.central.directory)
        ingest, desk = Ingest(self.store, keys), SidecarDesk(self.store, keys)
        for name, node in self.nodes.items():
            with closing(node.ledger()) as ledger:
                head = self.store.head(name)
                while (frame := ledger.next_frame((1, head.seq) if head else (0, 0))) is not None:
                    ingest.take(ingest.read([Arrived(name, encode_frame(frame[1]))]), NOW_US)
                    head = self.store.head(name)
                waiting = sidecars.waiting(ledger.connection, (1, 10_000))
                if waiting:
                    desk.take(name, seal_sidecars(name, waiting, node.key), NOW_US)
                    sidecars.taken(ledger.connection, [one.record for one in waiting])
        desk.tell(NOW_US)

    def told(self, name: str) -> list[dict[str, object]]:
        """What a node was told to erase, and told of erasures."""
        return [row.body for row in self.store.notices(name) if row.kind == "erase"]


@pytest.fixture
def group(tmp_path: Path, store_url: str | None) -> Iterator[Group]:
    central = Central(tmp_path / "central", store_url=store_url)
    nodes = {name: enrolled(Node(tmp_path / name, name), central) for name in ("n1", "n2", "n3")}
    for node in nodes.values():
        node.record(1)
    with central.store() as store:
        yield Group(central, store, nodes)


def test_whoever_knows_the_same_number_is_told_and_all_confirmations_are_waited_for(group: Group) -> None:
    one, two, three = group.nodes.values()
    check_in(one, group.central, "v-1", "c-" + "1" * 20, LI)
    check_in(two, group.central, "v-2", "c-" + "2" * 20, LI)
    check_in(three, group.central, "v-3", "c-" + "3" * 20, WANG)
    group.deliver()
    desk_record(one, "person.erased", {"person": "c-" + "1" * 20, "reason": "request"})
    group.deliver()
    assert group.told("n2") == [{"person": "c-" + "2" * 20, "reason": "request"}]
    assert group.told("n1") == group.told("n3") == []
    with closing(two.ledger()) as ledger:  # forgotten there, but somebody reads its keys still: not confirmed
        ledger.append("retention.run", {"expired": ["c-" + "2" * 20], "basis": "central"})
    group.deliver()
    assert group.told("n1") == []
    assert group.store.sidecar_count() == 1, "WANG's, which nobody asked about"
    with closing(two.ledger()) as ledger:
        ledger.append("retention.run", {"expired": [], "basis": "reached", "reached": ["c-" + "2" * 20]})
    group.deliver()
    group.deliver()
    assert group.told("n1") == [{"person": "c-" + "1" * 20, "reason": "request", "confirmed": 1}]
    (row,) = group.store.erasures()
    assert (row.words, row.confirmed, row.answered_us) == (1, 1, NOW_US)
    command = ["erasures", "--dir", str(group.central.directory), "--json"]
    listed = json.loads(CliRunner().invoke(app, command, catch_exceptions=False).stdout)
    assert (listed["person"], listed["told"], listed["state"]) == ("c-" + "1" * 20, 1, "complete")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("consent.withdrawn", {"purpose": "visitor"}),
        ("person.erased", {"reason": "request"}),
        ("person.erased", {"reason": "consent_withdrawn", "proof": "command"}),
    ],
    ids=["taken back", "erased", "of a face no code is proof"],
)
def test_a_number_that_nobody_proved_takes_no_face_elsewhere_along(
    group: Group, kind: str, fields: dict[str, object]
) -> None:
    one, two, _ = group.nodes.values()
    rival, victim = (f"p-{letter * 20}" for letter in "ab")
    check_in(one, group.central, "v-1", "c-" + "1" * 20, LI, rival)
    check_in(two, group.central, "v-2", "c-" + "2" * 20, LI, victim)
    group.deliver()
    desk_record(one, kind, {"person": rival, **fields})
    group.deliver()
    assert group.told("n2") == []
    desk_record(one, "person.erased", {"person": "c-" + "1" * 20, "reason": "request"})
    group.deliver()
    assert [said["person"] for said in group.told("n2")] == ["c-" + "2" * 20], "the phone only: no code came back"


def test_a_proven_phone_takes_the_forgotten_face_along_and_nobody_is_guessed_where_two_share_it(group: Group) -> None:
    one, two, three = group.nodes.values()
    mine, theirs, wife, husband = (f"p-{letter * 20}" for letter in "abcd")
    check_in(one, group.central, "v-1", "c-" + "1" * 20, LI, mine)
    check_in(two, group.central, "v-2", "c-" + "2" * 20, LI, theirs)
    check_in(three, group.central, "v-3", "c-" + "3" * 20, LI, wife)
    check_in(three, group.central, "v-4", "c-" + "3" * 20, LI, husband)
    group.deliver()
    taken_back = desk_record(one, "consent.withdrawn", {"person": mine, "purpose": "visitor", "reached": [mine]})
    desk_record(one, "person.erased", {"person": "c-" + "1" * 20, "reason": "request", "proof": "command"})
    group.deliver()
    at_us = min(taken_back.stamp.wall_us, NOW_US)
    phone = {"person": "c-" + "2" * 20, "reason": "request"}
    assert group.told("n2") == [phone, {"person": theirs, "reason": "consent_withdrawn", "withdrawn_us": at_us}]
    assert group.told("n3") == [{"person": "c-" + "3" * 20, "reason": "request"}]
    for node, done in ((two, {"reached": ["c-" + "2" * 20]}), (three, {"reached": ["c-" + "3" * 20]})):
        with closing(node.ledger()) as ledger:
            ledger.append("retention.run", {"expired": [], "basis": "central", **done})
    group.deliver()
    heard = {"person": mine, "reason": "consent_withdrawn", "confirmed": 0}
    assert group.told("n1") == [heard], "the face at n2 has not been answered for"
    with closing(two.ledger()) as ledger:
        ledger.append("retention.run", {"expired": [], "basis": "central", "kept": [theirs]})
    group.deliver()
    assert group.told("n1") == [heard, {"person": "c-" + "1" * 20, "reason": "request", "confirmed": 2}]


@pytest.mark.parametrize("forgotten", [None, "error", "one of two"])
def test_a_proven_phone_takes_no_face_along_that_nobody_wanted_gone(group: Group, forgotten: str | None) -> None:
    one, two, _ = group.nodes.values()
    mine, other, theirs = (f"p-{letter * 20}" for letter in "abc")
    check_in(one, group.central, "v-1", "c-" + "1" * 20, LI, mine)
    if forgotten == "one of two":
        check_in(one, group.central, "v-3", "c-" + "1" * 20, LI, other)
    check_in(two, group.central, "v-2", "c-" + "2" * 20, LI, theirs)
    group.deliver()
    if forgotten is not None:
        reason = "error" if forgotten == "error" else "request"
        desk_record(one, "person.erased", {"person": mine, "reason": reason})
    desk_record(one, "person.erased", {"person": "c-" + "1" * 20, "reason": "request", "proof": "by_hand"})
    group.deliver()
    assert [said["person"] for said in group.told("n2")] == ["c-" + "2" * 20]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("consent.withdrawn", {"purpose": "visitor", "reason": "undone"}),
        ("consent.withdrawn", {"purpose": "phone", "state": "asked"}),
        ("person.erased", {"reason": "error"}),
    ],
    ids=["a registration undone", "a phone, asked only", "not the face of whoever gave the phone"],
)
def test_what_is_no_withdrawal_by_the_person_reaches_nobody_elsewhere(
    group: Group, kind: str, fields: dict[str, object]
) -> None:
    one, two, _ = group.nodes.values()
    mine = "p-" + "a" * 20
    check_in(one, group.central, "v-1", "c-" + "1" * 20, LI, mine)
    check_in(two, group.central, "v-2", "c-" + "2" * 20, LI, "p-" + "b" * 20)
    group.deliver()
    desk_record(one, kind, {"person": mine, **fields})
    group.deliver()
    assert group.told("n2") == []


def test_of_a_check_in_that_was_taken_back_nothing_is_kept_and_no_replay_brings_it_back(group: Group) -> None:
    node = group.nodes["n1"]
    record = check_in(node, group.central, "v-1", "c-" + "1" * 20, LI)
    with closing(node.ledger()) as ledger:
        (sent,) = sidecars.waiting(ledger.connection, (1, 10_000))
    group.deliver()
    assert group.store.sidecar_count() == 1
    desk_record(node, "visit.checkin", {"visit": "v-1", "state": "open", "undoes": record.hash.hex()})
    group.deliver()
    assert group.store.sidecar_count() == 0
    desk = SidecarDesk(group.store, load_serving_keys(group.central.directory))
    assert desk.take("n1", seal_sidecars("n1", [sent], node.key), NOW_US) is not None
    assert group.store.sidecar_count() == 0


def test_a_check_in_that_undoes_a_person_keeps_no_erasure_of_theirs_from_being_answered(group: Group) -> None:
    one, mine = group.nodes["n1"], "p-" + "a" * 20
    desk_record(one, "visit.checkin", {"visit": "v-1", "state": "open", "undoes": mine})
    desk_record(one, "person.erased", {"person": mine, "reason": "request", "reached": [mine]})
    group.deliver()
    assert [(row.subject, row.answered_us) for row in group.store.erasures()] == [(mine, NOW_US)]


def test_a_sidecar_that_is_not_the_nodes_own_or_of_no_check_in_here_is_not_taken(group: Group) -> None:
    one, two, _ = group.nodes.values()
    check_in(one, group.central, "v-1", "c-" + "1" * 20, LI)
    with closing(one.ledger()) as ledger:
        (sidecar,) = sidecars.waiting(ledger.connection, (1, 10_000))
    desk = SidecarDesk(group.store, load_serving_keys(group.central.directory))
    assert desk.take("n1", seal_sidecars("n1", [sidecar], one.key), NOW_US) is None, "its record is not here yet"
    group.deliver()
    assert desk.take("n1", seal_sidecars("n1", [sidecar], two.key), NOW_US) is None
    assert desk.take("n2", seal_sidecars("n2", [sidecar], two.key), NOW_US) is None
    assert desk.take("n9", seal_sidecars("n9", [sidecar], two.key), NOW_US) is None
    assert desk.take("n1", b"\0" * 200, NOW_US) is None
    assert desk.take("n1", seal_sidecars("n1", [sidecar], one.key), NOW_US) is not None


def test_what_does_not_open_the_records_commitment_is_not_shown(group: Group) -> None:
    node, key = group.nodes["n1"], load_public(group.central.directory).seal
    assert key is not None
    said = {"visit": "v-1", "state": "registered", "phone": commitment(bytes(32), LI.encode()).hex()}
    record = desk_record(node, "visit.checkin", said)
    forged = Opened(WANG, bytes(32)).seal(key)
    sidecar = Sidecar(1, record.seq, record.hash, "c-" + "1" * 20, hmac_of(WANG), forged, key.key_id)
    with closing(node.ledger()) as ledger:
        sidecars.add(ledger.connection, sidecar)
    group.deliver()
    with pytest.raises(SyncError, match="nothing is shown"):
        unmask(group.central.directory, "n1", "v-1", "dispute")
    assert not any(b"phone.unmasked" in data for _, data in group.store.statements("n1"))


def test_sidecars_go_over_https_where_there_is_no_broker(tmp_path: Path) -> None:
    site = ApiSite(tmp_path)
    site.start()
    node = Node(tmp_path / "home")
    try:
        site.joined(node)
        node.record(1)
        check_in(node, site.central, "v-1", "c-" + "1" * 20, LI)
        node.start(site.url)
        wait_for(lambda: untaken(node) == 0, "central has taken it")
        assert held(site.central) == 1
        assert node.alarms() == {}
    finally:
        node.stop()
        site.stop()


def test_an_order_of_before_and_the_word_back_are_read_apart() -> None:
    order, back = Erase("p-" + "0" * 20, "request"), Erase("p-" + "0" * 20, "request", 0)
    assert Erase.of(order.fields()) == order
    assert Erase.of(back.fields()) == back
    assert order.fields() != back.fields()
    withdrawn = Erase("p-" + "0" * 20, "consent_withdrawn", withdrawn_us=NOW_US)
    assert Erase.of(withdrawn.fields()) == withdrawn
    with pytest.raises(SyncError, match="not understood"):
        Erase.of({**back.fields(), "withdrawn_us": NOW_US})


def test_a_frame_is_no_sidecar_and_a_notice_no_answer(group: Group) -> None:
    node = group.nodes["n1"]
    frame = encode_frame([SignedBody(b"{}", bytes(64))])
    desk = SidecarDesk(group.store, load_serving_keys(group.central.directory))
    assert desk.take("n1", frame, NOW_US) is None
    keys = load_serving_keys(group.central.directory)
    notice = Notice.seal("n1", 1, bytes(32), "erase", Erase("p-" + "0" * 20, "request").fields(), keys.ack)
    with pytest.raises(SyncError):
        open_taken("n1", notice.data, keys.ack.public)
    assert node.alarms() == {}
