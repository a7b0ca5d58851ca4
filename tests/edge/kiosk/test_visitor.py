"""The visitor's own phone: a form behind the desk's rotating code, bound to an arrival with one tap."""

import re
import secrets
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import pytest

from edge.consent import HELD_S
from edge.desk.desk_secrets import desk_secret
from edge.desk.receipts import drawn as draw
from edge.desk.visitor_code import FORM_S, LOOK_S, VisitorCode
from edge.desk.visitor_forms import BOUND_US, MOST_WAITING, WAIT_US, SentForm, VisitorForms, sender_mark
from edge.kiosk.app import create_app
from edge.kiosk.phone_forms import NEWEST
from edge.kiosk.tablet_ca import TabletCa, issue
from edge.people.person_keys import KEYS_FORMAT
from edge.people.phones import parse_phone
from edge.people.vault import opened
from edge.place.geofence import claimed_place
from edge.settings import parse_settings
from edge.visitor.app import create_visitor_app
from edge.visitor.limits import MAX_BODY_BYTES, PER_ADDRESS, PER_CODE, SENT_PER_ADDRESS, sender_of
from edge.visitor.serving import serve_visitors
from sync.format.keyring import KeyRing
from sync.format.receipts import Receipt
from sync.format.records import Record
from sync.storage.database import open_checked
from sync.transport.server_pair import ServerPair
from sync.transport.tls import utc_now
from sync.verify.verify import verify
from sync.web.server import PageServer
from tests.conftest import form_token
from tests.edge.kiosk.conftest import PASSWORD, Desk, until
from tests.edge.kiosk.door import CONFIG, Door

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NUMBER = "13800005678"
FORM = {"phone": NUMBER, "purpose": "view", "source": "friend", "language": "zh"}


class Clock:
    """The time that the visitors' page believes it is."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@dataclass
class Site:
    """A desk whose visitors have a page, both served for real."""

    desk: Desk
    kiosk: PageServer
    visitors: PageServer
    clock: Clock

    def code(self) -> str:
        secret = desk_secret(self.desk.home.keys_database, "visitor_code")
        return VisitorCode(secret).code(self.clock())

    def phone(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.visitors.url, follow_redirects=True, timeout=20, headers=headers)

    def opened(self, phone: httpx.Client) -> str:
        """Scan what the desk shows; returns the address of the form."""
        answer = phone.get(f"/v/{self.code()}")
        assert answer.status_code == 200, answer.text
        return answer.url.path

    def checkins(self, kind: str = "visit.checkin") -> list[Record]:
        with closing(self.desk.home.open_ledger()) as ledger:
            return list(ledger.records((kind,)))

    def forms(self) -> VisitorForms:
        return VisitorForms(self.desk.home.database, self.desk.home.keys_database)


@pytest.fixture
def site(desk: Desk) -> Iterator[Site]:
    yield from served(desk, position=False)


@pytest.fixture
def placing(desk: Desk) -> Iterator[Site]:
    """One whose page may ask where the phone is."""
    yield from served(desk, position=True)


def served(desk: Desk, *, position: bool, config: str = "", pair: ServerPair | None = None) -> Iterator[Site]:
    """Both pages, until the generator ends; position: whether a phone may be asked where it is. pair: the visitors'."""
    clock = Clock()
    desk.home.config.write_text(CONFIG + config + '[visitor]\nlisten = "127.0.0.1:8501"\nurl = "http://desk.test"\n')
    app = create_app(desk.home)
    kiosk = PageServer(app, "127.0.0.1", 0, app.state.live.close)
    page = create_visitor_app(desk.home, app.state.live, position=position, now_s=clock)
    visitors = PageServer(page, "127.0.0.1", 0, lambda: None, pair=pair)
    kiosk.start()
    visitors.start()
    yield Site(desk, kiosk, visitors, clock)
    visitors.stop()
    kiosk.stop()


@pytest.fixture
def li(site: Site, sign_in: Callable[..., httpx.Response]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.kiosk.url, headers={"origin": site.kiosk.url}, timeout=20) as client:
        assert sign_in(client, "li", PASSWORD).status_code == 303
        yield client


