"""Keys that are the same in every run, and a HOME built with the real ledger."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from sync.format.messages import Ack
from sync.format.public_keys import CentralKeys, CentralRole, Enrolment
from sync.format.signing import Ed25519Signer, Signer
from sync.format.stamp import Stamp
from sync.node.append import Writer
from sync.node.ledger import Ledger
from sync.node.trust import MIGRATIONS as TRUST
from sync.storage.database import LEDGER_FORMAT, migrate
from tests.sync.postgres_server import PostgresServer, free_port, missing

_BOOT_ID = "0123456789abcdef0123456789abcdef"
_SEED_LETTERS: dict[str, bytes] = {
    "node": b"n",
    "desk": b"d",
    "root": b"r",
    "ack": b"a",
    "notice": b"o",
    "checkpoint": b"c",
    "code": b"v",
    "stranger": b"x",
}
_CENTRAL_ROLES: tuple[CentralRole, ...] = ("ack", "notice", "checkpoint", "code")


def key(name: str) -> Ed25519Signer:
    """The test key of a name: its seed is one letter, 32 times over (never a key of anything real)."""
    return Ed25519Signer(SigningKey(_SEED_LETTERS[name] * 32))


def tick(before: Stamp | None) -> Stamp:
    """A clock that goes one second a record."""
    wall_us = before.wall_us + 1_000_000 if before else 1_760_000_000_000_000
    return Stamp(wall_us, wall_us - 1_750_000_000_000_000, _BOOT_ID, 500, "synced", 0)


@dataclass(frozen=True, slots=True)
class BuiltHome:
    """A HOME as `init`, `join` and some acks leave it; node and desk append to the same chain."""

    path: Path

    @property
    def database(self) -> Path:
        return self.path / "firstvisit.db"

    @property
    def node_pub(self) -> Path:
        return self.path / "node.pub"

    @property
    def central_pub(self) -> Path:
        return self.path / "central.pub"

    def ledger(self, role: str = "node") -> Ledger:
        return Ledger(self.database, Writer("gate-1", "desk" if role == "desk" else "node", key(role), tick))

    def ack(self, ledger: Ledger, signer: str = "ack", upto: int | None = None) -> Ack:
        """Acknowledge the chain up to its head, or to a seq, as central would, and store it."""
        head = ledger.head()
        assert head
        record = ledger.record(1, upto or head.seq)
        assert record
        time_us = record.stamp.wall_us + 250_000
        ack = Ack.seal("gate-1", 1, record.seq, record.hash, time_us, 8, key(signer))
        assert ledger.accept_ack(ack)
        return ack


def make_home(path: Path) -> BuiltHome:
    path.mkdir()
    home = BuiltHome(path)
    home.node_pub.write_text(Enrolment("gate-1", "s1", key("node").public, key("desk").public).text(key("node")))
    keys = {role: key(role).public for role in _CENTRAL_ROLES}
    home.central_pub.write_text(CentralKeys("hq", key("root").public, keys).text(key("root")))
    Ledger.create(home.database)
    migrate(home.database, LEDGER_FORMAT, TRUST)
    return home


def fill(home: BuiltHome) -> None:
    """Append 40 records, every tenth from the desk, with acks up to 9, 20 and 30; 31 to 40 are anchored nowhere."""
    node, desk = home.ledger("node"), home.ledger("desk")
    for seq in range(1, 41):
        if seq == 1:
            node.append("epoch.started", {"reason": "init", "site": "s1"})
        elif seq % 10 == 0:
            desk.append("visit.corrected", {"visit": f"v{seq}", "decision": "first", "reason": "new_person"})
        else:
            node.append("visit.first", {"visit": f"v{seq}", "camera": "door", "similarity_e6": 340_000 + seq})
        if seq in (9, 20, 30):
            home.ack(node)
    node.close()
    desk.close()


@pytest.fixture
def signer() -> Callable[[str], Signer]:
    """The test key of a name (node, desk, root, ack, notice, checkpoint, code, stranger)."""
    return key


@pytest.fixture
def home(tmp_path: Path) -> BuiltHome:
    """A HOME with an empty ledger."""
    return make_home(tmp_path / "home")


@pytest.fixture(scope="session")
def _filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evidence") / "home"
    fill(make_home(path))
    return path


@pytest.fixture
def filled_home(_filled: Path, tmp_path: Path) -> BuiltHome:
    """A HOME of 40 records, the desk's among them, acknowledged up to 30."""
    return BuiltHome(shutil.copytree(_filled, tmp_path / "home"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of the tests' own."""
    if why := missing():
        pytest.skip(why)
    server = PostgresServer(free_port())
    server.start()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str | None:
    """Where central's store lies: once in its folder (None), once in a PostgreSQL."""
    if request.param == "sqlite":
        return None
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.fresh()
