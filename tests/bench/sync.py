"""Records a second from nodes over mosquitto into central and back as acks, beside what its parts can do alone.

Whole processes: mosquitto, `firstvisit central run`, and one process a node that sends what was signed before (the
protocol's sending end, its window and its acks; without its ledger). A run counts from the first frame to the last ack.
The ceilings: verifying alone; committing alone; and the way alone, with somebody in central's place who says yes to
everything.
"""

import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from nacl.signing import SigningKey

from sync.central.enrol import enrol
from sync.central.keys import create_keys, load_serving_keys
from sync.central.store.batch import Batch
from sync.central.store.location import create_store, open_store
from sync.format.chain import Chain
from sync.format.keyring import KeyRing
from sync.format.messages import Ack
from sync.format.public_keys import Enrolment
from sync.format.records import GENESIS_PREV, Record, seal
from sync.format.signing import Ed25519Signer
from sync.format.wire import MAX_WINDOW_FRAMES, SignedBody, encode_frame, parse_topic, topic
from sync.storage.settings import FILE_NAME as SETTINGS_FILE
from sync.storage.settings import settings_text
from sync.transport.broker import mosquitto
from sync.transport.mqtt import BrokerAddress, Link
from tests.bench.sync_node import write_frames
from tests.sync.broker_process import BrokerProcess
from tests.sync.postgres_server import PostgresServer, free_port, missing

SIZES = (1, 20, 100)  # records a frame
NODES = (1, 2)
RECORDS = {1: 2_000, 20: 20_000, 100: 20_000}  # a node sends in one run, by size
READY_S = 60.0
_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Chains:
    """What each node has signed."""

    signers: dict[str, Ed25519Signer]
    records: dict[str, list[Record]]

    def enrolment(self, node_id: str) -> tuple[Enrolment, str]:
        desk = Ed25519Signer(SigningKey(node_id.encode().ljust(32, b"d")))
        made = Enrolment(node_id, "bench", self.signers[node_id].public, desk.public)
        return made, made.text(self.signers[node_id])


def bench(runs: int) -> None:
    """Print the table."""
    if mosquitto() is None:
        sys.exit("mosquitto is not installed (Debian: mosquitto)")
    print("sync     signing the chains …", flush=True)
    chains = _sign(max(NODES), max(RECORDS.values()))
    body = statistics.median(len(record.body) for record in chains.records["n1"])
    print(
        f"sync     visit.first records of {body:.0f} bytes and a signature of 64; records a second, medians of {runs}"
    )
    with ExitStack() as stack:
        stores: dict[str, Callable[[], str | None]] = {"SQLite": lambda: None}
        if why := missing():
            print(f"sync     no PostgreSQL: {why}")
        else:
            server = PostgresServer(free_port())
            stack.callback(server.remove)
            server.start()
            stores["PostgreSQL"] = server.fresh
        _row("records a frame", *(str(size) for size in SIZES))
        for name, place in stores.items():
            for nodes in NODES:
                _row(f"{name}, {nodes} node{'s' * (nodes > 1)}", *_rates(runs, _end_to_end, chains, nodes, place))
        _row("verify only, one thread", *_rates(runs, _verify_only, chains))
        for name, place in stores.items():
            _row(f"commit only, {name}", *_rates(runs, _commit_only, chains, place))
        for nodes in NODES:
            _row(f"way only, {nodes} node{'s' * (nodes > 1)}", *_rates(runs, _way_only, chains, nodes))


def _row(name: str, *cells: str) -> None:
    print(f"{name:<26}" + "".join(f"{cell:>10}" for cell in cells), flush=True)


def _rates(runs: int, measure: Callable[..., float], *arguments: object) -> Iterator[str]:
    """The median of what is measured for each size of frames."""
    for size in SIZES:
        yield f"{statistics.median(measure(size, *arguments) for _ in range(runs)):,.0f}"


# -- the whole way ---------------------------------------------------------------------------------------------


def _end_to_end(size: int, chains: Chains, nodes: int, place: Callable[[], str | None]) -> float:
    return _between(size, chains, nodes, place(), lambda central, _url: _running(central))


