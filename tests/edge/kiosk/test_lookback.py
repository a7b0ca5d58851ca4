"""来过吗? By phone, by the digits of a report, and by face with consent: no more than the role may see."""

import re
import secrets
from collections.abc import Callable
from contextlib import closing

import httpx
import pytest

from edge.clock import Clock
from edge.desk.lookback import by_face
from edge.people.vault import opened
from tests.conftest import form_token
from tests.edge.kiosk.conftest import Desk, until_shown
from tests.edge.kiosk.door import Door

Visitor = Callable[..., httpx.Client]
NUMBER, OTHER = "13800005678", "13811115678"


def register(client: httpx.Client, visit: str, **form: str) -> httpx.Response:
    until_shown(client, visit)
    html = client.get(f"/visits/{visit}/checkin").text
    hidden = dict(re.findall(r'name="(csrf_token|request_id)" value="([^"]+)"', html))
    sent = {"way": "phone", "request_id": secrets.token_hex(16), **hidden, **form}
    done = client.post(f"/visits/{visit}/checkin", data=sent, follow_redirects=True)
    assert done.status_code == 200
    return done


def ask(client: httpx.Client, phone: str) -> httpx.Response:
    return client.post("/lookback", data={"csrf_token": form_token(client, "/lookback"), "phone": phone})


def ask_by_face(client: httpx.Client, visit: str) -> httpx.Response:
    until_shown(client, visit)
    return client.post(f"/lookback/{visit}", data={"csrf_token": form_token(client, "/lookback")})


def test_a_number_is_answered_by_yes_the_first_arrival_and_who_served(door: Door, visitor: Visitor) -> None:
    first, again = door.see(ago_s=7200), door.see(ago_s=60)
    register(visitor("wang"), first, phone=NUMBER)
    client = visitor("li")
    register(client, again, phone=NUMBER)
    page = ask(client, "138 0000 5678").text
    assert "来过" in page
    assert "138****5678" in page
    assert ">wang<" in page
    assert NUMBER not in page
    assert "登记次数" not in page, "how often is not for the front desk"
    assert "登记次数" in ask(visitor("wang"), NUMBER).text


def test_a_number_nobody_gave_is_a_no_that_says_how_far_back_it_looked(door: Door, visitor: Visitor) -> None:
    client = visitor("li")
    register(client, door.see(), phone=NUMBER)
    page = ask(client, OTHER).text
    assert "没有来过" in page
    assert "近 180 天内" in page


def test_the_digits_that_agents_report_find_every_number_that_has_them(door: Door, visitor: Visitor) -> None:
    client = visitor("li")
    for number, ago_s in ((NUMBER, 600), (OTHER, 300), ("13900005678", 100)):
        register(client, door.see(ago_s=ago_s), phone=number)
    page = ask(client, "138****5678").text
    assert "有 2 个号码符合" in page
    assert page.count("首次到访") == 2
    for number in (NUMBER, OTHER, "13900005678"):
        assert number not in page


def test_what_is_no_number_is_refused_in_words(visitor: Visitor) -> None:
    client = visitor("li")
    for typed, says in (("", "请输入手机号"), ("wang", "不是电话号码"), ("138000056", "没有这样的号码")):
        answer = ask(client, typed)
        assert answer.status_code == 422
        assert says in answer.text


def test_a_face_is_looked_back_at_only_with_its_persons_consent(door: Door, visitor: Visitor) -> None:
    first, person = door.arrive("first", ago_s=7200)
    back, _ = door.arrive("return", person=person, similarity=0.8)
    client = visitor("li")
    register(visitor("wang"), first, phone=NUMBER)
    refused = ask_by_face(client, back)
    assert refused.status_code == 409
    assert "尚未同意" in refused.text
    assert "首次到访" not in refused.text
    assert 'type="checkbox" name="consent"' in refused.text
    assert "checked" not in refused.text, "nothing is ticked beforehand"
    hidden = dict(re.findall(r'name="(csrf_token|request_id|language)" value="([^"]+)"', refused.text))
    page = client.post(f"/lookback/{back}", data={**hidden, "consent": "visitor-2"}).text
    assert "来过" in page
    assert ">wang<" in page
    assert "138" not in page, "whose phone it is, is not asked here"
    (given,) = door.ledger.records(("consent.given",))
    assert (given.fields["visit"], given.fields["person"]) == (back, person)
    client.post(f"/lookback/{back}", data={**hidden, "consent": "visitor-2"})
    assert len(list(door.ledger.records(("consent.given",)))) == 1, "the same form twice is one consent"
    client.post(f"/visits/{back}/face", data={**hidden, "because": "withdrawn", "request_id": "0" * 32})
    assert "没有可比对的人脸" in ask_by_face(client, back).text


def test_a_consent_that_the_desks_key_did_not_sign_opens_no_look_back(door: Door, visitor: Visitor) -> None:
    first, person = door.arrive("first", ago_s=7200)
    back, _ = door.arrive("return", person=person, similarity=0.8)
    client = visitor("li")
    register(client, first, phone=NUMBER, consent="visitor-2", language="zh")
    assert ask_by_face(client, back).status_code == 200
    (given,) = door.ledger.records(("consent.given",))
    door.ledger.connection.execute("UPDATE ledger SET signature = ? WHERE seq = ?", (bytes(64), given.seq))
    assert ask_by_face(client, back).status_code == 409


