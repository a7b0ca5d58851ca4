"""A HOME with a desk, its kiosk served for real, and a hand that writes visits into its ledger."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from edge.desk.desk_secrets import desk_secret
from edge.home import Home, create_home
from edge.kiosk.app import create_app
from sync.format.accounts import Account
from sync.web.accounts import Accounts
from sync.web.server import PageServer
from tests.edge.head_office import HeadOffice
from tests.edge.kiosk.door import CONFIG, Door

if TYPE_CHECKING:
    from playwright.sync_api import Page

PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True)
class Desk:
    """A HOME and who may sign in at it; li has a PIN, 2580. Each other role has an account of its own name."""

    home: Home
    wang: Account
    li: Account


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    home = create_home(tmp_path_factory.mktemp("desk") / "home", CONFIG, None)
    accounts = Accounts(home.database, pin_secret=desk_secret(home.keys_database, "pin"))
    for role in ("auditor", "privacy", "installer"):
        accounts.add(role, PASSWORD, role, office="head_office")
    wang = accounts.add("wang", PASSWORD, "manager", office="puxi-01")
    return Desk(home, wang, accounts.add("li", PASSWORD, "front_desk", "2580", "puxi-01"))


@pytest.fixture
def desk(_made: Desk, tmp_path: Path) -> Desk:
    """A HOME for one test, copied from one whose passwords have been hashed once: that is slow on purpose."""
    return replace(_made, home=Home(shutil.copytree(_made.home.path, tmp_path / "home")))


@pytest.fixture
def head_office(desk: Desk, tmp_path: Path) -> HeadOffice:
    """A central that has confirmed the desk's auditor and privacy officer."""
    made = HeadOffice(desk.home, tmp_path / "hq")
    accounts = Accounts(desk.home.database).all()
    made.confirm(*(one for one in accounts if one.role in ("auditor", "privacy")))
    return made


@pytest.fixture
def door(desk: Desk) -> Iterator[Door]:
    door = Door(desk.home)
    yield door
    door.close()


@pytest.fixture
def kiosk(desk: Desk) -> Iterator[PageServer]:
    yield from _served(desk, 3600)


@pytest.fixture
def impatient_kiosk(desk: Desk) -> Iterator[PageServer]:
    """One whose sessions end two seconds after their last use."""
    yield from _served(desk, 2)


def _served(desk: Desk, idle_s: float) -> Iterator[PageServer]:
    app = create_app(desk.home, idle_s=idle_s)
    server = PageServer(app, "127.0.0.1", 0, app.state.live.close)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def visitor(kiosk: PageServer, sign_in: Callable[..., httpx.Response]) -> Iterator[Callable[..., httpx.Client]]:
    """Makes clients: signed in as somebody, or as nobody."""
    clients: list[httpx.Client] = []

    def visitor(name: str | None = None) -> httpx.Client:
        client = httpx.Client(base_url=kiosk.url, headers={"origin": kiosk.url}, timeout=20)
        clients.append(client)
        if name:
            assert sign_in(client, name, PASSWORD).status_code == 303
        return client

    yield visitor
    for client in clients:
        client.close()


def sign_in_on(page: "Page", name: str) -> None:
    """Sign in by the form that a page of the kiosk shows, and wait for the first page behind it."""
    page.goto("/login")
    page.fill("input[name=name]", name)
    page.fill("input[name=password]", PASSWORD)
    page.press("input[name=password]", "Enter")
    page.wait_for_selector("nav.rail")
    page.wait_for_load_state()  # what it looks like is in its styles


def until(true: Callable[[], bool], within_s: float = 20) -> None:
    """Wait for what the kiosk's own thread is about to read: a page shows what was written only after its next look."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def until_shown(client: httpx.Client, visit: str) -> None:
    """Wait for the desk's page to know a visit."""
    until(lambda: client.get(f"/fragments/arrival/{visit}").status_code == 200)
