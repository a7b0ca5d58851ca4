"""An office, for the tests of what people may ask for."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from edge.clock import Clock
from edge.home import Home
from edge.people.vault import opened
from sync.node.ledger import Ledger
from tests.edge.kiosk.door import Door
from tests.edge.rights.office import Office


@pytest.fixture
def office(home: Home, desk: Ledger) -> Iterator[Office]:
    door = Door(home)
    with opened(home.database, home.keys_database) as vault, closing(home.open_ledger("node", Clock())) as node:
        yield Office(home, vault, node, desk, door)
    door.close()
