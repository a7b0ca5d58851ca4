"""What a visitor takes back from their own phone: what they sent, their consent, and by a wish their number."""

import re
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

import httpx
import pytest

from edge.clock import Clock
from edge.desk.merging import Merging
from edge.people.person_keys import KEYS_FORMAT
from edge.people.vault import opened
from sync.storage.database import connect, open_checked
from sync.verify.verify import verify
from tests.conftest import form_token
from tests.edge.kiosk.conftest import PASSWORD, until, until_shown
from tests.edge.kiosk.door import Door
from tests.edge.kiosk.test_visitor import FORM, NUMBER, Site, li, placing, site, tap

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["li", "placing", "site"]  # fixtures
SMALL = {"width": 360, "height": 640}


def sent(site: Site, phone: httpx.Client, *, consent: bool = False) -> str:
    """Send a form; returns its address."""
    path = site.opened(phone)
    version = re.findall(r'name="consent" value="([^"]+)"', phone.get(path).text)[0]
    assert phone.post(path, data={**FORM, **({"consent": version} if consent else {})}).status_code == 200
    return path


def back(phone: httpx.Client, path: str, what: str) -> httpx.Response:
    return phone.post(f"{path}/back", data={"what": what})


def test_a_form_that_waits_is_deleted_at_a_touch_and_the_desk_sees_it_no_more(
    site: Site, door: Door, li: httpx.Client
) -> None:
    visit, _ = door.arrive("first")
    home = site.desk.home
    with site.phone() as phone:
        path = sent(site, phone)
        with closing(open_checked(home.keys_database, KEYS_FORMAT)) as keys:
            ((key,),) = keys.execute("SELECT key FROM visitor_form_keys").fetchall()
        assert "138****5678" in li.get("/fragments/forms").text
        assert "已删除" in back(phone, path, "form").text
        assert li.get("/fragments/forms").text.strip() == ""
        files = [home.path / name for name in ("keys.db", "keys.db-wal")]
        assert key not in b"".join(file.read_bytes() for file in files if file.exists())
        assert tap(li, visit, path[3:35]).status_code == 409
        assert "已收到" in phone.post(path, data=FORM).text, "who thinks better of it sends it again"
        assert tap(li, visit, path[3:35]).status_code == 200
        back(phone, path, "form")
        assert "到访已登记" in phone.get(path).text, "what is registered is not undone by it"
    assert len(site.checkins()) == 1


def test_taking_back_again_what_is_gone_does_not_empty_the_logs_again(site: Site, door: Door) -> None:
    home = site.desk.home
    logs = [home.path / f"{file.name}-wal" for file in (home.database, home.keys_database)]
    # the last to close a database empties its log: the desk's pages and the node have it open all day
    with site.phone() as phone, closing(connect(home.database)), closing(connect(home.keys_database)):
        path = sent(site, phone)
        back(phone, path, "form")
        door.arrive("first")
        sent(site, phone)
        before = [log.stat().st_size for log in logs]
        assert min(before) > 0
        for _ in range(3):
            back(phone, path, "form")
        assert [log.stat().st_size for log in logs] == before


def test_a_consent_given_by_phone_is_withdrawn_by_phone_and_the_face_is_gone_at_once(
    site: Site, door: Door, li: httpx.Client
) -> None:
    visit, person = door.arrive("first")
    home = site.desk.home
    with site.phone() as phone:
        path = sent(site, phone, consent=True)
        tap(li, visit, path[3:35])
        assert "撤回人脸识别同意" in phone.get(path).text
        for _ in range(2):
            page = back(phone, path, "face").text
        (record,) = site.checkins("consent.withdrawn")
        assert f"人脸识别同意已撤回，人脸与画面已删除（记录 #{record.seq}）。仅限本案场：" in page
        assert "确认撤回" not in page
        assert (record.fields["visit"], record.fields["person"]) == (visit, person)
        assert "account" not in record.fields, "nobody at the desk did it"
        with opened(home.database, home.keys_database) as vault:
            assert not vault.remembers(person)
        until(lambda: li.get(f"/crops/{visit}.jpg").status_code == 404)
        until(lambda: "已撤回同意" in li.get(f"/visits/{visit}/checkin").text)
        assert f"记录 #{site.checkins()[0].seq}" in page, "the visit stays"
    assert verify(home.path).ok