def _between(
    size: int,
    chains: Chains,
    nodes: int,
    store_url: str | None,
    answering: Callable[[Path, str], AbstractContextManager[None]],
) -> float:
    """Let nodes send all they have to whoever answers."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="firstvisit-bench-")))
        broker = BrokerProcess(free_port(), "mosquitto")
        broker.start()
        stack.callback(broker.stop)
        central = _central(folder / "central", chains, nodes, broker.url, store_url)
        stack.enter_context(answering(central, broker.url))
        senders = [
            stack.enter_context(_sender(folder, chains, f"n{i}", size, broker.url, central)) for i in _ids(nodes)
        ]
        for sender in senders:
            _say(sender, "go")
        spans = [tuple(map(float, _hear(sender).split())) for sender in senders]
    return nodes * RECORDS[size] / (max(end for _, end in spans) - min(begin for begin, _ in spans))


def _central(directory: Path, chains: Chains, nodes: int, broker_url: str, store_url: str | None) -> Path:
    directory.mkdir()
    create_keys(directory, "bench")
    text = settings_text("bench", broker_url, store_url).replace("port = 8600", f"port = {free_port()}")
    (directory / SETTINGS_FILE).write_text(f"{text}\n[ingest]\nbackfill_per_s = 1000000\n")
    create_store(directory, store_url)
    for number in _ids(nodes):
        node_pub = directory / f"n{number}.pub"
        node_pub.write_text(chains.enrolment(f"n{number}")[1])
        enrol(directory, node_pub)
    return directory


@contextmanager
def _running(central: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "edge", "central", "run", "--dir", str(central)]
    environment = {**os.environ, "FIRSTVISIT_LOG": "WARNING"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        _hear(process)  # where the console is
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def _sender(
    folder: Path, chains: Chains, node_id: str, size: int, url: str, central: Path
) -> Iterator["subprocess.Popen[str]"]:
    home = folder / node_id
    home.mkdir()
    write_frames(home / "frames", _frames(chains, node_id, size))
    command = [sys.executable, "-m", "tests.bench.sync_node", url, node_id, str(central / "central.pub"), str(home)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert _hear(process) == "ready"
        yield process
    finally:
        process.kill()
        process.wait(30)


def _say(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    print(line, file=process.stdin, flush=True)


def _hear(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        sys.exit(f"{process.args}: ended without a word")
    return line


# -- the ceilings ----------------------------------------------------------------------------------------------


def _verify_only(size: int, chains: Chains) -> float:
    records = chains.records["n1"][: RECORDS[size]]
    enrolment, _ = chains.enrolment("n1")
    chain = Chain("n1", KeyRing({"node": enrolment.node, "desk": enrolment.desk}))
    began_s = time.perf_counter()
    for record in records:
        chain.add(record.body, record.signature)
    return len(records) / (time.perf_counter() - began_s)


def _commit_only(size: int, chains: Chains, place: Callable[[], str | None]) -> float:
    """One commit for each window of frames, as one node fills it."""
    records, at_once = chains.records["n1"][: RECORDS[size]], size * MAX_WINDOW_FRAMES
    with tempfile.TemporaryDirectory(prefix="firstvisit-bench-") as folder:
        central = _central(Path(folder) / "central", chains, 1, "mqtt://127.0.0.1:1883", place())
        with open_store(central) as store:
            began_s = time.perf_counter()
            for start in range(0, len(records), at_once):
                batch = Batch()
                for record in records[start : start + at_once]:
                    batch.keep(record, _US)
                store.write(batch)
            return len(records) / (time.perf_counter() - began_s)


def _way_only(size: int, chains: Chains, nodes: int) -> float:
    """The whole way with somebody in central's place who acknowledges everything and looks at nothing."""
    return _between(size, chains, nodes, None, _yes_man)


@contextmanager
def _yes_man(central: Path, url: str) -> Iterator[None]:
    key = load_serving_keys(central).ack
    link = Link(BrokerAddress.parse(url), "fv1-yes-man", ("fv1/+/up",), random.Random(1))
    ended = threading.Event()

    def answer() -> None:
        upto: dict[str, int] = {}
        while not ended.is_set():
            messages = link.poll(0.1)
            for message in messages:
                node_id, _ = parse_topic(message.topic)
                upto[node_id] = upto.get(node_id, 0) + int.from_bytes(message.payload[4:6], "big")  # section 5
            for node_id in {parse_topic(message.topic)[0] for message in messages}:
                now_us = time.time_ns() // 1000
                ack = Ack.seal(node_id, 1, upto[node_id], bytes(32), now_us, MAX_WINDOW_FRAMES, key)
                link.publish(topic(node_id, "ack"), ack.data)
        link.close(1.0)

    thread = threading.Thread(target=answer)
    thread.start()
    while not link.connected:
        time.sleep(0.01)
    try:
        yield
    finally:
        ended.set()
        thread.join()


# -- what is sent ----------------------------------------------------------------------------------------------


def _ids(nodes: int) -> range:
    return range(1, nodes + 1)


def _frames(chains: Chains, node_id: str, size: int) -> list[tuple[int, bytes]]:
    records = chains.records[node_id][: RECORDS[size]]
    parts = (records[start : start + size] for start in range(0, len(records), size))
    return [(part[-1].seq, encode_frame([SignedBody(r.body, r.signature) for r in part])) for part in parts]


def _sign(nodes: int, count: int) -> Chains:
    signers = {f"n{number}": Ed25519Signer(SigningKey(f"n{number}".encode().ljust(32))) for number in _ids(nodes)}
    return Chains(signers, {node_id: _chain(node_id, signer, count) for node_id, signer in signers.items()})


def _chain(node_id: str, signer: Ed25519Signer, count: int) -> list[Record]:
    chain: list[Record] = []
    for seq in range(1, count + 1):
        wall_us = 1_760_000_000 * _US + seq * 3 * _US
        chain.append(
            seal(
                {
                    "v": 1, "node": node_id, "epoch": 1, "seq": seq, "kind": "visit.first", "key": signer.public.key_id,
                    "prev": chain[-1].hash.hex() if chain else GENESIS_PREV,
                    "at": {"wall_us": wall_us, "boot_us": wall_us % 10**12, "boot_id": "b" * 32, "maxerror_us": 1500,
                           "source": "synced", "steps": 0},
                    "anchor": {"central_time_us": wall_us - 4 * _US, "ack_hash": "a" * 64},
                    "visit": f"v-{node_id}-{seq:012}", "site": "bench", "camera": "entrance", "source": "rtsp",
                    "source_hash": "c" * 64, "arrived_us": wall_us - _US, "shots": 5, "quality_e6": 712_345,
                    "person": f"p-{seq:016}", "pack": "mobilefacenet@b7120c095d60", "upper_e6": 512_000,
                    "lower_e6": 401_000, "gallery_n": 1200, "gallery_since_us": wall_us - 10**13,
                    "unconsented_horizon_s": 86_400, "similarity_e6": 312_345, "margin_e6": 45_678, "grade": "B",
                    "place": {"lat_e7": 312304000, "lon_e7": 1214737000, "accuracy_e6": 8_000_000,
                              "source": "installer", "inside": "in"},
                },
                signer,
            )
        )  # fmt: skip
    return chain
