"""How a node is connected to central: by a broker, or by central's own API. One small surface for both."""

import random
from pathlib import Path
from typing import Protocol, TypeAlias

from sync import SyncError
from sync.format.wire import topic
from sync.transport.https_link import HttpsLink, ServerAddress
from sync.transport.mqtt import BrokerAddress, Link, Message, Will
from sync.transport.tls import tls_files

UplinkAddress: TypeAlias = BrokerAddress | ServerAddress


class Session(Protocol):
    """What `Link` and `HttpsLink` are to the thread that drives one."""

    will: Will | None

    @property
    def connected(self) -> bool: ...
    @property
    def sessions(self) -> int: ...
    @property
    def unconfirmed(self) -> int: ...
    @property
    def unconfirmed_s(self) -> float: ...
    @property
    def lost_reason(self) -> str | None: ...
    def poll(self, timeout_s: float) -> list[Message]: ...
    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None: ...
    def drop(self, reason: str) -> None: ...
    def close(self, within_s: float) -> None: ...


def parse_uplink(url: str) -> UplinkAddress:
    """Read what `uplink.broker` may be, mqtt://, mqtts:// or https://; raises SyncError without quoting the URL."""
    return ServerAddress.parse(url) if url.startswith("https:") else BrokerAddress.parse(url)


def open_session(address: UplinkAddress, home: Path, node_id: str, rng: random.Random) -> Session:
    """The session of a node, not yet begun; raises SyncError where its certificates are missing."""
    tls = tls_files(home)
    if isinstance(address, ServerAddress):
        if tls is None or not tls.complete():
            raise SyncError(f"{home / 'tls'}: no certificates there: join by invitation to send over https")
        return HttpsLink(address, node_id, rng, tls)
    topics = (topic(node_id, "ack"), topic(node_id, "down"))
    return Link(address, f"fv1-{node_id}", topics, rng, tls)
