"""The broker of one machine, started and ended as the demo does it."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from sync import SyncError
from sync.transport.broker import Kind, mosquitto
from tests.sync.broker_process import BrokerProcess
from tests.sync.uplink_site import free_port, wait_for

KINDS: tuple[Kind, ...] = ("mosquitto", "amqtt")


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest) -> Iterator[BrokerProcess]:
    if request.param == "mosquitto" and not mosquitto():
        pytest.skip("mosquitto is not installed")
    process = BrokerProcess(free_port(), request.param)
    process.start()
    yield process
    process.stop()


def client(broker: BrokerProcess, name: str, heard: list[tuple[str, bytes, bool]], **options: object) -> Client:
    """A connected client that hears everything."""
    ready = threading.Event()
    made = Client(CallbackAPIVersion.VERSION2, client_id=name, **options)  # type: ignore[arg-type]

    def on_message(_client: Client, _data: object, message: MQTTMessage) -> None:
        heard.append((message.topic, bytes(message.payload), message.retain))

    made.on_message = on_message
    made.on_subscribe = lambda *_: ready.set()
    made.connect("127.0.0.1", broker.port)
    made.subscribe("#", qos=1)
    made.loop_start()
    assert ready.wait(10)
    return made


def leave(*clients: Client) -> None:
    for one in clients:
        one.disconnect()
        one.loop_stop()


@pytest.mark.parametrize("version", [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5])
def test_a_full_frame_passes_whole_and_in_order(broker: BrokerProcess, version: MQTTProtocolVersion) -> None:
    if broker.kind == "amqtt" and version == MQTTProtocolVersion.MQTTv5:
        pytest.skip("amqtt speaks MQTT 3.1.1 only")
    heard: list[tuple[str, bytes, bool]] = []
    listener, speaker = client(broker, "listener", heard), client(broker, "speaker", [], protocol=version)
    payloads = [bytes([number]) * 256 * 1024 for number in range(8)]
    for payload in payloads:
        speaker.publish("fv1/n1/up", payload, qos=1)
    wait_for(lambda: len(heard) >= 8, "eight full frames arrive")
    assert [payload for _, payload, _ in heard] == payloads
    leave(listener, speaker)


def test_a_retained_word_reaches_who_comes_later(broker: BrokerProcess) -> None:
    speaker = client(broker, "speaker", [])
    speaker.publish("fv1/n1/status", b"old", qos=1, retain=True).wait_for_publish(10)
    speaker.publish("fv1/n1/status", b"new", qos=1, retain=True).wait_for_publish(10)
    heard: list[tuple[str, bytes, bool]] = []
    late = client(broker, "late", heard)
    wait_for(lambda: bool(heard), "the retained word arrives")
    assert set(heard) == {("fv1/n1/status", b"new", True)}  # amqtt 0.12.1 may say it twice
    leave(speaker, late)


def test_the_same_port_serves_again_after_a_kill(broker: BrokerProcess) -> None:
    broker.kill()
    broker.start()
    heard: list[tuple[str, bytes, bool]] = []
    one = client(broker, "one", heard)
    one.publish("fv1/n1/up", b"x", qos=1)
    wait_for(lambda: heard == [("fv1/n1/up", b"x", False)], "it carries again")
    leave(one)


def test_it_listens_on_loopback_only_and_says_nothing(broker: BrokerProcess) -> None:
    leave(client(broker, "one", []))
    with socket.socket() as elsewhere:
        elsewhere.bind(("127.0.0.2", broker.port))  # refused if the broker had taken every address
    broker.stop()
    broker._words.seek(0)
    assert broker.kind == "mosquitto" or broker._words.read() == b""


def test_a_port_in_use_is_one_line_and_exit_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "sync.transport.broker", "--port", str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert ended.returncode == 2
        assert ended.stderr.count("\n") == 1
        assert f"127.0.0.1:{port}" in ended.stderr
        with pytest.raises(SyncError, match=f":{port}: Address already in use"):
            BrokerProcess(port).start()
