"""A visitor's form bound from the front page: one tap on the form, one on the card; nothing is bound by itself."""

import re
import secrets
import time
from typing import TYPE_CHECKING

import httpx

from edge.desk.visitor_forms import SentForm
from edge.people.phones import parse_phone
from sync.verify.verify import verify
from tests.conftest import form_token
from tests.edge.kiosk.conftest import PASSWORD, until, until_shown
from tests.edge.kiosk.door import Door
from tests.edge.kiosk.test_browser import PHONE, TABLET
from tests.edge.kiosk.test_visitor import NUMBER, Site, li, site

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["li", "site"]  # fixtures


def send(site: Site, number: str = NUMBER, ago_s: float = 60) -> str:
    form_id, at_us = secrets.token_hex(16), round((time.time() - ago_s) * 1e6)
    site.forms().keep(SentForm(form_id, at_us, parse_phone(number), "view", "friend", "zh", None, None))
    site.kiosk.app.state.live.publish("form", form_id)  # type: ignore[attr-defined]  # an application's
    return form_id


def test_the_front_page_shows_what_was_sent_and_proposes_who_came_nearest_but_binds_nobody(
    site: Site, door: Door, li: httpx.Client
) -> None:
    early, _ = door.arrive("first", ago_s=1500)
    late, _ = door.arrive("first", ago_s=150)
    until_shown(li, late)
    form = send(site)
    page = li.get("/").text
    assert "138****5678" in page
    assert "来看房 · 朋友介绍" in page
    assert NUMBER not in page
    assert f'href="/?form={form}"' in page
    assert "/visitor" not in page.replace("/visitor-code", ""), "no card binds before a form is chosen"
    chosen = li.get("/", params={"form": form}).text
    assert re.findall(r'class="party [^"]*fits" id="party-([^"]+)"', chosen) == [late]
    assert "时间最接近" in chosen
    assert "分钟后提交" in chosen
    assert sorted(re.findall(r'action="/visits/([^/]+)/visitor"', chosen)) == sorted([early, late])
    assert site.checkins() == []


def test_a_form_that_waits_no_more_is_said_to_and_the_cards_are_as_always(door: Door, li: httpx.Client) -> None:
    visit, _ = door.arrive("first")
    until_shown(li, visit)
    for gone in (secrets.token_hex(16), '"><b>', "x" * 3000):
        page = li.get("/", params={"form": gone}).text
        assert "已经绑定，或已过期" in page
        assert f'href="/visits/{visit}/checkin"' in page
        assert "<b>" not in page


def test_in_a_party_the_host_says_who_sent_it_and_the_others_become_companions(
    site: Site, door: Door, li: httpx.Client
) -> None:
    family = [door.arrive("first", ago_s=60, party_id="g-1", party=number)[0] for number in (1, 2, 3)]
    until_shown(li, family[-1])
    form = send(site, ago_s=5)
    page = li.get("/", params={"form": form}).text
    assert sorted(re.findall(r'action="/visits/([^/]+)/visitor"', page)) == sorted(family)
    mine = page.split(f'action="/visits/{family[1]}/visitor"')[1].split("</form>")[0]
    fields = re.findall(r'name="([a-z_]+)" value="([^"]*)"', mine)
    answer = li.post(f"/visits/{family[1]}/visitor", data=_gathered(fields), follow_redirects=True)
    assert answer.status_code == 200
    states = {one.fields["visit"]: one.fields["state"] for one in site.checkins()}
    assert states == {family[1]: "registered", family[0]: "companion", family[2]: "companion"}
    assert verify(site.desk.home.path).ok


def test_of_a_whole_bus_the_front_page_offers_the_first_and_leads_to_the_others(
    site: Site, door: Door, li: httpx.Client
) -> None:
    bus = [door.see(ago_s=60, party_id="g-bus", party=number) for number in range(1, 13)]
    until_shown(li, bus[-1])
    page = li.get("/", params={"form": send(site, ago_s=5)}).text
    assert page.count('/visitor"') == 8
    assert "打开这组再选" in page


def test_the_part_that_renews_itself_stays_as_it_is_while_nothing_happens(
    site: Site, door: Door, li: httpx.Client
) -> None:
    visit, _ = door.arrive("first")
    until_shown(li, visit)
    page = li.get("/", params={"form": send(site)}).text
    (renewed,) = re.findall(r'data-url="(/fragments/parties\?[^"]+)"', page)
    once, again = (li.get(renewed.replace("&amp;", "&")).text for _ in range(2))
    assert once == again, "a button that is replaced under a finger is not tapped"
    assert f'action="/visits/{visit}/visitor"' in once


def test_a_page_that_has_grown_old_binds_nobody_s_form_to_another_party(
    site: Site, door: Door, li: httpx.Client
) -> None:
    pair = [door.arrive("first", ago_s=60, party_id="g-1", party=number)[0] for number in (1, 2)]
    until_shown(li, pair[-1])
    form = send(site, ago_s=5)
    page = li.get("/", params={"form": form}).text
    fields = re.findall(
        r'name="([a-z_]+)" value="([^"]*)"', page.split(f"/visits/{pair[0]}/visitor")[1].split("</form>")[0]
    )
    apart = {"csrf_token": form_token(li, "/"), "request_id": secrets.token_hex(16), "leaving": pair[1]}
    assert li.post(f"/visits/{pair[0]}/split", data=apart).status_code == 303
    late = li.post(f"/visits/{pair[0]}/visitor", data=_gathered(fields))
    assert late.status_code == 409
    assert "刚被另一台平板调整过" in late.text
    assert site.checkins() == []


def _gathered(fields: list[tuple[str, str]]) -> dict[str, list[str]]:
    return {name: [value for one, value in fields if one == name] for name, _ in fields}


def test_two_taps_bind_a_form_on_a_tablet_and_on_a_phone(browser: "Browser", site: Site, door: Door) -> None:
    complaints: list[str] = []
    for size in (TABLET, PHONE):
        door.arrive("first", ago_s=1200)
        mine, _ = door.arrive("first", ago_s=120)
        page = browser.new_context(viewport=size, base_url=site.kiosk.url).new_page()  # type: ignore[arg-type]
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda told: complaints.append(told.text) if "Security Policy" in told.text else 0)
        try:
            page.goto("/login")
            page.fill("input[name=name]", "li")
            page.fill("input[name=password]", PASSWORD)
            page.press("input[name=password]", "Enter")
            page.wait_for_selector(f"#serve-{mine}")
            number = "13800005678" if size is TABLET else "13900005678"
            form = send(site, number)
            page.wait_for_selector(f"[data-form='{form}']")
            page.click(f"[data-form='{form}'] a")
            page.wait_for_selector(".choosing")
            assert page.locator(".party.fits").get_attribute("data-party") == mine
            small = page.evaluate(
                "[...document.querySelectorAll('main a, main button')].filter(one => one.checkVisibility()"
                " && one.getBoundingClientRect().height < 44).length"
            )
            assert (small, page.evaluate("document.documentElement.scrollWidth")) == (0, size["width"])
            card = page.locator(f"[data-party='{mine}'] h3")
            card.scroll_into_view_if_needed()
            card.click(force=True)  # anywhere on the card
            page.wait_for_selector(".notice.good")
            assert page.url.endswith(f"/visits/{mine}/checkin")
            assert f"{number[:3]}****5678" in page.inner_text(".notice.good")
            until(lambda mine=mine: any(one.fields["visit"] == mine for one in site.checkins()))
        finally:
            page.context.close()
    assert [one.fields["way"] for one in site.checkins()] == ["visitor", "visitor"]
    assert complaints == []
