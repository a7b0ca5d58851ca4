"""Parties at the desk: served in a few touches, two tablets at once, a reload, a power cut between two taps."""

import re
import secrets
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sync.format.records import Record
from sync.verify.verify import verify
from tests.conftest import form_token
from tests.edge.kiosk.conftest import PASSWORD, Desk, until, until_shown
from tests.edge.kiosk.door import Door
from tests.edge.kiosk.hq import Hq
from tests.edge.kiosk.test_browser import PHONE, TABLET, OpenPage, open_page

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["open_page"]  # a fixture

Visitor = Callable[..., httpx.Client]
MOST_TAPS = 5


class Taps:
    """Counts touches of a page; typing is none."""

    def __init__(self, page: "Page") -> None:
        self.page = page
        self.count = 0

    def tap(self, selector: str) -> None:
        self.page.click(selector)
        self.count += 1


def records(desk: Desk, *kinds: str) -> list[Record]:
    with closing(desk.home.open_ledger()) as ledger:
        return list(ledger.records(kinds))


def come(door: Door, count: int, party_id: str | None = None, **more: Any) -> list[str]:
    party = party_id or f"g-{secrets.token_hex(4)}"
    return [door.arrive("first", party_id=party, party=number + 1, **more)[0] for number in range(count)]


def post(client: httpx.Client, path: str, **form: Any) -> httpx.Response:
    sent = {"csrf_token": form_token(client, "/"), "request_id": secrets.token_hex(16), **form}
    return client.post(path, data=sent, follow_redirects=True)


def test_a_family_is_served_in_two_touches_and_the_digits(open_page: OpenPage, door: Door, desk: Desk) -> None:
    later = come(door, 1, ago_s=30)
    family = come(door, 3, ago_s=300)
    page = open_page()
    page.wait_for_selector(".party >> nth=1")
    assert page.get_attribute(".party >> nth=0", "data-party") != page.get_attribute(".party >> nth=1", "data-party")
    taps = Taps(page)
    taps.tap(".party >> nth=0 >> .serve")
    page.wait_for_selector("input[name=phone]:focus")
    page.keyboard.type("13800005678")
    taps.tap("button[value=phone]")
    page.wait_for_selector(".notice.good")
    told = {record.fields["visit"]: record.fields for record in records(desk, "visit.checkin")}
    assert {visit: told[visit]["state"] for visit in family} == dict(
        zip(family, ("registered", "companion", "companion"), strict=True)
    )
    assert len({fields["request"] for fields in told.values()}) == 1
    taps.tap(".next a")  # the next party, without going back
    assert f"/visits/{later[0]}/checkin" in page.url
    assert taps.count <= MOST_TAPS


def test_a_tour_bus_is_one_group_in_five_touches(open_page: OpenPage, door: Door, desk: Desk) -> None:
    bus = [visit for number in range(4) for visit in come(door, 3, ago_s=120 - number * 10)]
    page = open_page()
    page.wait_for_selector(".party >> nth=3")
    taps = Taps(page)
    taps.tap(".party >> nth=0 >> .serve")
    taps.tap(".joins summary")
    taps.tap("button[name=everybody]")
    page.wait_for_selector("form.notice.good")
    assert page.is_visible("input[name=heads]"), "a party of this size is offered as a group"
    page.fill("input[name=heads]", "40")
    taps.tap("button[value=walk_in]")
    page.wait_for_selector(".next")
    assert taps.count <= MOST_TAPS
    closings = records(desk, "visit.checkin")
    assert sorted(record.fields["visit"] for record in closings) == sorted(bus)
    assert [record.fields.get("heads") for record in closings if record.fields["state"] == "registered"] == [40]
    page.goto("/")
    assert "40 人" in page.inner_text(".served-row")
    page.click(".served-row a")
    page.click(".members summary")
    page.click(".member >> nth=1 >> a:has-text('由这位登记')")  # phones later, one by one
    page.wait_for_selector("input[name=phone]:focus")
    page.keyboard.type("13900001111")
    page.click("button[value=phone]")
    page.wait_for_selector(".notice.good")
    assert records(desk, "visit.checkin")[-1].fields["state"] == "registered"


