"""mosquitto as `central broker-config` sets it up: tested by what is delivered, not by what the broker says."""

import random
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sync import SyncError
from sync.central.broker_config import write_broker_config
from sync.central.ca import Authority, open_authority, write_pair
from sync.format.wire import MAX_FRAME_BYTES
from sync.transport.broker import mosquitto
from sync.transport.mqtt import BrokerAddress, Link
from sync.transport.tls import CENTRAL_NAME, TlsFiles, new_key, tls_files, utc_now
from tests.sync.broker_process import ConfiguredBroker
from tests.sync.uplink_site import Central, Node, enrolled, free_port, wait_for

NAMES = ("127.0.0.1", "localhost")


class Office:
    """A central's authority, a broker by its configuration, and clients of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        (folder / "central").mkdir()
        self.authority: Authority = open_authority(folder / "central", "c1", utc_now())
        self.broker: ConfiguredBroker | None = None
        self.links: list[Link] = []

    def start(self) -> None:
        write_broker_config(self.authority, self.folder / "broker", self.port, NAMES, utc_now())
        self.broker = ConfiguredBroker(self.folder / "broker" / "mosquitto.conf", self.port)
        self.broker.start()

    def certified(self, name: str, now: datetime | None = None) -> TlsFiles:
        """A node's folder of certificates, issued at some time."""
        files = TlsFiles(self.folder / f"tls-{name}-{random.randrange(10**9)}")
        files.folder.mkdir()
        shutil.copy(self.folder / "central/tls/ca.crt", files.ca)
        key = new_key()
        write_pair(files, key, self.authority.issue_client(name, key.public_key(), now or utc_now()).text)
        return files

    def link(self, tls: TlsFiles | None, *topics: str, host: str = "127.0.0.1") -> Link:
        address = BrokerAddress(host, self.port, tls=True)
        link = Link(address, "test", topics, random.Random(1), tls)
        self.links.append(link)
        return link

    def central(self, *topics: str) -> Link:
        return self.connected(self.link(tls_files(self.folder / "central"), *topics))

    def connected(self, link: Link) -> Link:
        def up() -> bool:
            link.poll(0.02)
            return link.connected

        wait_for(up, f"a session: {link.lost_reason}")
        return link

    def refused(self, link: Link) -> str:
        """Why a link got no session, after several tries."""
        deadline_s = time.monotonic() + 1.5  # two tries
        while time.monotonic() < deadline_s:
            link.poll(0.05)
            assert link.sessions == 0, "a session came up"
        return link.lost_reason or ""

    def close(self) -> None:
        for link in self.links:
            link.close(0)
        if self.broker is not None:
            self.broker.stop()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    if mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    made = Office(tmp_path)
    made.start()
    yield made
    made.close()


def heard(links: dict[str, Link], seconds: float) -> dict[str, list[tuple[str, bytes]]]:
    """What arrives at each link within a time."""
    taken: dict[str, list[tuple[str, bytes]]] = {name: [] for name in links}
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        for name, link in links.items():
            taken[name] += [(message.topic, message.payload) for message in link.poll(0.02)]
    return taken


CHANNELS = ("up", "side", "status", "ack", "down")


def test_what_a_node_publishes_arrives_on_its_own_topics_and_on_no_other_node_s(office: Office) -> None:
    central = office.central(*(f"fv1/+/{channel}" for channel in ("up", "side", "status")))
    a, b = (office.connected(office.link(office.certified(name), f"fv1/{name}/ack")) for name in ("a", "b"))
    for channel in CHANNELS:
        a.publish(f"fv1/b/{channel}", b"a in b's name")
        a.publish(f"fv1/a/{channel}", b"a")
    a.publish("fv1/fv1:central/up", b"a in central's name")
    a.publish("elsewhere", b"a")
    b.publish("fv1/b/up", b"the end")
    taken = heard({"central": central, "a": a, "b": b}, 1.5)
    assert sorted(taken["central"]) == sorted(
        [("fv1/a/up", b"a"), ("fv1/a/side", b"a"), ("fv1/a/status", b"a"), ("fv1/b/up", b"the end")]
    )
    assert taken["a"] == taken["b"] == [], "no node can forge what central says, not even to itself"


def test_a_node_hears_central_s_words_to_itself_and_nobody_else_s_whatever_it_subscribes_to(office: Office) -> None:
    central = office.central()
    topics = ("#", "+/+/+", "fv1/b/ack", "fv1/b/down", "fv1/+/up", "$share/x/fv1/b/ack", "fv1/a/ack", "fv1/a/down")
    spies = {}
    for topic in topics:  # one a session: the broker may say of some at once that they are refused
        link = office.link(office.certified("a"), topic)
        deadline_s = time.monotonic() + 10
        while not link.connected and link.lost_reason is None and time.monotonic() < deadline_s:
            link.poll(0.02)
        spies[topic] = link
    b = office.connected(office.link(office.certified("b"), "fv1/b/ack", "fv1/b/down"))
    for node in ("a", "b"):
        for channel in ("ack", "down"):
            central.publish(f"fv1/{node}/{channel}", f"to {node} {channel}".encode())
    b.publish("fv1/b/up", b"b's frame")
    taken = heard({**spies, "b": b, "central": central}, 1.5)
    assert taken.pop("b") == [("fv1/b/ack", b"to b ack"), ("fv1/b/down", b"to b down")]
    assert taken.pop("fv1/a/ack") == [("fv1/a/ack", b"to a ack")]
    assert taken.pop("fv1/a/down") == [("fv1/a/down", b"to a down")]
    leaked = [one for messages in taken.values() for one in messages if not one[0].startswith("fv1/a/")]
    assert leaked == []