def test_who_has_agreed_at_another_visit_too_is_asked_to_come_to_the_desk_and_nothing_is_gone(
    site: Site, door: Door, li: httpx.Client
) -> None:
    before, person = door.arrive("first", ago_s=9000)
    today, _ = door.arrive("return", person=person, similarity=0.71)
    until_shown(li, today)
    with site.phone() as phone:
        for visit in (before, today):
            path = sent(site, phone, consent=True)
            tap(li, visit, path[3:35])
        page = back(phone, path, "face")
        assert "请到前台办理" in page.text
        assert site.checkins("consent.withdrawn") == []
    with opened(site.desk.home.database, site.desk.home.keys_database) as vault:
        assert vault.remembers(person), "a form bound to somebody else's arrival erases nobody"


def remembered(site: Site, person: str) -> bool:
    with opened(site.desk.home.database, site.desk.home.keys_database) as vault:
        return vault.remembers(person)


def consents_at_the_desk(client: httpx.Client, visit: str) -> None:
    """The visitor signs on the tablet, to be looked up by face."""
    until_shown(client, visit)
    page = client.post(f"/lookback/{visit}", data={"csrf_token": form_token(client, "/lookback")}).text
    version = re.findall(r'name="consent" value="([^"]+)"', page)[0]
    request = re.findall(r'name="request_id" value="([^"]+)"', page)[0]
    sent = {"csrf_token": form_token(client, "/lookback"), "request_id": request, "consent": version}
    signed = {"language": "zh", "signature": "400 160;10,10 90,80 200,40"}
    assert client.post(f"/lookback/{visit}", data=sent | signed).status_code == 200


def test_a_form_bound_to_somebody_elses_arrival_takes_nothing_back_that_they_agreed_to_at_the_desk(
    site: Site, door: Door, li: httpx.Client
) -> None:
    visit, person = door.arrive("first")
    consents_at_the_desk(li, visit)
    with site.phone() as phone:
        path = sent(site, phone)
        assert tap(li, visit, path[3:35]).status_code == 200
        assert len(site.checkins("consent.given")) == 1
        assert "撤回人脸识别同意" not in phone.get(path).text
        assert back(phone, path, "face").status_code == 200
    assert site.checkins("consent.withdrawn") == []
    assert remembered(site, person)


def test_a_consent_under_an_id_that_was_merged_or_in_a_record_that_was_purged_is_one_given_before(
    site: Site, door: Door, li: httpx.Client
) -> None:
    home = site.desk.home
    visits = [door.arrive("first", ago_s=9000), door.arrive("first", ago_s=6000)]
    today, _ = door.arrive("return", person=visits[0][1], similarity=0.71)
    paths = []
    with site.phone() as phone:
        for visit in (visits[1][0], today):
            until_shown(li, visit)
            paths.append(sent(site, phone, consent=True))
            assert tap(li, visit, paths[-1][3:35]).status_code == 200
        Merging(lambda: home.open_ledger("desk", Clock()), home).one_person(
            (visits[0][1], visits[1][1]), today, "0" * 32, "acc-1"
        )
        assert "请到前台办理" in back(phone, paths[-1], "face").text
        with closing(home.open_ledger()) as ledger:
            purged = "DELETE FROM ledger WHERE seq <= (SELECT min(seq) FROM ledger WHERE kind = 'consent.given')"
            ledger.connection.execute(purged)
        assert "请到前台办理" in back(phone, paths[-1], "face").text
    assert site.checkins("consent.withdrawn") == []
    assert remembered(site, visits[0][1])


