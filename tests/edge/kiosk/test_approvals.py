import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing

import httpx
import pytest

from edge.clock import Clock
from edge.desk.desk_secrets import desk_secret
from edge.kiosk.sign_in import accounts_of
from sync.central.corrections import answer
from sync.format.accounts import Account
from sync.format.records import Record
from sync.web.accounts import Accounts
from tests.conftest import form_token
from tests.edge.head_office import HeadOffice
from tests.edge.kiosk.conftest import PASSWORD, Desk, until, until_shown
from tests.edge.kiosk.door import Door

Visitor = Callable[..., httpx.Client]


pytestmark = pytest.mark.usefixtures("head_office")


@pytest.fixture
def registered(visitor: Visitor, door: Door) -> str:
    """A visit that li has registered by phone."""
    visit_id, _ = door.arrive("first")
    li = visitor("li")
    until_shown(li, visit_id)
    form = {"request_id": secrets.token_hex(16), "way": "phone", "phone": "13812345678"}
    assert _send(li, f"/visits/{visit_id}/checkin", **form).status_code == 303
    return visit_id


def _send(client: httpx.Client, path: str, **form: str) -> httpx.Response:
    return client.post(path, data={"csrf_token": form_token(client, "/node"), **form})


def _ask(client: httpx.Client, visit_id: str, **form: str) -> httpx.Response:
    asked = {"request_id": secrets.token_hex(16), "reason": "wrong_source", **form}
    return _send(client, f"/visits/{visit_id}/correct", **asked)


def _answer(client: httpx.Client, proposal: Record, verdict: str, **form: str) -> httpx.Response:
    sent = {"request_id": secrets.token_hex(16), "verdict": verdict, **form}
    return _send(client, f"/approvals/{proposal.hash.hex()}", **sent)


def _records(desk: Desk, kind: str) -> list[Record]:
    with closing(desk.home.open_ledger()) as ledger:
        return list(ledger.records((kind,)))


def test_a_correction_is_asked_for_with_a_reason_and_changes_nothing(
    visitor: Visitor, desk: Desk, registered: str
) -> None:
    li = visitor("li")
    form = {"request_id": "a" * 32, "way": "walk_in", "agent": "a-17", "first": "2026-01-02T10:30"}
    assert _ask(li, registered, **form).status_code == 303
    assert _ask(li, registered, **form).status_code == 303, "the same form twice"
    (record,) = _records(desk, "visit.corrected")
    said = {name: record.fields[name] for name in ("visit", "state", "reason", "way", "agent", "account", "office")}
    assert said == {
        "visit": registered,
        "state": "proposed",
        "reason": "wrong_source",
        "way": "walk_in",
        "agent": "a-17",
        "account": desk.li.account_id,
        "office": "puxi-01",
    }
    assert record.fields["first_us"] == 1_767_321_000_000_000, "10:30 in Shanghai"
    card = li.get(f"/fragments/arrival/{registered}").text
    assert "申请更正" in card
    assert "待审计批准" in card
    page = li.get(f"/visits/{registered}/correct").text
    assert "更正后" not in page
    assert "批准前按原登记" in page


def test_an_auditor_approves_and_both_versions_stay_visible(visitor: Visitor, desk: Desk, registered: str) -> None:
    _ask(visitor("li"), registered, way="walk_in")
    (proposal,) = _records(desk, "visit.corrected")
    auditor = visitor("auditor")
    until(lambda: "自然到访" in auditor.get("/approvals").text)
    assert _answer(auditor, proposal, "approved").headers["location"] == "/approvals"
    (word,) = _records(desk, "visit.approved")
    assert (word.fields["proposal"], word.fields["verdict"]) == (proposal.hash.hex(), "approved")
    assert word.fields["office"] == "head_office"
    page = visitor("li").get(f"/visits/{registered}/correct?lang=en").text
    assert "As registered</dt><dd>phone" in page
    assert "As corrected and approved</dt><dd>walk-in" in page
    assert "approved by auditor" in visitor("li").get(f"/fragments/arrival/{registered}?lang=en").text
    assert 'name="verdict"' not in auditor.get("/approvals").text


