"""A HOME as `init` makes it, real packs, the demo's clip, and a search of everything on disk for bytes."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.clock import Clock
from edge.demo_film import write_walk_in
from edge.home import Home, create_home
from edge.people.templates import StoredTemplate
from edge.people.vault import Vault, opened
from edge.settings import new_config
from models.pack import Pack, open_pack
from models.store import Store, default_root
from sync.node.ledger import Ledger
from tests.edge.visiting import Node

MakeHome = Callable[..., Home]
FindBytes = Callable[[Path, bytes], list[str]]
MakeNode = Callable[..., Node]


@pytest.fixture
def make_home(tmp_path: Path) -> MakeHome:
    """Makes HOMEs under tmp_path by `create_home`, in mode ephemeral unless told otherwise."""

    def make(name: str = "home", mode: str = "ephemeral") -> Home:
        capture = {"mode": mode, "legal_basis": "test" if mode == "ephemeral" else ""}
        config = new_config(site="puxi-01", node="puxi-01-a", place={"datum": "wgs84"}, capture=capture)
        return create_home(tmp_path / name, config, None)

    return make


@pytest.fixture
def home(make_home: MakeHome) -> Home:
    """A new HOME in mode ephemeral."""
    return make_home()


@pytest.fixture
def make_node(home: Home) -> Iterator[MakeNode]:
    """Makes a node of `home` whose arrivals a test brings itself."""
    opened_ledgers: list[Ledger] = []
    with opened(home.database, home.keys_database) as vault:

        def make(**more: Any) -> Node:
            ledger = home.open_ledger("node", Clock())
            opened_ledgers.append(ledger)
            return Node(home, ledger, vault, **more)

        yield make
        for ledger in opened_ledgers:
            ledger.close()


@pytest.fixture
def node(make_node: MakeNode) -> Node:
    """A node in mode ephemeral whose arrivals a test brings itself."""
    return make_node()


@pytest.fixture
def desk(home: Home) -> Iterator[Ledger]:
    """The ledger of `home` under the desk key."""
    ledger = home.open_ledger("desk", Clock())
    yield ledger
    ledger.close()


@pytest.fixture
def find_bytes() -> FindBytes:
    """Which files under a folder hold these bytes, write-ahead logs and shared memory included."""

    def find(folder: Path, needle: bytes) -> list[str]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(folder)) for path in files if needle in path.read_bytes())

    return find


@pytest.fixture
def searchable() -> Callable[[Vault, str], list[StoredTemplate]]:
    """Everything that can be searched under a pack, decrypted."""

    def read(vault: Vault, pack: str) -> list[StoredTemplate]:
        return [sealed.opened() for sealed in vault.templates.sealed(pack)]

    return read


@pytest.fixture(scope="session")
def packs() -> Store:
    """The packs of this machine (FIRSTVISIT_MODELS, else the user's); the test skips where none is installed."""
    store = Store(default_root())
    if not store.installed():
        pytest.skip(f"no model pack under {default_root()} (firstvisit models install)")
    return store


@pytest.fixture(scope="session")
def pack(packs: Store) -> Pack:
    """The pack that `run` takes by itself."""
    return open_pack(packs, packs.pick(None))


@pytest.fixture(scope="session")
def walk_in(pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's clip: six people come in and leave, two of them come back, and one more comes once."""
    pytest.importorskip("insightface.data", reason="insightface, which carries the faces, is not installed")
    pytest.importorskip("skimage.data", reason="scikit-image, which carries a face, is not installed")
    path = tmp_path_factory.mktemp("film") / "walk-in.mp4"
    write_walk_in(path, pack.detector)
    return path


@pytest.fixture
def umask_022() -> Iterator[None]:
    """The umask of an ordinary shell."""
    before = os.umask(0o022)
    yield
    os.umask(before)
