"""The whole way up and down, over real brokers: no record lost, none twice."""

import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from sync.central.keys import key_path
from sync.format import canonical
from sync.format.messages import Ack, BadMessage, Nack, Notice, Status
from sync.format.records import seal
from sync.format.signing import Signer, create_key_file, load_key_file
from sync.format.wire import SignedBody, encode_frame
from sync.transport.broker import Kind, mosquitto
from tests.sync.broker_process import BrokerProcess
from tests.sync.uplink_site import Central, Node, Site, enrolled, free_port, wait_for

BROKERS: tuple[Kind, ...] = ("mosquitto", "amqtt")


@pytest.fixture(params=BROKERS)
def any_site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site on each broker there is."""
    with _site(request.param, tmp_path) as site:
        yield site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site on the better broker there is."""
    with _site("mosquitto" if mosquitto() else "amqtt", tmp_path) as site:
        yield site


@contextmanager
def _site(kind: Kind, folder: Path) -> Iterator[Site]:
    if kind == "mosquitto" and not mosquitto():
        pytest.skip("mosquitto is not installed")
    broker = BrokerProcess(free_port(), kind)
    broker.start()
    site = Site(folder, broker)
    try:
        yield site
    finally:
        site.stop()


class Stranger:
    """Somebody else on the broker, who may publish and listen anywhere."""

    def __init__(self, site: Site) -> None:
        self.heard: dict[str, list[bytes]] = {}
        self._ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="stranger")
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.connect("127.0.0.1", site.broker.port)
        self._client.subscribe("fv1/#", qos=1)
        self._client.loop_start()
        assert self._ready.wait(10)

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.heard.setdefault(message.topic, []).append(bytes(message.payload))

    def say(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1).wait_for_publish(10)

    def leave(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def stranger(site: Site) -> Iterator[Stranger]:
    somebody = Stranger(site)
    yield somebody
    somebody.leave()


def settled(site: Site, records: int) -> None:
    """Wait until `records` and the answer to notice 1 are acknowledged, and central holds exactly these."""
    wait_for(lambda: site.node.head() == records + 1, "notice 1 is answered by a record")
    site.drain()
    assert site.central.held() == list(range(1, records + 2))


def notice(site: Site, nseq: int, prev_hash: bytes, kind: str = "keys", key: str = "root") -> Notice:
    signer = load_key_file(key_path(site.central.directory, key))  # type: ignore[arg-type]
    body = canonical.decode(site.central.public.read_text().splitlines()[0].encode())
    return Notice.seal("n1", nseq, prev_hash, kind, body, signer)  # type: ignore[arg-type]


def central_key(site: Site) -> Signer:
    return load_key_file(key_path(site.central.directory, "ack"))


# -- no record lost, none twice ----------------------------------------------------------------------------------


def test_what_a_node_records_is_held_and_acknowledged(any_site: Site) -> None:
    any_site.node.record(950)  # more than a window
    any_site.start()
    settled(any_site, 950)


def test_a_record_appended_by_another_connection_is_soon_acknowledged(any_site: Site) -> None:
    any_site.node.record(1)
    any_site.start()
    settled(any_site, 1)
    for count in range(3, 6):
        any_site.node.record(1)
        any_site.drain(20)
        assert any_site.central.held() == list(range(1, count + 1))


def test_a_broker_killed_and_restarted_loses_nothing(any_site: Site) -> None:
    any_site.node.record(20)
    any_site.start()
    settled(any_site, 20)
    for _ in range(2):
        any_site.node.record(300)
        any_site.broker.kill()
        any_site.node.record(30)
        any_site.broker.start()
    any_site.drain()
    assert any_site.central.held() == list(range(1, 682))
    assert any_site.node.alarms() == {}


def test_a_node_records_while_there_is_no_broker_and_sends_when_there_is(site: Site) -> None:
    site.broker.stop()
    site.node.record(10)
    site.start()
    assert site.node.uplink is not None
    assert not site.node.uplink.drained(0.5)
    site.broker.start()
    settled(site, 10)


def test_a_central_away_for_a_while_finds_all_it_missed(site: Site) -> None:
    site.node.record(5)
    site.start()
    settled(site, 5)
    site.central.stop()
    site.node.record(200)
    assert site.node.uplink is not None
    assert not site.node.uplink.drained(0.5)
    site.central.start(site.broker.url)
    site.drain()
    assert site.central.held() == list(range(1, 207))


_SERVE = """
import sys
from pathlib import Path
from sync.central.server import Server
from sync.transport.mqtt import BrokerAddress
Server(Path(sys.argv[1]), "c1", BrokerAddress.parse(sys.argv[2])).serve()
"""


def test_a_central_killed_in_the_middle_never_acknowledged_what_it_lost(site: Site) -> None:
    site.node.record(3000)
    site.node.start(site.broker.url)
    command = [sys.executable, "-c", _SERVE, str(site.central.directory), site.broker.url]
    held = 0
    for _ in range(3):
        child = subprocess.Popen(command)
        try:
            target = held + 100
            wait_for(lambda target=target: len(site.central.held()) >= target, "central takes records")  # type: ignore[misc]
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        held = len(site.central.held())
        ledger = site.node.ledger()
        acked = ledger.acked_upto()[1]
        ledger.close()
        assert acked <= held
    site.central.start(site.broker.url)
    settled(site, 3000)


def run_node(site: Site, recording: bool) -> subprocess.Popen[bytes]:
    """The site's node in a process of its own, to be killed."""
    script = (
        "import sys; from pathlib import Path; from tests.sync.uplink_site import run_node;"
        f"run_node(Path(sys.argv[1]), sys.argv[2], {recording})"
    )
    command = [sys.executable, "-c", script, str(site.node.home), site.broker.url]
    return subprocess.Popen(command, cwd=Path(__file__).parents[3])


def test_a_node_killed_again_and_again_continues_its_chain(site: Site) -> None:
    site.central.start(site.broker.url)
    for _ in range(5):
        child = run_node(site, recording=True)
        try:
            target = site.node.head() + 40
            wait_for(lambda target=target: len(site.central.held()) >= target, "central takes records")  # type: ignore[misc]
        finally:
            child.kill()
            child.wait()
    site.node.start(site.broker.url)
    site.drain()
    assert site.central.held() == list(range(1, site.node.head() + 1))
    assert site.node.alarms() == {}


def test_a_node_restarted_sends_only_what_was_not_acknowledged(site: Site, stranger: Stranger) -> None:
    site.node.record(50)
    site.start()
    settled(site, 50)
    site.node.stop()
    frames = len(stranger.heard["fv1/n1/up"])
    site.node.record(3)
    site.node.start(site.broker.url)
    site.drain()
    wait_for(lambda: len(stranger.heard["fv1/n1/up"]) > frames, "the frame is heard")
    assert site.central.held() == list(range(1, 55))
    assert len(stranger.heard["fv1/n1/up"]) == frames + 1


def test_frames_repeated_by_the_network_are_held_once(site: Site, stranger: Stranger) -> None:
    site.node.record(30)
    site.start()
    settled(site, 30)
    acks = len(stranger.heard["fv1/n1/ack"])
    for frame in list(stranger.heard["fv1/n1/up"]) * 3:
        stranger.say("fv1/n1/up", frame)
    wait_for(lambda: len(stranger.heard["fv1/n1/ack"]) > acks, "central answers the repeated frames")
    site.node.record(1)
    site.drain()
    assert site.central.held() == list(range(1, 33))
    assert site.node.alarms() == {}


def test_two_nodes_do_not_disturb_each_other(site: Site, tmp_path: Path) -> None:
    other = enrolled(Node(tmp_path / "other", "n2"), site.central)
    site.node.record(120)
    other.record(80)
    site.start()
    uplink = other.start(site.broker.url, seed=2)
    try:
        settled(site, 120)
        wait_for(lambda: other.head() == 81, "notice 1 reaches the other node too")
        assert uplink.drained(30)
        assert site.central.held("n2") == list(range(1, 82))
    finally:
        other.stop()


# -- lies and accidents ------------------------------------------------------------------------------------------


def test_a_central_restored_from_an_older_copy_raises_an_alarm_and_gets_everything_again(
    site: Site, tmp_path: Path
) -> None:
    site.node.record(20)
    site.start()
    settled(site, 20)
    site.central.stop()
    site.central.copy_store(tmp_path / "old.db")
    site.central.start(site.broker.url)
    site.node.record(200)
    site.drain()
    site.central.stop()
    site.central.restore_store(tmp_path / "old.db")
    assert len(site.central.held()) == 21
    site.central.start(site.broker.url)
    wait_for(lambda: site.central.held() == list(range(1, 222)), "central has everything again")
    wait_for(lambda: "CENTRAL_ROLLBACK" in site.node.alarms(), "the alarm is recorded")


def test_a_central_that_lost_everything_but_the_enrolment_gets_everything_again(site: Site, tmp_path: Path) -> None:
    site.central.copy_store(tmp_path / "old.db")
    site.node.record(20)
    site.start()
    settled(site, 20)
    site.central.stop()
    site.central.restore_store(tmp_path / "old.db")
    site.central.start(site.broker.url)
    wait_for(lambda: site.central.held() == list(range(1, 22)), "central has everything again")
    wait_for(lambda: "CENTRAL_ROLLBACK" in site.node.alarms(), "the alarm is recorded")


def test_an_ack_of_another_key_is_ignored_logged_once_and_counted(
    site: Site, stranger: Stranger, caplog: pytest.LogCaptureFixture
) -> None:
    site.node.record(5)
    ledger = site.node.ledger()
    head = ledger.head()
    ledger.close()
    assert head is not None
    site.node.start(site.broker.url)
    wait_for(lambda: "fv1/n1/up" in stranger.heard, "the node sends")
    forger = create_key_file(site.folder / "forger.key")
    for time_us in range(3):
        ack = Ack.seal("n1", head.epoch, head.seq, head.hash, 1_760_000_000_000_000 + time_us, 8, forger)
        stranger.say("fv1/n1/ack", ack.data)
    wait_for(lambda: site.node.alarms().get("FORGED_ACK") == 3, "three forgeries are counted")
    assert len([record for record in caplog.records if "FORGED_ACK" in record.getMessage()]) == 1
    ledger = site.node.ledger()
    assert ledger.acked_upto() == (0, 0)
    ledger.close()
    site.central.start(site.broker.url)
    settled(site, 5)


def test_an_ack_of_central_for_another_chain_marks_nothing(site: Site, stranger: Stranger) -> None:
    site.node.record(5)
    site.node.start(site.broker.url)
    wait_for(lambda: "fv1/n1/up" in stranger.heard, "the node sends")
    stranger.say("fv1/n1/ack", Ack.seal("n1", 1, 3, b"\1" * 32, 1_760_000_000_000_000, 8, central_key(site)).data)
    wait_for(lambda: site.node.alarms() == {"ACK_NOT_OURS": 1}, "the alarm is counted")
    assert site.node.uplink is not None
    assert not site.node.uplink.drained(0)
    assert site.node.acked_upto() == (0, 0)


def test_an_old_ack_replayed_is_no_rollback(site: Site, stranger: Stranger) -> None:
    site.node.record(5)
    site.start()
    settled(site, 5)
    site.node.record(5)
    site.drain()
    for ack in list(stranger.heard["fv1/n1/ack"]):
        stranger.say("fv1/n1/ack", ack)
    stranger.say("fv1/n1/ack", b"rubbish")
    wait_for(lambda: site.node.alarms() == {"FORGED_ACK": 1}, "only the rubbish is counted")
    assert site.node.uplink is not None
    assert site.node.acked_upto() == (1, 11)
    assert site.node.uplink.drained(0), "nor does the sender go back"


def test_a_fork_stops_sending_and_the_node_goes_on_recording(site: Site, stranger: Stranger) -> None:
    site.node.record(5)
    site.start()
    settled(site, 5)
    ledger = site.node.ledger()
    record = ledger.record(1, 3)
    ledger.close()
    assert record is not None
    twin = seal({**record.fields, "camera": "back"}, site.node.key)
    stranger.say("fv1/n1/up", encode_frame([SignedBody(twin.body, twin.signature)]))
    wait_for(lambda: "FORK" in site.node.alarms(), "the alarm is recorded")
    assert site.node.uplink is not None
    site.node.record(3)
    assert not site.node.uplink.drained(5)
    assert site.node.head() == 9
    with site.central.store() as store:
        assert store.nodes()[0].chain == "fork"
    assert site.central.held() == [1, 2, 3, 4, 5, 6]


def test_bytes_of_others_on_a_nodes_topic_do_not_stop_it(site: Site, stranger: Stranger) -> None:
    site.node.record(5)
    site.start()
    settled(site, 5)
    ledger = site.node.ledger()
    record = ledger.record(1, 5)
    ledger.close()
    assert record is not None
    outsider = create_key_file(site.folder / "outsider.key")
    next_one = seal({**record.fields, "seq": 7, "key": outsider.public.key_id}, outsider)
    stranger.say("fv1/n1/up", encode_frame([SignedBody(next_one.body, next_one.signature)]))
    stranger.say("fv1/n1/up", b"not a frame")
    stranger.say("fv1/n1/up", b"FV1F" + bytes(300_000))
    stranger.say("fv1/n1/status", b"{}")
    stranger.say("fv1/n1/odd/topic", b"")
    with site.central.store() as store:
        wait_for(lambda: sum(one.count for one in store.refusals()) >= 2, "what is not the node's is counted")
    site.node.record(5)
    site.drain()
    assert site.central.held() == list(range(1, 12))
    assert site.node.alarms() == {}


def test_a_nodes_own_record_under_a_signature_that_is_none_draws_no_refusal(site: Site, stranger: Stranger) -> None:
    site.node.record(5)
    site.start()
    settled(site, 5)
    site.node.stop()
    site.node.record(1)
    ledger = site.node.ledger()
    coming = ledger.record(1, 7)
    ledger.close()
    assert coming is not None
    stranger.heard["fv1/n1/ack"].clear()
    stranger.say("fv1/n1/up", encode_frame([SignedBody(coming.body, bytes(64))]))
    with site.central.store() as store:
        wait_for(lambda: len(store.refusals()) == 1, "it is counted")
    site.node.start(site.broker.url)
    site.drain()
    assert site.central.held() == list(range(1, 8))
    assert site.node.alarms() == {}
    nacks = 0
    for answer in stranger.heard["fv1/n1/ack"]:
        with suppress(BadMessage):
            Nack.parse(answer, central_key(site).public)
            nacks += 1
    assert nacks == 0


def test_a_refusal_of_a_nodes_own_record_raises_an_alarm_and_stops_nothing(site: Site, stranger: Stranger) -> None:
    site.node.record(5)
    site.start()
    settled(site, 5)
    ledger = site.node.ledger()
    record = ledger.record(1, 6)
    ledger.close()
    assert record is not None
    for code in ("BAD_SIG", "TOO_BIG"):
        refusal = Nack("n1", code, 1, 6, record.hash, time.time_ns() // 1000)
        stranger.say("fv1/n1/ack", refusal.seal(central_key(site)))
    wait_for(lambda: site.node.alarms() == {"BAD_SIG": 1, "TOO_BIG": 1}, "both are alarms")
    site.node.record(5)
    site.drain()
    assert site.central.held() == list(range(1, 12))


def test_a_refusal_of_what_somebody_else_signed_with_a_revoked_key_stops_nothing(
    site: Site, stranger: Stranger
) -> None:
    site.node.record(5)
    site.start()
    settled(site, 5)
    stranger.say("fv1/n1/ack", Nack("n1", "REVOKED", 1, 4, bytes(32), time.time_ns() // 1000).seal(central_key(site)))
    wait_for(lambda: site.node.alarms() == {"NOT_OUR_RECORD": 1}, "it is an alarm of its own")
    site.node.record(5)
    site.drain()
    assert site.central.held() == list(range(1, 12))


def test_a_frame_on_the_topic_of_another_node_is_not_taken(site: Site, stranger: Stranger, tmp_path: Path) -> None:
    enrolled(Node(tmp_path / "other", "n2"), site.central)
    site.node.record(5)
    site.start()
    settled(site, 5)
    frame = stranger.heard["fv1/n1/up"][0]
    stranger.say("fv1/n2/up", frame)
    stranger.say("fv1/nobody/up", frame)

    def counted() -> bool:
        with site.central.store() as store:
            return {(one.node_id, one.reason) for one in store.refusals()} == {
                ("n2", "not-signed"),
                ("", "unknown-node"),
            }

    wait_for(counted, "both refusals are counted")
    assert site.central.held("n2") == []


def test_a_gap_nack_below_the_last_ack_is_met_with_the_records_again(site: Site, stranger: Stranger) -> None:
    site.node.record(5)
    site.start()
    settled(site, 5)
    frames = len(stranger.heard["fv1/n1/up"])
    stranger.say("fv1/n1/ack", Nack("n1", "GAP", 1, 2, bytes(32), time.time_ns() // 1000).seal(central_key(site)))
    wait_for(lambda: len(stranger.heard["fv1/n1/up"]) > frames, "the records go out again")
    site.drain()
    assert site.central.held() == list(range(1, 7))


def test_old_answers_of_central_played_again_are_no_rollback(
    site: Site, stranger: Stranger, caplog: pytest.LogCaptureFixture
) -> None:
    site.node.record(5)
    site.start()
    settled(site, 5)
    ledger = site.node.ledger()
    record, before_us = ledger.record(1, 3), ledger.last_ack_us()
    ledger.close()
    assert record is not None
    assert before_us is not None
    withheld = Ack.seal("n1", 1, 3, record.hash, before_us - 1, 8, central_key(site))  # the node never saw it
    old_gap = Nack("n1", "GAP", 1, 2, bytes(32), before_us - 1).seal(central_key(site))
    old_fork = Nack("n1", "FORK", 1, 3, bytes(32), before_us - 1).seal(central_key(site))
    frames = len(stranger.heard["fv1/n1/up"])
    for _ in range(5):
        for answer in (withheld.data, old_gap, old_fork):
            stranger.say("fv1/n1/ack", answer)
    stranger.say("fv1/n1/ack", b"rubbish")  # behind the others: once it is counted, all were judged
    wait_for(lambda: site.node.alarms() == {"FORGED_ACK": 1}, "only the rubbish is counted")
    assert len(stranger.heard["fv1/n1/up"]) == frames
    site.node.record(1)
    site.drain()
    assert site.node.alarms() == {"FORGED_ACK": 1}
    assert caplog.text.count("old answer ignored") == 1


def test_a_central_whose_clock_was_set_back_is_still_heard(site: Site, stranger: Stranger) -> None:
    site.node.record(5)
    ledger = site.node.ledger()
    record = ledger.record(1, 5)
    assert record is not None
    tomorrow_us = time.time_ns() // 1000 + 86_400_000_000
    assert ledger.accept_ack(Ack.seal("n1", 1, 5, record.hash, tomorrow_us, 8, central_key(site)))
    site.start()  # a central that has none of the five, by a clock of today
    site.node.record(1)
    ledger.append("camera.up", {"camera": "door"})
    wait_for(lambda: "fv1/n1/up" in stranger.heard, "the node listens, and sends")
    stranger.say("fv1/n1/ack", Nack("n1", "GAP", 1, 1, bytes(32), tomorrow_us + 1).seal(central_key(site)))
    wait_for(lambda: len(site.central.held()) >= 7, "central has everything")
    site.drain()
    assert (ledger.last_ack_us() or 0) < tomorrow_us
    ledger.close()


def test_acks_that_strangers_draw_are_kept_one_a_minute(site: Site, stranger: Stranger) -> None:
    site.node.record(5)
    site.start()
    settled(site, 5)
    ledger = site.node.ledger()
    head, kept, last_us = ledger.head(), len(list(ledger.acks())), ledger.last_ack_us()
    assert head is not None
    assert last_us is not None
    for second in range(1, 50):
        ack = Ack.seal("n1", 1, head.seq, head.hash, last_us + second * 1_000_000, 8, central_key(site))
        stranger.say("fv1/n1/ack", ack.data)
    stranger.say("fv1/n1/ack", b"rubbish")
    wait_for(lambda: site.node.alarms() == {"FORGED_ACK": 1}, "all were judged")
    assert len(list(ledger.acks())) == kept
    later = Ack.seal("n1", 1, head.seq, head.hash, last_us + 60_000_000, 8, central_key(site))
    stranger.say("fv1/n1/ack", later.data)
    wait_for(lambda: len(list(ledger.acks())) == kept + 1, "one of a minute later is kept")
    ledger.close()


def test_nobody_ends_our_sessions_by_a_guessed_client_id(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.node.record(5)
    site.start()
    settled(site, 5)
    for name in ("fv1-n1", "fv1-central-c1"):
        connected = threading.Event()
        thief = Client(CallbackAPIVersion.VERSION2, client_id=name)
        thief.on_connect = lambda *_, connected=connected: connected.set()
        thief.connect("127.0.0.1", site.broker.port)
        thief.loop_start()
        assert connected.wait(10)
        site.node.record(1)
        site.drain(20)
        thief.disconnect()
        thief.loop_stop()
    assert "broker unreachable" not in caplog.text


def test_a_broker_that_confirms_nothing_is_left_with_an_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sync.node.uplink_thread.UNCONFIRMED_S", 0.5)
    node = enrolled(Node(tmp_path / "home"), Central(tmp_path / "central"))
    node.record(3)
    sessions: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):  # the listener is closed at the end
                while True:
                    peer, _ = listener.accept()
                    sessions.append(peer)
                    peer.recv(4096)
                    peer.sendall(b"\x20\x02\x00\x00")  # CONNACK
                    peer.recv(4096)
                    peer.sendall(b"\x90\x03\x00\x01\x01\x90\x03\x00\x02\x01")  # SUBACK of both, and no word more

        threading.Thread(target=serve, daemon=True).start()
        node.start(f"mqtt://127.0.0.1:{listener.getsockname()[1]}")
        wait_for(lambda: node.alarms().get("BROKER_SILENT", 0) >= 2, "it is left, tried again, and left again")
        assert len(sessions) >= 2
        node.stop()
    for peer in sessions:
        peer.close()
    assert caplog.text.count("code=BROKER_SILENT") == 1


# -- notices -----------------------------------------------------------------------------------------------------


def test_notices_are_applied_once_in_order_and_answered_in_the_chain(
    site: Site, stranger: Stranger, caplog: pytest.LogCaptureFixture
) -> None:
    site.node.record(1)
    site.start()
    settled(site, 1)
    first = stranger.heard["fv1/n1/down"][0]
    hash_1 = notice(site, 1, bytes(32)).hash  # signatures are deterministic: the very notice of the enrolment
    stranger.say("fv1/n1/down", first)
    stranger.say("fv1/n1/down", notice(site, 3, hash_1).data)
    wait_for(lambda: "notice 3 arrived, 2 is missing" in caplog.text, "the gap is refused, the replay ignored")
    assert site.node.alarms() == {}
    stranger.say("fv1/n1/down", notice(site, 2, hash_1).data)
    wait_for(lambda: site.node.head() == 3, "notice 2 is answered")
    site.drain()
    with site.central.store() as store:
        applied = [row.fields for row in store.records("n1") if row.kind == "notice.applied"]
        assert store.nodes()[0].pending_notices == 0
    assert [fields["nseq"] for fields in applied] == [1, 2]
    assert applied[0]["hash"] == hash_1.hex()


def test_a_notice_of_a_kind_not_understood_is_refused_and_not_answered(
    site: Site, stranger: Stranger, caplog: pytest.LogCaptureFixture
) -> None:
    site.node.record(1)
    site.start()
    settled(site, 1)
    hash_1 = notice(site, 1, bytes(32)).hash
    stranger.say("fv1/n1/down", notice(site, 2, hash_1, "policy", "notice").data)
    wait_for(lambda: site.node.alarms() == {"NOTICE_REFUSED": 1}, "it is refused")
    assert "is not understood" in caplog.text
    assert site.node.head() == 2


def test_a_keys_notice_that_the_root_did_not_sign_changes_nothing(site: Site, stranger: Stranger) -> None:
    site.node.record(1)
    site.start()
    settled(site, 1)
    hash_1 = notice(site, 1, bytes(32)).hash
    stranger.say("fv1/n1/down", notice(site, 2, hash_1, "keys", "notice").data)
    wait_for(lambda: site.node.alarms() == {"FORGED_NOTICE": 1}, "it is counted")
    assert site.node.head() == 2


# -- presence, leaving, secrets ----------------------------------------------------------------------------------


def test_central_sees_a_node_come_and_go(any_site: Site) -> None:
    any_site.node.record(1)
    any_site.start()

    def online() -> bool:
        with any_site.central.store() as store:
            return store.nodes()[0].online

    wait_for(online, "the node is online")
    any_site.node.stop()
    wait_for(lambda: not online(), "the node took leave")


def test_a_node_that_vanishes_is_offline_by_its_last_will(any_site: Site) -> None:
    any_site.central.start(any_site.broker.url)
    child = run_node(any_site, recording=False)

    def online() -> bool:
        with any_site.central.store() as store:
            return store.nodes()[0].online

    try:
        wait_for(online, "the node is online")
    finally:
        child.kill()
        child.wait()
    wait_for(lambda: not online(), "its will is published")


def test_the_status_is_retained_and_ends_offline(site: Site) -> None:
    site.node.record(7)
    site.start()
    settled(site, 7)
    site.node.stop()
    late = Stranger(site)
    try:
        wait_for(lambda: "fv1/n1/status" in late.heard, "the broker kept the status")
        assert Status.parse(late.heard["fv1/n1/status"][0]) == Status("n1", False, 1, 8, 8, notices=1)
    finally:
        late.leave()


@pytest.mark.parametrize("broker_there", [True, False])
def test_stopping_takes_less_than_two_seconds(site: Site, broker_there: bool) -> None:
    site.node.record(5)
    site.start()
    if broker_there:
        settled(site, 5)
    else:
        site.broker.stop()
    uplink = site.node.uplink
    assert uplink is not None
    began_s = time.monotonic()
    uplink.stop()
    assert time.monotonic() - began_s < 2.0
    assert not uplink._thread.is_alive()


def test_an_outage_is_logged_once_on_loss_and_once_on_return(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    site.node.record(1)
    site.node.start(site.broker.url)
    wait_for(lambda: "broker connected" in caplog.text, "connected")
    site.broker.kill()
    wait_for(lambda: "broker unreachable" in caplog.text, "lost")
    uplink = site.node.uplink
    assert uplink is not None
    wait_for(lambda: "refused" in str(uplink._link.lost_reason), "a retry has failed")
    site.broker.start()
    wait_for(lambda: "broker back" in caplog.text, "back")
    assert caplog.text.count("broker unreachable") == 1
    assert caplog.text.count("broker back") == 1


def test_a_password_in_the_url_reaches_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    node = enrolled(Node(tmp_path / "home"), Central(tmp_path / "central"))
    node.record(1)
    uplink = node.start(f"mqtt://kim:hunter2secret@127.0.0.1:{free_port()}")
    wait_for(lambda: "broker unreachable" in caplog.text, "the loss is logged")
    node.stop()
    assert "hunter2secret" not in caplog.text + repr(vars(uplink)) + repr(vars(uplink._link))
