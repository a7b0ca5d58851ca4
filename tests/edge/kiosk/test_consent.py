"""Consent at the desk: its own text, never ticked, refused at no cost, signed, withdrawn, and a child's face gone."""

import hashlib
import re
import secrets
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge.consent import HELD_S
from edge.desk.consents import BadSignature, ConsentTexts, read_signature
from edge.people.vault import opened
from sync.format.records import Record
from sync.format.signing import commitment
from sync.verify.verify import verify
from tests.conftest import form_token
from tests.edge.kiosk.conftest import Desk, until
from tests.edge.kiosk.door import Door

Visitor = Callable[..., httpx.Client]
AGREED = {"consent": "visitor-2", "language": "zh"}
DRAWN = "560 180;10,20 30,40 50,60;100,20 120,44"
NUMBER = "13800005678"


def told(desk: Desk, *kinds: str) -> list[Record]:
    with closing(desk.home.open_ledger()) as ledger:
        return list(ledger.records(kinds))


def shown(client: httpx.Client, visit: str) -> str:
    until(lambda: client.get(f"/fragments/arrival/{visit}").status_code == 200)
    return client.get(f"/visits/{visit}/checkin").text


def send(client: httpx.Client, visit: str, what: str = "checkin", **form: Any) -> httpx.Response:
    hidden = dict(re.findall(r'name="(csrf_token|request_id)" value="([^"]+)"', shown(client, visit)))
    sent = {"csrf_token": form_token(client, "/"), "request_id": secrets.token_hex(16), **hidden, **form}
    return client.post(f"/visits/{visit}/{what}", data=sent, follow_redirects=True)


@pytest.fixture
def running(door: Door) -> Door:
    """A node that runs, so that the pictures of whoever is seen wait in its memory."""
    door.ledger.append("node.boot", {"mode": "after_consent"})
    return door


def test_consent_is_recorded_when_ticked_and_only_then(desk: Desk, door: Door, visitor: Visitor) -> None:
    quiet, _ = door.arrive("first", ago_s=20)
    willing, person = door.arrive("first", ago_s=10)
    client = visitor("li")
    assert "checked" not in shown(client, quiet)
    send(client, quiet, way="walk_in")
    assert told(desk, "consent.given") == []
    answer = send(client, willing, way="walk_in", **AGREED)
    (given,) = told(desk, "consent.given")
    assert (given.fields["person"], given.fields["visit"]) == (person, willing)
    assert (given.fields["purpose"], given.fields["version"]) == ("visitor", "visitor-2")
    assert "guardian" not in given.fields
    assert f"#{given.seq}" in answer.text


def test_the_record_names_the_very_text_that_was_shown_in_its_language(
    desk: Desk, door: Door, visitor: Visitor
) -> None:
    visit, _ = door.arrive("first")
    client = visitor("li")
    until(lambda: client.get(f"/fragments/arrival/{visit}").status_code == 200)
    page = client.get(f"/visits/{visit}/checkin?lang=en").text
    text = re.search(r'value="visitor-2"><span>(.*?)</span>', page)
    assert text
    send(client, visit, way="walk_in", consent="visitor-2", language="en")
    (given,) = told(desk, "consent.given")
    assert given.fields["language"] == "en"
    shown_text = text.group(1).replace("&#39;", "'")
    assert given.fields["text_sha256"] == hashlib.sha256(shown_text.encode()).hexdigest()
    assert "this sales office" in shown_text
    assert "180 days" in shown_text


def test_a_text_of_an_old_version_or_none_cannot_be_agreed_to(desk: Desk, door: Door, visitor: Visitor) -> None:
    visit, _ = door.arrive("first")
    client = visitor("li")
    for forged in (
        {"consent": "visitor-1", "language": "zh"},
        {"consent": "visitor-2"},
        {"consent": "visitor-2", "language": "fr"},
        AGREED | {"signature": "<svg>"},
    ):
        assert send(client, visit, way="walk_in", **forged).status_code == 422
    two = send(client, visit, way="walk_in", consent=["visitor-2", "guardian-1"], language="zh")
    assert two.status_code == 409
    assert "只勾选一份" in two.text
    assert told(desk, "visit.checkin", "consent.given") == []


def test_under_14_a_guardian_agrees_and_the_record_says_so(desk: Desk, door: Door, visitor: Visitor) -> None:
    visit, _ = door.arrive("first")
    answer = send(visitor("li"), visit, way="walk_in", consent="guardian-1", language="zh")
    (given,) = told(desk, "consent.given")
    assert (given.fields["version"], given.fields["guardian"]) == ("guardian-1", 1)
    assert "监护人已同意" in answer.text


