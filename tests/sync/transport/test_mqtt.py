"""Broker URLs: what is read, what is refused, and that a password never shows; sessions with TLS and passwords."""

import datetime
import ipaddress
import random
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from sync import SyncError
from sync.format.wire import MAX_FRAME_BYTES
from sync.transport.broker import mosquitto
from sync.transport.mqtt import BrokerAddress, Link
from tests.sync.uplink_site import free_port, wait_for


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://127.0.0.1:1884", BrokerAddress("127.0.0.1", 1884)),
        ("mqtt://broker.example", BrokerAddress("broker.example", 1883)),
        ("mqtts://broker.example", BrokerAddress("broker.example", 8883, tls=True)),
        ("mqtt://[::1]:1884/", BrokerAddress("::1", 1884)),
        ("mqtts://kim:p%40ss@b:1", BrokerAddress("b", 1, tls=True, username="kim", password="p@ss")),
    ],
)
def test_urls_are_read(url: str, address: BrokerAddress) -> None:
    assert BrokerAddress.parse(url) == address


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "scheme"),
        ("127.0.0.1:1883", "scheme|form"),
        ("http://kim:secret@b", "scheme"),
        ("mqtt://", "no host"),
        ("mqtt://kim:secret@:1883", "no host"),
        ("mqtt://b:99999", "form"),
        ("mqtt://kim:secret@b:port", "form"),
        ("mqtt://kim:secret@b/topic", "follow"),
    ],
)
def test_what_is_no_broker_url_is_refused_without_repeating_a_password(url: str, says: str) -> None:
    with pytest.raises(SyncError, match=says) as refused:
        BrokerAddress.parse(url)
    assert "secret" not in str(refused.value)


def test_the_text_of_an_address_holds_no_password() -> None:
    address = BrokerAddress.parse("mqtts://kim:secret@b:1")
    assert str(address) == "mqtts://b:1"
    assert "secret" not in repr(address)


@contextmanager
def configured(folder: Path, port: int, lines: str) -> Iterator[None]:
    """A mosquitto with a configuration of its own; the test skips where there is none."""
    program = mosquitto()
    if program is None:
        pytest.skip("mosquitto is not installed")
    folder.chmod(0o755)
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nuser root\n{lines}\n")
    process = subprocess.Popen([program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listening() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    try:
        wait_for(listening, "mosquitto listens")
        yield
    finally:
        process.terminate()
        process.wait()


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that is its own authority; its key lies beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.public_bytes(form))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(form, serialization.PrivateFormat.PKCS8, plain))
    return folder / "cert.pem"


def reached(link: Link, condition: str) -> None:
    """Drive the link until it is connected, or until it says why not."""

    def done() -> bool:
        link.poll(0.05)
        return link.connected if condition == "connected" else condition in (link.lost_reason or "")

    wait_for(done, f"the link is {condition}: {link.lost_reason}")


def test_tls_is_held_to_the_systems_authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port, path = free_port(), certificate(tmp_path)
    lines = f"allow_anonymous true\ncertfile {path}\nkeyfile {tmp_path / 'key.pem'}"
    address = BrokerAddress.parse(f"mqtts://127.0.0.1:{port}")
    with configured(tmp_path, port, lines):
        stranger = Link(address, "a", ("fv1/a/ack",), random.Random(1))
        reached(stranger, "certificate verify failed")
        stranger.close(0)
        monkeypatch.setenv("SSL_CERT_FILE", str(path))  # OpenSSL's way to name the system's authorities
        known = Link(address, "b", ("fv1/b/ack",), random.Random(1))
        reached(known, "connected")
        known.publish("fv1/b/ack", b"hello")
        wait_for(lambda: [one.payload for one in known.poll(0.05)] == [b"hello"], "what was said comes back")
        known.close(1)