def tap(client: httpx.Client, visit: str, form_id: str, **more: str) -> httpx.Response:
    until(lambda: client.get(f"/fragments/arrival/{visit}").status_code == 200)
    sent = {"csrf_token": form_token(client, "/"), "request_id": secrets.token_hex(16), "form_id": form_id, **more}
    return client.post(f"/visits/{visit}/visitor", data=sent, follow_redirects=True)


# -- from the scan to the record -------------------------------------------------------------------------------------


def test_a_visitor_fills_in_a_form_and_the_desk_binds_it_with_one_tap(site: Site, door: Door, li: httpx.Client) -> None:
    visit, _ = door.arrive("first", ago_s=120)
    with site.phone() as phone:
        path = site.opened(phone)
        sent = phone.post(path, data=FORM)
        assert "已收到" in sent.text
        assert "等待前台确认" in sent.text
        assert site.checkins() == [], "what a visitor sends is nobody's record yet"
        until(lambda: li.get(f"/fragments/arrival/{visit}").status_code == 200)
        shown = li.get(f"/visits/{visit}/checkin").text
        assert "138****5678" in shown
        assert "来看房 · 朋友介绍 · 未同意人脸识别" in shown
        assert NUMBER not in shown
        assert "手机登记 1 条待绑定" in li.get("/").text
        (form_id,) = re.findall(r'name="form_id" value="([0-9a-f]{32})"', shown)
        answer = tap(li, visit, form_id)
        assert answer.status_code == 200
        (record,) = site.checkins()
        KeyRing({"desk": site.desk.home.signer("desk").public}).check(record)
        fields = record.fields
        assert (fields["visit"], fields["state"], fields["way"]) == (visit, "registered", "visitor")
        assert (fields["form"], fields["purpose"], fields["heard_of"]) == (form_id, "view", "friend")
        assert fields["claimed_place"] == {"source": "unknown"}
        assert fields["account"] == site.desk.li.account_id
        assert NUMBER not in repr(fields)
        assert site.checkins("consent.given") == []
        assert "访客自填：" in answer.text
        assert f"记录 #{record.seq}" in answer.text
        done = phone.get(path).text
        assert f"记录 #{record.seq}" in done
        assert "没有记录人脸识别同意" in done
        picture = phone.get(f"{path}/receipt.svg")
        assert picture.status_code == 200
        assert li.get("/fragments/forms").text.strip() == ""
    assert verify(site.desk.home.path).ok


def test_the_receipt_on_the_phone_is_the_one_that_the_desk_has_signed(site: Site, door: Door, li: httpx.Client) -> None:
    visit, _ = door.arrive("first")
    with site.phone() as phone:
        path = site.opened(phone)
        assert phone.post(path, data=FORM).status_code == 200
        assert phone.get(f"{path}/receipt.svg").status_code == 404, "nothing is registered yet"
        tap(li, visit, path[3:35])
        drawn = phone.get(f"{path}/receipt.svg").content
    (record,) = site.checkins()
    receipt = Receipt.seal(record, site.desk.home.signer("desk"))
    assert drawn == draw(receipt)
    assert receipt.fields["visit"] == visit


def test_a_consent_from_the_phone_stands_beside_the_registration_and_is_never_ticked_beforehand(
    site: Site, door: Door, li: httpx.Client
) -> None:
    visit, person = door.arrive("first")
    with site.phone() as phone:
        path = site.opened(phone)
        page = phone.get(path).text
        boxes = re.findall(r'<input type="checkbox"[^>]*>', page)
        assert len(boxes) == 2
        assert not any("checked" in box for box in boxes)
        versions = re.findall(r'name="consent" value="([^"]+)"', page)
        both = phone.post(path, data={**FORM, "consent": versions})
        assert both.status_code == 422
        assert phone.post(path, data={**FORM, "consent": "visitor-0"}).status_code == 422
        assert phone.post(path, data={**FORM, "consent": versions[0]}).status_code == 200
        tap(li, visit, path[3:35])
        (given,) = site.checkins("consent.given")
        assert given.fields["person"] == person
        assert (given.fields["version"], given.fields["language"]) == (versions[0], "zh")
        assert given.fields["confirmed"] == "desk", "that this phone is this visitor's is the host's word"
        assert "您的人脸识别同意已记录" in phone.get(path).text
    again, _ = door.arrive("return", person=person, similarity=0.8)
    other, _ = door.arrive("first")
    for visit, confirmed in ((again, "phone"), (other, "desk")):
        with site.phone() as phone:
            path = site.opened(phone)
            phone.post(path, data={**FORM, "consent": versions[0]})
            tap(li, visit, path[3:35])
            assert site.checkins("consent.given")[-1].fields["confirmed"] == confirmed