def test_a_signature_is_a_commitment_in_the_record_and_sealed_under_the_persons_key(
    desk: Desk, door: Door, visitor: Visitor, find_bytes: Callable[[Path, bytes], list[str]]
) -> None:
    visit, person = door.arrive("first")
    client = visitor("li")
    answer = send(client, visit, way="walk_in", **AGREED, signature=DRAWN)
    assert "已签名" in answer.text
    (given,) = told(desk, "consent.given")
    with opened(desk.home.database, desk.home.keys_database) as vault:
        signed = vault.of_visits.signature(visit)
    assert signed is not None
    assert signed[32:] == DRAWN.encode()
    assert given.fields["signature"] == commitment(signed[:32], signed[32:]).hex()
    assert given.fields["confirmed"] == "signature"
    assert find_bytes(desk.home.path, DRAWN.encode()) == []
    send(client, visit, "face", because="withdrawn")
    with opened(desk.home.database, desk.home.keys_database) as vault:
        assert vault.of_visits.signature(visit) is None
        assert not vault.remembers(person)


def test_a_drawing_is_strokes_of_points() -> None:
    assert read_signature(DRAWN) == DRAWN.encode()
    for other in ("", "560 180", "560 180;1,2 x,4", "<svg/>", "560 180;1,2" + " 3,4" * 5000):
        with pytest.raises(BadSignature):
            read_signature(other)


def test_withdrawn_at_the_desk_face_and_pictures_are_gone_at_once_and_the_visit_stays(
    desk: Desk, door: Door, visitor: Visitor
) -> None:
    visit, person = door.arrive("first")
    client = visitor("li")
    send(client, visit, way="phone", phone=NUMBER, **AGREED)
    assert client.get(f"/crops/{visit}.jpg").status_code == 200
    request = secrets.token_hex(16)
    answer = send(client, visit, "face", because="withdrawn", request_id=request)
    assert "已撤回同意" in answer.text
    (record,) = told(desk, "consent.withdrawn")
    assert (record.fields["visit"], record.fields["person"], record.fields["account"]) == (
        visit,
        person,
        desk.li.account_id,
    )
    assert client.get(f"/crops/{visit}.jpg").status_code == 404
    with opened(desk.home.database, desk.home.keys_database) as vault:
        assert not vault.remembers(person)
        assert vault.contacts_of(person) != [], "the phone was given besides, and stays"
    send(client, visit, "face", because="withdrawn", request_id=request)
    assert len(told(desk, "consent.withdrawn")) == 1, "the same form again"
    again = send(client, visit, "face", because="withdrawn")
    assert again.status_code == 200
    assert "没有可删除的人脸" in again.text
    assert len(told(desk, "consent.withdrawn")) == 1
    assert "已登记" in client.get(f"/fragments/arrival/{visit}").text
    assert verify(desk.home.path, desk.home.node_pub).ok


def test_a_childs_face_is_gone_at_one_tap(desk: Desk, door: Door, visitor: Visitor) -> None:
    visit, person = door.arrive("first")
    client = visitor("li")
    answer = send(client, visit, "dismiss", dismissal="child")
    assert "儿童" in answer.text
    (erased,) = told(desk, "person.erased")
    assert (erased.fields["person"], erased.fields["reason"], erased.fields["visit"]) == (person, "child", visit)
    (closed,) = told(desk, "visit.checkin")
    assert (closed.fields["state"], closed.fields["reason"]) == ("companion", "child")
    assert client.get(f"/crops/{visit}.jpg").status_code == 404
    registered, other = door.arrive("first")
    send(client, registered, way="walk_in")
    send(client, registered, "face", because="child")
    assert [record.fields["person"] for record in told(desk, "person.erased")] == [person, other]


# -- after_consent: only a count and a time until somebody consents ----------------------------------------------------


def test_consent_is_asked_for_while_the_node_holds_the_pictures_and_not_later(running: Door, visitor: Visitor) -> None:
    client = visitor("li")
    early, late = running.see(ago_s=60), running.see(ago_s=HELD_S + 1)
    assert 'name="consent"' in shown(client, early)
    assert 'name="consent"' not in shown(client, late)
    assert "已清除" in shown(client, late)
    assert "/crops/" not in shown(client, early)
    send(client, early, "dismiss", dismissal="left")
    assert 'name="consent"' not in shown(client, early), "the pictures went with the dismissal"
    another = running.see(ago_s=5)
    assert 'name="consent"' in shown(client, another)
    running.ledger.append("node.boot", {"mode": "after_consent"})
    until(lambda: 'name="consent"' not in shown(client, another))
    refused = send(client, another, way="phone", phone=NUMBER, **AGREED)
    assert refused.status_code == 409
    assert "刚刚清除" in refused.text
    assert NUMBER in refused.text, "what was typed is still there"
    assert send(client, another, way="phone", phone=NUMBER).status_code == 200


