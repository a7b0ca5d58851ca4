"""The API against strangers: no garbage breaks it, no page comes out of it, and nobody asks without end."""

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync.central.api import QUESTIONS_AT_ONCE
from sync.central.ca import renew
from sync.central.certificates import CertificateKeeper
from sync.central.inbox import Full, Inbox
from sync.central.ingest import Answer
from sync.format.messages import Status
from sync.format.wire import MAX_FRAME_BYTES, MAX_WINDOW_FRAMES, BadFrame, decode_answers, encode_answers
from sync.transport.tls import TlsFiles, pinned, utc_now
from sync.web.crowd import OF_ONE_HOLDER, STRANGERS
from tests.sync.api_site import ApiSite
from tests.sync.uplink_site import Node

PATHS = ("/v1/ca", "/v1/enrol", "/v1/renew", "/v1/ingest/n1", "/v1/status/n1", "/v1/enrol/" + "0" * 64, "/", "/docs")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    made = ApiSite(tmp_path_factory.mktemp("api"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def node(site: ApiSite) -> Node:
    return site.joined(Node(site.folder / "home"))


def test_who_we_are_is_told_to_anybody_and_nothing_else_is(site: ApiSite) -> None:
    with site.client() as client:
        told = client.get("/v1/ca")
        assert told.headers["content-type"] == "application/json"
        assert set(told.json()) == {"v", "ca", "central"}
        assert client.post("/v1/ingest/n1", content=b"FV1F").status_code == 401
        assert client.post("/v1/status/n1", content=b"{}").status_code == 401
        for path in ("/", "/docs", "/openapi.json", "/redoc", "/v1/", "/v1/enrol/"):
            assert client.get(path).status_code in (404, 405), path
        assert client.get("/v1/ca", headers={"host": "evil.example"}).status_code == 421


def test_a_node_s_certificate_opens_its_own_door_and_no_other_s(site: ApiSite, node: Node) -> None:
    with site.client(node) as client:
        said = Status("n1", True, 1, 0, 0).encode()
        assert client.post("/v1/status/n1", content=said).status_code == 200
        for other in ("n2", "fv1:central", "N1", "n1%20", "+", "%00", "n1/..%2fn2"):
            assert client.post(f"/v1/ingest/{other}", content=b"FV1F").status_code in (403, 404), other
        assert client.post("/v1/status/n1", content=Status("n2", True, 1, 0, 0).encode()).status_code == 400


def test_more_than_a_frame_is_cut_off_before_it_is_read(site: ApiSite, node: Node) -> None:
    with site.client(node) as client:
        assert client.post("/v1/ingest/n1", content=bytes(MAX_FRAME_BYTES + 1)).status_code == 413

        def endless() -> Iterator[bytes]:
            for _ in range(400):
                yield bytes(65536)

        with contextlib.suppress(httpx.TransportError):  # hung up on while still sending
            assert client.post("/v1/ingest/n1", content=endless()).status_code == 413
    with site.client(node) as client:
        assert client.get("/v1/ca").status_code == 200


def test_garbage_frames_are_answered_with_nothing_and_counted(site: ApiSite, node: Node) -> None:
    with site.client(node) as client:
        for garbage in (b"", b"FV1F", b"\0" * 1000, b"FV1F\0\1\0\0\0\1{" + bytes(64)):
            answer = client.post("/v1/ingest/n1", content=garbage)
            assert answer.status_code == 200
            assert all(channel in ("ack", "down") for channel, _ in decode_answers(answer.content))
    with site.central.store() as store:
        assert {(row.node_id, row.reason) for row in store.refusals()} >= {("n1", "bad-frame")}


@pytest.fixture(scope="module")
def client(site: ApiSite, node: Node) -> Iterator[httpx.Client]:
    """One connection for many examples: a handshake costs more than a request."""
    with site.client(node) as client:
        yield client


JSON = st.recursive(
    st.integers() | st.text(max_size=20) | st.booleans() | st.none() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
KEYS = st.sampled_from(["v", "token", "proofs", "csr", "node_pub", "node", "signature", "state"])
BODIES = st.one_of(st.binary(max_size=400), st.dictionaries(KEYS, JSON).map(lambda fields: json.dumps(fields).encode()))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]),
    path=st.one_of(
        st.sampled_from(PATHS),
        st.tuples(st.sampled_from(["/v1/ingest/", "/v1/enrol/", "/v1/status/"]), st.text(max_size=20)).map("".join),
    ),
    body=BODIES,
)
def test_no_request_is_answered_with_a_fault_of_ours(
    client: httpx.Client, method: str, path: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.central.api.QUESTIONS_PER_S", 1e6)
    try:
        answer = client.request(method, path, content=body)
    except (httpx.InvalidURL, UnicodeError):
        return  # httpx itself does not send it
    assert answer.status_code < 500, (method, path, body, answer.content)
    assert b"<" not in answer.content or answer.headers["content-type"] == "application/octet-stream"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.binary(min_size=1, max_size=300))
