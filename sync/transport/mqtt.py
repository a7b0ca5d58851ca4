"""One session after another with an MQTT broker, driven by its owner's thread; both ends use it."""

import logging
import random
import secrets
import socket
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from sync import SyncError
from sync.format.wire import MAX_FRAME_BYTES
from sync.transport.outage import Outage
from sync.transport.tls import TlsFiles, explain

log = logging.getLogger(__name__)

QOS = 1
KEEPALIVE_S = 15
SESSION_TIMEOUT_S = 10.0  # from the TCP connection to the last SUBACK
MAX_POLL_MESSAGES = 256  # what one poll hands over at most, so that its owner gets to answer


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker listens and who we are to it; its text form never holds the password."""

    host: str
    port: int
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> "BrokerAddress":
        """Read `mqtt://[user:password@]host[:port]` or `mqtts://…`; raises SyncError without quoting the URL."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise SyncError("broker URL: not a URL of the form mqtt://host:port") from error
        if parts.scheme not in ("mqtt", "mqtts"):
            raise SyncError(f"broker URL: scheme {parts.scheme!r}, expected mqtt or mqtts")
        if not parts.hostname:
            raise SyncError("broker URL: no host in it")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise SyncError("broker URL: nothing may follow the port")
        tls = parts.scheme == "mqtts"
        return cls(
            parts.hostname,
            port or (8883 if tls else 1883),
            tls,
            unquote(parts.username) if parts.username else None,
            unquote(parts.password) if parts.password else None,
        )

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Message:
    """What arrived on a topic; retained: the broker had kept it."""

    topic: str
    payload: bytes
    retained: bool


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says for us, retained, when we vanish."""

    topic: str
    payload: bytes


class Link:
    """Keeps a session with a broker: connects, subscribes, notices loss, tries again with jitter.

    Every session has a client of its own, so that nothing unconfirmed outlives its session inside the library.
    Not for two threads: poll, publish and close belong to one.
    """

    def __init__(
        self,
        address: BrokerAddress,
        name: str,
        topics: tuple[str, ...],
        rng: random.Random,
        tls: TlsFiles | None = None,
    ) -> None:
        """name: what the client id begins with. rng: spreads retries.

        tls: our certificates, for mqtts:// without a password; else the system's authorities are trusted. They are
        read anew for every session, so that a renewed one counts from the next on.
        """
        self._address = address
        self._tls = tls if address.tls and address.username is None else None
        # a broker ends the session of a client whose id another one brings: nobody may guess ours
        self._client_id = f"{name}-{secrets.token_hex(8)}"
        self._topics = topics
        self._client: Client | None = None
        self._inbox: list[Message] = []
        self._unconfirmed: set[int] = set()
        self._waits_since_s = 0.0
        self._too_big = False
        self._awaited: set[int] = set()
        self._subscribed = False
        self._refused: str | None = None
        self._began_s = 0.0
        self._outage = Outage(log, "broker", address, rng, self._tls)
        self.will: Will | None = None  # for the next session

    @property
    def connected(self) -> bool:
        """Whether a session is up, its subscriptions confirmed."""
        return self._outage.connected

    @property
    def sessions(self) -> int:
        """How many sessions have come up so far."""
        return self._outage.sessions

    @property
    def unconfirmed(self) -> int:
        """How many messages published in this session the broker has not confirmed."""
        return len(self._unconfirmed)

    @property
    def unconfirmed_s(self) -> float:
        """For how long the broker has confirmed nothing of what waits for it; 0 where nothing waits."""
        return time.monotonic() - self._waits_since_s if self._unconfirmed else 0.0

    @property
    def lost_reason(self) -> str | None:
        """Why there is no session now; None while there is one."""
        return self._outage.lost_reason

    def poll(self, timeout_s: float) -> list[Message]:
        """Drive the session for up to `timeout_s` and return what arrived, in order."""
        if self._client is None:
            if self._outage.waited(timeout_s):
                return []
            self._open()
        if self._client is not None:
            self._drive(self._client, timeout_s)
        taken = list(self._inbox)
        self._inbox.clear()
        return taken

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """Hand a message to the session; without one it is dropped: whoever needs it sends it again."""
        if self._client is None or not self.connected:
            return
        info = self._client.publish(topic, payload, qos=QOS, retain=retain)
        if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
            if not self._unconfirmed:
                self._waits_since_s = time.monotonic()
            self._unconfirmed.add(info.mid)

    def drop(self, reason: str) -> None:
        """Give the session up as an outage, where there is one; the next poll but a pause begins another."""
        if self._client is not None:
            self._lose(reason)

    def close(self, within_s: float) -> None:
        """Wait until the broker has confirmed what was published, at most `within_s`, and take leave."""
        deadline_s = time.monotonic() + within_s
        while self._client is not None and self._unconfirmed and time.monotonic() < deadline_s:
            self._drive(self._client, 0.05)
        if self._client is not None:
            self._client.disconnect()
            self._client = None
        self._outage.end()

    # -- inside ------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=True,
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        client.connect_timeout = 5.0
        client.max_inflight_messages_set(0)  # our own window bounds what is in flight
        if self._address.username is not None:
            client.username_pw_set(self._address.username, self._address.password)
        if self.will is not None:
            client.will_set(self.will.topic, self.will.payload, qos=QOS, retain=True)
        client.on_socket_open = _send_at_once
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        self._unconfirmed.clear()
        self._awaited.clear()
        self._inbox.clear()
        self._subscribed = False
        self._refused = None
        self._began_s = time.monotonic()
        try:
            if self._tls is not None:
                client.tls_set_context(self._tls.context())
            elif self._address.tls:
                client.tls_set()  # the system's certificate authorities
            client.connect(self._address.host, self._address.port, keepalive=KEEPALIVE_S)
        except OSError as error:
            self._lose(explain(error, self._tls))
            return
        except (SyncError, UnicodeError) as error:
            self._lose(str(error))
            return
        self._client = client

    def _drive(self, client: Client, timeout_s: float) -> None:
        while len(self._inbox) < MAX_POLL_MESSAGES:
            before = len(self._inbox)
            try:
                code = client.loop(timeout_s)
            except Exception as error:  # noqa: BLE001  # paho raises many things at packets that are none; _lose logs
                self._lose(f"not understood: {type(error).__name__}: {error}")
                return
            if self._refused is not None or code != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._lose(self._refused or f"connection lost ({code.name})")
                return
            if self._subscribed and not self._awaited and not self.connected:
                self._outage.come_up()
            if len(self._inbox) == before:
                break
            timeout_s = 0.0
        if not self.connected and time.monotonic() > self._began_s + SESSION_TIMEOUT_S:
            self._lose("no answer from the broker")

    def _lose(self, reason: str) -> None:
        self._outage.lose(reason)
        self._unconfirmed.clear()
        if self._client is not None:
            self._client.disconnect()
            self._client = None

    def _on_connect(self, client: Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
        if code.is_failure:
            self._refused = f"refused: {code}"
            return
        for topic in self._topics:
            _, mid = client.subscribe(topic, qos=QOS)
            if mid is not None:
                self._awaited.add(mid)
        self._subscribed = True

    def _on_subscribe(self, _client: Client, _data: Any, mid: int, codes: list[ReasonCode], _properties: Any) -> None:
        self._awaited.discard(mid)
        if any(code.is_failure for code in codes):
            self._refused = "the broker does not let us subscribe"

    def _on_publish(self, _client: Client, _data: Any, mid: int, _code: ReasonCode, _properties: Any) -> None:
        self._unconfirmed.discard(mid)
        self._waits_since_s = time.monotonic()

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if len(message.payload) > MAX_FRAME_BYTES:  # nothing of ours is larger
            if not self._too_big:
                self._too_big = True
                log.warning("message too big topic=%r bytes=%d", message.topic, len(message.payload))
            return
        self._inbox.append(Message(message.topic, bytes(message.payload), message.retain))


def _send_at_once(_client: Client, _data: Any, connection: Any) -> None:
    """Let small messages leave when they are written: TCP would hold them until the one before is confirmed, 40 ms."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