def test_a_form_bound_to_the_wrong_arrival_is_taken_back_with_that_face_and_waits_for_the_right_one(
    site: Site, door: Door, li: httpx.Client
) -> None:
    wrong, stranger = door.arrive("first", ago_s=60, crop=b"the stranger's picture")
    right, visitor = door.arrive("first", ago_s=30)
    with site.phone() as phone:
        path = site.opened(phone)
        version = re.findall(r'name="consent" value="([^"]+)"', phone.get(path).text)[0]
        phone.post(path, data={**FORM, "consent": version})
        tap(li, wrong, path[3:35])
        undone = {"csrf_token": form_token(li, "/"), "request_id": secrets.token_hex(16)}
        assert "登记已撤销" in li.post(f"/visits/{wrong}/undo", data=undone, follow_redirects=True).text
        (withdrawn,) = site.checkins("consent.withdrawn")
        assert (withdrawn.fields["visit"], withdrawn.fields["person"]) == (wrong, stranger)
        with opened(site.desk.home.database, site.desk.home.keys_database) as vault:
            assert not vault.remembers(stranger)
            assert vault.of_visits.crop(wrong) is None
        assert "等待前台确认" in phone.get(path).text
        assert tap(li, right, path[3:35]).status_code == 200
        given = site.checkins("consent.given")[-1]
        assert (given.fields["visit"], given.fields["person"]) == (right, visitor)
        assert "您的人脸识别同意已记录" in phone.get(path).text
    assert verify(site.desk.home.path).ok


def test_a_bound_form_s_key_is_destroyed_when_its_binding_cannot_be_undone_any_more(
    site: Site, door: Door, li: httpx.Client
) -> None:
    visit, _ = door.arrive("first")
    with site.phone() as phone:
        path = site.opened(phone)
        phone.post(path, data=FORM)
        tap(li, visit, path[3:35])
    keys = site.desk.home.keys_database
    for after_us, kept in ((BOUND_US - 60_000_000, 1), (BOUND_US + 1, 0)):
        site.forms().sweep(round(time.time() * 1e6) + after_us)
        with closing(open_checked(keys, KEYS_FORMAT)) as connection:
            assert connection.execute("SELECT count(*) FROM visitor_form_keys").fetchone() == (kept,)


def test_somebody_whom_nobody_compared_consents_from_the_phone_while_the_pictures_of_the_door_wait(
    site: Site, door: Door, li: httpx.Client
) -> None:
    door.ledger.append("node.boot", {"mode": "after_consent"})
    waits, late = door.see(), door.see(ago_s=HELD_S + 60)
    for visit in (waits, late):
        until(lambda visit=visit: li.get(f"/fragments/arrival/{visit}").status_code == 200)
        with site.phone() as phone:
            path = site.opened(phone)
            version = re.findall(r'name="consent" value="([^"]+)"', phone.get(path).text)[0]
            number = NUMBER if visit == waits else "13900001234"
            phone.post(path, data={**FORM, "phone": number, "consent": version})
            assert tap(li, visit, path[3:35]).status_code == 200
            said = "您的人脸识别同意已记录" if visit == waits else "没有记录人脸识别同意"
            assert said in phone.get(path).text
    (given,) = site.checkins("consent.given")
    assert (given.fields["visit"], given.fields["confirmed"]) == (waits, "desk")
    assert [one.fields["way"] for one in site.checkins()] == ["visitor", "visitor"]


