"""What a tablet shows while the node is away: a page that says so and comes back by itself; nothing of anybody."""

import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from edge.kiosk import offline
from edge.kiosk.app import create_app
from sync.web.server import PageServer
from tests.edge.kiosk.conftest import PASSWORD, Desk
from tests.edge.kiosk.door import Door
from tests.edge.kiosk.test_accessibility import axe, found
from tests.edge.kiosk.test_browser import PHONE, TABLET

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["axe"]  # a fixture
READY = "navigator.serviceWorker.ready.then(() => true)"


class Node:
    """A desk's kiosk that can be stopped and started again on the same address."""

    def __init__(self, desk: Desk) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._desk = desk
        self._server: PageServer | None = None

    def start(self) -> None:
        app = create_app(self._desk.home)
        self._server = PageServer(app, "127.0.0.1", self.port, app.state.live.close)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
        self._server = None


@pytest.fixture
def node(desk: Desk) -> Iterator[Node]:
    node = Node(desk)
    node.start()
    yield node
    node.stop()


@pytest.fixture
def tablet(browser: "Browser", node: Node) -> Iterator[Callable[[str], "Page"]]:
    """Opens a browser of its own, signed in, whose worker is ready; the page's policy has nothing to complain of."""
    complaints: list[str] = []
    opened: list[Page] = []

    def tablet(name: str) -> "Page":
        context = browser.new_context(viewport=TABLET, base_url=f"http://127.0.0.1:{node.port}")  # type: ignore[arg-type]
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if "Security Policy" in message.text else 0)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        opened.append(page)
        page.goto("/login")
        page.fill("input[name=name]", name)
        page.fill("input[name=password]", PASSWORD)
        page.press("input[name=password]", "Enter")
        page.wait_for_selector("nav.rail")
        assert page.evaluate(READY)
        return page

    yield tablet
    for page in opened:
        page.context.close()
    assert complaints == []


def test_a_page_asked_for_while_the_node_is_away_is_a_word_on_that_and_comes_by_itself_afterwards(
    node: Node, tablet: Callable[[str], "Page"], axe: str
) -> None:
    page = tablet("li")
    node.stop()
    page.goto("/arrivals")
    said = page.inner_text("main")
    for words in ("连不上设备", "cannot reach the appliance", "仍然有效", "What still works", "自动重试"):
        assert words in said
    assert page.evaluate("getComputedStyle(document.querySelector('.notice')).display") == "flex", "with its style"
    assert page.evaluate("document.querySelector('header img').naturalWidth") > 0
    faults = [fault for size in (PHONE, TABLET) for fault in found(page, axe, size)]
    assert not faults, "\n".join(faults)
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    node.start()
    page.wait_for_selector("nav.rail")
    assert page.url.endswith("/arrivals")


def test_with_the_worker_a_form_is_still_sent_and_one_that_is_lost_leads_back_to_its_page(
    node: Node, tablet: Callable[[str], "Page"], desk: Desk, door: Door
) -> None:
    lost, _ = door.arrive("first", ago_s=60)
    sent, _ = door.arrive("first", ago_s=30)
    page = tablet("li")
    page.goto(f"/visits/{sent}/checkin")
    assert page.evaluate("Boolean(navigator.serviceWorker.controller)")
    page.fill("#register input[name=phone]", "13800005678")
    page.click("#register button[value=phone]")
    page.wait_for_selector(".notice.good")
    page.goto(f"/visits/{lost}/checkin")
    node.stop()
    page.evaluate("document.querySelector('.turned-away').submit()")  # in the second before the banner stands there
    page.wait_for_selector("body.away")
    assert page.url.endswith(f"/visits/{lost}/checkin")
    node.start()
    page.wait_for_selector(".turned-away")
    with closing(desk.home.open_ledger()) as ledger:
        assert [one.fields["visit"] for one in ledger.records(("visit.checkin",))] == [sent]


def test_a_tablet_keeps_files_that_are_the_same_for_everybody_and_nothing_else(
    node: Node, tablet: Callable[[str], "Page"], door: Door
) -> None:
    visit, person = door.arrive("first", ago_s=60)
    page = tablet("li")
    for path in ("/", "/arrivals", f"/visits/{visit}/checkin", "/lookback", "/node"):
        page.goto(path)
        page.wait_for_load_state()
    kept = page.evaluate("""async () => {
        const all = [];
        for (const name of await caches.keys()) {
            const cache = await caches.open(name);
            for (const request of await cache.keys()) {
                const answer = await cache.match(request);
                all.push([new URL(request.url).pathname, await answer.text()]);
            }
        }
        return all;
    }""")
    paths = [path for path, _ in kept]
    assert "/static/offline.html" in paths
    assert [path for path in paths if not path.startswith(("/static/", "/shared/"))] == []
    with httpx.Client(base_url=f"http://127.0.0.1:{node.port}") as nobody:
        assert [path for path in paths if nobody.get(path).status_code != 200] == [], "all of it is anybody's"
    assert [path for path, text in kept if visit in text or person in text] == []


def test_a_display_that_is_switched_on_before_the_node_sends_people_to_the_desk_until_it_is_there(
    node: Node, tablet: Callable[[str], "Page"], desk: Desk
) -> None:
    desk.home.config.write_text(desk.home.config.read_text() + '[visitor]\nlisten = "127.0.0.1:8501"\n')
    node.stop()
    node.start()
    page = tablet("installer")
    page.goto("/display")
    page.fill("main input[name=name]", "entrance")
    page.click("main button.primary")
    page.wait_for_selector(".visitor-qr")
    node.stop()
    page.reload()
    assert "请直接到前台登记" in page.inner_text("main")
    assert "Please register at the desk" in page.inner_text("main")
    node.start()
    page.wait_for_selector(".visitor-qr")


def test_the_worker_is_another_one_as_soon_as_a_file_is(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = httpx.get(f"http://127.0.0.1:{node.port}/sw.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.text == offline.worker()
    copied = shutil.copytree(Path(offline.__file__).parent / "static", tmp_path / "static")
    monkeypatch.setattr(offline, "_FOLDERS", {"/static/": copied})
    before = offline.worker()
    assert offline.worker() == before
    (copied / "desk.js").write_text("// a later version\n")
    first_line, later = before.partition("\n")[0], offline.worker()
    assert first_line.startswith('const KEPT = "firstvisit-')
    assert first_line not in later