def test_a_broker_with_passwords_takes_ours_and_refuses_another(tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "passwords"
    program = "/usr/bin/mosquitto_passwd"
    if not Path(program).exists():
        pytest.skip("mosquitto_passwd is not installed")
    subprocess.run([program, "-c", "-b", str(file), "kim", "p@ss"], check=True, capture_output=True)
    with configured(tmp_path, port, f"allow_anonymous false\npassword_file {file}"):
        wrong = Link(BrokerAddress.parse(f"mqtt://kim:wrong@127.0.0.1:{port}"), "a", ("t",), random.Random(1))
        reached(wrong, "refused")
        wrong.close(0)
        right = Link(BrokerAddress.parse(f"mqtt://kim:p%40ss@127.0.0.1:{port}"), "b", ("t",), random.Random(1))
        reached(right, "connected")
        right.close(1)


def test_a_server_that_is_no_broker_is_an_outage_like_any_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = Link(BrokerAddress("127.0.0.1", listener.getsockname()[1]), "a", ("t",), random.Random(1))
        link.poll(0.05)
        peer, _ = listener.accept()
        peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.close()
        reached(link, "connection lost")
        link.close(0)


CONNACK, SUBACK_1 = b"\x20\x02\x00\x00", b"\x90\x03\x00\x01\x01"


@settings(max_examples=60, deadline=None)
@given(
    junk=st.one_of(
        st.binary(min_size=1, max_size=40), st.binary(max_size=20).map(lambda b: b"\x32" + bytes([len(b)]) + b)
    )
)
def test_no_bytes_of_a_broker_break_the_session_by_anything_but_an_outage(junk: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = Link(BrokerAddress("127.0.0.1", listener.getsockname()[1]), "a", ("t",), random.Random(1))
        link.poll(0.01)
        peer, _ = listener.accept()
        peer.sendall(CONNACK + SUBACK_1 + junk)
        peer.close()
        for _ in range(5):
            link.poll(0.01)
        link.close(0)


def publish_packet(topic: bytes, payload: bytes) -> bytes:
    """An MQTT PUBLISH of QoS 0."""
    rest, length = len(topic) + 2 + len(payload), b""
    while True:
        rest, digit = rest >> 7, rest & 127
        length += bytes([digit | 128 if rest else digit])
        if not rest:
            return b"\x30" + length + len(topic).to_bytes(2, "big") + topic + payload


def test_a_message_larger_than_any_frame_is_dropped_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = Link(BrokerAddress("127.0.0.1", listener.getsockname()[1]), "a", ("t",), random.Random(1))
        link.poll(0.05)
        peer, _ = listener.accept()
        big, right = publish_packet(b"t", bytes(MAX_FRAME_BYTES + 1)), publish_packet(b"t", bytes(MAX_FRAME_BYTES))
        sender = threading.Thread(target=peer.sendall, args=(CONNACK + SUBACK_1 + big + big + right,))
        sender.start()
        taken: list[int] = []

        def arrived() -> bool:
            taken.extend(len(message.payload) for message in link.poll(0.05))
            return MAX_FRAME_BYTES in taken

        wait_for(arrived, "the message that may be one arrives")
        sender.join()
        assert taken == [MAX_FRAME_BYTES]
        assert caplog.text.count("message too big") == 1
        peer.close()
        link.close(0)


def test_two_links_of_one_name_never_share_a_client_id() -> None:
    said = set()
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            link = Link(BrokerAddress("127.0.0.1", listener.getsockname()[1]), "fv1-n1", ("t",), random.Random(1))
            link.poll(0.05)
            peer, _ = listener.accept()
            said.add(peer.recv(4096).split(b"fv1-n1-")[1])
            peer.close()
            link.close(0)
    assert len(said) == 2
    assert all(len(suffix) == 16 for suffix in said)


def test_how_long_the_broker_has_confirmed_nothing_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = Link(BrokerAddress("127.0.0.1", listener.getsockname()[1]), "a", ("t",), random.Random(1))
        link.poll(0.05)
        peer, _ = listener.accept()
        peer.sendall(CONNACK + SUBACK_1)
        reached(link, "connected")
        assert link.unconfirmed_s == 0.0
        link.publish("t", b"one")
        link.publish("t", b"two")
        wait_for(lambda: link.unconfirmed_s > 0.1, "time passes")
        peer.sendall(b"\x40\x02\x00\x02")  # PUBACK of the first; the SUBSCRIBE had packet id 1
        wait_for(lambda: bool(link.poll(0.01) or link.unconfirmed == 1), "it arrives")
        assert link.unconfirmed_s < 0.1
        link.drop("enough")
        assert (link.connected, link.lost_reason, link.unconfirmed_s) == (False, "enough", 0.0)
        peer.close()
        link.close(0)


def test_a_topic_that_is_no_text_is_an_outage_with_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = Link(BrokerAddress("127.0.0.1", listener.getsockname()[1]), "a", ("t",), random.Random(1))
        link.poll(0.05)
        peer, _ = listener.accept()
        peer.sendall(CONNACK + SUBACK_1 + b"\x30\x05\x00\x02\xff\xfex")
        reached(link, "not understood: UnicodeDecodeError")
        assert "not understood" in caplog.text
        peer.close()
        link.close(0)
