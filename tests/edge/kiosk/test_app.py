import re
import secrets
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from edge.nightly import Checks
from edge.people.vault import opened
from edge.place.attestation import Attestation
from edge.place.surroundings import Surroundings
from sync.format.keyring import KeyRing
from sync.format.records import Record
from sync.node.alarms import Alarms
from sync.verify.nightly import Checked
from sync.web.backoff import FREE_FAILURES
from sync.web.server import PageServer
from tests.conftest import form_token
from tests.edge.kiosk.conftest import PASSWORD, Desk, until
from tests.edge.kiosk.door import Door

Visitor = Callable[..., httpx.Client]

ROLES = {"li": "front_desk", "wang": "manager", "auditor": "auditor", "privacy": "privacy", "installer": "installer"}
"""Who is signed in as what; their passwords are the same."""
DESK, MANAGER, EVIDENCE = {"front_desk", "manager"}, {"manager"}, {"front_desk", "manager", "auditor"}
CAMERAS, EVERYBODY = {"manager", "installer"}, set(ROLES.values())

PAGES: dict[str, set[str]] = {
    "/": EVERYBODY,  # whom it is not for is led to a page of their own
    "/arrivals": DESK,
    "/manager": MANAGER,
    "/questions": DESK,
    "/lookback": DESK,
    "/visitor-code": DESK,
    "/node": EVERYBODY,
    "/access": {"auditor", "privacy"},
    "/rights": {"auditor", "privacy"},
    "/rights/impact.html": {"privacy"},
    "/rights/impact.pdf": {"privacy"},
    "/visits/{visit_id}/erase": DESK,
    "/erasures/{epoch}-{seq}": EVIDENCE | {"privacy"},
    "/certificates/{visit_id}": EVIDENCE,
    "/visits/{visit_id}/why": EVIDENCE,
    "/visits/{visit_id}/other-person": MANAGER,
    "/visits/{visit_id}/checkin": DESK,
    "/receipts/{place}": DESK,
    "/visits/{visit_id}/correct": DESK,
    "/approvals": {"auditor"},
    "/enrol": MANAGER,
    "/enrol/{sitting_id}": MANAGER,
    "/notes": {"auditor"},
    "/visits/{visit_id}/note": DESK,
    "/tablets": MANAGER,
    "/rota": MANAGER,
    "/cameras/{camera_id}": CAMERAS,
    "/display": CAMERAS,  # who may make a display of a device; a display's own cookie: test_display.py
}
"""What people open: without a session it leads to the sign-in. Each with the roles it answers; all others get 403."""
PARTS: dict[str, set[str]] = {
    "/events": EVERYBODY,
    "/fragments/count": DESK,
    "/fragments/enrol/{sitting_id}": MANAGER,
    "/fragments/node": EVERYBODY,
    "/fragments/trouble": EVERYBODY,
    "/fragments/panels": DESK,
    "/fragments/parties": DESK,
    "/fragments/manager": MANAGER,
    "/fragments/questions": DESK,
    "/fragments/today": DESK,
    "/fragments/visitor-code": DESK,
    "/fragments/forms": DESK,
    "/fragments/arrival/{visit_id}": DESK,
    "/fragments/who/{visit_id}": DESK,
    "/receipts/{place}/code.svg": DESK,
    "/crops/{visit_id}.jpg": EVIDENCE,
    "/cameras/{camera_id}/live.mjpeg": CAMERAS,
    "/display/code": set(),
    "/display/events": set(),
}
"""What pages fetch by themselves: 401 without a session."""
FORMS: dict[str, set[str]] = {
    "/questions/{visit_id}": DESK,
    "/merges/{visit_id}": DESK,
    "/merges/{alias}/back": MANAGER,
    "/visits/{visit_id}/other-person": MANAGER,
    "/lookback": DESK,
    "/lookback/{visit_id}": DESK,
    "/certificates/{visit_id}": EVIDENCE,
    "/visits/{visit_id}/checkin": DESK,
    "/visits/{visit_id}/code": DESK,
    "/visits/{visit_id}/badge": DESK,
    "/visits/{visit_id}/code/picture": DESK,
    "/visits/{visit_id}/code/camera": DESK,
    "/code/read": DESK,
    "/visits/{visit_id}/dismiss": DESK,
    "/visits/{visit_id}/visitor": DESK,
    "/visits/{visit_id}/reopen": DESK,
    "/visits/{visit_id}/correct": DESK,
    "/visits/{visit_id}/erase": DESK,
    "/rights/phones/{contact_id}/code": {"privacy"},
    "/rights/phones/{contact_id}/prove": {"privacy"},
    "/rights/claims": {"auditor", "privacy"},
    "/rights/claims/{visit_id}/close": {"auditor", "privacy"},
    "/rights/access": {"privacy"},
    "/rights/unmask": {"privacy"},
    "/approvals/{proposal}": {"auditor"},
    "/visits/{visit_id}/split": DESK,
    "/visits/{visit_id}/join": DESK,
    "/visits/{visit_id}/parties/back": DESK,
    "/approvals/staff/{proposal}": {"auditor"},
    "/enrol": MANAGER,
    "/enrol/{sitting_id}": MANAGER,
    "/visits/{visit_id}/undo": DESK,
    "/visits/{visit_id}/assign": DESK,
    "/rota": MANAGER,
    "/visits/{visit_id}/face": DESK,
    "/visits/{visit_id}/note": DESK,
    "/tablets": MANAGER,
    "/tablets/{tablet_id}/revoke": MANAGER,
    "/display": CAMERAS,  # the last one: it signs out who sends it
}
"""What is sent."""
OPEN = ("/login", "/login/pin", "/logout", "/session", "/ca.crt", "/sw.js")