def test_nobody_without_a_certificate_of_this_authority_has_a_session(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    other = open_authority(tmp_path / "other", "c1", utc_now())
    forged = office.certified("a")
    key = new_key()
    write_pair(forged, key, other.issue_client("a", key.public_key(), utc_now()).text)
    office.refused(office.link(forged))

    server = office.certified("a")  # what the broker shows to others is no ticket of a client's
    shutil.copy(office.folder / "broker/broker.crt", server.certificate)
    shutil.copy(office.folder / "broker/broker.key", server.key)
    office.refused(office.link(server))

    monkeypatch.setenv("SSL_CERT_FILE", str(office.folder / "central/tls/ca.crt"))
    office.refused(office.link(None))


def test_an_expired_certificate_is_refused_and_the_reason_named(office: Office) -> None:
    files = office.certified("a", datetime.now(UTC) - timedelta(days=181))
    expired = datetime.now(UTC) - timedelta(days=1)
    assert office.refused(office.link(files)) == f"{files.certificate}: expired on {expired:%Y-%m-%d}"


def test_a_revoked_certificate_is_refused_once_the_broker_has_the_new_list_and_the_others_go_on(office: Office) -> None:
    a, b = office.certified("a"), office.certified("b")
    office.connected(office.link(a)).close(1)
    office.authority.revoke("a", utc_now())
    before = (office.folder / "broker/broker.crt").read_text()
    assert office.broker is not None
    office.broker.stop()
    office.start()
    assert (office.folder / "broker/broker.crt").read_text() == before, "a certificate with time left is kept"
    office.refused(office.link(a))
    office.connected(office.link(b))
    office.connected(office.link(office.certified("a")))  # issued after the revocation: a node let in again


def test_a_node_holds_the_broker_to_its_ca_and_to_its_name(office: Office, tmp_path: Path) -> None:
    files = office.certified("a")
    (tmp_path / "other").mkdir()
    open_authority(tmp_path / "other", "c1", utc_now())
    shutil.copy(tmp_path / "other/tls/ca.crt", files.ca)
    reason = office.refused(office.link(files))
    assert "certificate verify failed" in reason
    assert str(files.ca) in reason
    assert "mismatch, certificate is not valid for '127.0.0.2'" in office.refused(
        office.link(office.certified("a"), host="127.0.0.2")
    )


def test_a_frame_of_the_largest_size_passes_and_a_larger_packet_ends_the_session(office: Office) -> None:
    central = office.central("fv1/+/up")
    a = office.connected(office.link(office.certified("a")))
    a.publish("fv1/a/up", bytes(MAX_FRAME_BYTES))
    assert heard({"central": central, "a": a}, 1.0)["central"] == [("fv1/a/up", bytes(MAX_FRAME_BYTES))]
    a.publish("fv1/a/up", bytes(400_000))
    heard({"a": a, "central": central}, 0.5)
    assert a.lost_reason is not None or a.sessions > 1


def test_a_folder_with_a_space_in_its_path_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "central").mkdir()
    authority = open_authority(tmp_path / "central", "c1", utc_now())
    with pytest.raises(Exception, match="no path with a space"):
        write_broker_config(authority, tmp_path / "a broker", 8883, NAMES, utc_now())


def test_a_folder_of_other_things_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "central").mkdir()
    authority = open_authority(tmp_path / "central", "c1", utc_now())
    with pytest.raises(SyncError, match="holds other things"):
        write_broker_config(authority, tmp_path, 8883, NAMES, utc_now())
    assert [path.name for path in tmp_path.iterdir()] == ["central"]
    for _ in range(2):
        write_broker_config(authority, tmp_path / "broker", 8883, NAMES, utc_now())
        (tmp_path / "broker" / "kept-by-somebody").touch()


def test_the_access_list_names_central_as_its_certificate_does(tmp_path: Path) -> None:
    (tmp_path / "central").mkdir()
    authority = open_authority(tmp_path / "central", "c1", utc_now())
    write_broker_config(authority, tmp_path / "broker", 8883, NAMES, utc_now())
    assert f"user {CENTRAL_NAME}\n" in (tmp_path / "broker/acl").read_text()


def test_a_node_and_central_carry_records_over_mutual_tls(office: Office, tmp_path: Path) -> None:
    """The whole way: uplink, broker by our configuration, ingest, ack."""
    shutil.rmtree(tmp_path / "central")
    central = Central(tmp_path / "central")
    office.authority = open_authority(central.directory, "c1", utc_now())
    assert office.broker is not None
    office.broker.stop()
    shutil.rmtree(tmp_path / "broker")
    office.start()
    node = enrolled(Node(tmp_path / "home"), central)
    shutil.copytree(office.certified("n1").folder, tmp_path / "home/tls")
    url = f"mqtts://127.0.0.1:{office.port}"
    central.start(url)
    uplink = node.start(url)
    try:
        node.record(250)
        wait_for(lambda: node.head() == 251, "notice 1 is answered")
        assert uplink.drained(40)
        assert central.held() == list(range(1, 252))
    finally:
        node.stop()
        central.stop()