def test_a_refusal_stays_visible_and_what_was_registered_stands(visitor: Visitor, desk: Desk, registered: str) -> None:
    li, auditor = visitor("li"), visitor("auditor")
    _ask(li, registered, way="walk_in")
    (proposal,) = _records(desk, "visit.corrected")
    assert _answer(auditor, proposal, "refused").status_code == 303
    assert _answer(auditor, proposal, "approved").status_code == 409, "the first word stands"
    assert len(_records(desk, "visit.approved")) == 1
    page = li.get(f"/visits/{registered}/correct?lang=en").text
    assert "refused by auditor" in page
    assert "As corrected and approved" not in page
    assert _ask(li, registered, way="walk_in").status_code == 303, "asking again is free"


def test_nobody_approves_their_own_office_whatever_their_role(
    visitor: Visitor, desk: Desk, registered: str, head_office: HeadOffice
) -> None:
    _ask(visitor("wang"), registered, way="walk_in")
    (proposal,) = _records(desk, "visit.corrected")
    for name in ("li", "wang", "privacy", "installer"):
        assert _answer(visitor(name), proposal, "approved").status_code == 403
    accounts = Accounts(desk.home.database, pin_secret=desk_secret(desk.home.keys_database, "pin"))
    for name, office in (("local", "puxi-01"), ("nowhere", "")):
        accounts.add(name, PASSWORD, "auditor", office=office)
        refused = _answer(visitor(name), proposal, "approved")
        assert refused.status_code == 403
        assert "同一案场" in refused.text
    elsewhere = accounts.add("elsewhere", PASSWORD, "auditor", office="puxi-02")
    head_office.confirm(elsewhere)
    assert _records(desk, "visit.approved") == []
    assert _answer(visitor("elsewhere"), proposal, "approved").status_code == 303
    assert len(_records(desk, "visit.approved")) == 1


def test_who_asked_and_became_an_auditor_since_answers_nothing(visitor: Visitor, desk: Desk, registered: str) -> None:
    _ask(visitor("wang"), registered, way="walk_in")
    (proposal,) = _records(desk, "visit.corrected")
    with closing(sqlite3.connect(desk.home.database)) as connection, connection:
        connection.execute("UPDATE accounts SET role = 'auditor', office = 'head_office' WHERE name = 'wang'")
    assert _answer(visitor("wang"), proposal, "approved").status_code == 403
    assert _records(desk, "visit.approved") == []


@pytest.mark.parametrize(
    ("form", "status", "says"),
    [
        ({"way": "phone"}, 422, "与现有登记相同"),
        ({}, 422, "与现有登记相同"),
        ({"way": "by_boat"}, 422, "请选择更正原因"),
        ({"way": "walk_in", "reason": "because"}, 422, "请选择更正原因"),
        ({"agent": "<b>"}, 422, "经纪人编号只能"),
        ({"first": "2126-01-01T00:00"}, 422, "首次到访时间不正确"),
        ({"first": "yesterday"}, 422, "首次到访时间不正确"),
    ],
)
def test_what_cannot_be_asked_is_told_and_not_recorded(
    visitor: Visitor, desk: Desk, registered: str, form: dict[str, str], status: int, says: str
) -> None:
    answer = _ask(visitor("li"), registered, **form)
    assert answer.status_code == status
    assert says in answer.text
    assert _records(desk, "visit.corrected") == []


def test_one_correction_waits_at_a_time_and_an_open_visit_needs_none(
    visitor: Visitor, door: Door, desk: Desk, registered: str
) -> None:
    li = visitor("li")
    assert _ask(li, registered, way="walk_in").status_code == 303
    again = _ask(li, registered, way="code")
    assert again.status_code == 409
    assert "已有一项更正待批准" in again.text
    other, _ = door.arrive("first")
    until_shown(li, other)
    refused = _ask(li, other, way="walk_in")
    assert refused.status_code == 409
    assert "还没有登记" in refused.text
    assert len(_records(desk, "visit.corrected")) == 1


def test_a_proposal_that_nobody_signed_is_not_there(visitor: Visitor, desk: Desk, registered: str) -> None:
    _ask(visitor("li"), registered, way="walk_in")
    (proposal,) = _records(desk, "visit.corrected")
    with closing(sqlite3.connect(desk.home.database)) as connection, connection:
        connection.execute("UPDATE ledger SET signature = zeroblob(64) WHERE kind = 'visit.corrected'")
    auditor = visitor("auditor")
    assert _answer(auditor, proposal, "approved").status_code == 404
    assert registered not in auditor.get("/approvals").text


