"""One change of who may sign in, and what is to be said of it: written together or not at all."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from sync.format.accounts import AccountChange, TabletChange
from sync.web.tables import locked


@dataclass(slots=True)
class Change:
    """The transaction that makes a change; who makes it adds what was changed, and whoever opened it tells of that."""

    connection: sqlite3.Connection
    accounts: list[AccountChange] = field(default_factory=list)
    tablets: list[TabletChange] = field(default_factory=list)


Changing: TypeAlias = Callable[[], AbstractContextManager[Change]]
"""Opens a change, and commits it at the end of the block with what tells of it."""


def untold(path: Path) -> Changing:
    """Where there is no chain to tell of it: at central."""

    @contextmanager
    def changing() -> Iterator[Change]:
        with locked(path) as db:
            yield Change(db.conn)

    return changing