def test_a_form_is_bound_to_one_arrival_only_and_the_same_tap_gets_the_same_record(
    site: Site, door: Door, li: httpx.Client
) -> None:
    one, _ = door.arrive("first", ago_s=60)
    other, _ = door.arrive("first", ago_s=30)
    with site.phone() as phone:
        path = site.opened(phone)
        phone.post(path, data=FORM)
        request = secrets.token_hex(16)
        assert tap(li, one, path[3:35], request_id=request).status_code == 200
        assert tap(li, one, path[3:35], request_id=request).status_code == 200
        late = tap(li, other, path[3:35])
        assert late.status_code == 409
        assert "已绑定到别的到访" in late.text
        assert len(site.checkins()) == 1
        again = phone.post(path, data={**FORM, "phone": "13900001234"})
        assert "138" not in again.text
        assert "到访已登记" in again.text, "the same form again is its receipt, whatever it says now"
        assert len(site.checkins()) == 1


def test_companions_come_along_with_the_form_s_tap(site: Site, door: Door, li: httpx.Client) -> None:
    friend, _ = door.arrive("first", ago_s=60, party_id="g-1", party=1)
    visit, _ = door.arrive("first", ago_s=58, party_id="g-1", party=2)
    until(lambda: li.get(f"/fragments/arrival/{friend}").status_code == 200)
    with site.phone() as phone:
        path = site.opened(phone)
        phone.post(path, data=FORM)
        assert tap(li, visit, path[3:35], companion=friend).status_code == 200
    assert [(one.fields["visit"], one.fields["state"]) for one in site.checkins()] == [
        (visit, "registered"),
        (friend, "companion"),
    ]


# -- what is refused -------------------------------------------------------------------------------------------------


def test_a_code_opens_forms_for_its_minute_and_the_next(site: Site) -> None:
    with site.phone() as phone:
        code = site.code()
        assert phone.get(f"/v/{code}").status_code == 200
        site.clock.ahead_s += 60
        assert phone.get(f"/v/{code}").status_code == 200, "it is on somebody's screen still"
        site.clock.ahead_s += 60
        gone = phone.get(f"/v/{code}")
        assert gone.status_code == 410
        assert "请重新扫" in gone.text
        for wrong in ("a" * 16, "0", "x" * 4000, "%00"):
            assert phone.get(f"/v/{wrong}").status_code in (410, 404)


def test_a_form_is_short_lived_and_nobody_makes_one_without_scanning(site: Site) -> None:
    with site.phone() as phone:
        path = site.opened(phone)
        forged = path[:-1] + ("0" if path[-1] != "0" else "1")
        assert phone.get(forged).status_code == 410
        assert phone.post(forged, data=FORM).status_code == 410
        site.clock.ahead_s += FORM_S + 1
        assert phone.post(path, data=FORM).status_code == 410
        assert site.forms().waiting(0) == []
        path = site.opened(phone)
        phone.post(path, data=FORM)
        site.clock.ahead_s += FORM_S + 1
        assert phone.get(path).status_code == 200, "what was sent can be looked at"
        site.clock.ahead_s += LOOK_S
        assert phone.get(path).status_code == 410


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"phone": ""}, "请填写手机号"),
        ({"phone": "<b>"}, "手机号看不懂"),
        ({"phone": "12345"}, "手机号不对"),
        ({"purpose": ""}, "请选择来访目的"),
        ({"source": "rob"}, "请选择来访目的"),
    ],
)
def test_what_cannot_be_taken_is_said_in_one_line_and_nothing_is_kept(
    site: Site, wrong: dict[str, str], said: str
) -> None:
    with site.phone() as phone:
        path = site.opened(phone)
        answer = phone.post(path, data={**FORM, **wrong})
        assert answer.status_code == 422
        assert answer.text.count('role="alert"') == 1
        assert said in answer.text
        assert "已收到" not in phone.get(path).text
    assert site.forms().waiting(0) == []


def test_the_page_has_its_own_routes_and_no_other(site: Site) -> None:
    routes = {route.path for route in site.visitors.app.routes}  # type: ignore[attr-defined]
    forms = {"/f/{token}", "/f/{token}/back", "/f/{token}/state", "/f/{token}/receipt.svg"}
    assert routes == {"/", "/v/{code}", *forms, "/static"}
    with site.phone() as phone:
        for path in ("/login", "/shared/live.js", "/docs", "/openapi.json", "/static/../app.py", "/crops/v.jpg"):
            assert phone.get(path).status_code == 404
        assert phone.put("/").status_code == 405
        front = phone.get("/")
        assert "请扫前台的二维码" in front.text
        assert "set-cookie" not in front.headers
        assert "default-src 'self'" in front.headers["content-security-policy"]
        assert phone.get("/", headers={"host": "evil.example"}).status_code == 421


