"""The rig and the footage of the fault tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.rig import Rig, installed_pack


@pytest.fixture(scope="session")
def pack() -> str:
    """The name of an installed pack; the test skips where there is none."""
    name = installed_pack()
    if name is None:
        pytest.skip("no model pack is installed (firstvisit models install)")
    return name


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory, pack: str) -> Path:
    """The demo's walk-in: six people come, two of them come back, one more comes."""
    from edge.demo_film import write_walk_in
    from models.pack import open_pack
    from models.store import Store, default_root

    path = tmp_path_factory.mktemp("film") / "walk-in.mp4"
    write_walk_in(path, open_pack(Store(default_root()), pack).detector)
    return path


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()