def test_a_wish_to_have_the_number_erased_goes_to_the_privacy_officer_once(
    site: Site, door: Door, li: httpx.Client, sign_in: Callable[..., httpx.Response]
) -> None:
    visit, _ = door.arrive("first")
    with site.phone() as phone:
        path = sent(site, phone)
        tap(li, visit, path[3:35])
        for _ in range(2):
            page = back(phone, path, "phone").text
        assert "已申请删除手机号" in page
        assert "提交申请" not in page
    (asked,) = site.checkins("consent.withdrawn")
    assert (asked.fields["purpose"], asked.fields["state"]) == ("phone", "asked")
    assert "account" not in asked.fields
    assert NUMBER not in repr(asked.fields)
    with httpx.Client(base_url=site.kiosk.url, headers={"origin": site.kiosk.url}, timeout=20) as officer:
        sign_in(officer, "privacy", PASSWORD)
        queue = officer.get("/rights").text
        assert "访客本人（手机）" in queue
        assert "138****5678" in queue
        assert "已撤回" not in li.get(f"/visits/{visit}/checkin").text, "a face was nobody's to withdraw"
    assert verify(site.desk.home.path).ok


@pytest.mark.parametrize("what", ["face", "phone"])
def test_before_anything_is_registered_there_is_nothing_else_to_take_back(site: Site, what: str) -> None:
    with site.phone() as phone:
        path = sent(site, phone, consent=True)
        assert "已收到" in back(phone, path, what).text
        assert back(phone, path, "everything").status_code == 422
        assert back(phone, f"{path[:-1]}{'0' if path[-1] != '0' else '1'}", what).status_code == 410
    assert site.checkins("consent.withdrawn") == []


# -- on a small phone ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scripts", [True, False])
def test_a_form_is_a_number_three_touches_and_no_permission_with_scripts_and_without(
    browser: "Browser", site: Site, door: Door, li: httpx.Client, scripts: bool
) -> None:
    visit, _ = door.arrive("first")
    until_shown(li, visit)
    context = browser.new_context(
        viewport=SMALL,  # type: ignore[arg-type]
        base_url=site.visitors.url,
        has_touch=True,
        java_script_enabled=scripts,
        permissions=[],
    )
    phone = context.new_page()
    try:
        phone.goto(f"/v/{site.code()}")
        for language in ("en", "zh"):
            phone.tap(".language")
            phone.wait_for_selector(f"html[lang^={language}]")
        phone.fill("#phone", "12345")
        phone.tap("label:has([name=purpose][value=view])")
        phone.tap("label:has([name=source][value=friend])")
        phone.tap(".send")
        phone.wait_for_selector("[role=alert]")
        assert "手机号不对" in phone.inner_text("[role=alert]")
        assert phone.get_attribute("#phone", "aria-describedby") == "problem"
        assert phone.is_checked("[name=purpose][value=view]"), "what was right is still there"
        phone.fill("#phone", NUMBER)
        phone.tap(".send")
        phone.wait_for_selector(".sign.wait")
        assert "报手机尾号四位" in phone.inner_text("main")
        tap(li, visit, phone.url.split("/f/")[1][:32])
        if not scripts:
            phone.tap("a.second")
        phone.wait_for_selector(".sign.good")
        phone.tap(".take-back summary")
        phone.tap(".take-back button")
        phone.wait_for_selector(".asked")
    finally:
        context.close()
    assert [one.fields["way"] for one in site.checkins()] == ["visitor"]
    assert site.checkins()[0].fields["claimed_place"] == {"source": "unknown"}


def test_who_gives_no_permission_for_a_position_sends_all_the_same(browser: "Browser", placing: Site) -> None:
    context = browser.new_context(viewport=SMALL, base_url=placing.visitors.url, has_touch=True)  # type: ignore[arg-type]
    phone = context.new_page()
    try:
        phone.goto(f"/v/{placing.code()}")
        phone.tap("[data-place-add]")
        phone.wait_for_selector(".place-said:not(:empty)")
        assert "不影响登记" in phone.inner_text(".place-said")
        phone.fill("#phone", NUMBER)
        phone.tap("label:has([name=purpose][value=view])")
        phone.tap("label:has([name=source][value=friend])")
        phone.tap(".send")
        phone.wait_for_selector(".sign.wait")
    finally:
        context.close()
    assert [one.position for one in placing.forms().waiting(0)] == [None]
