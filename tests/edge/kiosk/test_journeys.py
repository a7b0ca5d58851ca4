"""What takes more than one pair of hands, each in a browser of their own: corrections, disputes, nights, roles."""

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from edge.desk.day import Tally
from sync.format.records import Record
from sync.verify.verify import verify
from tests.edge.kiosk.conftest import Desk, until
from tests.edge.kiosk.door import CONFIG, Door
from tests.edge.kiosk.test_app import PAGES, ROLES
from tests.edge.kiosk.test_browser import PHONE, OpenPage, open_page
from tests.edge.kiosk.test_manager import close_day

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["open_page"]  # a fixture

NUMBER, MASKED = "13800005678", "138****5678"
THEIRS = ("/manager", "/enrol", "/approvals", "/notes", "/access", "/rights", "/lookback")
FIRST = {"front_desk": "/", "manager": "/", "auditor": "/approvals", "privacy": "/rights", "installer": "/node"}


def records(desk: Desk, *kinds: str) -> list[Record]:
    with closing(desk.home.open_ledger()) as ledger:
        return list(ledger.records(kinds))


def registered(page: "Page", visit: str) -> None:
    """Register a visit by phone, as a host does."""
    page.wait_for_selector(".party")
    page.goto(f"/visits/{visit}/checkin")
    page.fill("#register input[name=phone]", NUMBER)
    page.click("button[value=phone]")
    page.wait_for_selector(".notice.good.told")


def ask_for_a_correction(page: "Page", visit: str) -> None:
    page.goto(f"/visits/{visit}/correct")
    page.select_option("select[name=way]", "walk_in")
    page.select_option("select[name=reason]", "wrong_source")
    page.click("form[action$='/correct'] button")
    page.wait_for_selector("[role=status]")


@pytest.mark.usefixtures("head_office")
def test_a_correction_is_refused_asked_again_and_approved_and_every_version_is_seen(
    open_page: OpenPage, door: Door, desk: Desk
) -> None:
    visit, _ = door.arrive("first", ago_s=60)
    host, auditor = open_page("li"), open_page("auditor")
    registered(host, visit)
    for verdict in ("refused", "approved"):
        ask_for_a_correction(host, visit)
        auditor.goto("/approvals")
        auditor.click(f"button[value={verdict}]")
        auditor.wait_for_selector("article:has-text('驳回')" if verdict == "refused" else "article:has-text('批准（')")
    host.goto(f"/visits/{visit}/correct?lang=en")
    page = host.inner_text("main")
    assert "refused by auditor" in page
    assert "approved by auditor" in page
    assert "As corrected and approved" in page
    for answer in records(desk, "visit.approved"):
        assert f"#{answer.seq}" in page
    assert [one.fields["verdict"] for one in records(desk, "visit.approved")] == ["refused", "approved"]


def test_an_erasure_in_dispute_waits_restricted_until_the_claim_is_closed(
    open_page: OpenPage, door: Door, desk: Desk
) -> None:
    visit, person = door.arrive("first", ago_s=60)
    host, auditor, officer = open_page("li"), open_page("auditor"), open_page("privacy")
    registered(host, visit)
    auditor.goto("/rights")
    auditor.fill("form[action='/rights/claims'] input[name=whom]", NUMBER)
    auditor.click("form[action='/rights/claims'] button")
    auditor.wait_for_selector(f"code:has-text('{visit}')")
    host.goto(f"/visits/{visit}/erase")
    host.check("input[name=phone]")
    host.click("button.wide")
    host.wait_for_url("**/erasures/*")
    officer.goto("/rights")
    officer.click(".request form[action$='/code'] button")
    code = officer.inner_text(".code-shown")
    officer.fill(".request input[name=code]", code)
    officer.click(".request form[action$='/prove'] button")
    officer.wait_for_selector("text=已核实，限制使用")
    assert [one.fields["person"] for one in records(desk, "person.erased")] == [person], "the phone waits"
    host.goto("/lookback")
    host.fill("input[name=phone]", NUMBER)
    host.press("input[name=phone]", "Enter")
    host.wait_for_selector(".answer.not-been")
    auditor.goto("/rights")
    auditor.click("form[action$='/close'] button")
    auditor.wait_for_selector("form[action$='/close']", state="detached")
    assert len(records(desk, "person.erased")) == 2
    host.goto(f"/visits/{visit}/checkin")
    assert MASKED not in host.inner_text("main")
    assert verify(desk.home.path).ok


def test_somebody_who_has_been_here_is_looked_back_at_by_phone(open_page: OpenPage, door: Door) -> None:
    visit, _ = door.arrive("first", ago_s=7200)
    page = open_page("li")
    registered(page, visit)
    page.click("nav.rail a[href='/lookback']")
    page.wait_for_selector(".phone-field input:focus")
    page.keyboard.type(f"{NUMBER}\n")
    page.wait_for_selector(".answer.been")
    assert MASKED in page.inner_text(".answer")
    assert "li" in page.inner_text(".been-list")


def test_a_night_that_left_arrivals_open_is_the_first_thing_the_manager_sees(
    door: Door, desk: Desk, request: pytest.FixtureRequest
) -> None:
    served, *left = [door.arrive("first", ago_s=86_400 - number)[0] for number in range(3)]
    desk.home.config.write_text(CONFIG + '[desk]\nclose_at = "00:00"\n')  # at whatever hour this runs
    close_day(desk, 2, Tally(registered=1))  # the desk is not new
    open_page: OpenPage = request.getfixturevalue("open_page")  # the kiosk starts now, and closes the day it was off
    until(lambda: len(records(desk, "day.closed")) == 2)
    page = open_page("wang", PHONE)
    page.click("nav.rail a[href='/manager']")
    page.wait_for_selector(".left-open:has-text('3 位到访没有登记结果')")
    first = page.evaluate("document.querySelector('main [data-refresh] > *').className")
    assert "left-open" in first
    page.click(f".left-open a[href*='{served}']")
    page.wait_for_selector("input[name=phone]:focus")
    page.click("button[value=walk_in]")
    page.wait_for_selector(".notice.good.told")
    page.goto("/manager")
    wide = page.eval_on_selector_all(
        ".table-wrap", "all => all.filter(one => one.scrollWidth > one.clientWidth).length"
    )
    assert wide == 0, "a phone shows each row of its tables whole"
    links = page.eval_on_selector_all(".left-open a", "all => all.map(one => one.getAttribute('href'))")
    assert sorted(links) == sorted(f"/visits/{visit}/checkin" for visit in left)
    assert records(desk, "day.closed")[-1].fields["unclosed"] == 3, "what was signed that night stays"
    assert verify(desk.home.path).ok


@pytest.mark.parametrize("name", ROLES)
def test_everybody_begins_on_their_own_page_each_entry_of_their_rail_opens_and_no_other_page_does(
    open_page: OpenPage, name: str
) -> None:
    page = open_page(name)
    assert page.url.split("/", 3)[3] == FIRST[ROLES[name]].removeprefix("/")
    for path in page.eval_on_selector_all("nav.rail > a", "all => all.map(one => one.getAttribute('href'))"):
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 200, path
        assert page.locator("nav.rail > [aria-current=page]").count() == 1, path
    for path in THEIRS:
        answer = page.goto(path)
        assert answer is not None
        theirs = ROLES[name] in PAGES[path]
        assert (answer.status, page.locator("nav.rail").count()) == ((200, 1) if theirs else (403, 0)), path