# -- signing in ------------------------------------------------------------------------------------------------------


def test_a_password_opens_the_pages_and_a_wrong_one_does_not(
    visitor: Visitor, sign_in: Callable[..., httpx.Response]
) -> None:
    client = visitor()
    assert client.get("/").headers["location"] == "/login"
    wrong = sign_in(client, "wang", "wrong horse battery")
    assert wrong.status_code == 401
    assert "账号或密码不正确" in wrong.text
    assert client.get("/").status_code == 303
    assert sign_in(client, "wang", PASSWORD).headers["location"] == "/"
    assert client.get("/").status_code == 200


def test_the_session_cookie_is_kept_from_scripts_and_other_sites(
    visitor: Visitor, sign_in: Callable[..., httpx.Response]
) -> None:
    cookie = next(c for c in sign_in(visitor(), "li", PASSWORD).headers.get_list("set-cookie") if "session=" in c)
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie


@pytest.mark.parametrize("origin", ["http://[", "null", "http://", "::"])
def test_an_origin_that_is_no_address_is_refused(visitor: Visitor, origin: str) -> None:
    client = visitor()
    form = {"csrf_token": form_token(client), "name": "wang", "password": PASSWORD}
    assert client.post("/login", data=form, headers={"origin": origin}).status_code == 403


def test_a_name_that_leads_here_from_elsewhere_signs_nobody_in(visitor: Visitor) -> None:
    client = visitor()
    form = {"csrf_token": form_token(client), "name": "wang", "password": PASSWORD}
    rebound = {"host": "evil.example", "origin": "http://evil.example"}
    assert client.post("/login", data=form, headers=rebound).status_code == 421


def test_the_language_asked_for_outlives_the_way_to_the_sign_in(visitor: Visitor) -> None:
    client = visitor()
    assert "Sign in" in client.get("/?lang=en", follow_redirects=True).text
    page = visitor().get("/node?lang=en", follow_redirects=True).text
    assert 'name="after" value="/node"' in page
    assert 'href="/login?lang=zh&amp;after=/node"' in page


def test_too_many_failures_wait_and_say_how_long(visitor: Visitor, sign_in: Callable[..., httpx.Response]) -> None:
    client = visitor()
    for _ in range(FREE_FAILURES):
        assert sign_in(client, "wang", "wrong horse battery").status_code == 401
    waiting = sign_in(client, "wang", PASSWORD)
    assert waiting.status_code == 429
    assert int(waiting.headers["retry-after"]) >= 1
    assert "尝试次数过多" in waiting.text


def test_after_signing_in_one_goes_on_here_and_nowhere_else(visitor: Visitor) -> None:
    client = visitor()
    for after, leads_to in (("/node", "/node"), ("//evil.example", "/"), ("https://evil.example/", "/"), ("/\\e", "/")):
        form = {"csrf_token": form_token(client), "name": "wang", "password": PASSWORD, "after": after}
        assert client.post("/login", data=form).headers["location"] == leads_to
        client.cookies.clear()


