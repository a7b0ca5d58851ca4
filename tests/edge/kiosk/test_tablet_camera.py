"""A tablet's own camera, which browsers give to pages over TLS only: a film of a code stands before it."""

import shutil
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from edge.kiosk.app import create_app
from sync.central.ca import open_authority
from sync.transport.tls import FOLDER, TlsFiles
from sync.web.server import PageServer
from tests.edge.kiosk.conftest import PASSWORD, Desk, until_shown
from tests.edge.kiosk.door import Door
from tests.edge.kiosk.hq import Hq, picture_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def hq(desk: Desk, tmp_path: Path) -> Hq:
    return Hq(desk, tmp_path)


@pytest.fixture
def secure_kiosk(desk: Desk, hq: Hq) -> Iterator[PageServer]:
    open_authority(hq.directory, "c1", datetime.now(UTC))
    app = create_app(desk.home)
    server = PageServer(app, "127.0.0.1", 0, app.state.live.close, tls=TlsFiles(hq.directory / FOLDER, "server"))
    server.start()
    yield server
    server.stop()


def test_a_code_before_the_tablet_s_camera_is_read_by_the_node_and_checked(
    secure_kiosk: PageServer, browser: "Browser", door: Door, hq: Hq, tmp_path: Path
) -> None:
    visit, _ = door.arrive("first")
    film = tmp_path / "film.mjpeg"
    film.write_bytes(picture_of(hq.agent().text(), wide=1280) * 4)
    camera = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    quiet = ("--no-sandbox", "--disable-gpu", "--no-first-run")
    chromium = browser.browser_type.launch(
        executable_path=_chromium(), args=[*quiet, *camera, f"--use-file-for-fake-video-capture={film}"]
    )
    try:
        page = chromium.new_context(base_url=secure_kiosk.url, ignore_https_errors=True).new_page()
        refused: list[str] = []
        page.on("console", lambda message: refused.append(message.text) if "olicy" in message.text else None)
        page.goto("/login")
        page.fill("input[name=name]", "li")
        page.fill("input[name=password]", PASSWORD)
        page.press("input[name=password]", "Enter")
        page.wait_for_selector(".party .serve")
        page.goto(f"/visits/{visit}/checkin")
        page.click("[data-tablet-camera]")
        page.wait_for_selector(".scanned")
        assert "不代表已报备" in page.inner_text(".scanned")
        assert refused == []
    finally:
        chromium.close()


def test_only_over_tls_a_page_may_ask_for_a_camera(
    secure_kiosk: PageServer,
    kiosk: PageServer,
    door: Door,
    hq: Hq,
    sign_in: Callable[..., httpx.Response],
) -> None:
    visit, _ = door.arrive("first")
    trusted = ssl.create_default_context(cafile=str(hq.directory / FOLDER / "ca.crt"))
    for server, may in ((secure_kiosk, True), (kiosk, False)):
        with httpx.Client(base_url=server.url, headers={"origin": server.url}, timeout=20, verify=trusted) as client:
            assert sign_in(client, "li", PASSWORD).status_code == 303
            until_shown(client, visit)
            answer = client.get(f"/visits/{visit}/checkin")
            assert ("data-tablet-camera" in answer.text) == may
            assert ("camera=(self)" in answer.headers["permissions-policy"]) == may
            assert "microphone=()" in answer.headers["permissions-policy"]


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")