def test_who_consents_is_expected_and_shown_as_decided_once_the_node_has_said_who_it_is(
    desk: Desk, running: Door, visitor: Visitor
) -> None:
    client = visitor("li")
    visit = running.see(ago_s=60, party=2)
    page = send(client, visit, way="phone", phone=NUMBER, **AGREED).text
    assert "正在用进门时的画面比对" in page
    (given,) = told(desk, "consent.given")
    person = given.fields["person"]
    with opened(desk.home.database, desk.home.keys_database) as vault:
        assert vault.remembers(person)
        assert vault.consented_us(person) is not None
    (seen,) = told(desk, "visit.seen")
    fields = {name: seen.fields[name] for name in ("visit", "site", "camera", "source", "source_hash", "arrived_us")}
    decision = {
        "person": person, "pack": "m@1", "gallery_n": 3, "gallery_since_us": 1, "unconsented_horizon_s": 0,
        "grade": "B", "shots": 3, "quality_e6": 600_000, "upper_e6": 1, "lower_e6": 0, "party": 2,
        "seen": seen.hash.hex(), "consent": given.hash.hex(),
    }  # fmt: skip
    running.ledger.append("visit.first", fields | decision)
    until(lambda: "首访" in client.get(f"/fragments/who/{visit}").text)
    who = client.get(f"/fragments/who/{visit}").text
    assert f"/crops/{visit}.jpg" in who
    assert "画面不是本人" in who, "two came in together: the host looks whose picture it is"
    card = client.get(f"/fragments/arrival/{visit}").text
    assert "首访" in card
    assert "已登记" in card
    send(client, visit, "face", because="error")
    (erased,) = told(desk, "person.erased")
    assert (erased.fields["person"], erased.fields["reason"]) == (person, "error")


def test_who_withdraws_before_the_node_has_decided_is_expected_no_more(
    desk: Desk, running: Door, visitor: Visitor
) -> None:
    client = visitor("li")
    visit = running.see(ago_s=60)
    send(client, visit, way="walk_in", **AGREED, signature=DRAWN)
    (given,) = told(desk, "consent.given")
    send(client, visit, "face", because="withdrawn")
    (withdrawn,) = told(desk, "consent.withdrawn")
    assert withdrawn.fields["person"] == given.fields["person"]
    with opened(desk.home.database, desk.home.keys_database) as vault, closing(desk.home.open_ledger()) as ledger:
        assert not vault.expects(ledger.connection, given.fields["person"])


def test_two_tablets_that_register_one_visit_with_consent_make_one_person(
    desk: Desk, running: Door, visitor: Visitor
) -> None:
    clients = visitor("li"), visitor("wang")
    visit = running.see(ago_s=60)
    for client in clients:
        shown(client, visit)
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda c=client: answers.append(send(c, visit, way="walk_in", **AGREED).status_code))
        for client in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(answers) in ([200, 409], [200, 200])
    assert len(told(desk, "consent.given")) == len(told(desk, "visit.checkin")) == 1


def test_the_texts_name_the_operator_and_how_long_a_face_is_kept() -> None:
    texts = ConsentTexts("湖畔置业有限公司", timedelta(days=90))
    for by in ("visitor", "guardian"):
        for language in ("zh", "en"):
            text = texts.text(by, language)  # type: ignore[arg-type]
            assert "湖畔置业有限公司" in text.text
            assert "90" in text.text
            assert "{" not in text.text
    assert texts.shown_as("visitor-1", "zh") is None


def test_where_nobody_is_kept_without_consent_the_page_says_that_and_no_length_of_time(
    door: Door, visitor: Visitor
) -> None:
    visit, _ = door.arrive("first", unconsented_horizon_s=0)
    client = visitor("li")
    until(lambda: client.get(f"/fragments/arrival/{visit}").status_code == 200)
    assert "未同意者不保留" in client.get(f"/fragments/arrival/{visit}").text
    assert "0 秒" not in client.get(f"/visits/{visit}/why").text