def test_a_pin_works_on_a_registered_tablet_only(visitor: Visitor, desk: Desk) -> None:
    tablet = visitor("wang")
    pin = {"account": desk.li.account_id, "pin": "2580"}
    stranger = visitor()
    assert stranger.post("/login/pin", data={**pin, "csrf_token": form_token(stranger)}).status_code == 403
    registered = tablet.post(
        "/tablets",
        data={"csrf_token": form_token(tablet, "/tablets"), "request_id": secrets.token_hex(16), "name": "left desk"},
    )
    assert registered.status_code == 303
    tablet.post("/logout", data={"csrf_token": form_token(tablet, "/")})
    assert "left desk" in tablet.get("/login").text
    assert tablet.post("/login/pin", data={**pin, "csrf_token": form_token(tablet)}).status_code == 303
    assert tablet.get("/").status_code == 200
    manager = visitor("wang")
    page = manager.get("/tablets").text
    tablet_id = page.split('action="/tablets/')[1].split("/revoke")[0]
    manager.post(f"/tablets/{tablet_id}/revoke", data={"csrf_token": form_token(manager, "/tablets")})
    assert tablet.get("/").status_code == 303, "who is signed in on a revoked tablet no longer is"
    assert tablet.post("/login/pin", data={**pin, "csrf_token": form_token(tablet)}).status_code == 403


# -- what is refused -------------------------------------------------------------------------------------------------


def test_every_route_is_spoken_for(kiosk: PageServer) -> None:
    routes = {
        (method, route.path) for route in kiosk.app.routes if hasattr(route, "methods") for method in route.methods
    }
    read, sent = (
        {path for method, path in routes if method == "GET"},
        {path for method, path in routes if method == "POST"},
    )
    assert {method for method, _ in routes} <= {"GET", "HEAD", "POST"}
    assert read - set(OPEN) == {*PAGES, *PARTS}
    assert sent - set(OPEN) == {*FORMS}
    assert not {*PAGES} & {*PARTS}


@pytest.mark.parametrize("name", ROLES)
def test_each_route_answers_its_roles_and_refuses_every_other(visitor: Visitor, door: Door, name: str) -> None:
    visit_id, _ = door.arrive("first")
    witness = visitor("li")
    until(lambda: witness.get(f"/fragments/arrival/{visit_id}").status_code == 200)
    ids = defaultdict(lambda: "none", visit_id=visit_id, camera_id="entrance")
    client, role, wrong = visitor(name), ROLES[name], []
    for path, roles in [*PAGES.items(), *PARTS.items()]:
        with client.stream("GET", path.format_map(ids)) as answer:
            if (answer.status_code not in (401, 403) and not _leads_to_the_door(answer)) != (role in roles):
                wrong.append(("GET", path, answer.status_code))
            assert answer.status_code < 500 or answer.status_code == 503, path  # no node runs: no camera has a picture
    token = form_token(client, "/node")
    for path, roles in FORMS.items():
        answer = client.post(path.format_map(ids), data={"csrf_token": token})
        if (answer.status_code not in (401, 403) and not _leads_to_the_door(answer)) != (role in roles):
            wrong.append(("POST", path, answer.status_code))
        assert answer.status_code < 500, path
    assert wrong == []


@pytest.mark.parametrize("name", ROLES)
def test_no_form_of_a_role_is_taken_without_its_token(visitor: Visitor, name: str) -> None:
    client, ids = visitor(name), defaultdict(lambda: "none")
    theirs = [path for path, roles in FORMS.items() if ROLES[name] in roles]
    assert [path for path in theirs if client.post(path.format_map(ids)).status_code != 403] == []


def test_nobody_sees_or_sends_anything_without_signing_in(visitor: Visitor) -> None:
    client, ids = visitor(), defaultdict(lambda: "none")
    assert [path for path in PAGES if not _leads_to_the_door(client.get(path.format_map(ids)))] == []
    assert [path for path in PARTS if client.get(path.format_map(ids)).status_code != 401] == []
    assert [path for path in FORMS if not _leads_to_the_door(client.post(path.format_map(ids)))] == []


def _leads_to_the_door(answer: httpx.Response) -> bool:
    return answer.status_code == 303 and answer.headers["location"].split("?")[0] == "/login"


