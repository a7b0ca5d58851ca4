"""A node of `tests/bench/sync.py`, in a process of its own: the protocol's sending end over frames made before.

Arguments: broker URL, node id, central.pub, a folder. `frames` there holds the payloads, each behind its length and the
seq it ends with. Says "ready", waits for a line, sends, and says when it began and when the last ack came
(CLOCK_MONOTONIC).
"""

import random
import struct
import sys
import time
from pathlib import Path

from sync.format.messages import Ack
from sync.format.wire import topic
from sync.node.uplink import Uplink
from sync.storage.key_files import read_central_file
from sync.transport.mqtt import BrokerAddress, Link

HEADER = struct.Struct(">II")


def write_frames(path: Path, frames: list[tuple[int, bytes]]) -> None:
    """Write (last seq, payload) for a node to send."""
    path.write_bytes(b"".join(HEADER.pack(len(payload), seq) + payload for seq, payload in frames))


def read_frames(path: Path) -> list[tuple[int, bytes]]:
    data, at, frames = path.read_bytes(), 0, []
    while at < len(data):
        length, seq = HEADER.unpack_from(data, at)
        at += HEADER.size
        frames.append((seq, data[at : at + length]))
        at += length
    return frames


def main(url: str, node_id: str, central_pub: str, folder: str) -> None:
    key = read_central_file(Path(central_pub)).keys["ack"]
    frames = read_frames(Path(folder) / "frames")
    index = {seq: number for number, (seq, _) in enumerate(frames, 1)} | {0: 0}
    uplink, up = Uplink((0, 0), None, random.Random(1)), topic(node_id, "up")
    link = Link(BrokerAddress.parse(url), f"fv1-{node_id}", (topic(node_id, "ack"),), random.Random(2))
    while not link.connected:
        link.poll(0.05)
    print("ready", flush=True)
    sys.stdin.readline()
    began_s = time.monotonic()
    uplink.connect()
    last, session = frames[-1][0], link.sessions
    while uplink.acked[1] < last:
        while (after := uplink.send_after()) is not None and index[after[1]] < len(frames):
            seq, payload = frames[index[after[1]]]
            link.publish(up, payload)
            uplink.sent((1, seq), time.monotonic())
        for message in link.poll(0.1):
            ack = Ack.parse(message.payload, key)
            if uplink.believes(ack.central_time_us, time.monotonic(), (1, ack.upto_seq)):
                uplink.on_ack((1, ack.upto_seq), ack.window, ack.central_time_us, time.monotonic())
        if uplink.tick(time.monotonic()) or link.sessions != session:
            sys.exit("an answer was overdue: the figure would be a timeout's")
    print(began_s, time.monotonic(), flush=True)
    link.close(1.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