def test_a_tour_group_is_one_code_and_many_heads(open_page: OpenPage, door: Door, desk: Desk, tmp_path: Path) -> None:
    hq = Hq(desk, tmp_path)
    group = come(door, 9, ago_s=60)
    page = open_page()
    page.wait_for_selector(".party .serve")
    taps = Taps(page)
    taps.tap(".party .serve")
    page.wait_for_selector("input[name=phone]:focus")
    page.keyboard.type(f"{hq.agent().text()}\n")  # the scanner's own Enter
    page.wait_for_selector(".scanned")
    page.fill("input[name=heads]", "12")
    taps.tap("button[value=code]")
    page.wait_for_selector(".next")
    assert taps.count <= MOST_TAPS
    lead, *others = records(desk, "visit.checkin")
    assert (lead.fields["way"], lead.fields["code_kind"], lead.fields["heads"]) == ("code", "agent", 12)
    assert [one.fields["state"] for one in others] == ["companion"] * 8
    assert {lead.fields["visit"], *(one.fields["visit"] for one in others)} == set(group)


def test_a_couple_is_split_off_and_that_is_taken_back(open_page: OpenPage, door: Door, desk: Desk) -> None:
    four = come(door, 4, ago_s=60)
    page = open_page()
    page.goto(f"/visits/{four[0]}/checkin")
    for visit in four[2:]:
        page.check(f"input[name=leaving][value={visit}]")
    page.click("button:has-text('拆为另一组')")
    page.wait_for_selector("form.notice.good")
    first, second = records(desk, "visit.corrected")
    assert f"#{first.seq}–#{second.seq}" in page.inner_text("form.notice.good")
    assert page.locator(".member").count() == 2
    page.click("form.notice.good button")
    page.wait_for_selector(".member >> nth=3")
    assert len(records(desk, "visit.corrected")) == 4


def test_a_face_left_out_of_the_companions_stays_open(open_page: OpenPage, door: Door, desk: Desk) -> None:
    three = come(door, 3, ago_s=60)
    page = open_page()
    page.goto(f"/visits/{three[0]}/checkin")
    page.uncheck(f"input[name=companion][value={three[2]}]")
    page.click("button[value=walk_in]")
    page.wait_for_selector(".next")
    assert [record.fields["visit"] for record in records(desk, "visit.checkin")] == three[:2]


@pytest.mark.parametrize("language", ["zh", "en"])
def test_registering_a_family_needs_no_scrolling_on_a_tablet(open_page: OpenPage, door: Door, language: str) -> None:
    family = come(door, 3, ago_s=60)
    page = open_page()
    page.goto(f"/visits/{family[0]}/checkin?lang={language}")
    page.wait_for_selector("input[name=phone]:focus")
    assert page.evaluate("scrollY") == 0
    needed = (".who-is-it .face", "[data-scan]", "input[name=consent]", "button[value=phone]", "button[value=walk_in]")
    for selector in needed:
        box = page.locator(selector).first.bounding_box()
        assert box, selector
        assert box["y"] + box["height"] <= TABLET["height"], f"{selector} lies below the fold"


def test_what_is_focused_and_seen_stays_when_somebody_else_arrives(open_page: OpenPage, door: Door) -> None:
    come(door, 1, "g-1", ago_s=60)
    page = open_page()
    page.wait_for_selector("#serve-g-1")
    until(lambda: page.evaluate("document.querySelector('.party img').naturalWidth > 0"))
    page.focus("#serve-g-1")
    page.evaluate("window.shownFace = document.querySelector('.party img')")
    come(door, 2, "g-2")
    page.wait_for_selector("#serve-g-2")
    assert page.evaluate("document.activeElement.id") == "serve-g-1"
    assert page.evaluate("window.shownFace.isConnected"), "the picture was not fetched again"


