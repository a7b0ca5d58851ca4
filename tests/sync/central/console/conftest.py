"""A central with a node enrolled, its console served for real, and the node's records delivered through the ingest."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from nacl.signing import SigningKey

from sync.central.console.app import create_app
from sync.central.enrol import enrol
from sync.central.ingest import Arrived, Greeting, Ingest
from sync.central.keys import create_keys, load_serving_keys
from sync.central.store.location import accounts_path, create_store, open_store
from sync.format.messages import Status
from sync.format.public_keys import Enrolment
from sync.format.records import Role
from sync.format.signing import Ed25519Signer
from sync.format.stamp import Stamp
from sync.format.wire import encode_frame
from sync.node.append import Writer
from sync.node.ledger import Ledger
from sync.storage.settings import settings_text
from sync.web.accounts import Accounts
from sync.web.server import PageServer

PASSWORD = "correct horse battery"
PACK = "mobilefacenet@b7120c095d60"


def _stamp(_before: Stamp | None) -> Stamp:
    return Stamp(time.time_ns() // 1000, time.monotonic_ns() // 1000, "0" * 32, 4_000, "synced", 0)


@dataclass(slots=True)
class NodeAndCentral:
    """One node's chain, and the central that takes it."""

    directory: Path
    ledger: Ledger
    desk: Ledger
    ingest: Ingest
    node_id: str
    sent: tuple[int, int] = (0, 0)

    def arrive(self, decision: str, visit_id: str, *, ago_s: float = 0, **more: Any) -> None:
        """Append a visit at the node."""
        fields: dict[str, Any] = {
            "visit": visit_id,
            "site": "puxi-01",
            "camera": "entrance",
            "source": "rtsp",
            "source_hash": "0" * 64,
            "arrived_us": round((time.time() - ago_s) * 1e6),
            "shots": 4,
            "quality_e6": 700_000,
            "person": f"p-{visit_id}",
            "pack": PACK,
            "gallery_n": 126,
            "gallery_since_us": 1_793_600_000_000_000,
            "grade": "B",
            "place": {"lat_e7": 312304000, "lon_e7": 1214737000, "source": "installer", "inside": "in"},
            **more,
        }
        self.ledger.append(f"visit.{decision}", fields)

    def deliver(self, claimed_beyond: int = 0) -> None:
        """Bring to central what it has not had, and the node's status."""
        now_us = time.time_ns() // 1000
        while frame := self.ledger.next_frame(self.sent):
            self.sent, records = frame
            self.ingest.take(self.ingest.read([Arrived(self.node_id, encode_frame(records))]), now_us)
        epoch, seq = self.sent
        self.ingest.take([], now_us, [Greeting(Status(self.node_id, True, epoch, seq + claimed_beyond, seq))])


def _writer(role: Role, letter: bytes) -> Writer:
    return Writer("puxi-01-a", role, Ed25519Signer(SigningKey(letter * 32)), _stamp)


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made") / "central"
    directory.mkdir()
    create_keys(directory, "central")
    create_store(directory)
    accounts = Accounts(accounts_path(directory))
    for name, role, office in (("zhou", "viewer", ""), ("li", "front_desk", ""), ("hao", "auditor", "head_office")):
        accounts.add(name, PASSWORD, role, office=office)
    return directory


@pytest.fixture
def central(_made: Path, tmp_path: Path, store_url: str | None) -> Iterator[NodeAndCentral]:
    """A central for one test, copied from one whose passwords have been hashed once: that is slow on purpose."""
    directory = shutil.copytree(_made, tmp_path / "central")
    if store_url is not None:
        accounts = (directory / "central.db").rename(tmp_path / "accounts.db")
        (directory / "central.toml").write_text(settings_text("central", "mqtt://127.0.0.1:1883", store_url))
        create_store(directory, store_url)
        accounts.replace(accounts_path(directory))
    node, desk = _writer("node", b"n"), _writer("desk", b"d")
    Ledger.create(tmp_path / "node.db")
    node_pub = tmp_path / "node.pub"
    enrolment = Enrolment("puxi-01-a", "puxi-01", node.signer.public, desk.signer.public)
    node_pub.write_text(enrolment.text(node.signer))
    enrol(directory, node_pub)
    with open_store(directory) as store:
        ingest = Ingest(store, load_serving_keys(directory))
        ledgers = [Ledger(tmp_path / "node.db", writer) for writer in (node, desk)]
        yield NodeAndCentral(directory, *ledgers, ingest, "puxi-01-a")
        for ledger in ledgers:
            ledger.close()


@pytest.fixture
def console(central: NodeAndCentral) -> Iterator[PageServer]:
    app = create_app(central.directory)
    server = PageServer(app, "127.0.0.1", 0, app.state.live.close)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def reader(console: PageServer, sign_in: Callable[..., httpx.Response]) -> Iterator[httpx.Client]:
    """Somebody who may look."""
    with httpx.Client(base_url=console.url, headers={"origin": console.url}, timeout=20) as client:
        assert sign_in(client, "zhou", PASSWORD).status_code == 303
        yield client