def test_an_address_a_code_and_a_body_have_their_limits(site: Site) -> None:
    with site.phone() as phone:
        path = site.opened(phone)
        assert phone.post(path, content=b"x" * (MAX_BODY_BYTES + 1)).status_code == 413
        code = site.code()
        answers = [phone.get(f"/v/{code}", follow_redirects=False).status_code for _ in range(PER_CODE + 1)]
        assert answers[0] == 303
        assert answers[-1] == 429
        answers = [phone.get("/static/mark.svg").status_code for _ in range(PER_ADDRESS)]
        assert 429 in answers, "and whoever asks on is told to wait"


def test_one_address_fills_no_list_and_leaves_the_others_to_send(site: Site) -> None:
    secret = desk_secret(site.desk.home.keys_database, "visitor_code")
    with site.phone() as phone:
        answers = [
            phone.post(f"/f/{VisitorCode(secret).open(site.clock())}", data=FORM, follow_redirects=False)
            for _ in range(SENT_PER_ADDRESS + 1)
        ]
        assert [one.status_code for one in answers] == [303] * SENT_PER_ADDRESS + [429]
        assert "请直接告诉前台" in answers[-1].text
        assert phone.get(answers[0].headers["location"]).status_code == 200, "what was sent is shown all the same"
        assert len(site.forms().waiting(0)) == SENT_PER_ADDRESS
    another = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=site.visitors.url, transport=another, timeout=20, follow_redirects=True) as phone:
        assert phone.post(site.opened(phone), data=FORM).status_code == 200
    assert 9 * SENT_PER_ADDRESS < MOST_WAITING, "of two hours, in quarters"


def test_whoever_sends_one_form_is_kept_however_many_addresses_flood_the_page(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 30
    monkeypatch.setattr("edge.desk.visitor_forms.MOST_WAITING", most)
    forms, now_us, secret = site.forms(), round(time.time() * 1e6), bytes(32)

    def send(address: str, at_us: int) -> str:
        form = SentForm(secrets.token_hex(16), now_us + at_us, parse_phone(NUMBER), "view", "friend", "zh", None, None)
        forms.keep(form, sender_mark(secret, address))
        return form.form_id

    early = send("198.51.100.1", 0)
    flood = [send(f"192.0.2.{at % 10}", 1 + at) for at in range(most + 5)]
    late = send("198.51.100.2", most + 30)
    waiting = {one.form_id for one in forms.waiting(now_us)}
    assert len(waiting) == most
    assert {early, late} <= waiting, "each the only one of its address, the first as well as the last"
    assert not waiting & set(flood[:5]), "the oldest of the flood have made room"
    assert not forms.state(flood[0], now_us).waiting  # type: ignore[union-attr]
    for at in range(most):
        send(f"203.0.{at // 250}.{at % 250}", most + 100 + at)
    waiting = {one.form_id for one in forms.waiting(now_us)}
    assert len(waiting) == most
    assert not waiting & set(flood), "before anybody's only form those of whoever has sent more go"
    forms.sweep(now_us)
    with closing(open_checked(site.desk.home.keys_database, KEYS_FORMAT)) as keys:
        assert keys.execute("SELECT count(*) FROM visitor_form_keys").fetchone() == (most,)


def test_one_phone_that_opens_form_after_form_closes_the_page_for_nobody_else(site: Site) -> None:
    code = site.code()
    with site.phone() as phone:
        answers = [phone.get(f"/v/{code}", follow_redirects=False).status_code for _ in range(PER_CODE + 1)]
        assert answers[-1] == 429
    another = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=site.visitors.url, transport=another, timeout=20, follow_redirects=True) as phone:
        assert phone.get(f"/v/{code}").status_code == 200


def test_an_address_of_ipv6_is_counted_by_its_network() -> None:
    assert sender_of("2001:db8:0:1::7") == sender_of("2001:db8:0:1:ffff::") != sender_of("2001:db8:0:2::7")
    assert sender_of("::ffff:192.0.2.1") == sender_of("192.0.2.1") != sender_of("192.0.2.2")