@pytest.mark.parametrize("size", [TABLET, PHONE], ids=["tablet", "phone"])
def test_the_button_of_a_card_is_the_whole_card(open_page: OpenPage, door: Door, size: dict[str, int]) -> None:
    come(door, 1, ago_s=60)
    page = open_page("li", size)
    card = page.wait_for_selector(".party")
    assert card
    card.click(position={"x": 12, "y": 12})
    page.wait_for_url("**/checkin")


def test_the_front_page_counts_heads_where_nobody_is_compared(door: Door, visitor: Visitor) -> None:
    for _ in range(3):
        door.see(ago_s=50, party_id="g-seen")
    client = visitor("li")
    until(lambda: "3 人同行" in client.get("/").text)
    page = client.get("/").text
    assert "/crops/" not in page
    assert "1 组 · 3 人" in page


def test_two_tablets_with_the_same_party_open_register_it_once(desk: Desk, door: Door, visitor: Visitor) -> None:
    family = come(door, 3)
    one, other = visitor("li"), visitor("wang")
    until_shown(one, family[-1])
    first = post(one, f"/visits/{family[0]}/checkin", way="walk_in", companion=family[1:])
    second = post(other, f"/visits/{family[0]}/checkin", way="walk_in", companion=family[1:])
    assert (first.status_code, second.status_code) == (200, 409)
    assert "没有改变" in second.text
    assert len(records(desk, "visit.checkin")) == 3
    lead_of_the_other = post(other, f"/visits/{family[1]}/checkin", way="walk_in", companion=[family[0], family[2]])
    assert lead_of_the_other.status_code == 200, "a companion may be registered, and takes nobody with them"
    states = {record.fields["visit"]: record.fields["state"] for record in records(desk, "visit.checkin")}
    assert states == {family[0]: "registered", family[1]: "registered", family[2]: "companion"}


def test_an_older_page_moves_and_closes_nobody_who_belongs_elsewhere_by_now(
    desk: Desk, door: Door, visitor: Visitor
) -> None:
    four = come(door, 4)
    one, other = visitor("li"), visitor("wang")
    until_shown(one, four[-1])
    assert post(one, f"/visits/{four[0]}/split", leaving=four[2:]).status_code == 200
    stale = post(other, f"/visits/{four[0]}/checkin", way="walk_in", companion=four[1:])
    assert stale.status_code == 409
    assert "另一台平板" in stale.text
    assert records(desk, "visit.checkin") == []


