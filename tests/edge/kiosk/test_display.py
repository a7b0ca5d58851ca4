"""The screen at the entrance: one page, its code and its stream, for a device that nobody is signed in on."""

import itertools
import secrets
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING

import httpx
import pytest

from edge.desk.desk_secrets import desk_secret
from edge.desk.pictures import code_in
from edge.desk.visitor_code import STEP_S, VisitorCode
from edge.kiosk import shown_code
from edge.kiosk.app import create_app
from sync.format.accounts import KIND
from sync.web.server import PageServer
from tests.conftest import form_token
from tests.edge.kiosk.conftest import PASSWORD, Desk, until
from tests.edge.kiosk.door import CONFIG, Door
from tests.edge.kiosk.test_accessibility import axe, found
from tests.edge.kiosk.test_app import FORMS, PAGES, PARTS
from tests.edge.kiosk.test_browser import TABLET

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["axe"]  # a fixture
LISTENING = CONFIG + '[visitor]\nlisten = "127.0.0.1:8501"\nurl = "http://desk.test"\n'
UPRIGHT = {"width": 800, "height": 1280}


def _made(desk: Desk, port: int = 0) -> PageServer:
    desk.home.config.write_text(LISTENING)
    app = create_app(desk.home)
    server = PageServer(app, "127.0.0.1", port, app.state.live.close)
    server.start()
    return server


@pytest.fixture
def served(desk: Desk) -> Iterator[PageServer]:
    server = _made(desk)
    yield server
    server.stop()


def _client(server: PageServer) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"origin": server.url}, timeout=20)


def _registered(client: httpx.Client, sign_in: Callable[..., httpx.Response], name: str = "installer") -> httpx.Client:
    """Make a display of a client."""
    assert sign_in(client, name, PASSWORD).status_code == 303
    sent = client.post(
        "/display",
        data={"csrf_token": form_token(client, "/display"), "request_id": secrets.token_hex(16), "name": "entrance"},
    )
    assert (sent.status_code, sent.headers["location"]) == (303, "/display")
    return client


# -- what it may, and what it may not --------------------------------------------------------------------------------


def test_a_display_is_shown_its_page_its_code_and_its_stream_and_nothing_else(
    served: PageServer, desk: Desk, door: Door, sign_in: Callable[..., httpx.Response]
) -> None:
    visit, _ = door.arrive("first")
    with _client(served) as display:
        _registered(display, sign_in)
        assert "fv_kiosk_session" not in display.cookies, "whoever set it up is signed out"
        ids = defaultdict(lambda: "none", visit_id=visit, camera_id="entrance")
        opened = [path for path in PAGES if display.get(path.format_map(ids)).status_code == 200]
        parts = [path for path in PARTS if path != "/display/events" and display.get(path.format_map(ids)).is_success]
        taken = [path for path in FORMS if not _to_the_door(display.post(path.format_map(ids)))]
        assert (opened, parts, taken) == (["/display"], ["/display/code"], [])
        with display.stream("GET", "/display/events") as stream:
            assert stream.status_code == 200
            assert next(line for line in stream.iter_lines() if line.startswith("event:")) == "event: start"
        pin = {"account": desk.li.account_id, "pin": "2580", "csrf_token": form_token(display)}
        assert desk.li.account_id not in display.get("/login").text, "nobody is offered to be tapped"
        assert display.post("/login/pin", data=pin).status_code == 403


def test_only_who_may_point_a_camera_makes_a_display_and_the_chain_says_who_did(
    served: PageServer, desk: Desk, sign_in: Callable[..., httpx.Response]
) -> None:
    with _client(served) as li:
        sign_in(li, "li", PASSWORD)
        assert li.get("/display").status_code == 403
        forged = li.post(
            "/display", data={"csrf_token": form_token(li, "/"), "request_id": secrets.token_hex(16), "name": "mine"}
        )
        assert forged.status_code == 403
    with _client(served) as wang:
        _registered(wang, sign_in, "wang")
    with closing(desk.home.open_ledger()) as ledger:
        told = [one for record in ledger.records((KIND,)) for one in record.fields.get("tablets", ())]
    assert [(one["act"], one["account"]) for one in told] == [("display", desk.wang.account_id)]


def test_a_desk_s_tablet_that_becomes_a_display_is_no_desk_s_tablet_any_more(
    served: PageServer, sign_in: Callable[..., httpx.Response]
) -> None:
    with _client(served) as tablet:
        sign_in(tablet, "wang", PASSWORD)
        tablet.post(
            "/tablets",
            data={
                "csrf_token": form_token(tablet, "/tablets"),
                "request_id": secrets.token_hex(16),
                "name": "left desk",
            },
        )
        before = tablet.cookies["fv_kiosk_tablet"]
        sent = tablet.post(
            "/display",
            data={
                "csrf_token": form_token(tablet, "/display"),
                "request_id": secrets.token_hex(16),
                "name": "entrance",
            },
        )
        assert sent.status_code == 303
        tablet.cookies.set("fv_kiosk_tablet", before, domain="127.0.0.1")
        assert _to_the_door(tablet.get("/display"))
        assert "left desk" not in tablet.get("/login").text


