"""The bar of pages on a phone: every page is in sight or behind one menu, for fingers and for the keyboard."""

import pytest

from tests.edge.kiosk.test_app import ROLES
from tests.edge.kiosk.test_browser import PHONE, TABLET, OpenPage, open_page

__all__ = ["open_page"]  # a fixture

IN_SIGHT = """() => [...document.querySelectorAll(".rail a, .rail summary")]
    .filter(one => one.checkVisibility()).map(one => {
    const box = one.getBoundingClientRect();
    return [one.getAttribute("href"), box.width, box.height, box.left >= 0 && box.right <= innerWidth,
        one.scrollWidth <= one.clientWidth];
})"""


@pytest.mark.parametrize("name", ROLES)
def test_on_a_phone_every_page_of_a_role_can_be_reached_without_scrolling_sideways(
    open_page: OpenPage, name: str
) -> None:
    page = open_page(name, TABLET)
    on_a_tablet = [one[0] for one in page.evaluate(IN_SIGHT)]
    assert None not in on_a_tablet, "the rail has room for all, and no menu"
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    for language in ("zh", "en"):
        page.goto(f"/node?lang={language}")
        shown = page.evaluate(IN_SIGHT)
        if [one[0] for one in shown][-1] is None:
            page.click(".nav-more summary")
            shown = page.evaluate(IN_SIGHT)
        assert [one[0] for one in shown if one[0]] == on_a_tablet
        assert [one for one in shown if not (one[1] >= 44 and one[2] >= 44 and one[3] and one[4])] == []
        rail = page.eval_on_selector(".rail", "rail => rail.scrollWidth - rail.clientWidth")
        assert (rail, page.evaluate("document.documentElement.scrollWidth")) == (0, 390)


def test_a_manager_s_menu_on_a_phone_opens_and_closes_by_keyboard_and_by_a_tap_elsewhere(open_page: OpenPage) -> None:
    page = open_page("wang", PHONE)
    page.focus(".nav-more summary")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "/lookback"
    page.keyboard.press("Escape")
    assert page.evaluate("[document.querySelector('.nav-more').open, document.activeElement.tagName]") == [
        False,
        "SUMMARY",
    ]
    page.click(".nav-more summary")
    page.click("h1")
    assert page.evaluate("document.querySelector('.nav-more').open") is False
    page.click(".nav-more summary")
    page.click(".nav-menu a[href='/rota']")
    page.wait_for_url("**/rota")
    assert page.locator(".nav-more:has([aria-current=page])").count() == 1
