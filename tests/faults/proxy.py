"""A bad line between a node and its broker: a TCP proxy that knows MQTT 3.1.1 well enough to hit messages.

A message it drops has been confirmed to its sender all the same: that is what a broker does that dies with its queue,
and it is the worst case, for nothing at the MQTT level will send it again.
"""

import contextlib
import random
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass

_PUBLISH, _PUBACK = 3, 4
_DUP = 0x08
HOLD_S = 0.3  # how long a reordered message waits for others to overtake it, at most
MAX_HEADER_BYTES = 5


@dataclass(frozen=True, slots=True)
class Line:
    """How bad it is: the chance of each fault for every message, 0..1."""

    dropped: float = 0.10
    duplicated: float = 0.05
    reordered: float = 0.25
    truncated: float = 0.02
    torn: float = 0.002  # the connection breaks in the middle of a message


class Proxy:
    """Listens on 127.0.0.1 and carries every connection to one port, badly."""

    def __init__(self, to_port: int, line: Line, rng: random.Random) -> None:
        self.counts: Counter[str] = Counter()
        self._to_port = to_port
        self._line = line
        self._rng = rng
        self._lock = threading.Lock()
        self._carried: list[_Connection] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            carried = list(self._carried)
        for connection in carried:
            connection.close()

    def half_open(self) -> None:
        """Let every connection there is go silent without being closed, as a router does that lost its table."""
        with self._lock:
            carried, self._carried = self._carried, []
        for connection in carried:
            connection.silent = True
        self.counts["half-open"] += len(carried)

    def chance(self, share: float, what: str) -> bool:
        """Whether a fault strikes; counted where it does."""
        with self._lock:
            struck = self._rng.random() < share
            if struck:
                self.counts[what] += 1
        return struck

    def cut_at(self, length: int) -> int:
        with self._lock:
            return self._rng.randrange(length)

    @property
    def line(self) -> Line:
        return self._line

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(("127.0.0.1", self._to_port), timeout=5.0)
            except OSError:
                client.close()
                continue
            broker.settimeout(None)
            with self._lock:
                self._carried.append(_Connection(self, client, broker))


class _Connection:
    """One connection: a thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, broker: socket.socket) -> None:
        self.silent = False
        self._proxy = proxy
        self._ends = (client, broker)
        self._writing = {client: threading.Lock(), broker: threading.Lock()}
        for source, sink in ((client, broker), (broker, client)):
            threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def close(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        data = b""
        held: list[tuple[float, bytes]] = []
        source.settimeout(HOLD_S / 3)
        try:
            while True:
                try:
                    got = source.recv(65536)
                    if not got:
                        break
                    data += got
                except TimeoutError:
                    pass
                if self.silent:
                    data = b""
                    held.clear()
                    continue
                while (length := _packet_length(data)) is not None:
                    packet, data = data[:length], data[length:]
                    self._carry(packet, source, sink, held)
                while held and (held[0][0] <= time.monotonic()):
                    self._send(sink, held.pop(0)[1])
        except OSError:
            pass
        self.close()

    def _carry(
        self, packet: bytes, source: socket.socket, sink: socket.socket, held: list[tuple[float, bytes]]
    ) -> None:
        line, chance = self._proxy.line, self._proxy.chance
        if packet[0] >> 4 != _PUBLISH:
            self._send(sink, packet)
            return
        self._proxy.counts["messages"] += 1
        if chance(line.dropped, "dropped"):
            if (number := _packet_id(packet)) is not None:
                self._send(source, bytes((_PUBACK << 4, 2)) + number)
            return
        if chance(line.torn, "torn"):
            self._send(sink, packet[: self._proxy.cut_at(len(packet))])
            self.close()
            return
        if chance(line.truncated, "truncated"):
            packet = self._shorten(packet)
        if chance(line.reordered, "reordered"):
            held.append((time.monotonic() + HOLD_S, packet))
            return
        self._send(sink, packet)
        if chance(line.duplicated, "duplicated"):
            self._send(sink, bytes((packet[0] | _DUP,)) + packet[1:])
        if held and chance(0.5, "overtaken"):
            self._send(sink, held.pop(0)[1])

    def _shorten(self, packet: bytes) -> bytes:
        """The same message with a shorter payload; its header says so, so that MQTT sees nothing wrong."""
        start = _header_length(packet)
        payload = start + 2 + int.from_bytes(packet[start : start + 2], "big") + (2 if packet[0] & 0x06 else 0)
        if payload >= len(packet):
            return packet
        body = packet[start : payload + self._proxy.cut_at(len(packet) - payload)]
        return packet[:1] + _length_bytes(len(body)) + body

    def _send(self, sink: socket.socket, data: bytes) -> None:
        if not self.silent:
            with self._writing[sink]:
                sink.sendall(data)


def _header_length(packet: bytes) -> int:
    at = 1
    while packet[at] & 0x80:
        at += 1
    return at + 1


def _packet_length(data: bytes) -> int | None:
    """The length of the first packet (MQTT 3.1.1, 2.2.3), None where it is not all here yet."""
    value, shift = 0, 0
    for at in range(1, min(len(data), MAX_HEADER_BYTES)):
        value |= (data[at] & 0x7F) << shift
        shift += 7
        if not data[at] & 0x80:
            length = at + 1 + value
            return length if len(data) >= length else None
    return None


def _packet_id(packet: bytes) -> bytes | None:
    """The two bytes that name a PUBLISH of QoS 1 or 2."""
    if not packet[0] & 0x06:
        return None
    start = _header_length(packet)
    at = start + 2 + int.from_bytes(packet[start : start + 2], "big")
    return packet[at : at + 2]


def _length_bytes(value: int) -> bytes:
    encoded = bytearray()
    while True:
        value, digit = divmod(value, 128)
        encoded.append(digit | (0x80 if value else 0))
        if not value:
            return bytes(encoded)