def test_a_face_seen_for_the_first_time_is_a_no_with_its_horizon(door: Door, visitor: Visitor) -> None:
    visit, _ = door.arrive("first")
    client = visitor("li")
    register(client, visit, phone=NUMBER, consent="visitor-2", language="zh")
    page = ask_by_face(client, visit).text
    assert "没有来过" in page
    assert "126" in page, "how many people it was compared with"


def test_nobody_compared_has_no_face_to_go_by_and_a_question_is_answered_first(door: Door, visitor: Visitor) -> None:
    _, person = door.arrive("first", ago_s=600)
    unsure, _ = door.arrive("unsure", similarity=0.45, candidates=((person, 0.45),))
    client = visitor("li")
    seen = door.see()
    assert "没有可比对的人脸" in ask_by_face(client, seen).text
    assert f"/questions#{unsure}" in ask_by_face(client, unsure).text


def test_the_first_arrival_by_face_is_read_without_reading_the_whole_chain(desk: Desk, door: Door) -> None:
    for _ in range(200):
        door.see(ago_s=3)
    visit, person = door.arrive("first")
    door.arrive("return", person=person, similarity=0.8)
    asked: list[str] = []
    with opened(desk.home.database, desk.home.keys_database) as vault, closing(desk.home.open_ledger()) as ledger:
        ledger.connection.set_trace_callback(asked.append)
        been = by_face(ledger, vault, person)
    assert been is not None
    assert been.visit_id == visit
    assert been.served_by is None
    assert len([one for one in asked if "WHERE epoch" in one]) < 24, "halved twice, not read"


def test_who_refused_the_face_and_comes_back_with_the_phone_is_a_return_by_phone_in_as_many_taps(
    door: Door, visitor: Visitor
) -> None:
    client = visitor("li")
    register(client, door.see(ago_s=7200), phone=NUMBER)
    back = door.see()
    page = register(client, back, phone=NUMBER).text  # the same one form as everybody's
    assert "回访（电话）" in page
    record = next(reversed(list(door.ledger.records(("visit.checkin",)))))
    assert record.fields["basis"] == "phone"


def correct_first(client: httpx.Client, auditor: httpx.Client, door: Door, visit: str, verdict: str) -> None:
    """The office asks for another first arrival, and the auditor answers."""
    form = {"csrf_token": form_token(client, "/node"), "request_id": secrets.token_hex(16)}
    asked = {**form, "reason": "earlier_visit", "first": "2026-01-02T10:30"}
    assert client.post(f"/visits/{visit}/correct", data=asked).status_code == 303
    proposal = list(door.ledger.records(("visit.corrected",)))[-1].hash.hex()
    form = {"csrf_token": form_token(auditor, "/node"), "request_id": secrets.token_hex(16), "verdict": verdict}
    assert auditor.post(f"/approvals/{proposal}", data=form).status_code == 303


@pytest.mark.usefixtures("head_office")
def test_an_approved_first_arrival_is_what_is_shown_with_both_versions_for_the_manager(
    door: Door, visitor: Visitor
) -> None:
    client, manager, auditor = visitor("li"), visitor("wang"), visitor("auditor")
    first, person = door.arrive("first", ago_s=3600)
    register(client, first, phone=NUMBER, consent="visitor-2", language="zh")
    back, _ = door.arrive("return", person=person, similarity=0.8)
    register(client, back, phone=NUMBER)
    correct_first(client, auditor, door, back, "refused")
    assert "更正" not in ask(client, NUMBER).text, "a refused one changes nothing"
    recorded = re.search(r"首次到访</dt><dd><span class=\"number\">([^<]+)", ask(client, NUMBER).text)
    assert recorded is not None
    correct_first(client, auditor, door, back, "approved")
    (approved,) = [one for one in door.ledger.records(("visit.approved",)) if one.fields["verdict"] == "approved"]
    for page in (ask(client, NUMBER).text, ask(client, "138****5678").text, ask_by_face(client, back).text):
        assert "2026-01-02 10:30" in page
        assert "更正" in page
        assert recorded[1] not in page, "what was recorded first is not for the front desk"
    for page in (ask(manager, NUMBER).text, ask_by_face(manager, back).text):
        assert "2026-01-02 10:30" in page
        assert f'原记录</dt><dd class="number">{recorded[1]}' in page
        assert f"#{approved.seq}" in page
    assert ask(client, OTHER).text.count("更正") == 0


@pytest.mark.usefixtures("head_office")
def test_an_approval_that_the_desks_key_did_not_sign_settles_nothing(door: Door, visitor: Visitor) -> None:
    client, auditor = visitor("li"), visitor("auditor")
    visit = door.see(ago_s=600)
    register(client, visit, phone=NUMBER)
    correct_first(client, auditor, door, visit, "approved")
    assert "更正" in ask(client, NUMBER).text
    (approved,) = door.ledger.records(("visit.approved",))
    door.ledger.connection.execute("UPDATE ledger SET signature = ? WHERE seq = ?", (bytes(64), approved.seq))
    assert "更正" not in ask(client, NUMBER).text


def test_a_visit_that_was_split_out_is_not_where_somebody_was_first_here(desk: Desk, door: Door) -> None:
    false, person = door.arrive("first", ago_s=7200)
    true, _ = door.arrive("return", person=person, similarity=0.8)
    with closing(desk.home.open_ledger("desk", Clock())) as ledger:
        ledger.append("visit.corrected", {"visit": false, "person": "p-other", "account": "a"})
    with opened(desk.home.database, desk.home.keys_database) as vault, closing(desk.home.open_ledger()) as ledger:
        been = by_face(ledger, vault, person)
    assert been is not None
    assert been.visit_id == true
