"""The processes that read ahead of central: they find what it would find, and their death costs nothing but time."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sync.central import readers as module
from sync.central.readers import WORTH_BYTES, Readers, Reading
from sync.central.reading import read_frame
from sync.format.keyring import signature_verifies
from sync.format.records import Record
from sync.format.signing import PublicKey
from sync.format.wire import BadFrame, SignedBody, encode_frame
from sync.verify.verify import verify
from tests.sync.broker_process import BrokerProcess
from tests.sync.uplink_site import Node, Site, free_port, wait_for

SMALL_ORDER = PublicKey(bytes.fromhex("01" + "00" * 31))


def frame_of(*records: Record) -> bytes:
    return encode_frame([SignedBody(record.body, record.signature) for record in records])


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    made = Node(tmp_path_factory.mktemp("node") / "home")
    made.record(60)
    return made


@pytest.fixture(scope="module")
def chain(node: Node) -> list[Record]:
    ledger = node.ledger()
    try:
        return list(ledger.records(["camera.up"]))
    finally:
        ledger.close()


@pytest.fixture
def keys(node: Node) -> dict[str, PublicKey]:
    return {key.key_id: key for key in (node.key.public, node.desk.public, SMALL_ORDER)}


@pytest.fixture
def readers(request: pytest.FixtureRequest) -> Iterator[Readers]:
    made = Readers(getattr(request, "param", 2))
    yield made
    made.close()


def begun(readers: Readers, payloads: list[bytes], keys: dict[str, PublicKey]) -> list[Reading]:
    """These, and something behind them that makes them worth handing over."""
    readings = [Reading("n1", payload, keys) for payload in [*payloads, b"x" * WORTH_BYTES]]
    readers.submit(readings)
    assert all(reading.task is not None for reading in readings)
    return readings[:-1]


def test_what_a_process_finds_is_what_is_found_here(
    readers: Readers, chain: list[Record], keys: dict[str, PublicKey], node: Node
) -> None:
    good, forged = chain[:3], replace(chain[3], signature=chain[2].signature)
    body = chain[4].body
    twice = replace(chain[4], body=body[:-1] + b',"v":1}')
    huge = replace(chain[4], body=body.replace(b'"seq":5', b'"seq":9007199254740993'))
    stranger = replace(chain[4], body=body.replace(node.key.public.key_id.encode(), b"ab" * 16))
    anybody = replace(  # R and s of nothing, under a key of small order
        chain[4],
        body=body.replace(node.key.public.key_id.encode(), SMALL_ORDER.key_id.encode()),
        signature=SMALL_ORDER.raw + bytes(32),
    )
    frames = [frame_of(*good), frame_of(forged, twice, huge), frame_of(stranger, anybody, chain[4]), b"no frame"]
    for reading, payload in zip(begun(readers, frames, keys), frames, strict=True):
        readers.look(until=reading)
        assert reading.task is not None
        assert reading.task.findings is not None, "a process has read it"
        try:
            here = read_frame(payload)
        except BadFrame as error:
            with pytest.raises(BadFrame, match=str(error)):
                reading.result()
            continue
        for found, mine in zip(reading.result(), here, strict=True):
            assert found.body == mine.body
            if not isinstance(mine.record, Record):
                assert (type(found.record), str(found.record)) == (type(mine.record), str(mine.record))
                continue
            assert found.record == mine.record
            assert found.key == keys.get(mine.record.key_id)
            for key in keys.values():
                assert found.verifies(key, mine.record) is signature_verifies(key, mine.record)
            assert not found.verifies(SMALL_ORDER, mine.record)


@pytest.mark.parametrize("readers", [1], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_what_a_process_held_that_dies_or_hangs_is_read_here_and_another_one_takes_its_place(
    readers: Readers,
    chain: list[Record],
    keys: dict[str, PublicKey],
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_STUCK_S", 0.5)
    monkeypatch.setattr(module, "_RESTART_PAUSE_S", 0.0)
    (process,) = readers._processes
    os.kill(process.running.pid, number)
    readings = begun(readers, [frame_of(*chain)] * 20, keys)
    for reading in readings:
        if not reading.ready:
            readers.look(until=reading)
        assert reading.ready
        assert [one.record for one in reading.result()] == chain
    assert process.running.returncode == -signal.SIGKILL
    monkeypatch.setattr(module, "_STUCK_S", 60.0)
    (reading,) = begun(readers, [frame_of(*chain)], keys)
    readers.look(until=reading)
    assert reading.task is not None
    assert reading.task.findings is not None, "the new process has read it"


@pytest.mark.parametrize("readers", [1], indirect=True)
def test_a_node_that_sends_crumbs_behind_frames_with_long_findings_does_not_stop_central(
    readers: Readers, chain: list[Record], keys: dict[str, PublicKey]
) -> None:
    # what says nothing is told at twice its length; with every crumb went the node's keys
    nameless = chain[0].body.replace(chain[0].node_id.encode(), ("\U0010fffe" * 1800).encode())
    verbose = encode_frame([SignedBody(nameless, bytes(64))] * 5)
    readings = [Reading("n1", payload, keys) for payload in [*[verbose] * 3, *[b"crumb"] * 8000, verbose]]

    def read() -> None:
        readers.submit(readings)
        readers.look(until=readings[-1])

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    reading.join(30)
    assert not reading.is_alive(), "central and its process wait for each other"
    assert all(one.task is None or one.task.findings is not None for one in readings)


def test_a_process_that_stops_halfway_through_a_message_is_lost(
    keys: dict[str, PublicKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STUCK_S", 1)
    readers = Readers(1)
    (process,) = readers._processes
    os.kill(process.running.pid, signal.SIGSTOP)
    large = Reading("n1", bytes(1024 * 1024), keys)  # more than the socket takes
    reading = threading.Thread(target=readers.submit, args=([large],), daemon=True)
    reading.start()
    reading.join(30)
    assert not reading.is_alive(), "central waits for a process that does not run"
    assert large.ready
    readers.close()


@pytest.mark.parametrize("readers", [0], indirect=True)
def test_without_processes_everything_is_read_when_it_is_asked_for(readers: Readers, chain: list[Record]) -> None:
    reading = Reading("n1", frame_of(*chain))
    readers.submit([reading])
    assert reading.ready
    assert [one.record for one in reading.result()] == chain


def test_a_central_that_is_killed_leaves_no_process_behind() -> None:
    script = (
        "import time\nfrom sync.central.readers import Readers\nreaders = Readers(2)\n"
        "print(*(one.running.pid for one in readers._processes), flush=True)\ntime.sleep(600)"
    )
    central = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert central.stdout is not None
    pids = [int(word) for word in central.stdout.readline().split()]
    assert len(pids) == 2
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    central.kill()
    central.wait(10)
    wait_for(lambda: not any(_runs(pid) for pid in pids), "they have ended")


def _runs(pid: int) -> bool:
    try:  # nobody may be there to collect an orphan's status
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_readers_that_are_killed_under_load_cost_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RESTART_PAUSE_S", 0.05)
    broker = BrokerProcess(free_port())
    broker.start()
    site = Site(tmp_path, broker)
    site.node.record(3000)
    site.central.start(broker.url, readers=2)
    try:
        handed_over = site.central.readers
        site.node.start(broker.url)
        killed = 0
        while not site.node.uplink.drained(0.02):  # type: ignore[union-attr]
            for process in [one for one in list(handed_over._processes) if one.tasks][:1]:
                os.kill(process.running.pid, signal.SIGKILL)
                killed += 1
        site.drain()
    finally:
        site.stop()
    assert killed >= 3, "they were at work when they were killed"
    assert site.central.held()[:3000] == list(range(1, 3001)), "and then what it says of central's notices"
    assert verify(site.central.directory).ok
