"""A session with central's API over HTTPS, for a site without a broker: the same frames, the same answers."""

import logging
import random
import time
from collections import deque
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from sync import SyncError
from sync.format.wire import BadFrame, Channel, decode_answers, parse_topic, topic
from sync.transport.mqtt import Message, Will
from sync.transport.outage import Outage
from sync.transport.tls import TlsFiles, explain

log = logging.getLogger(__name__)

CONNECT_S = 5.0
ANSWER_S = 30.0  # the server itself gives up waiting after twenty
IDLE_S = 15.0  # after which a node that has nothing to send says that it is there
ASK_S = 1.0  # while a frame is not answered: its ack may have to wait for its turn
MAX_ANSWER_BYTES = 8 * 1024 * 1024  # 256 answers of 16 KiB, and a half
_POSTS_A_POLL = 8
_PATHS: dict[Channel, str] = {"up": "ingest", "side": "side", "status": "status"}


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where central's API listens."""

    host: str
    port: int
    password: None = None  # nobody has one here: a certificate says who a node is

    @classmethod
    def parse(cls, url: str) -> "ServerAddress":
        """Read `https://host[:port]`; raises SyncError without quoting the URL."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise SyncError("server URL: not a URL of the form https://host:port") from error
        if parts.scheme != "https" or not parts.hostname:
            raise SyncError("server URL: expected https://host:port")
        if "@" in parts.netloc or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise SyncError("server URL: neither a user nor anything behind the port belongs there")
        return cls(parts.hostname, port or 443)

    def __str__(self) -> str:
        return f"https://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


class HttpsLink:
    """Keeps a session with central's API: each message out is a request, each answer brings the messages in.

    The sibling of mqtt.Link, to the same thread: `connected` means that the server has taken our last word. Nothing is
    sent but by `poll`.
    """

    def __init__(self, address: ServerAddress, node_id: str, rng: random.Random, tls: TlsFiles) -> None:
        """tls: the node's certificates, read anew for every session. rng: spreads retries."""
        self._address, self._node_id, self._tls = address, node_id, tls
        self._outage = Outage(log, "server", address, rng, tls)
        self._client: httpx.Client | None = None
        self._outbox: deque[tuple[Channel, bytes]] = deque()
        self._status = b""
        self._spoke_s = 0.0
        self._unanswered = False
        self._waits_since_s = 0.0
        self.will: Will | None = None  # said at once: a server has no last will, it sees who has fallen silent

    @property
    def connected(self) -> bool:
        return self._outage.connected

    @property
    def sessions(self) -> int:
        return self._outage.sessions

    @property
    def unconfirmed(self) -> int:
        """How many messages the server has not taken."""
        return len(self._outbox)

    @property
    def unconfirmed_s(self) -> float:
        return time.monotonic() - self._waits_since_s if self._outbox else 0.0

    @property
    def lost_reason(self) -> str | None:
        return self._outage.lost_reason

    def poll(self, timeout_s: float) -> list[Message]:
        """Send what waits, ask for what is due, and return what came; for up to `timeout_s` where nothing does."""
        if self._client is None:
            return [] if self._outage.waited(timeout_s) else self._open()
        came: list[Message] = []
        for _ in range(_POSTS_A_POLL):
            if self._client is None or not self._outbox:
                break
            came += self._post(*self._outbox[0])
            if self._client is not None:
                self._outbox.popleft()
                self._waits_since_s = time.monotonic()
        if self._client is not None and time.monotonic() - self._spoke_s > (ASK_S if self._unanswered else IDLE_S):
            came += self._post("status", self._status)
        if not came and not self._outbox:
            time.sleep(timeout_s)
        return came

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """Queue a message for the next poll; without a session it is dropped: whoever needs it sends it again.

        retain: of a status; the newest is said again while there is nothing else to say.
        """
        if not self.connected:
            return
        _, channel = parse_topic(topic)
        if retain:
            self._status = payload
        if not self._outbox:
            self._waits_since_s = time.monotonic()
        self._outbox.append((channel, payload))

    def drop(self, reason: str) -> None:
        if self._client is not None:
            self._lose(reason)

    def close(self, within_s: float) -> None:
        """Send what waits, at most `within_s`, and end."""
        deadline_s = time.monotonic() + within_s
        while self._client is not None and self._outbox and (left_s := deadline_s - time.monotonic()) > 0:
            self._post(*self._outbox.popleft(), left_s)
        self._end()
        self._outage.end()

    # -- inside ------------------------------------------------------------------------------------------------

    def _open(self) -> list[Message]:
        try:
            context = self._tls.context()
        except SyncError as error:
            self._lose(str(error))
            return []
        self._client = httpx.Client(base_url=str(self._address), verify=context, trust_env=False)
        self._outbox.clear()
        self._unanswered = False
        self._status = self.will.payload if self.will is not None else self._status
        # the first word of a session is the one that would be the last: central then knows that we speak here
        came = self._post("status", self._status)
        if self._client is not None:
            self._outage.come_up()
        return came

    def _post(self, channel: Channel, payload: bytes, within_s: float | None = None) -> list[Message]:
        assert self._client is not None
        within_s = ANSWER_S if within_s is None else within_s
        timeout = httpx.Timeout(within_s, connect=min(CONNECT_S, within_s))  # of each read; `_read` counts them all
        path = f"/v1/{_PATHS[channel]}/{self._node_id}"
        self._spoke_s = time.monotonic()
        try:
            with self._client.stream("POST", path, content=payload, timeout=timeout) as response:
                body = _read(response, self._spoke_s + within_s)
                if response.status_code == 429:
                    return []  # what it was about goes again when it is overdue
                if response.status_code != 200:
                    self._lose(f"refused: {response.status_code} {body[:200].decode(errors='replace')}")
                    return []
            answers = decode_answers(body)
        except (httpx.HTTPError, BadFrame, OSError) as error:
            self._lose(explain(error, self._tls))
            return []
        if channel == "up":
            self._unanswered = True
        if any(channel == "ack" for channel, _ in answers):
            self._unanswered = False
        return [Message(topic(self._node_id, channel), data, retained=False) for channel, data in answers]

    def _lose(self, reason: str) -> None:
        self._outage.lose(reason)
        self._outbox.clear()
        self._end()

    def _end(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def _read(response: httpx.Response, deadline_s: float) -> bytes:
    body = b""
    for part in response.iter_bytes():
        body += part
        if time.monotonic() > deadline_s:
            raise BadFrame("an answer that does not end in time")
        if len(body) > MAX_ANSWER_BYTES:
            raise BadFrame(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
    return body