def test_a_form_sent_again_after_a_reload_writes_nothing_more(desk: Desk, door: Door, visitor: Visitor) -> None:
    family, request = come(door, 3), secrets.token_hex(16)
    client = visitor("li")
    until_shown(client, family[-1])
    forms = {"way": "walk_in", "companion": family[1:], "heads": "4", "request_id": request}
    answers = [post(client, f"/visits/{family[0]}/checkin", **forms) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len(records(desk, "visit.checkin")) == 3
    moving = {"leaving": [family[2]], "request_id": secrets.token_hex(16)}
    for _ in range(2):
        post(client, f"/visits/{family[0]}/split", **moving)
    assert len(records(desk, "visit.corrected")) == 1


@pytest.mark.parametrize("heads", ["0", "501", "-3", "many", "1e3"])
def test_heads_that_are_no_group_are_refused_in_one_line(desk: Desk, door: Door, visitor: Visitor, heads: str) -> None:
    (visit,) = come(door, 1)
    client = visitor("li")
    until_shown(client, visit)
    answer = post(client, f"/visits/{visit}/checkin", way="walk_in", heads=heads)
    assert answer.status_code == 422
    assert answer.text.count('role="alert"') == 1
    assert records(desk, "visit.checkin") == []


def test_one_who_is_registered_after_a_dismissal_shows_it_on_the_card(door: Door, visitor: Visitor) -> None:
    (visit,) = come(door, 1)
    client = visitor("li")
    until_shown(client, visit)
    post(client, f"/visits/{visit}/dismiss", dismissal="staff")
    assert "本案员工" in client.get("/").text
    post(client, f"/visits/{visit}/checkin", way="walk_in")
    assert "曾被排除" in client.get("/").text


# -- a power cut between two taps -------------------------------------------------------------------------------------


@pytest.fixture
def own_kiosk(desk: Desk) -> Iterator[Callable[[], tuple["subprocess.Popen[str]", str]]]:
    """Starts `firstvisit kiosk` as a process of its own, as often as asked."""
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple["subprocess.Popen[str]", str]:
        command = [sys.executable, "-m", "edge", "kiosk", "--home", str(desk.home.path), "--port", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        started.append(process)
        assert process.stdout
        found = re.search(r"https?://\S+", process.stdout.readline())
        assert found
        return process, found[0]

    yield start
    for process in started:
        process.kill()
        process.wait(30)


def test_a_power_cut_at_any_moment_binds_a_whole_party_or_nobody_and_the_form_may_be_sent_again(
    desk: Desk, door: Door, own_kiosk: Callable[[], tuple["subprocess.Popen[str]", str]]
) -> None:
    parties = [come(door, 6) for _ in range(3)]
    process, url = own_kiosk()
    cookies = _signed_in(url)
    for party, cut_s in zip(parties, (0.0, 0.03, None), strict=True):
        form = {"way": "walk_in", "companion": party[1:], "heads": "6", "request_id": secrets.token_hex(16)}
        with httpx.Client(base_url=url, cookies=cookies, headers={"origin": url}, timeout=30) as client:
            until_shown(client, party[-1])
            form["csrf_token"] = form_token(client, "/")
            sending = threading.Thread(target=_send, args=(client, f"/visits/{party[0]}/checkin", form))
            with closing(sqlite3.connect(desk.home.database, isolation_level=None)) as other:
                if cut_s is None:
                    other.execute("BEGIN IMMEDIATE")  # the check-in waits for the lock: cut there, before its commit
                sending.start()
                time.sleep(0.5 if cut_s is None else cut_s)
                process.kill()
                process.wait(30)
            sending.join()
        bound = {record.fields["visit"] for record in records(desk, "visit.checkin")} & set(party)
        assert bound in (set(), set(party)), "bound as a whole or not at all"
        assert bound == set() or cut_s is not None
        assert verify(desk.home.path).ok
        process, url = own_kiosk()
        with httpx.Client(base_url=url, cookies=cookies, headers={"origin": url}, timeout=30) as client:
            until(lambda client=client: _answers(client))
            until_shown(client, party[-1])
            form["csrf_token"] = form_token(client, "/")
            assert client.post(f"/visits/{party[0]}/checkin", data=form).status_code == 303
            told = [record for record in records(desk, "visit.checkin") if record.fields["visit"] in party]
            assert [record.fields["state"] for record in told] == ["registered", *["companion"] * 5]
            assert f"#{told[0].seq}" in client.get(f"/visits/{party[0]}/checkin").text


def _signed_in(url: str) -> httpx.Cookies:
    with httpx.Client(base_url=url, headers={"origin": url}, timeout=30) as client:
        until(lambda: _answers(client))
        form = {"csrf_token": form_token(client), "name": "li", "password": PASSWORD}
        assert client.post("/login", data=form).status_code == 303
        return client.cookies


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/login").status_code < 500
    except httpx.TransportError:
        return False


def _send(client: httpx.Client, path: str, form: dict[str, Any]) -> None:
    with suppress(httpx.TransportError):  # the power is cut
        client.post(path, data=form)
