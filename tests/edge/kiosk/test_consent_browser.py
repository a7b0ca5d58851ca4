"""Consent in a real browser: refused with no touch more, signed with a finger, taken back with one touch."""

import re
from contextlib import closing

import pytest

from edge.people.vault import opened
from sync.format.records import Record
from sync.format.signing import commitment
from tests.edge.kiosk.conftest import Desk, until
from tests.edge.kiosk.door import Door
from tests.edge.kiosk.test_browser import PHONE, OpenPage, open_page  # noqa: F401

CONSENT = "input[name=consent][value=visitor-2]"


def last(desk: Desk, kind: str) -> Record:
    with closing(desk.home.open_ledger()) as ledger:
        record = ledger.last_of(kind)
    assert record is not None
    return record


def test_a_visitor_signs_with_a_finger_and_takes_it_back_with_one_touch(
    open_page: OpenPage,  # noqa: F811
    door: Door,
    desk: Desk,
) -> None:
    visit, person = door.arrive("first", ago_s=60)
    page = open_page()
    page.goto(f"/visits/{visit}/checkin")
    assert not page.is_checked(CONSENT)
    assert page.is_hidden("[data-sign]")
    page.click(CONSENT)
    canvas = page.wait_for_selector("[data-sign] canvas", state="visible")
    assert canvas is not None
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    for height in (0.3, 0.6):
        page.mouse.move(box["x"] + 40, box["y"] + box["height"] * height)
        page.mouse.down()
        for step in range(1, 8):
            page.mouse.move(box["x"] + 40 + 25 * step, box["y"] + box["height"] * (height + 0.02 * (step % 3)))
        page.mouse.up()
    page.click("button[value=walk_in]")
    page.wait_for_selector("text=已签名")
    given = last(desk, "consent.given")
    with opened(desk.home.database, desk.home.keys_database) as vault:
        signed = vault.of_visits.signature(visit)
    assert signed is not None
    assert given.fields["signature"] == commitment(signed[:32], signed[32:]).hex()
    assert re.fullmatch(r"560 180(;\d+,\d+( \d+,\d+)+){2}", signed[32:].decode())
    page.click("button[value=withdrawn]")
    page.wait_for_selector("text=已撤回同意")
    assert last(desk, "consent.withdrawn").fields["person"] == person
    until(lambda: page.locator(".who-is-it img").count() == 0)


def test_either_text_unticks_the_other_and_signing_again_clears(
    open_page: OpenPage,  # noqa: F811
    door: Door,
) -> None:
    visit, _ = door.arrive("first", ago_s=60)
    page = open_page()
    page.goto(f"/visits/{visit}/checkin")
    page.click(CONSENT)
    page.click(".guardian summary")
    page.click("input[value=guardian-1]")
    assert not page.is_checked(CONSENT)
    page.locator("[data-sign] canvas").click(position={"x": 50, "y": 50})
    assert page.input_value("input[name=signature]").startswith("560 180;")
    page.click("[data-sign-again]")
    assert page.input_value("input[name=signature]") == ""
    page.locator("[data-sign] canvas").click(position={"x": 50, "y": 50})
    page.click("input[value=guardian-1]")
    assert page.is_hidden("[data-sign]")
    assert page.input_value("input[name=signature]") == "", "who does not agree signs nothing"


@pytest.mark.parametrize("language", ["zh", "en"])
def test_refusing_takes_no_touch_more_and_everything_is_big_enough_to_touch_on_a_phone(
    open_page: OpenPage,  # noqa: F811
    door: Door,
    desk: Desk,
    language: str,
) -> None:
    visit, _ = door.arrive("first", ago_s=60)
    page = open_page(size=PHONE)
    page.goto(f"/visits/{visit}/checkin?lang={language}")
    page.click(CONSENT)
    small = page.eval_on_selector_all(
        "[data-consent] input[type=checkbox], [data-consent] summary, [data-consent] button, .face-acts button",
        "all => all.filter(one => one.checkVisibility())"
        ".map(one => one.getBoundingClientRect()).filter(box => box.width < 44 || box.height < 44).length",
    )
    assert small == 0
    width = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1]
    page.click(CONSENT)  # unticked again: one touch for both ways from here
    page.click("button[value=walk_in]")
    page.wait_for_selector(".notice.good")
    with closing(desk.home.open_ledger()) as ledger:
        assert ledger.last_of("consent.given") is None
