"""A desk that is interrupted, in a real browser: two tablets at one party, a reload, a power cut between two taps."""

import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from sync.format.records import Record
from sync.verify.verify import verify
from tests.edge.kiosk.conftest import Desk, sign_in_on, until
from tests.edge.kiosk.door import Door
from tests.edge.kiosk.test_browser import TABLET, OpenPage, open_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["open_page"]  # a fixture

StartKiosk = Callable[[], "subprocess.Popen[str]"]


def checkins(desk: Desk) -> dict[str, Record]:
    """The newest check-in of each visit."""
    with closing(desk.home.open_ledger()) as ledger:
        return {str(one.fields["visit"]): one for one in ledger.records(("visit.checkin",))}


def come_together(door: Door, count: int) -> list[str]:
    return [door.arrive("first", party_id="g-1", party=number + 1, ago_s=60)[0] for number in range(count)]


def press(page: "Page", selector: str) -> None:
    """Tap without waiting for what comes of it."""
    page.locator(selector).first.evaluate("button => button.click()")


def test_of_two_tablets_that_register_one_party_at_once_one_is_told_that_it_was_late(
    open_page: OpenPage, door: Door, desk: Desk
) -> None:
    family = come_together(door, 3)
    left, right = open_page("li"), open_page("wang")
    for page, way in ((left, "phone"), (right, "walk_in")):
        page.wait_for_selector(".party .serve")
        page.click(".party .serve")
        page.wait_for_selector(f"button[value={way}]")
    left.fill("#register input[name=phone]", "13800005678")
    press(left, "button[value=phone]")
    press(right, "button[value=walk_in]")
    late, won = [], []
    for page in (left, right):
        page.wait_for_selector(".notice.good.told")  # both are shown what stands
        (late if page.query_selector("[role=alert]") else won).append(page)
    ((late_page,), (won_page,)) = late, won
    assert "这次到访已有登记结果" in late_page.inner_text("[role=alert]")
    told = checkins(desk)
    assert [told[visit].fields["state"] for visit in family] == ["registered", "companion", "companion"]
    assert len({record.fields["request"] for record in told.values()}) == 1, "nothing of the late form was bound"
    for page in (late_page, won_page):
        assert f"#{told[family[0]].seq}" in page.inner_text(".notice.good.told")
    assert verify(desk.home.path).ok


# -- a power cut -------------------------------------------------------------------------------------------------------


@pytest.fixture
def start_kiosk(desk: Desk) -> Iterator[tuple[str, StartKiosk]]:
    """Where `firstvisit kiosk` answers, and what starts it there, as often as asked, as a process of its own."""
    started: list[subprocess.Popen[str]] = []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def start() -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "edge", "kiosk", "--home", str(desk.home.path), "--port", str(port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        started.append(process)
        assert process.stdout
        assert re.search(r"https?://\S+", process.stdout.readline())
        until(lambda: _listens(port))
        return process

    yield f"http://127.0.0.1:{port}", start
    for process in started:
        process.kill()
        process.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as knocking:
        return knocking.connect_ex(("127.0.0.1", port)) == 0


def test_a_power_cut_between_two_taps_and_one_in_the_middle_of_a_tap_bind_nothing_half_and_the_page_goes_on(
    browser: "Browser", door: Door, desk: Desk, start_kiosk: tuple[str, StartKiosk]
) -> None:
    url, start = start_kiosk
    couple = come_together(door, 2)
    friend, _ = door.arrive("first", ago_s=50)
    process = start()
    page = browser.new_context(viewport=TABLET, base_url=url).new_page()  # type: ignore[arg-type]
    try:
        sign_in_on(page, "li")
        page.wait_for_selector(".party:nth-child(2)")
        page.click(".party .serve")
        page.click(".joins summary")
        page.click("button[name=everybody]")  # the first tap: the friend belongs to them
        page.wait_for_selector("form.notice.good")

        process.kill()  # between two taps
        process.wait(30)
        page.wait_for_selector("[data-offline]:not([hidden])")
        press(page, "button[value=walk_in]")
        assert page.is_visible("[data-offline]"), "a page without its desk takes no tap"
        assert checkins(desk) == {}
        process = start()
        page.wait_for_selector("[data-offline][hidden]", state="attached")
        assert page.locator(".companions").inner_text().strip().startswith("其余 2 位"), "what was joined stays joined"

        page.fill("#register input[name=phone]", "13800005678")
        with closing(sqlite3.connect(desk.home.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # the check-in waits for the lock: cut there, before its commit
            with page.expect_request("**/checkin") as sent:
                press(page, "button[value=phone]")
            assert sent.value.method == "POST"
            process.kill()
            process.wait(30)
        assert checkins(desk) == {}, "bound as a whole or not at all"
        assert verify(desk.home.path).ok
        start()
        page.goto(f"/visits/{couple[0]}/checkin")  # the browser's own page of a lost connection stands there: anew
        page.wait_for_selector("#register input[name=phone]:focus")
        page.keyboard.type("13800005678\n")
        page.wait_for_selector(".notice.good.told")
        told = checkins(desk)
        states = [told[visit].fields["state"] for visit in (*couple, friend)]
        assert states == ["registered", "companion", "companion"]
        assert f"#{told[couple[0]].seq}" in page.inner_text(".notice.good.told")
        page.reload()
        assert f"#{told[couple[0]].seq}" in page.inner_text(".notice.good.told")
        assert checkins(desk) == told, "a reload binds nothing more"
        assert verify(desk.home.path).ok
    finally:
        page.context.close()