def test_the_desk_finds_a_form_among_many_by_the_last_four_digits_of_its_phone(
    site: Site, door: Door, li: httpx.Client
) -> None:
    visit, _ = door.arrive("first")
    until(lambda: li.get(f"/fragments/arrival/{visit}").status_code == 200)
    now_us, forms = round(time.time() * 1e6), site.forms()

    def send(number: str, ago_us: int) -> str:
        form = SentForm(secrets.token_hex(16), now_us - ago_us, parse_phone(number), "view", "friend", "zh", None, None)
        forms.keep(form)
        return form.form_id

    sought = send(NUMBER, 60_000_000)
    assert "find-digits" not in li.get(f"/visits/{visit}/checkin").text, "one form needs no search"
    for at in range(NEWEST):
        send(f"139000012{at:02}", at)
    page = li.get(f"/visits/{visit}/checkin").text
    assert (page.count('class="sent-form"'), sought in page) == (NEWEST, False)
    assert f"手机登记 {NEWEST + 1} 条待绑定" in page
    found = li.get(f"/visits/{visit}/checkin", params={"digits": "5678"}).text
    assert (found.count('class="sent-form"'), sought in found) == (1, True)
    (renewed,) = re.findall(r'data-url="(/fragments/forms[^"]+)"', found)
    assert sought in li.get(renewed.replace("&amp;", "&")).text, "what the page fetches anew is sought too"
    assert "没有尾号 0000 的待绑定登记" in li.get(f"/visits/{visit}/checkin", params={"digits": "0000"}).text
    odd = li.get(f"/visits/{visit}/checkin", params={"digits": '"><b>'}).text
    assert odd.count('class="sent-form"') == NEWEST
    assert "<b>" not in odd
    assert tap(li, visit, sought).status_code == 200


# -- what is kept ----------------------------------------------------------------------------------------------------


def test_a_form_that_nobody_binds_is_forgotten_after_two_hours_in_every_byte(site: Site) -> None:
    home, forms = site.desk.home, site.forms()
    files = [home.path / name for name in ("firstvisit.db", "firstvisit.db-wal", "keys.db", "keys.db-wal")]
    with site.phone() as phone:
        path = site.opened(phone)
        phone.post(path, data=FORM)
        (kept,) = forms.waiting(0)
        held = b"".join(file.read_bytes() for file in files if file.exists())
        assert NUMBER.encode() not in held
        with closing(open_checked(home.keys_database, KEYS_FORMAT)) as keys:
            ((key,),) = keys.execute("SELECT key FROM visitor_form_keys").fetchall()
        assert key in held
        forms.sweep(kept.received_us + WAIT_US)
        assert forms.waiting(0) == []
        assert key not in b"".join(file.read_bytes() for file in files if file.exists())
        assert "登记已过期" in phone.get(path).text


def test_a_key_that_somebody_was_reading_at_the_sweep_goes_with_a_later_one(site: Site) -> None:
    home, forms = site.desk.home, site.forms()
    files = [home.path / name for name in ("keys.db", "keys.db-wal")]
    with site.phone() as phone:
        phone.post(site.opened(phone), data=FORM)
    (kept,) = forms.waiting(0)
    with closing(open_checked(home.keys_database, KEYS_FORMAT)) as reader:
        reader.execute("BEGIN")
        ((key,),) = reader.execute("SELECT key FROM visitor_form_keys").fetchall()
        forms.sweep(kept.received_us + WAIT_US)
        assert key in b"".join(file.read_bytes() for file in files)
        reader.execute("COMMIT")
        forms.sweep(kept.received_us + WAIT_US)
        assert key not in b"".join(file.read_bytes() for file in files)


# -- the place -------------------------------------------------------------------------------------------------------


HERE = {"lat": "31.23042", "lon": "121.47370", "accuracy": "20"}


def test_a_position_is_a_claim_and_unknown_where_the_page_may_not_ask(site: Site, door: Door, li: httpx.Client) -> None:
    visit, _ = door.arrive("first")
    with site.phone() as phone:
        path = site.opened(phone)
        page = phone.get(path)
        assert "data-place" not in page.text
        assert "geolocation=()" in page.headers["permissions-policy"]
        phone.post(path, data={**FORM, **HERE})
        tap(li, visit, path[3:35])
    assert site.checkins()[0].fields["claimed_place"] == {"source": "unknown"}


