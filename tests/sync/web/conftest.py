"""A database as a HOME's or central's is, and a clock that only moves when told."""

from pathlib import Path

import pytest

from sync.storage.database import Format, create
from sync.web.tables import MIGRATIONS


class Hands:
    """A clock's hands."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "pages.db"
    create(path, Format("test database", 1), MIGRATIONS)
    return path
