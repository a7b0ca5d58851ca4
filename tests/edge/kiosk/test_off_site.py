"""Not where the site is: the device outside its fence, the visitor's phone elsewhere; and what the pages say of it."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from edge.kiosk.tablet_ca import issue
from edge.place.geofence import place_fields
from edge.settings import parse_settings
from sync.transport.tls import utc_now
from tests.edge.kiosk.conftest import Desk, sign_in_on
from tests.edge.kiosk.door import CONFIG, Door
from tests.edge.kiosk.test_browser import PHONE, TABLET
from tests.edge.kiosk.test_visitor import Site, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FENCE = [[121.470, 31.230], [121.480, 31.230], [121.480, 31.240], [121.470, 31.240], [121.470, 31.230]]
ELSEWHERE = {"latitude": 31.30, "longitude": 121.60, "accuracy": 30}
PLACE = '[place]\nlat = 31.2150\nlon = 121.4750\naccuracy_m = 20.0\nfence = "fence.json"\n'


@pytest.fixture
def site(desk: Desk) -> Iterator[Site]:
    """A site with a fence, whose device was put up outside of it; its visitors' page may ask where a phone is."""
    (desk.home.path / "fence.json").write_text(json.dumps({"type": "Polygon", "coordinates": [FENCE]}))
    made = issue(desk.home.path, ("visit.test",), utc_now())  # only over TLS may a page ask
    yield from served(desk, position=True, config=PLACE, pair=made.pair)


def test_a_phone_and_a_device_outside_the_fence_are_told_as_what_they_are(
    browser: "Browser", site: Site, door: Door, desk: Desk
) -> None:
    settings = parse_settings(CONFIG + PLACE, "test").place
    visit, _ = door.arrive("first", ago_s=60, place=place_fields(settings, desk.home.path / "fence.json"))
    tablet = browser.new_context(viewport=TABLET, base_url=site.kiosk.url).new_page()  # type: ignore[arg-type]
    where = {"ignore_https_errors": True, "permissions": ["geolocation"], "geolocation": ELSEWHERE}
    phone = browser.new_context(viewport=PHONE, base_url=site.visitors.url, **where).new_page()  # type: ignore[arg-type]
    try:
        sign_in_on(tablet, "li")
        tablet.wait_for_selector(".party .serve")
        tablet.goto(f"/visits/{visit}/checkin")
        assert "事实：到访时设备位于案场围栏之外" in tablet.inner_text("main"), "before anybody registers"
        phone.goto(f"/v/{site.code()}")
        phone.fill("#phone", "13800005678")
        phone.check("input[name=purpose][value=view]", force=True)
        phone.check("input[name=source][value=friend]", force=True)
        phone.click("[data-place-add]")
        phone.wait_for_selector("[data-place-remove]:visible")
        phone.press("#phone", "Enter")
        phone.wait_for_selector(".sign.wait")
        tablet.click(".sent-form button.primary")
        tablet.wait_for_selector(".notice.good.told")
        said = tablet.inner_text(".notice.good.told")
        assert "自称在围栏外" in said
        assert "作弊" not in said
        tablet.goto("/arrivals?lang=en")
        card = tablet.inner_text(f'.card[data-id="{visit}"]')
        assert "the device stood outside the site's fence" in card
        phone.wait_for_selector(".sign.good")
    finally:
        tablet.context.close()
        phone.context.close()
    with closing(desk.home.open_ledger()) as ledger:
        record = ledger.last_of("visit.checkin")
    assert record is not None
    assert (record.fields["facts"], record.fields["claimed_place"]["inside"]) == (["off_site"], "out")