def test_where_the_page_may_ask_the_claim_is_kept_to_eleven_metres_and_nonsense_is_none(placing: Site) -> None:
    with placing.phone() as phone:
        for given in (HERE, {**HERE, "lat": "nan"}, {**HERE, "lon": "181"}, {**HERE, "accuracy": "x"}, {}):
            path = placing.opened(phone)
            assert "data-place" in phone.get(path).text
            phone.post(path, data={**FORM, **given})
    positions = [form.position for form in placing.forms().waiting(0)]
    assert sorted(position is None for position in positions) == [False, True, True, True, True]
    (position,) = [one for one in positions if one is not None]
    claimed = claimed_place(position.lat, position.lon, position.accuracy_m, None)
    assert claimed == {
        "source": "browser",
        "lat_e7": 312304000,
        "lon_e7": 1214737000,
        "accuracy_e6": 20_000_000,
        "inside": "unknown",
    }


def test_only_a_certificate_that_every_phone_trusts_lets_the_page_ask_where_it_is(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = desk.home
    issue(home.path, ("visit.test",), utc_now())
    ca = TabletCa.of(home.path)
    listen = '[visitor]\nlisten = "127.0.0.1:0"\nurl = "https://visit.test"\n'
    tls = 'tls.cert = "kiosk-tls/kiosk.crt"\ntls.key = "kiosk-tls/kiosk.key"\n'
    app = create_app(home)

    def asks(*config: str) -> bool:
        home.config.write_text(CONFIG + "".join(config))
        server = serve_visitors(home, app.state.live)
        assert server is not None
        server.start()
        try:
            secret = desk_secret(home.keys_database, "visitor_code")
            code = VisitorCode(secret).code(Clock()())
            trust = ssl.create_default_context(cafile=str(ca.certificate))
            with httpx.Client(base_url=server.url, verify=trust, follow_redirects=True, timeout=20) as phone:
                page = phone.get(f"/v/{code}")
            assert page.status_code == 200
            return "data-place" in page.text and "geolocation=(self)" in page.headers["permissions-policy"]
        finally:
            server.stop()

    assert not asks(listen, tls), "no visitor's phone was told of the desk's own authority"
    assert not asks('[visitor]\nlisten = "127.0.0.1:0"\n')
    monkeypatch.setenv("SSL_CERT_FILE", str(ca.certificate))  # as if the whole world trusted it
    assert asks(listen, tls)


def test_listening_everywhere_wants_an_address_to_show() -> None:
    assert parse_settings(CONFIG, "x").visitor.listen is None
    with pytest.raises(Exception, match=r"give url"):
        parse_settings(CONFIG + '[visitor]\nlisten = "0.0.0.0:8501"\n', "x")


def test_the_desk_shows_the_code(li: httpx.Client) -> None:
    page = li.get("/visitor-code").text
    assert "<svg" in page
    assert "style=" not in page[page.index("<svg") : page.index("</svg>")], "the page's policy forbids it"
    assert li.get("/fragments/visitor-code").text.count("<svg") == 1
    assert "手机登记码" in li.get("/").text


# -- in real browsers ------------------------------------------------------------------------------------------------


def test_the_desk_s_tablet_hears_of_a_form_at_once_and_the_phone_of_the_tap(
    browser: "Browser", site: Site, door: Door
) -> None:
    friend, _ = door.arrive("first", ago_s=60, party_id="g-1", party=1)
    visit, _ = door.arrive("first", ago_s=58, party_id="g-1", party=2)
    tablet = browser.new_context(viewport={"width": 1280, "height": 800}, base_url=site.kiosk.url).new_page()
    phone = browser.new_context(viewport={"width": 390, "height": 844}, base_url=site.visitors.url).new_page()
    complaints: list[str] = []
    for page in (tablet, phone):
        page.on("console", lambda message: complaints.append(message.text) if "Security Policy" in message.text else 0)
        page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        tablet.goto("/login")
        tablet.fill("input[name=name]", "li")
        tablet.fill("input[name=password]", PASSWORD)
        tablet.press("input[name=password]", "Enter")
        tablet.wait_for_selector("nav.rail")
        tablet.goto(f"/visits/{visit}/checkin")
        tablet.wait_for_selector(f"input[name=companion][value={friend}]")
        phone.goto(f"/v/{site.code()}?lang=en")
        assert phone.evaluate("document.documentElement.scrollWidth") == 390
        small = phone.evaluate(
            "[...document.querySelectorAll('main a, button, summary, label, input[type=tel]')].filter("
            "one => one.offsetParent && one.getBoundingClientRect().height < 44 && one.className !== 'field').length"
        )
        assert small == 0
        phone.fill("#phone", NUMBER)
        phone.check("input[name=purpose][value=view]", force=True)
        phone.check("input[name=source][value=friend]", force=True)
        phone.press("#phone", "Enter")
        phone.wait_for_selector(".sign.wait")
        tablet.wait_for_selector(".sent-form")
        assert "138****5678" in tablet.inner_text(".sent-form")
        tablet.press("#register input[name=phone]", "Enter")  # an empty number, and never the form's tap
        tablet.wait_for_selector("[role=alert]")
        assert site.checkins() == []
        tablet.click(".sent-form button")
        tablet.wait_for_selector(".notice.good")
        states = {one.fields["visit"]: (one.fields["state"], one.fields.get("way")) for one in site.checkins()}
        assert states == {visit: ("registered", "visitor"), friend: ("companion", None)}
        phone.wait_for_selector(".sign.good")
        assert "Your visit is registered" in phone.inner_text("main")
        until(lambda: phone.evaluate("document.querySelector('.receipt img').naturalWidth > 0"))
    finally:
        tablet.context.close()
        phone.context.close()
    assert complaints == []


def test_digits_that_somebody_is_typing_stay_while_forms_come_in(browser: "Browser", site: Site, door: Door) -> None:
    visit, _ = door.arrive("first")
    now_us = round(time.time() * 1e6)

    def send(number: str) -> None:
        form_id = secrets.token_hex(16)
        site.forms().keep(SentForm(form_id, now_us, parse_phone(number), "view", "friend", "zh", None, None))
        site.kiosk.app.state.live.publish("form", form_id)  # type: ignore[attr-defined]  # an application's

    for at in range(NEWEST + 1):
        send(f"139000012{at:02}")
    page = browser.new_context(base_url=site.kiosk.url).new_page()
    try:
        page.goto("/login")
        page.fill("input[name=name]", "li")
        page.fill("input[name=password]", PASSWORD)
        page.press("input[name=password]", "Enter")
        page.wait_for_selector("nav.rail")
        page.goto(f"/visits/{visit}/checkin")
        page.fill("#find-digits", "56")
        page.focus("#find-digits")
        send(NUMBER)
        until(lambda: f"{NEWEST + 2} " in page.inner_text("#sent-forms-title"))
        page.keyboard.type("78")
        assert page.input_value("#find-digits") == "5678"
        page.keyboard.press("Enter")
        page.wait_for_url("**digits=5678")
        assert page.locator(".sent-form").count() == 1
    finally:
        page.context.close()


def test_one_command_serves_both_pages_and_stops_at_a_signal(desk: Desk) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    desk.home.config.write_text(CONFIG + f'[visitor]\nlisten = "127.0.0.1:{port}"\n')
    command = [sys.executable, "-c", "from edge.cli import main; main()", "kiosk"]
    process = subprocess.Popen(
        [*command, "--home", str(desk.home.path), "--port", "0"], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any(line.strip() == f"Visitors' page on http://127.0.0.1:{port}" for line in lines)
        assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/login").status_code == 404
    finally:
        process.terminate()
        code = process.wait(30)
    assert code == 0


def test_a_form_sent_while_others_are_swept_keeps_its_key(site: Site) -> None:
    forms, now_us = site.forms(), round(time.time() * 1e6)
    sent = [
        SentForm(secrets.token_hex(16), now_us, parse_phone(NUMBER), "view", "friend", "zh", None, None)
        for _ in range(25)
    ]
    swept = threading.Event()

    def sweep() -> None:
        while not swept.is_set():
            forms.sweep(now_us)

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for form in sent:
            forms.keep(form)
    finally:
        swept.set()
        sweeper.join()
    assert {form.form_id for form in forms.waiting(now_us)} == {form.form_id for form in sent}