@pytest.mark.parametrize("name", ["auditor", "privacy", "installer"])
def test_whom_the_front_page_is_not_for_is_led_to_their_own_and_sees_no_link_to_others(
    visitor: Visitor, name: str
) -> None:
    client = visitor(name)
    page = client.get("/", follow_redirects=True)
    assert page.status_code == 200
    links = set(re.findall(r'class="nav-link[^"]*" href="([^"]+)"', page.text))
    assert links, "there is a way to go on"
    assert [link for link in links if client.get(link).status_code != 200] == []


def test_the_events_of_who_may_see_no_visit_name_none(visitor: Visitor, door: Door) -> None:
    client = visitor("installer")
    with client.stream("GET", "/events") as answer:
        events = _events(answer)
        assert next(events) == ("start", "")
        door.arrive("first")
        door.ledger.append("node.stopped", {"reason": "stopped"})
        assert next(events) == ("node", "")


def test_on_a_registered_tablet_the_next_one_signs_in_over_the_last(visitor: Visitor, desk: Desk) -> None:
    tablet = visitor("wang")
    tablet.post(
        "/tablets",
        data={"csrf_token": form_token(tablet, "/tablets"), "request_id": secrets.token_hex(16), "name": "left desk"},
    )
    assert "/login?switch=1" not in tablet.get("/").text, "this session began before the tablet was one"
    assert tablet.get("/login?switch=1").status_code == 303
    tablet.post("/logout", data={"csrf_token": form_token(tablet, "/")})
    form = {"csrf_token": form_token(tablet), "account": desk.li.account_id, "pin": "2580"}
    assert tablet.post("/login/pin", data=form).status_code == 303
    session = tablet.cookies["fv_kiosk_session"]
    assert "/login?switch=1" in tablet.get("/").text
    page = tablet.get("/login?switch=1")
    assert desk.li.account_id in page.text
    form["csrf_token"] = page.text.split('name="csrf_token" value="')[1].split('"')[0]
    assert tablet.post("/login/pin", data={**form, "pin": "2581"}).status_code == 401
    assert tablet.get("/").status_code == 200, "a wrong PIN ends nobody's session"
    assert tablet.post("/login/pin", data=form).status_code == 303
    assert tablet.cookies["fv_kiosk_session"] != session
    assert tablet.get("/").status_code == 200
    before = visitor()
    before.cookies.set("fv_kiosk_session", session)
    assert before.get("/").status_code == 303, "the last one is signed out"


@pytest.mark.parametrize(
    "path", ["/questions/v1", "/certificates/v1", "/tablets", "/tablets/none/revoke", "/logout", "/visits/v1/checkin"]
)
def test_a_form_without_its_token_or_from_elsewhere_is_refused(visitor: Visitor, kiosk: PageServer, path: str) -> None:
    client = visitor("wang")
    good = {"csrf_token": form_token(client, "/"), "person": "new"}
    assert client.post(path, data={"person": "new"}).status_code == 403
    assert client.post(path, data={**good, "csrf_token": "x" * 43}).status_code == 403
    for origin in ("https://evil.example", "null", kiosk.url.replace("http", "https"), f"{kiosk.url}0", ""):
        assert client.post(path, data=good, headers={"origin": origin}).status_code == 403, origin
    assert client.get("/").status_code == 200, "still signed in"


def test_signing_in_needs_the_pages_own_form(visitor: Visitor, kiosk: PageServer) -> None:
    client = visitor()
    token = form_token(client)
    good = {"csrf_token": token, "name": "wang", "password": PASSWORD}
    assert client.post("/login", data=good, headers={"origin": "https://evil.example"}).status_code == 403
    assert client.post("/login", data={**good, "csrf_token": "x" * 43}).status_code == 403
    assert httpx.post(f"{kiosk.url}/login", data=good, headers={"origin": kiosk.url}).status_code == 403


def test_every_answer_carries_strict_headers(visitor: Visitor, door: Door) -> None:
    visit_id, _ = door.arrive("first")
    client = visitor("li")
    until(lambda: client.get(f"/crops/{visit_id}.jpg").status_code == 200)
    paths = ("/", "/login", "/questions", f"/crops/{visit_id}.jpg", "/no-such-page", "/static/kiosk.css", "/session")
    for path in paths:
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store"), path
        assert "server" not in headers


def test_no_page_holds_inline_script_or_style(visitor: Visitor, door: Door) -> None:
    door.arrive("unsure", candidates=(("p1", 0.4),))
    client = visitor("wang")
    for path in ("/", "/questions", "/node", "/tablets", "/login"):
        html = client.get(path).text
        assert "style=" not in html
        assert "<style" not in html
        assert " onclick" not in html
        assert html.count("<script") == len(re.findall(r'<script src="/(shared|static)/', html))


