"""The pages as a person sees them, in a real browser."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from sync.format.keyring import KeyRing
from sync.web.server import PageServer
from tests.edge.kiosk import door as door_program
from tests.edge.kiosk.conftest import Desk, sign_in_on, until
from tests.edge.kiosk.door import Door
from tests.edge.kiosk.hq import Hq, picture_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TABLET = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
OpenPage = Callable[..., "Page"]


@pytest.fixture
def open_page(browser: "Browser", kiosk: PageServer) -> Iterator[OpenPage]:
    """Opens a browser of its own, signed in as somebody; fails if it asks any other machine, or is refused by CSP."""
    opened: list[Page] = []
    asked: list[str] = []
    complaints: list[str] = []

    def open_page(name: str | None = "li", size: dict[str, int] = TABLET) -> "Page":
        context = browser.new_context(viewport=size, base_url=kiosk.url)  # type: ignore[arg-type]
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text) if "Security Policy" in message.text else 0)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        opened.append(page)
        if name:
            sign_in_on(page, name)
        else:
            page.goto("/login")
        return page

    yield open_page
    for page in opened:
        page.context.close()
    assert {urlsplit(url).hostname for url in asked} == {"127.0.0.1"}
    assert complaints == []


def test_an_arrival_that_another_process_records_appears_without_a_reload(open_page: OpenPage, desk: Desk) -> None:
    page = open_page()
    page.goto("/arrivals")
    page.wait_for_selector(".feed-empty:visible")
    page.evaluate("window.sameDocument = true")
    told = subprocess.run(
        [sys.executable, str(Path(door_program.__file__)), str(desk.home.path), "0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    card = page.wait_for_selector(f'.card[data-id="{told.stdout.strip()}"]')
    assert card
    assert "首访\uff08比对范围内\uff1a126 人" in card.inner_text().replace("\n", "").replace(" \uff08", "\uff08")
    until(lambda: page.inner_text(".tile dd") == "1")
    until(lambda: page.evaluate("document.querySelector('.card img').naturalWidth > 0"))
    assert page.evaluate("window.sameDocument") is True
    assert not page.is_visible(".feed-empty")


def test_the_newest_arrival_stands_first(open_page: OpenPage, door: Door) -> None:
    page = open_page()
    page.goto("/arrivals")
    late, _ = door.arrive("first", ago_s=10)
    page.wait_for_selector(f'.card[data-id="{late}"]')
    early, _ = door.arrive("first", ago_s=600)
    page.wait_for_selector(f'.card[data-id="{early}"]')
    shown = page.eval_on_selector_all(".card", "cards => cards.map(card => card.dataset.id)")
    assert shown == [late, early]


def test_the_number_beside_questions_renews_on_a_page_that_stays_open(open_page: OpenPage, door: Door) -> None:
    page = open_page()
    page.goto("/lookback")
    assert not page.is_visible(".nav-count")
    page.evaluate("window.sameDocument = true")
    _, known = door.arrive("first", ago_s=7200)
    _, provisional = door.arrive("unsure", candidates=((known, 0.46),), similarity=0.46)
    page.wait_for_selector(".nav-count:visible")
    assert page.inner_text(".nav-count") == "1"
    door.ledger.append("retention.run", {"expired": [provisional], "basis": "unconsented"})
    page.wait_for_selector(".nav-count", state="hidden")
    assert page.evaluate("window.sameDocument") is True


def test_the_desk_answers_with_one_touch(open_page: OpenPage, door: Door, desk: Desk) -> None:
    _, known = door.arrive("first", ago_s=7200)
    visit_id, _ = door.arrive("unsure", candidates=((known, 0.46),), similarity=0.46)
    page = open_page()
    page.wait_for_selector(".nav-count:visible")
    page.goto("/arrivals")
    page.click(f'.card[data-id="{visit_id}"] a.button')
    page.click(f"#{visit_id} button:has-text('同一人')")
    page.wait_for_selector(".notice.good")
    assert not page.is_visible(".nav-count")
    ledger = desk.home.open_ledger()
    record = ledger.last_of("visit.corrected")
    ledger.close()
    assert record
    assert (record.fields["visit"], record.fields["person"]) == (visit_id, known)
    KeyRing({"desk": desk.home.signer("desk").public}).check(record)
    page.goto("/arrivals")
    assert "回访" in page.inner_text(f'.card[data-id="{visit_id}"]')


def test_an_arrival_is_checked_in_by_phone_in_three_touches(open_page: OpenPage, door: Door, desk: Desk) -> None:
    visit_id, _ = door.arrive("first", ago_s=60)
    page = open_page()
    page.click(".party .serve")
    page.wait_for_selector("input[name=phone]:focus")  # wait_for_function polls by eval, which the CSP refuses
    assert not page.is_checked("input[name=consent]")
    page.keyboard.type("13800005678")
    page.click("button[value=phone]")
    told = page.inner_text(".notice.good")
    ledger = desk.home.open_ledger()
    record = ledger.last_of("visit.checkin")
    ledger.close()
    assert record
    assert record.fields["visit"] == visit_id
    assert f"#{record.seq}" in told
    assert "138****5678" in told
    page.reload()
    assert f"#{record.seq}" in page.inner_text(".notice.good")
    page.goto("/")
    assert "已登记" in page.inner_text(".served-row")
    page.wait_for_selector(".desk-row:has-text('无待登记')")


def test_who_is_dismissed_is_taken_back_with_a_touch_each(open_page: OpenPage, door: Door) -> None:
    visit_id, _ = door.arrive("first", ago_s=60)
    page = open_page()
    page.wait_for_selector(".party .serve")
    page.goto(f"/visits/{visit_id}/checkin")
    for dismissal, said in (("courier", "快递"), ("refused", "拒绝登记")):
        page.click(f"button[value={dismissal}]")
        page.wait_for_selector(f".notice.good:has-text('{said}')")
        page.click("button:has-text('撤销')")
        page.wait_for_selector(f"button[value={dismissal}]")
        assert not page.is_visible(".notice.good")


def test_the_site_s_code_is_a_walk_in_with_no_touch_more(
    open_page: OpenPage, door: Door, desk: Desk, tmp_path: Path
) -> None:
    hq = Hq(desk, tmp_path)
    visit, _ = door.arrive("first")
    page = open_page()
    page.click(".party .serve")
    page.wait_for_selector("#register input[name=phone]:focus")
    page.keyboard.type(f"{hq.site().text()}\n")
    page.wait_for_selector(".notice.good.told:has-text('自然到访')")
    with closing(desk.home.open_ledger()) as ledger:
        record = ledger.last_of("visit.checkin")
    assert record is not None
    assert [record.fields[name] for name in ("visit", "way", "code_kind")] == [visit, "walk_in", "site"]


def test_one_switch_turns_the_pages_to_english_and_they_stay_so(open_page: OpenPage) -> None:
    page = open_page()
    assert page.get_attribute("html", "lang") == "zh-CN"
    page.click("text=English")
    assert page.get_attribute("html", "lang") == "en"
    page.goto("/node")
    assert page.inner_text("h1") == "Device"
    page.click("text=中文")
    assert page.inner_text("h1") == "设备状态"


def test_an_open_page_leaves_when_its_session_ends(open_page: OpenPage) -> None:
    page = open_page()
    second = page.context.new_page()
    second.goto("/node")
    second.click("form.who button")
    page.wait_for_url("**/login")


def test_a_tablet_takes_a_pin_on_its_pad(open_page: OpenPage, desk: Desk) -> None:
    page = open_page("wang")
    page.goto("/tablets")
    page.fill("input[name=name]", "left desk")
    page.click("button:has-text('登记本机')")
    page.wait_for_selector(".notice.good")
    page.click("form.who button")
    for digit in "2581":
        page.click(f".pad button[value='{digit}']")
    page.click(".pad button[value=back]")
    page.click(".pad button[value='0']")
    page.click(".pad .go")
    page.wait_for_selector("nav.rail")
    assert page.inner_text(".who-name strong") == desk.li.name


def test_a_page_that_is_not_there_says_so_in_the_middle(open_page: OpenPage) -> None:
    page = open_page()
    page.goto("/none")
    left, right = page.eval_on_selector(
        "main", "m => [m.getBoundingClientRect().left, m.getBoundingClientRect().right]"
    )
    assert abs((left + right) / 2 - TABLET["width"] / 2) < 2


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_phone_shows_the_days_numbers_on_one_line(open_page: OpenPage, language: str) -> None:
    page = open_page("li", PHONE)
    page.goto(f"/?lang={language}")
    bottoms = page.eval_on_selector_all(".tile dd", "all => all.map(dd => dd.getBoundingClientRect().bottom)")
    assert len(bottoms) == 4
    assert max(bottoms) - min(bottoms) < 1


@pytest.mark.parametrize("size", [TABLET, PHONE], ids=["tablet", "phone"])
def test_every_camera_has_its_lamp(open_page: OpenPage, size: dict[str, int]) -> None:
    page = open_page("li", size)
    page.goto("/node")
    lamps = page.query_selector_all(".cameras .lamp")
    assert [lamp.is_visible() for lamp in lamps] == [True, True]


def test_facts_of_one_row_stand_level(open_page: OpenPage) -> None:
    page = open_page("li", PHONE)
    page.goto("/node")
    tops = page.eval_on_selector_all(".fact", "all => all.map(fact => Math.round(fact.getBoundingClientRect().top))")
    assert tops[0::2][: len(tops) // 2] == tops[1::2]


@pytest.mark.parametrize("size", [TABLET, PHONE], ids=["tablet", "phone"])
def test_pages_fit_and_every_target_is_big_enough_to_touch(
    open_page: OpenPage, door: Door, size: dict[str, int]
) -> None:
    arrived, known = door.arrive("first", ago_s=7200)
    unsure, _ = door.arrive("unsure", candidates=((known, 0.46),), similarity=0.46)
    seen = door.see(party=2)
    page = open_page("wang", size)
    page.wait_for_selector(".party >> nth=2")
    of_visits = (f"/visits/{unsure}/why", f"/visits/{arrived}/checkin", f"/visits/{seen}/checkin")
    for path in ("/", "/arrivals", "/manager", "/questions", "/node", "/tablets", "/cameras/entrance", *of_visits):
        for language in ("zh", "en"):
            page.goto(f"{path}?lang={language}")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} {language} overflows"
            small = page.eval_on_selector_all(
                "a:not(.skip), button, input:not([type=hidden]), select",
                "found => found.filter(e => e.checkVisibility())"  # those in a closed menu: test_navigation opens it
                ".map(e => [e.outerHTML.slice(0, 60), e.getBoundingClientRect()])"
                ".filter(([_, box]) => box.width && (box.width < 44 || box.height < 44)).map(([html]) => html)",
            )
            assert small == [], f"{path} {language}"


def test_a_scanner_types_from_anywhere_on_the_page(open_page: OpenPage, door: Door, desk: Desk, tmp_path: Path) -> None:
    hq = Hq(desk, tmp_path)
    visits = [door.arrive("first", ago_s=9 - i)[0] for i in range(3)]
    page, text = open_page(), hq.report().text()
    page.wait_for_selector(".party:nth-child(3) .serve")
    for visit, focus in zip(visits, ("input[name=phone][type=tel]", "a.button.quiet", "[data-scan]"), strict=True):
        page.goto(f"/visits/{visit}/checkin")
        page.focus(focus)
        page.keyboard.type(f"{text}\n")
        page.wait_for_selector(".scanned")
        assert page.input_value("input[name=phone][type=tel]") == ""
        page.keyboard.type("13800005678\n")
        page.wait_for_selector(".notice.good.told")
        assert "出示报备码" in page.inner_text(".notice.good.told")
    with closing(desk.home.open_ledger()) as ledger:
        assert [one.fields["visit"] for one in ledger.records(("visit.checkin",))] == visits


def test_digits_typed_where_nothing_is_focused_are_the_phone_and_never_a_code(
    open_page: OpenPage, door: Door, desk: Desk, tmp_path: Path
) -> None:
    hq = Hq(desk, tmp_path)
    by_phone, by_code = (door.arrive("first", ago_s=9 - i)[0] for i in range(2))
    page = open_page()
    page.wait_for_selector(".party:nth-child(2) .serve")
    for visit, scanned in ((by_phone, ""), (by_code, f"{hq.report().text()}\n")):
        page.goto(f"/visits/{visit}/checkin")
        if scanned:
            page.keyboard.type(scanned)
            page.wait_for_selector(".scanned")
        page.wait_for_selector("#register input[name=phone]:focus")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.type("13800005678\n")
        page.wait_for_selector(".notice.good.told")
    with closing(desk.home.open_ledger()) as ledger:
        told = [(one.fields["visit"], one.fields["way"]) for one in ledger.records(("visit.checkin", "code.refused"))]
    assert told == [(by_phone, "phone"), (by_code, "code")]


def test_a_phone_typed_first_goes_along_with_the_scan_and_a_refusal_says_why(
    open_page: OpenPage, door: Door, desk: Desk, tmp_path: Path
) -> None:
    hq = Hq(desk, tmp_path)
    visit, _ = door.arrive("first")
    page = open_page()
    page.wait_for_selector(".party .serve")
    page.goto(f"/visits/{visit}/checkin")
    page.keyboard.type("13900001234")
    page.keyboard.type(f"{hq.report().text()}\n")
    page.wait_for_selector("[role=alert]")
    assert "手机号与报备不符" in page.inner_text("[role=alert]")
    assert page.input_value("input[name=phone][type=tel]") == "13900001234", "to be mended there"
    page.fill("input[name=phone][type=tel]", "13800005678")
    page.keyboard.type(f"{hq.report().text()}\n")
    page.wait_for_selector(".notice.good.told")
    assert not page.query_selector("[data-tablet-camera]"), "without TLS a tablet's camera is not offered"


def test_a_picture_is_sent_as_soon_as_it_is_taken(open_page: OpenPage, door: Door, desk: Desk, tmp_path: Path) -> None:
    hq = Hq(desk, tmp_path)
    visit, _ = door.arrive("first")
    page = open_page()
    page.wait_for_selector(".party .serve")
    page.goto(f"/visits/{visit}/checkin")
    picture = {"name": "p.jpg", "mimeType": "image/jpeg", "buffer": picture_of(hq.agent().text())}
    page.set_input_files("[data-picture]", picture)  # type: ignore[arg-type]
    page.wait_for_selector(".scanned")
    assert "不代表已报备" in page.inner_text(".scanned")