def test_no_bytes_on_the_wire_take_the_server_down(site: ApiSite, junk: bytes) -> None:
    context = ssl.create_default_context(cafile=str(site.central.directory / "tls/ca.crt"))
    with socket.create_connection(("127.0.0.1", site.port)) as plain:
        plain.sendall(junk)  # no TLS at all
    with (
        socket.create_connection(("127.0.0.1", site.port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as peer,
    ):
        peer.sendall(b"POST /v1/enrol HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n" + junk)
    assert httpx.get(f"{site.url}/v1/ca", verify=context).status_code == 200


def test_one_address_does_not_ask_without_end_and_frames_are_not_counted_as_questions(
    site: ApiSite, node: Node
) -> None:
    with site.client(node) as client:
        codes = [client.get("/v1/enrol/" + "0" * 64).status_code for _ in range(QUESTIONS_AT_ONCE + 30)]
        assert codes.count(429) >= 20
        assert set(codes) == {403, 429}
        said = Status("n1", True, 1, 0, 0).encode()
        assert [client.post("/v1/status/n1", content=said).status_code for _ in range(40)] == [200] * 40


def test_a_body_that_never_ends_is_given_up(site: ApiSite, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.central.api.BODY_S", 0.3)
    context = ssl.create_default_context(cafile=str(site.central.directory / "tls/ca.crt"))
    context.load_cert_chain(node.home / "tls/client.crt", node.home / "tls/client.key")
    connection = http.client.HTTPSConnection("127.0.0.1", site.port, context=context, timeout=10)
    connection.putrequest("POST", "/v1/ingest/n1")
    connection.putheader("content-length", "1000")
    connection.endheaders()
    connection.send(b"FV1F")
    assert connection.getresponse().status == 408
    connection.close()


def test_a_certificate_renewed_by_a_command_is_shown_without_a_restart(tmp_path: Path) -> None:
    site = ApiSite(tmp_path)
    site.start()
    try:
        keeper = CertificateKeeper(site.authority, site.central.directory)
        assert site._pages is not None
        keeper.on_change = site._pages.take_up

        def shown() -> bytes:
            return ssl.get_server_certificate(("127.0.0.1", site.port)).encode()

        before = shown()
        assert not keeper.look()
        renew(site.authority, site.central.directory, utc_now())
        assert keeper.look()
        assert shown() != before
        assert shown().strip() == TlsFiles(site.central.directory / "tls", "server").certificate.read_bytes().strip()
    finally:
        site.stop()


# -- the queue between the API and the ingest ------------------------------------------------------------------------


def test_what_is_handed_in_is_answered_once_with_all_there_is_for_its_node() -> None:
    inbox = Inbox()
    first, second = inbox.put("a", b"1"), inbox.put("b", b"2")
    parcels = inbox.take()
    assert [parcel.frame for parcel in parcels] == [b"1", b"2"]
    assert inbox.keep(Answer("a", "ack", b"ack of a"))
    assert inbox.keep(Answer("a", "down", b"notice to a"))
    assert not inbox.keep(Answer("c", "ack", b"by the broker"))
    inbox.answer(parcels)
    assert first.result(0) == [("ack", b"ack of a"), ("down", b"notice to a")]
    assert second.result(0) == []
    assert inbox.keep(Answer("a", "ack", b"later"))  # kept until it asks again
    asked = inbox.put("a", None, Status("a", True, 1, 1, 0))
    inbox.answer(inbox.take())
    assert asked.result(0) == [("ack", b"later")]


def test_a_node_may_have_a_window_of_questions_open_and_no_more() -> None:
    inbox = Inbox()
    for _ in range(MAX_WINDOW_FRAMES):
        inbox.put("a", b"")
    with pytest.raises(Full):
        inbox.put("a", b"")
    inbox.put("b", b"")
    inbox.answer(inbox.take())
    inbox.put("a", b"")


def test_who_hangs_up_is_not_answered_and_blocks_nobody() -> None:
    inbox = Inbox()
    gone, waiting = inbox.put("a", b"1"), inbox.put("a", b"2")
    assert gone.cancel()
    parcels = inbox.take()
    assert [parcel.frame for parcel in parcels] == [b"2"]
    inbox.fail(parcels, OSError("disk"))
    with pytest.raises(OSError, match="disk"):
        waiting.result(0)
    for _ in range(MAX_WINDOW_FRAMES):
        inbox.put("a", b"")


def test_a_silent_node_is_told_of_once_and_its_mail_forgotten() -> None:
    now_s = [0.0]
    inbox = Inbox(lambda: now_s[0])
    inbox.put("a", b"")
    inbox.answer(inbox.take())
    assert inbox.gone() == []
    now_s[0] = 46.0
    assert [greeting.status.node_id for greeting in inbox.gone()] == ["a"]
    assert inbox.gone() == []
    assert not inbox.keep(Answer("a", "ack", b""))


def test_many_threads_hand_in_and_each_gets_its_own() -> None:
    inbox, stop, results = Inbox(), threading.Event(), dict[int, bytes]()

    def judge() -> None:
        while not stop.is_set():
            parcels = inbox.take()
            for parcel in parcels:
                inbox.keep(Answer(parcel.node_id, "ack", parcel.frame or b""))
            inbox.answer(parcels)
            time.sleep(0.001)

    def ask(number: int) -> None:
        for _ in range(50):
            ((_, payload),) = inbox.put(f"n{number}", str(number).encode()).result(10)
            results[number] = payload

    judging = threading.Thread(target=judge)
    judging.start()
    asking = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(30)
    stop.set()
    judging.join()
    assert results == {number: str(number).encode() for number in range(8)}


ANSWERS = st.lists(st.tuples(st.sampled_from(["ack", "down"]), st.binary(max_size=50)), max_size=8)


@given(ANSWERS, st.binary(max_size=3))
def test_answers_are_read_as_they_were_written_and_nothing_else_is(answers: list, tail: bytes) -> None:  # type: ignore[type-arg]
    data = encode_answers(answers)
    assert decode_answers(data) == answers
    if tail:
        with pytest.raises(BadFrame):
            decode_answers(data + tail)
    with pytest.raises(BadFrame):
        decode_answers(data[:-1])


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda tail: b"FV1A" + tail))
def test_no_bytes_break_the_reader_of_answers(data: bytes) -> None:
    try:
        answers = decode_answers(data)
    except BadFrame:
        return
    assert encode_answers(answers) == data


# -- who says nothing ----------------------------------------------------------------------------------------------


def _ended(connections: list[socket.socket]) -> int:
    """How many of these the server has closed."""
    ended = 0
    for connection in connections:
        connection.setblocking(False)
        try:
            ended += connection.recv(1) == b""
        except BlockingIOError:
            continue
        except OSError:
            ended += 1
    return ended


def _eventually_ended(connections: list[socket.socket], most: int) -> int:
    until_s = time.monotonic() + 20
    while (ended := _ended(connections)) < most and time.monotonic() < until_s:
        time.sleep(0.05)
    return ended


def test_connections_that_say_nothing_use_up_no_more_than_their_share_and_no_node_is_cut_off(
    site: ApiSite, node: Node
) -> None:
    with site.client(node) as known, contextlib.ExitStack() as crowd:
        context = pinned(site.central.directory / "tls/ca.crt")
        context.load_cert_chain(node.home / "tls/client.crt", node.home / "tls/client.key")
        plain = crowd.enter_context(socket.create_connection(("127.0.0.1", site.port)))
        held = crowd.enter_context(context.wrap_socket(plain, server_hostname="127.0.0.1"))
        held.sendall(b"GET /v1/ca HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        silent = [
            crowd.enter_context(socket.create_connection(("127.0.0.1", site.port))) for _ in range(STRANGERS + 60)
        ]
        assert _eventually_ended(silent, 60) >= 60
        assert known.get("/v1/ca").status_code == 200
        held.sendall(b"\r\n")
        assert held.recv(12) == b"HTTP/1.1 200"


def test_one_certificate_holds_only_a_few_connections_open(site: ApiSite, node: Node) -> None:
    with contextlib.ExitStack() as crowd:
        context = pinned(site.central.directory / "tls/ca.crt")
        context.load_cert_chain(node.home / "tls/client.crt", node.home / "tls/client.key")
        many: list[socket.socket] = []
        for _ in range(OF_ONE_HOLDER + 12):
            plain = crowd.enter_context(socket.create_connection(("127.0.0.1", site.port)))
            many.append(crowd.enter_context(context.wrap_socket(plain, server_hostname="127.0.0.1")))
        until_s = time.monotonic() + 20
        while (ended := sum(_closed(one) for one in many)) < 12 and time.monotonic() < until_s:
            time.sleep(0.05)
        assert 12 <= ended < len(many)


def _closed(peer: socket.socket) -> bool:
    peer.settimeout(0.02)
    try:
        return peer.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True