# -- what is shown ---------------------------------------------------------------------------------------------------


def test_a_first_visit_is_told_with_what_it_was_compared_with(visitor: Visitor, door: Door) -> None:
    visit_id, _ = door.arrive("first", gallery_n=126)
    client = visitor("li")
    card = _card(client, visit_id)
    assert "首访" in card
    assert "比对范围内\uff1a126 人" in card
    assert "未授权者只保留 24 小时" in card
    assert "B 级" in card
    assert "mobilefacenet" in card
    back = _card(client, door.arrive("return", person="p-old", similarity=0.7)[0])
    assert "比对范围内\uff1a126 人" in back
    assert "未授权者只保留 24 小时" in back
    english = client.get(f"/fragments/arrival/{visit_id}?lang=en").text
    assert "among 126 people" in english
    assert "people without consent are remembered for 24 h" in english


def test_an_arrival_that_nobody_compared_shows_its_time_and_party_and_no_face(visitor: Visitor, door: Door) -> None:
    visit_id = door.see(party=3)
    card = _card(visitor("li"), visit_id)
    assert "到访\uff08未比对\uff09" in card
    assert "3 人同行" in card
    assert "<img" not in card


def test_two_people_who_may_be_one_are_told_of(visitor: Visitor, door: Door) -> None:
    visit_id, _ = door.arrive("return", person="p-old", similarity=0.7, merge=["p-old", "p-new"])
    client = visitor("li")
    assert "可能是同一人登记了两次" in _card(client, visit_id)
    assert "may be one person enrolled twice" in client.get(f"/fragments/arrival/{visit_id}?lang=en").text
    other, _ = door.arrive("return", person="p-old", similarity=0.7)
    assert "登记了两次" not in _card(client, other)


def test_a_reentry_tells_how_long_and_in_whose_company(visitor: Visitor, door: Door) -> None:
    visit_id, _ = door.arrive("first", ago_s=3600)
    door.ledger.append(
        "visit.reentry",
        {
            "visit": visit_id,
            "camera": "entrance",
            "at_us": time.time_ns() // 1000,
            "out_us": 38 * 60 * 10**6,
            "company_before": [],
            "company_after": ["v1"],
        },
    )
    client = visitor("li")
    until(lambda: "外出 38 分钟" in client.get("/arrivals").text)
    assert "独自 → 与 1 人同行" in client.get("/arrivals").text


