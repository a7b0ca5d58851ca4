"""A node that records without cameras, a central, and the broker between them, for the tests of sync."""

import random
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sync.central.enrol import enrol
from sync.central.inbox import Inbox
from sync.central.keys import create_keys
from sync.central.readers import Readers
from sync.central.server import Server
from sync.central.store.location import create_store, open_store
from sync.central.store.sqlite import FILE_NAME
from sync.central.store.store import Store
from sync.format.public_keys import Enrolment
from sync.format.signing import Signer, create_key_file, load_key_file
from sync.format.stamp import Stamp
from sync.node.append import Writer
from sync.node.ledger import Ledger
from sync.node.trust import DATABASE_FILE, Trust, join
from sync.node.uplink_thread import UplinkThread
from sync.storage.settings import FILE_NAME as SETTINGS_FILE
from sync.storage.settings import settings_text
from sync.transport.mqtt import BrokerAddress
from sync.transport.session import parse_uplink
from tests.sync.broker_process import BrokerProcess


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 40.0) -> None:
    """Return as soon as the condition holds; fail, saying what was waited for, where it never does."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {timeout_s} s in vain: {what}"
        time.sleep(0.02)


def stamp(_before: Stamp | None) -> Stamp:
    return Stamp(time.time_ns() // 1000, time.monotonic_ns() // 1000, "b" * 32, 1500, "synced", 0)


class Node:
    """A HOME with a ledger and two keys, and an uplink when it runs."""

    def __init__(self, home: Path, node_id: str = "n1") -> None:
        self.home, self.node_id = home, node_id
        home.mkdir(parents=True)
        self.key: Signer = create_key_file(home / "node.key")
        self.desk: Signer = create_key_file(home / "desk.key")
        self.enrolment = Enrolment(node_id, "site-1", self.key.public, self.desk.public)
        (home / "node.pub").write_text(self.enrolment.text(self.key))
        Ledger.create(home / DATABASE_FILE)
        self.writer = Writer(node_id, "node", self.key, stamp)
        self.desk_writer = Writer(node_id, "desk", self.desk, stamp)
        self.uplink: UplinkThread | None = None

    def ledger(self) -> Ledger:
        return Ledger(self.home / DATABASE_FILE, self.writer)

    def record(self, count: int = 1) -> None:
        """Append `count` records, the first of a chain being its genesis; in one transaction, for speed."""
        ledger = self.ledger()
        try:
            with ledger.transaction() as transaction:
                for number in range(count):
                    transaction.append("camera.up", {"camera": "door", "number": number})
        finally:
            ledger.close()

    def head(self) -> int:
        ledger = self.ledger()
        try:
            head = ledger.head()
        finally:
            ledger.close()
        return head.seq if head else 0

    def acked_upto(self) -> tuple[int, int]:
        ledger = self.ledger()
        try:
            return ledger.acked_upto()
        finally:
            ledger.close()

    def alarms(self) -> dict[str, int]:
        return {alarm.code: alarm.count for alarm in Trust(self.home).alarms()}

    def start(self, url: str, seed: int = 1) -> UplinkThread:
        self.uplink = UplinkThread(self.home, self.writer, parse_uplink(url), random.Random(seed))
        self.uplink.start()
        return self.uplink

    def stop(self) -> None:
        if self.uplink is not None:
            self.uplink.stop()
            self.uplink = None


class Central:
    """A central's directory, and its ingest in a thread when it runs."""

    def __init__(self, directory: Path, central_id: str = "c1", store_url: str | None = None) -> None:
        self.directory, self.central_id = directory, central_id
        directory.mkdir(parents=True)
        (directory / SETTINGS_FILE).write_text(settings_text(central_id, "mqtt://127.0.0.1:1883", store_url))
        create_keys(directory, central_id)
        create_store(directory, store_url)
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def public(self) -> Path:
        return self.directory / "central.pub"

    def store(self) -> Store:
        return open_store(self.directory)

    @property
    def readers(self) -> Readers:
        """The processes that read for the ingest that runs."""
        assert self._server is not None
        return self._server._readers

    def start(self, url: str, backfill_per_s: int | None = None, inbox: Inbox | None = None, readers: int = 0) -> None:
        ready = threading.Event()

        def serve() -> None:  # the store belongs to the thread that opened it
            address = BrokerAddress.parse(url)
            self._server = Server(
                self.directory, self.central_id, address, backfill_per_s, inbox=inbox, readers=readers
            )
            ready.set()
            self._server.serve()

        self._thread = threading.Thread(target=serve, daemon=True)
        self._thread.start()
        assert ready.wait(10)

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.stop()
            self._thread.join(10)
            assert not self._thread.is_alive()
            self._server = self._thread = None

    def held(self, node_id: str = "n1") -> list[int]:
        """The seqs it holds, in the order of the chain."""
        with self.store() as store:
            return [row.seq for row in store.records(node_id)]

    def copy_store(self, to: Path) -> None:
        """Copy the database of a stopped central aside, or back."""
        source = self.directory / FILE_NAME
        for suffix in ("", "-wal", "-shm"):
            target = Path(f"{to}{suffix}")
            target.unlink(missing_ok=True)
            if Path(f"{source}{suffix}").exists():
                shutil.copy(f"{source}{suffix}", target)

    def restore_store(self, source: Path) -> None:
        for suffix in ("", "-wal", "-shm"):
            target = Path(f"{self.directory / FILE_NAME}{suffix}")
            target.unlink(missing_ok=True)
            if Path(f"{source}{suffix}").exists():
                shutil.copy(f"{source}{suffix}", target)


def enrolled(node: Node, central: Central) -> Node:
    """Introduce the two to each other."""
    join(node.home, central.public)
    enrol(central.directory, node.home / "node.pub")
    return node


class Site:
    """One broker, one central, one node that has joined."""

    def __init__(self, folder: Path, broker: BrokerProcess) -> None:
        self.broker = broker
        self.central = Central(folder / "central")
        self.node = enrolled(Node(folder / "home"), self.central)
        self.folder = folder

    def start(self) -> None:
        self.central.start(self.broker.url)
        self.node.start(self.broker.url)

    def drain(self, timeout_s: float = 60.0) -> None:
        assert self.node.uplink is not None
        assert self.node.uplink.drained(timeout_s), self.node.alarms()

    def stop(self) -> None:
        self.node.stop()
        self.central.stop()
        self.broker.stop()


def run_node(home: Path, url: str, recording: bool) -> None:
    """Run the uplink of a HOME until killed, and record beside it; for a process of its own."""
    writer = Writer("n1", "node", load_key_file(home / "node.key"), stamp)
    UplinkThread(home, writer, BrokerAddress.parse(url), random.Random(time.time_ns())).start()
    ledger = Ledger(home / DATABASE_FILE, writer)
    while True:
        if recording:
            ledger.append("camera.up", {"camera": "door"})
        time.sleep(0.001)
