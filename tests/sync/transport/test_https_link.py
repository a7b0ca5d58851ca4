"""Sending over HTTPS where there is no broker, against central's real API: outages, refusals, notices, pace."""

import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from sync import SyncError
from sync.central.ca import write_pair
from sync.format.messages import Status
from sync.format.wire import SignedBody, encode_answers, encode_frame, topic
from sync.transport.https_link import HttpsLink, ServerAddress
from sync.transport.session import parse_uplink
from sync.transport.tls import TlsFiles, new_key, utc_now
from tests.sync.api_site import ApiSite
from tests.sync.broker_process import BrokerProcess
from tests.sync.uplink_site import Node, enrolled, free_port, wait_for


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ApiSite]:
    made = ApiSite(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def node(tmp_path: Path, site: ApiSite) -> Iterator[Node]:
    made = site.joined(Node(tmp_path / "home"))
    yield made
    made.stop()


def drained(node: Node, timeout_s: float = 60) -> bool:
    assert node.uplink is not None
    return node.uplink.drained(timeout_s)


def test_records_go_up_and_acks_and_notices_come_down_without_a_broker(site: ApiSite, node: Node) -> None:
    node.record(350)
    node.start(site.url)
    wait_for(lambda: node.head() == 351, "notice 1 is answered")
    assert drained(node)
    assert site.central.held() == list(range(1, 352))
    assert node.acked_upto() == (1, 351)
    assert node.alarms() == {}
    with site.central.store() as store:
        wait_for(lambda: bool((row := store.node("n1")) and row.online), "central shows it online")
        assert (row := store.node("n1"))
        assert row.pending_notices == 0


def test_what_is_recorded_while_central_is_away_arrives_when_it_is_back(site: ApiSite, node: Node) -> None:
    node.start(site.url)
    wait_for(lambda: node.head() == 1, "notice 1 is answered")
    assert drained(node)
    site.stop()
    node.record(500)
    time.sleep(1.5)
    assert not drained(node, 0.1)
    site.start()
    assert drained(node)
    assert site.central.held() == list(range(1, 502))


def test_a_server_that_takes_a_frame_and_is_killed_before_it_answers_loses_and_doubles_nothing(
    site: ApiSite, node: Node
) -> None:
    node.record(2000)
    node.start(site.url)
    for _ in range(4):
        time.sleep(0.4)
        site.stop()
        site.start()
    assert drained(node)
    head = node.head()
    assert site.central.held() == list(range(1, head + 1))


def test_a_central_that_has_lost_records_is_noticed_over_https_too(site: ApiSite, node: Node, tmp_path: Path) -> None:
    node.start(site.url)
    node.record(10)
    wait_for(lambda: node.head() == 11, "notice 1 is answered")
    assert drained(node)
    site.stop()
    site.central.copy_store(tmp_path / "earlier")
    site.start()
    node.record(10)
    assert drained(node)
    site.stop()
    site.central.restore_store(tmp_path / "earlier")
    site.start()
    wait_for(lambda: "CENTRAL_ROLLBACK" in node.alarms(), "the alarm")
    wait_for(lambda: site.central.held() == list(range(1, 22)), "all is there again")


def test_a_node_that_falls_silent_is_shown_offline(site: ApiSite, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.central.inbox.AWAY_S", 1.0)
    node.start(site.url)
    with site.central.store() as store:
        wait_for(lambda: bool((row := store.node("n1")) and row.online), "central shows it online")
        node.stop()
        wait_for(lambda: not ((row := store.node("n1")) and row.online), "central shows it offline")


def link(site: ApiSite, node: Node) -> HttpsLink:
    made = HttpsLink(ServerAddress.parse(site.url), node.node_id, random.Random(1), TlsFiles(node.home / "tls"))
    made.will = None
    return made


def polled(link: HttpsLink, reason: str) -> None:
    def done() -> bool:
        link.poll(0.02)
        return link.connected if reason == "connected" else reason in (link.lost_reason or "")

    wait_for(done, f"{reason}, not {link.lost_reason}")


def said(node: Node) -> bytes:
    return Status(node.node_id, True, 1, 0, 0).encode()


def test_a_revoked_certificate_is_refused_at_once(site: ApiSite, node: Node) -> None:
    made = link(site, node)
    made._status = said(node)
    polled(made, "connected")
    site.authority.revoke("n1", utc_now())
    made.publish(topic("n1", "status"), said(node), retain=True)
    polled(made, "403")
    assert "revoked" in (made.lost_reason or "")
    made.close(0)


def test_an_expired_certificate_is_refused_and_the_reason_named(site: ApiSite, node: Node) -> None:
    files = TlsFiles(node.home / "tls")
    key = new_key()
    long_ago = utc_now() - timedelta(days=181)
    write_pair(files, key, site.authority.issue_client("n1", key.public_key(), long_ago).text)
    made = link(site, node)
    polled(made, "expired on")
    made.close(0)


def test_a_node_that_is_certified_and_not_enrolled_is_not_accepted(site: ApiSite, tmp_path: Path) -> None:
    node = site.joined(Node(tmp_path / "other-home", "n2"))
    with site.central.store() as store:
        assert store.enrolment("n3") is None
    key = new_key()
    write_pair(TlsFiles(node.home / "tls"), key, site.authority.issue_client("n3", key.public_key(), utc_now()).text)
    node.record(1)
    ledger = node.ledger()
    record = ledger.record(1, 1)
    ledger.close()
    assert record is not None
    with site.client(node) as client:
        answer = client.post("/v1/ingest/n3", content=encode_frame([SignedBody(record.body, record.signature)]))
    assert (answer.status_code, answer.content) == (200, b"FV1A\0\0")
    assert site.central.held("n3") == []


def test_the_server_is_held_to_the_ca_that_was_pinned(site: ApiSite, node: Node, tmp_path: Path) -> None:
    other = ApiSite(tmp_path / "elsewhere")
    (node.home / "tls/ca.crt").write_bytes((other.central.directory / "tls/ca.crt").read_bytes())
    made = link(site, node)
    polled(made, "certificate verify failed")
    made.close(0)


@pytest.mark.parametrize(
    "reply",
    [
        b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nFV1A",
        b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nFV1A\0\1\3\0\0\0\0",
        b"HTTP/1.1 500 no\r\ncontent-length: 0\r\n\r\n",
    ],
)  # fmt: skip
def test_a_server_that_answers_nonsense_is_an_outage_like_any_other(site: ApiSite, node: Node, reply: bytes) -> None:
    port = free_port()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    folder = site.central.directory / "tls"
    context.load_cert_chain(folder / "server.crt", folder / "server.key")

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                plain, _ = listener.accept()
                with context.wrap_socket(plain, server_side=True) as peer:
                    peer.recv(65536)
                    peer.sendall(reply)
            except ssl.SSLError:
                continue
            except OSError:
                return

    with socket.create_server(("127.0.0.1", port)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        address = ServerAddress("127.0.0.1", port)
        made = HttpsLink(address, "n1", random.Random(1), TlsFiles(node.home / "tls"))
        wait_for(lambda: bool(made.poll(0.02) or made.lost_reason), "it is lost")
        assert made.sessions == 0
        made.close(0)
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("drip", [b"", b"F"])
def test_no_answer_is_waited_for_longer_than_there_is_time(
    site: ApiSite, node: Node, drip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that answers once, and then begins an answer and does not end it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    folder = site.central.directory / "tls"
    context.load_cert_chain(folder / "server.crt", folder / "server.key")

    def serve(listener: socket.socket) -> None:
        plain, _ = listener.accept()
        with suppress(OSError), context.wrap_socket(plain, server_side=True) as peer:
            peer.recv(65536)
            nothing = encode_answers([])
            peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(nothing) + nothing)
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            for _ in range(100):
                peer.sendall(drip)
                time.sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        address = ServerAddress("127.0.0.1", listener.getsockname()[1])
        made = HttpsLink(address, "n1", random.Random(1), TlsFiles(node.home / "tls"))
        wait_for(lambda: bool(made.poll(0.02)) or made.connected, "a session")
        made.publish(topic("n1", "status"), said(node))
        began_s = time.monotonic()
        if drip:
            monkeypatch.setattr("sync.transport.https_link.ANSWER_S", 0.4)
            made.poll(0.02)
            assert made.lost_reason
        else:
            made.close(0.4)
        assert time.monotonic() - began_s < 2


def test_a_node_weeks_behind_drains_over_https_at_the_rate(site: ApiSite, node: Node) -> None:
    site.stop()
    site.start(backfill_per_s=400)
    node.record(2000)
    began_s = time.monotonic()
    node.start(site.url)
    assert drained(node)
    took_s = time.monotonic() - began_s
    assert 4.0 <= took_s <= 25, took_s  # (2000 - 200) / 400 = 4.5


def test_one_node_over_https_and_one_by_the_broker_are_served_by_one_central(
    site: ApiSite, node: Node, tmp_path: Path
) -> None:
    broker = BrokerProcess(free_port())
    broker.start()
    site.stop()
    site.start(broker.url)
    by_broker = site.joined(Node(tmp_path / "other", "n2"))
    try:
        node.start(site.url)
        by_broker.start(broker.url)
        for each in (node, by_broker):
            each.record(100)
            wait_for(lambda each=each: each.head() == 101, "notice 1 is answered")
            assert drained(each)
        by_broker.stop()
        by_broker.record(10)
        by_broker.start(site.url)  # and over
        assert drained(by_broker)
    finally:
        by_broker.stop()
        site.stop()
        broker.stop()
    assert site.central.held("n1") == list(range(1, 102))
    assert site.central.held("n2") == list(range(1, 112))


@pytest.mark.parametrize("rest", ["", "kim:secret@c", "a/secret", "a?secret", "a:99999", "a:secret"])
def test_what_is_no_server_s_url_is_refused_without_repeating_it(rest: str) -> None:
    with pytest.raises(SyncError, match="server URL") as refused:
        parse_uplink(f"https://{rest}")
    assert "secret" not in str(refused.value)


def test_the_address_of_a_server_is_read_and_written() -> None:
    assert ServerAddress.parse("https://central.example") == ServerAddress("central.example", 443)
    assert str(parse_uplink("https://[::1]:8700/")) == "https://[::1]:8700"


def test_a_node_that_never_joined_by_invitation_cannot_send_over_https(tmp_path: Path, site: ApiSite) -> None:
    node = enrolled(Node(tmp_path / "by-file", "n9"), site.central)
    with pytest.raises(SyncError, match="join by invitation"):
        node.start(site.url)