def test_a_reentry_beside_an_agent_says_so(visitor: Visitor, door: Door) -> None:
    visit_id, _ = door.arrive("first", ago_s=3600)
    fields = {"visit": visit_id, "camera": "entrance", "at_us": time.time_ns() // 1000, "out_us": 38 * 60 * 10**6}
    door.ledger.append("visit.reentry", fields | {"company_before": [], "company_after": [], "agents_after": ["p-a"]})
    client = visitor("li")
    until(lambda: "外出 38 分钟" in client.get("/arrivals").text)
    assert "独自 → 与 1 人同行\uff08含经纪人 1 位\uff09" in client.get("/arrivals").text


def test_every_card_of_a_party_says_how_many_came_in_together(visitor: Visitor, door: Door) -> None:
    first, _ = door.arrive("first", party_id="g-1", party=1)
    client = visitor("li")
    assert "人同行" not in _card(client, first)
    second, _ = door.arrive("first", party_id="g-1", party=2)
    third, _ = door.arrive("first", party_id="g-1", party=3)
    alone, _ = door.arrive("first", party_id="g-2", party=1)
    for visit_id in (third, second, first):
        assert "3 人同行" in _card(client, visit_id)
    assert "人同行" not in _card(client, alone)


def test_a_card_says_where_inside_somebody_was_first_seen_and_that_an_agent_was_near(
    visitor: Visitor, door: Door
) -> None:
    visit_id, _ = door.arrive("first", zone="model", agents=["p-agent"], maybe_staff="p-somebody")
    card = _card(visitor("li"), visit_id)
    assert "沙盘" in card
    assert "有经纪人在旁" in card
    assert "与登记的员工或经纪人相似" in card
    assert "p-agent" not in card


def test_the_device_page_tells_cameras_backlog_and_pack(visitor: Visitor, door: Door) -> None:
    at_us = time.time_ns() // 1000
    camera = {"source": "rtsp", "source_hash": "0" * 64, "at_us": at_us}
    door.ledger.append("node.boot", {"version": "0.1.0", "pack": "mobilefacenet@b7120c095d60", "mode": "ephemeral"})
    door.ledger.append("camera.up", {"camera": "entrance", **camera})
    door.ledger.append("camera.down", {"camera": "side-door", "reason": "auth", **camera})
    client = visitor("li")
    until(lambda: "wrong user or password" in client.get("/node?lang=en").text)
    page = client.get("/node?lang=en").text
    assert "Running" in page
    head = door.ledger.head()
    assert head is not None
    assert f"{head.seq} records on this machine only" in page
    assert "mobilefacenet" in page
    assert "b7120c095d60" in page
    door.ledger.append("node.stopped", {"reason": "stopped"})
    until(lambda: "Stopped" in client.get("/node").text)


def test_a_face_is_served_to_the_signed_in_only_and_kept_nowhere(visitor: Visitor, door: Door) -> None:
    picture = b"\xff\xd8 not really a face \xff\xd9"
    visit_id, person_id = door.arrive("first", crop=picture)
    client = visitor("li")
    served = client.get(f"/crops/{visit_id}.jpg")
    assert served.content == picture
    assert served.headers["content-type"] == "image/jpeg"
    assert served.headers["cache-control"] == "no-store"
    assert visitor().get(f"/crops/{visit_id}.jpg").status_code == 401
    assert not [f for f in door.home.path.rglob("*") if f.is_file() and picture in f.read_bytes()]
    with opened(door.home.database, door.home.keys_database) as vault:
        assert vault.destroy_keys([person_id]), "a kiosk that has shown the face holds up no erasure"
    assert client.get(f"/crops/{visit_id}.jpg").status_code == 404


# -- the desk's answer -----------------------------------------------------------------------------------------------


def _question(door: Door) -> tuple[str, str, str]:
    """An unsure visit: (visit, its provisional person, the candidate)."""
    _, known = door.arrive("first", ago_s=7200)
    visit_id, provisional = door.arrive("unsure", candidates=((known, 0.46),), similarity=0.46)
    return visit_id, provisional, known


def _answer(client: httpx.Client, visit_id: str, person: str) -> httpx.Response:
    data = {"csrf_token": form_token(client, "/"), "person": person}
    return client.post(f"/questions/{visit_id}", data=data)


def _corrections(desk: Desk) -> list[Record]:
    ledger = desk.home.open_ledger()
    records = list(ledger.records(("visit.corrected",)))
    ledger.close()
    return records


def test_same_person_is_recorded_under_the_desk_key_and_joins_the_two(visitor: Visitor, door: Door, desk: Desk) -> None:
    visit_id, provisional, known = _question(door)
    client = visitor("li")
    until(lambda: visit_id in client.get("/questions").text)
    page = client.get("/questions").text
    assert page.count("data-face") == 2, "the visitor and the candidate side by side"
    done = client.get(_answer(client, visit_id, known).headers["location"])
    assert "已记录为同一人" in done.text
    (record,) = _corrections(desk)
    keys = {"node": desk.home.signer("node").public, "desk": desk.home.signer("desk").public}
    KeyRing(keys).check(record)
    assert record.key_id == keys["desk"].key_id
    own = {key: record.fields[key] for key in ("visit", "decision", "person", "reason", "account")}
    assert own == {
        "visit": visit_id,
        "decision": "return",
        "person": known,
        "reason": "same_person",
        "account": desk.li.account_id,
    }
    with opened(desk.home.database, desk.home.keys_database) as vault:
        people = {person.person_id: person for person in vault.people()}
        assert provisional not in people
        assert people[known].templates == 2
        assert vault.of_visits.crop(visit_id)


def test_new_visitor_can_be_recognised_from_then_on(visitor: Visitor, door: Door, desk: Desk) -> None:
    visit_id, provisional, _ = _question(door)
    client = visitor("li")
    until(lambda: visit_id in client.get("/questions").text)
    _answer(client, visit_id, "new")
    (record,) = _corrections(desk)
    assert (record.fields["decision"], record.fields["person"]) == ("first", provisional)
    with opened(desk.home.database, desk.home.keys_database) as vault:
        assert next(p for p in vault.people() if p.person_id == provisional).searchable


def test_answering_twice_writes_once_and_a_contrary_answer_says_so(visitor: Visitor, door: Door, desk: Desk) -> None:
    visit_id, _, known = _question(door)
    li, wang = visitor("li"), visitor("wang")
    until(lambda: visit_id in li.get("/questions").text)
    answers: list[httpx.Response] = []
    token = {"csrf_token": form_token(li, "/"), "person": known}
    together = [
        threading.Thread(target=lambda: answers.append(li.post(f"/questions/{visit_id}", data=token))) for _ in range(4)
    ]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert {answer.headers["location"] for answer in answers} == {f"/questions?answered={visit_id}"}
    contrary = wang.get(_answer(wang, visit_id, "new").headers["location"])
    assert "li 已经确认过" in contrary.text
    assert len(_corrections(desk)) == 1


def test_a_question_lapses_with_the_face(visitor: Visitor, door: Door) -> None:
    visit_id, provisional, _ = _question(door)
    client = visitor("li")
    until(lambda: client.get("/fragments/count").text == "1")
    door.ledger.append("retention.run", {"expired": [provisional], "basis": "unconsented"})
    until(lambda: client.get("/fragments/count").text == "")
    assert visit_id not in client.get("/questions").text
    card = _card(client, visit_id)
    assert "画面已销毁" in card
    assert "<img" not in card


def test_nobody_but_a_candidate_can_be_the_answer(visitor: Visitor, door: Door, desk: Desk) -> None:
    visit_id, _, _ = _question(door)
    _, other = door.arrive("first")
    client = visitor("li")
    until(lambda: visit_id in client.get("/questions").text)
    assert _answer(client, visit_id, other).status_code == 404
    assert _answer(client, "v-none", "new").status_code == 404
    assert client.post(f"/questions/{visit_id}", data={"csrf_token": form_token(client, "/")}).status_code == 422
    assert _corrections(desk) == []


def test_a_desk_whose_key_is_revoked_is_told_so_and_records_nothing(visitor: Visitor, door: Door, desk: Desk) -> None:
    visit_id, _, known = _question(door)
    client = visitor("li")
    until(lambda: visit_id in client.get("/questions").text)
    key_id = desk.home.signer("desk").public.key_id
    with closing(sqlite3.connect(desk.home.database)) as connection, connection:
        connection.execute("INSERT INTO revoked_keys VALUES (?, 1, 1, 'compromised')", (key_id,))
    for person in (known, "new"):
        refused = _answer(client, visit_id, person)
        assert refused.status_code == 409
        assert "没有记录：本台的前台密钥已失效" in refused.text
        assert visit_id in refused.text, "the question stands"
    client.get("/?lang=en")
    refused = _answer(client, visit_id, known)
    assert refused.status_code == 409
    assert "Nothing was recorded: this desk&#39;s key is no longer in force" in refused.text
    assert key_id not in refused.text
    assert _corrections(desk) == []
    with opened(desk.home.database, desk.home.keys_database) as vault:
        assert len(vault.people()) == 2, "nobody was joined to anybody"


# -- events ----------------------------------------------------------------------------------------------------------


def _events(answer: httpx.Response) -> Iterator[tuple[str, str]]:
    name = ""
    for line in answer.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field.startswith("data"):
            yield name, value


def test_events_carry_ids_and_nothing_else(visitor: Visitor, door: Door) -> None:
    client = visitor("li")
    with client.stream("GET", "/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        events = _events(answer)
        assert next(events) == ("start", "")
        visit_id, _ = door.arrive("first")
        assert next(events) == ("arrived", visit_id), "a new one, which may be heard"
        assert next(events) == ("arrival", visit_id)
        door.ledger.append("node.stopped", {"reason": "stopped"})
        assert next(events) == ("node", "")


def test_events_end_when_their_reader_signs_out(visitor: Visitor, door: Door) -> None:
    client, second = visitor("li"), visitor()
    second.cookies = client.cookies
    with client.stream("GET", "/events") as answer:
        events = _events(answer)
        assert next(events) == ("start", "")
        second.post("/logout", data={"csrf_token": form_token(second, "/")})
        door.arrive("first")
        assert list(events) == [("ended", "")], "not one id after the session"
    assert client.get("/events").status_code == 401


def test_events_end_when_the_session_has_been_idle(
    impatient_kiosk: PageServer, sign_in: Callable[..., httpx.Response]
) -> None:
    with httpx.Client(base_url=impatient_kiosk.url, headers={"origin": impatient_kiosk.url}, timeout=20) as client:
        sign_in(client, "li", PASSWORD)
        with client.stream("GET", "/events") as answer:
            assert list(_events(answer)) == [("start", ""), ("ended", "")]


def _card(client: httpx.Client, visit_id: str) -> str:
    until(lambda: client.get(f"/fragments/arrival/{visit_id}").status_code == 200)
    return client.get(f"/fragments/arrival/{visit_id}").text


def test_a_full_disk_is_said_at_the_top_of_the_arrivals_and_goes_when_there_is_room(
    visitor: Visitor, door: Door
) -> None:
    client = visitor("li")
    assert "notice bad" not in client.get("/fragments/trouble").text
    door.ledger.append("storage.full", {"since_us": 1_760_000_000_000_000})
    until(lambda: "磁盘已满：新的到访不再记录" in client.get("/").text)
    assert "new arrivals are not recorded · since" in client.get("/fragments/trouble?lang=en").text
    assert "磁盘已满" in client.get("/node?lang=zh").text
    door.ledger.append("storage.full", {"since_us": 1_760_000_000_000_000, "until_us": 1_760_000_060_000_000})
    until(lambda: "notice bad" not in client.get("/fragments/trouble").text)
    assert "no arrivals recorded" in client.get("/node?lang=en").text


def test_a_damaged_chain_and_alarms_are_on_the_pages(visitor: Visitor, door: Door) -> None:
    client = visitor("li")
    assert "not verified at night yet" in client.get("/node?lang=en").text
    Checks(door.home.database).keep(Checked(1, 2, ok=True))
    assert "every record verified" in client.get("/node?lang=en").text
    Checks(door.home.database).keep(Checked(3, 4, ok=False, why="hash does not match the body", first_bad=17))
    Alarms(door.home.database).raise_alarm("CHAIN_DAMAGED", "seq 17: hash does not match the body", 4)
    assert "The chain is damaged · seq 17: hash does not match the body" in client.get("/?lang=en").text
    page = client.get("/node?lang=en").text
    assert "CHAIN_DAMAGED" in page
    assert "The chain is damaged" in page


def test_an_alarm_that_somebody_settled_is_shown_as_such_until_it_happens_again(visitor: Visitor, door: Door) -> None:
    client, alarms = visitor("li"), Alarms(door.home.database)
    alarms.raise_alarm("NOT_OUR_RECORD", "seq 17", 1_760_000_000_000_000)
    alarms.settle("NOT_OUR_RECORD", 1_760_000_060_000_000)
    english, chinese = (client.get(f"/node?lang={language}").text for language in ("en", "zh"))
    assert "NOT_OUR_RECORD" in english
    assert "settled 2025-10-09" in english
    assert "已由管理员处理" in chinese
    assert '<span class="lamp bad">' not in english
    alarms.raise_alarm("NOT_OUR_RECORD", "seq 18", 1_760_000_120_000_000)
    again = client.get("/fragments/node?lang=en").text
    assert "settled" not in again
    assert '<span class="lamp bad">' in again


def test_the_node_page_says_that_the_surroundings_have_changed_until_somebody_has_looked(
    visitor: Visitor, door: Door, tmp_path: Path
) -> None:
    client = visitor("li")
    unseen = client.get("/node?lang=en").text
    assert "Not looked at yet" in unseen
    assert "Surroundings unchanged" not in unseen, "nothing has looked around"
    net, camera = tmp_path / "proc" / "net", {"door": "rtsp://192.0.2.7/s"}
    net.mkdir(parents=True)
    attestation = Attestation(door.home.database, Surroundings(camera, tmp_path / "proc", tmp_path, ""))
    for mac in ("c0:56:e3:00:00:01", "c0:56:e3:00:00:02"):  # the camera is replaced
        (net / "arp").write_text(f"\n192.0.2.7 0x1 0x2 {mac} * eth0\n")
        attestation.check(door.ledger)
    english, chinese = (client.get(f"/node?lang={language}").text for language in ("en", "zh"))
    assert "Surroundings changed: place unknown" in english
    assert "cameras · since" in english
    assert "周边环境已变化，位置不再确认" in chinese
    attestation.attest(door.ledger)
    assert "Surroundings unchanged" in client.get("/fragments/node?lang=en").text