def _to_the_door(answer: httpx.Response) -> bool:
    return answer.status_code == 303 and answer.headers["location"].split("?")[0] == "/login"


# -- in a real browser -----------------------------------------------------------------------------------------------


def test_a_display_goes_on_through_a_reload_an_idle_desk_and_a_restart_of_the_node_until_it_is_revoked(
    browser: "Browser", desk: Desk, axe: str, sign_in: Callable[..., httpx.Response]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = _made(desk, port)
    context = browser.new_context(viewport=TABLET, base_url=server.url)  # type: ignore[arg-type]
    screen = context.new_page()
    complaints: list[str] = []
    screen.on("pageerror", lambda error: complaints.append(str(error)))
    screen.on("console", lambda message: complaints.append(message.text) if "Security Policy" in message.text else 0)
    try:
        _set_up(screen)
        faults = [fault for size in (TABLET, UPRIGHT) for fault in found(screen, axe, size)]
        assert not faults, "\n".join(faults)
        for size in (TABLET, UPRIGHT):
            screen.set_viewport_size(size)  # type: ignore[arg-type]
            assert screen.evaluate("document.documentElement.scrollHeight") == size["height"], "nothing to scroll to"
            code = screen.evaluate("document.querySelector('.visitor-qr svg').getBoundingClientRect().width")
            assert code > 0.4 * min(size.values())
        context.clear_cookies(name="fv_kiosk_session")
        screen.reload()
        screen.wait_for_selector(".visitor-qr")
        screen.wait_for_selector("[data-full-screen]:visible")
        screen.click("[data-full-screen]")
        screen.wait_for_selector("[data-full-screen]", state="hidden")
        server.stop()
        screen.wait_for_selector("[data-away]:visible")
        assert not screen.is_visible(".visitor-qr"), "a code that opens nothing is not shown"
        assert "请直接到前台登记" in screen.inner_text("[data-away]")
        server = _made(desk, port)
        screen.wait_for_selector(".visitor-qr:visible")
        assert not screen.is_visible("[data-away]")
        assert screen.evaluate("Boolean(document.fullscreenElement)"), "and nobody has touched it"
        with _client(server) as wang:
            sign_in(wang, "wang", PASSWORD)
            page = wang.get("/tablets").text
            assert "登记屏" in page
            tablet_id = page.split('action="/tablets/')[1].split("/revoke")[0]
            wang.post(f"/tablets/{tablet_id}/revoke", data={"csrf_token": form_token(wang, "/tablets")})
        screen.wait_for_selector("input[name=password]")
        assert "/login" in screen.url
    finally:
        context.close()
        server.stop()
    assert complaints == []


def test_the_code_on_the_screen_opens_a_form_and_when_its_minute_is_over_the_next_one_stands_there(
    browser: "Browser", desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes = itertools.count(int(time.time() // STEP_S))
    asked: list[float] = []

    def a_second_before_the_minute_is_over() -> float:
        asked.append(next(minutes) * STEP_S + STEP_S - 1.0)
        return asked[-1]

    monkeypatch.setattr(shown_code, "time", SimpleNamespace(time=a_second_before_the_minute_is_over))
    server = _made(desk)
    context = browser.new_context(viewport=TABLET, base_url=server.url)  # type: ignore[arg-type]
    screen = context.new_page()
    codes = VisitorCode(desk_secret(desk.home.keys_database, "visitor_code"))
    read: set[str] = set()

    def three_read() -> bool:
        read.add(code_in(screen.screenshot()))
        return len(read) == 3

    try:
        _set_up(screen)
        until(three_read)
        page = screen.inner_text("body")
        for said in ("用微信或手机相机扫码", "Scan the code", "告诉前台手机尾号", "Tell the desk"):
            assert said in page
    finally:
        context.close()
        server.stop()
    for text in read:
        address, _, code = text.rpartition("/")
        assert address == "http://desk.test/v"
        assert any(codes.opens(code, now_s) for now_s in asked)


def _set_up(screen: "Page") -> None:
    screen.goto("/login?after=/display")
    screen.fill("input[name=name]", "installer")
    screen.fill("input[name=password]", PASSWORD)
    screen.press("input[name=password]", "Enter")
    screen.wait_for_url("**/display")
    screen.fill("main input[name=name]", "entrance")
    screen.click("main button.primary")
    screen.wait_for_selector(".visitor-qr")
