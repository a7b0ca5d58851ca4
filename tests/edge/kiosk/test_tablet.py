"""A tablet at the desk: installed as an application, without its connection, and with a sound when somebody arrives."""

import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from edge.kiosk.app import create_app
from sync.web.server import PageServer
from tests.edge.kiosk.conftest import PASSWORD, Desk, until
from tests.edge.kiosk.door import Door

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def _served(desk: Desk, port: int, idle_s: float = 3600) -> PageServer:
    app = create_app(desk.home, idle_s=idle_s)
    server = PageServer(app, "127.0.0.1", port, app.state.live.close)
    server.start()
    return server


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def tablet(browser: "Browser", port: int) -> Iterator[Callable[[], "Page"]]:
    """Opens the desk's page on a tablet, signed in; its complaints about the page's policy fail the test."""
    complaints: list[str] = []
    opened: list[Page] = []

    def tablet() -> "Page":
        page = browser.new_context(
            viewport={"width": 1280, "height": 800}, base_url=f"http://127.0.0.1:{port}"
        ).new_page()
        page.on("console", lambda message: complaints.append(message.text) if "Security Policy" in message.text else 0)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        opened.append(page)
        page.goto("/login")
        _sign_in(page)
        return page

    yield tablet
    for page in opened:
        page.context.close()
    assert complaints == []


def _sign_in(page: "Page") -> None:
    page.fill("input[name=name]", "li")
    page.fill("input[name=password]", PASSWORD)
    page.press("input[name=password]", "Enter")
    page.wait_for_selector("nav.rail")


def test_a_lost_connection_is_said_and_nothing_can_be_sent_until_it_is_back(
    desk: Desk, door: Door, tablet: Callable[[], "Page"], port: int
) -> None:
    visit, _ = door.arrive("first")
    server = _served(desk, port)
    try:
        page = tablet()
        page.goto(f"/visits/{visit}/checkin")
        page.wait_for_selector("#register")
        page.fill("#register input[name=phone]", "13800005678")
        assert not page.is_visible("[data-offline]")
        server.stop()
        page.wait_for_selector("[data-offline]:visible")
        assert page.evaluate("document.getElementById('register').inert") is True
        page.evaluate("document.getElementById('register').requestSubmit()")
        assert page.url.endswith("/checkin"), "no browser's page of an unreachable server in its place"
        assert page.is_visible("[data-offline]")
    finally:
        server.stop()
    server = _served(desk, port)
    try:
        page.wait_for_selector("[data-offline]", state="hidden")
        assert page.input_value("#register input[name=phone]") == "13800005678", "what was typed is still there"
        page.click("#register button[value=phone]")
        page.wait_for_selector(".notice.good")
    finally:
        server.stop()


def test_the_sound_is_off_until_a_tablet_switches_it_on_and_then_tells_of_each_arrival_once(
    desk: Desk, door: Door, tablet: Callable[[], "Page"], port: int
) -> None:
    server = _served(desk, port)
    try:
        page = tablet()
        rung = "document.querySelector('[data-sound]').dataset.rung || '0'"
        button = page.wait_for_selector("[data-sound]:visible")
        assert button
        assert button.get_attribute("aria-pressed") == "false"
        assert button.get_attribute("aria-label") == "到访提示音"
        door.arrive("first")
        page.wait_for_selector(".party")
        assert page.evaluate(rung) == "0"
        button.click()
        assert page.evaluate(rung) == "1", "so that whoever switches it on knows what it sounds like"
        page.reload()
        assert page.get_attribute("[data-sound]", "aria-pressed") == "true"
        visit, _ = door.arrive("first")
        until(lambda: page.evaluate(rung) == "1")
        page.wait_for_selector(f"#serve-{visit}, [href='/visits/{visit}/checkin']")
        door.ledger.append("visit.left", {"visit": visit, "left_us": 1, "dwell_s": 1})
        door.arrive("first")
        until(lambda: page.evaluate(rung) == "2")
    finally:
        server.stop()


def test_a_tablet_that_locked_itself_sounds_again_after_the_next_sign_in_and_another_tablet_never_does(
    desk: Desk, door: Door, tablet: Callable[[], "Page"], port: int
) -> None:
    server = _served(desk, port, idle_s=2)
    try:
        page = tablet()
        page.click("[data-sound]")
        page.wait_for_url("**/login**")  # nobody has touched it for two seconds
    finally:
        server.stop()
    server = _served(desk, port)
    try:
        page.context.clear_cookies(name="fv_kiosk_session")
        page.goto("/login")
        _sign_in(page)
        other = tablet()
        assert page.get_attribute("[data-sound]", "aria-pressed") == "true"
        assert other.get_attribute("[data-sound]", "aria-pressed") == "false"
        visit, _ = door.arrive("first")
        until(lambda: page.get_attribute("[data-sound]", "data-rung") == "1")
        other.wait_for_selector(f"#serve-{visit}")
        assert other.get_attribute("[data-sound]", "data-rung") is None
    finally:
        server.stop()


def test_a_page_that_its_browser_keeps_silent_until_it_is_touched_says_so(
    desk: Desk, door: Door, tablet: Callable[[], "Page"], port: int
) -> None:
    server = _served(desk, port)
    try:
        page = tablet()
        page.click("[data-sound]")
        with page.expect_console_message(lambda told: "AudioContext was not allowed" in told.text):
            page.reload()  # as by a power cut: no touch has led to this page
        page.wait_for_selector("[data-sound].silent")
        assert page.get_attribute("[data-sound]", "title") == "点一下屏幕，提示音才会响"
        page.mouse.click(640, 790)
        page.wait_for_selector("[data-sound]:not(.silent)")
        door.arrive("first")
        until(lambda: page.get_attribute("[data-sound]", "data-rung") == "1")
    finally:
        server.stop()


def test_the_pages_can_be_installed_under_an_icon_of_ours(kiosk: PageServer) -> None:
    login = httpx.get(f"{kiosk.url}/static/manifest.json")
    manifest = login.json()
    assert login.headers["content-type"] == "application/json"
    assert (manifest["start_url"], manifest["display"]) == ("/", "standalone")
    assert {icon["purpose"] for icon in manifest["icons"]} == {"any", "maskable"}
    for icon in manifest["icons"]:
        answer = httpx.get(kiosk.url + icon["src"])
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