def test_a_revoked_desk_key_is_told_and_nothing_recorded(visitor: Visitor, desk: Desk, registered: str) -> None:
    li, auditor = visitor("li"), visitor("auditor")
    _ask(li, registered, way="walk_in")
    (proposal,) = _records(desk, "visit.corrected")
    with closing(sqlite3.connect(desk.home.database)) as connection, connection:
        revoked = (desk.home.signer("desk").public.key_id, proposal.seq)
        connection.execute("INSERT INTO revoked_keys VALUES (?, 1, ?, 'retired')", revoked)
    refused = _answer(auditor, proposal, "approved")
    assert refused.status_code == 409
    assert "前台密钥已失效" in refused.text
    assert _records(desk, "visit.approved") == []


def test_an_auditor_made_at_the_node_is_told_that_head_office_has_not_confirmed_them(
    visitor: Visitor, desk: Desk, registered: str
) -> None:
    _ask(visitor("wang"), registered, way="walk_in")
    (proposal,) = _records(desk, "visit.corrected")
    mole = accounts_of(desk.home).add("mole", PASSWORD, "auditor", office="hq")
    client = visitor("mole")
    page = client.get("/approvals").text
    assert "总部尚未确认此账号" in page
    assert mole.account_id in page, "what head office has to be told"
    assert 'name="verdict"' not in page
    for verdict in ("approved", "refused"):
        refused = _answer(client, proposal, verdict)
        assert refused.status_code == 403
        assert "总部尚未确认此账号" in refused.text
    assert _records(desk, "visit.approved") == []


def test_another_password_for_the_auditor_ends_what_head_office_confirmed(
    visitor: Visitor, desk: Desk, registered: str, head_office: HeadOffice
) -> None:
    _ask(visitor("wang"), registered, way="walk_in")
    (proposal,) = _records(desk, "visit.corrected")
    auditor = accounts_of(desk.home).set_password("auditor", PASSWORD)
    assert _answer(visitor("auditor"), proposal, "approved").status_code == 403
    assert _records(desk, "visit.approved") == []
    head_office.confirm(auditor)
    assert _answer(visitor("auditor"), proposal, "approved").status_code == 303


def test_an_approval_that_the_desk_key_signs_for_an_account_of_its_own_making_changes_nothing_shown(
    visitor: Visitor, desk: Desk, registered: str
) -> None:
    li = visitor("li")
    _ask(li, registered, way="walk_in")
    (proposal,) = _records(desk, "visit.corrected")
    word = {"visit": registered, "proposal": proposal.hash.hex(), "verdict": "approved", "request": "a" * 32}
    with closing(desk.home.open_ledger("desk", Clock())) as ledger:
        ledger.append("visit.approved", {**word, "account": "acc-" + "1" * 16, "office": "head_office"})
    card = f"/fragments/arrival/{registered}?lang=en"
    until(lambda: "not approved from outside" in li.get(card).text)
    page = li.get(f"/visits/{registered}/correct?lang=en").text
    assert "As corrected and approved" not in page
    assert 'name="verdict"' in visitor("auditor").get("/approvals").text, "it waits for a word still"


def test_a_word_of_head_offices_own_comes_from_central_and_overrules_what_the_desk_key_says(
    visitor: Visitor, desk: Desk, registered: str, head_office: HeadOffice
) -> None:
    li = visitor("li")
    _ask(li, registered, way="walk_in")
    (proposal,) = _records(desk, "visit.corrected")
    assert _answer(visitor("auditor"), proposal, "approved").status_code == 303
    card = f"/fragments/arrival/{registered}?lang=en"
    until(lambda: "approved by auditor" in li.get(card).text)
    assert "on the desk&#39;s key alone" in li.get(card).text
    head_office.hear()
    hao = Account("acc-" + "e" * 16, "hao", "auditor", "hq")
    answer(head_office.directory, head_office.node_id, proposal.hash.hex(), "refused", hao)
    head_office.tell()
    until(lambda: "refused by head office" in li.get(card).text)
    assert "signed at central" in li.get(card).text
    assert "As corrected and approved" not in li.get(f"/visits/{registered}/correct?lang=en").text
