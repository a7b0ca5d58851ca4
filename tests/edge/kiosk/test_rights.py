"""Erasing at the desk, the privacy officer's page, and the receipt: what is shown was recorded."""

import hashlib
import io
import re
import secrets
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx
import pytest

from edge.access_log import newest
from edge.clock import Clock
from edge.kiosk.sign_in import accounts_of
from edge.people.forgetting import forget
from edge.people.restricted import contact_at, restrict
from edge.people.vault import opened
from edge.rights.access_request import find_subject
from edge.rights.unmask import NoNumber, Unmasking
from sync.verify.verify import verify
from tests.conftest import form_token
from tests.edge.kiosk.conftest import PASSWORD, Desk, until_shown
from tests.edge.kiosk.door import Door, blank_face
from tests.edge.kiosk.test_checkin import NUMBER, send

Visitor = Callable[..., httpx.Client]
MASKED = "138****5678"


def post(client: httpx.Client, path: str, page: str, **form: Any) -> httpx.Response:
    sent = {"csrf_token": form_token(client, page), "request_id": secrets.token_hex(16), **form}
    return client.post(path, data=sent, follow_redirects=True)


def erased(desk: Desk) -> list[dict[str, Any]]:
    return [dict(one.fields) for one in desk.home.open_ledger().records(("person.erased",))]


@pytest.fixture
def visit(door: Door, visitor: Visitor) -> tuple[str, str]:
    """Somebody with a face who has left a phone."""
    visit, person = door.arrive("first", crop=blank_face())
    send(visitor("li"), visit, way="phone", phone=NUMBER)
    return visit, person


def ask_both(client: httpx.Client, visit: str) -> httpx.Response:
    return post(client, f"/visits/{visit}/erase", f"/visits/{visit}/erase", reason="request", face="1", phone="1")


def test_at_the_desk_the_face_goes_at_once_and_the_phone_waits_for_the_privacy_officer(
    desk: Desk, visit: tuple[str, str], visitor: Visitor
) -> None:
    client, officer = visitor("li"), visitor("privacy")
    receipt = ask_both(client, visit[0])
    assert receipt.url.path.startswith("/erasures/1-")
    assert "人脸和画面" in receipt.text
    assert "已全部完成" in receipt.text, "there is no central: nothing else is left"
    (record,) = erased(desk)
    assert (record["person"], record["reason"], record["account"]) == (visit[1], "request", desk.li.account_id)
    assert client.get(f"/crops/{visit[0]}.jpg").status_code == 404
    assert MASKED in client.get(f"/visits/{visit[0]}/checkin").text
    page = client.get(f"/visits/{visit[0]}/erase").text
    assert "已交隐私专员处理" in page
    queue = officer.get("/rights").text
    assert MASKED in queue
    assert NUMBER not in queue
    assert MASKED not in visitor("auditor").get("/rights").text, "phones are the privacy officer's"


def test_nothing_chosen_erases_nothing_and_the_same_form_twice_is_one_record(
    desk: Desk, visit: tuple[str, str], visitor: Visitor
) -> None:
    client, path = visitor("li"), f"/visits/{visit[0]}/erase"
    assert post(client, path, path, reason="request").status_code == 422
    assert erased(desk) == []
    form = {"csrf_token": form_token(client, path), "request_id": "a" * 32, "reason": "child", "face": "1"}
    first, second = (client.post(path, data=form) for _ in range(2))
    assert first.status_code == second.status_code == 303
    assert first.headers["location"] == second.headers["location"]
    assert len(erased(desk)) == 1


def contact_in(text: str) -> str:
    found = re.search(r"c-[0-9a-f]{20}", text)
    assert found
    return found[0]


def send_code(officer: httpx.Client, contact: str) -> str:
    page = post(officer, f"/rights/phones/{contact}/code", "/rights").text
    assert "+86" + NUMBER in page, "without a command the officer sends it by hand"
    found = re.search(r'code-shown">(\d{6})<', page)
    assert found
    return found[1]


def test_the_officer_proves_whose_phone_it_is_and_erases_it(
    desk: Desk, visit: tuple[str, str], visitor: Visitor
) -> None:
    ask_both(visitor("li"), visit[0])
    officer = visitor("privacy")
    contact = contact_in(officer.get("/rights").text)
    code = send_code(officer, contact)
    wrong = f"{(int(code) + 1) % 10**6:06}"
    answer = post(officer, f"/rights/phones/{contact}/prove", "/rights", code=wrong)
    assert answer.status_code == 409
    assert "验证码不正确" in answer.text
    receipt = post(officer, f"/rights/phones/{contact}/prove", "/rights", code=code)
    assert "手机号" in receipt.text
    assert contact in receipt.text
    assert "complete" in officer.get(f"{receipt.url.path}?lang=en").text
    assert [one["person"] for one in erased(desk)] == [visit[1], contact]
    assert MASKED not in visitor("li").get(f"/visits/{visit[0]}/checkin").text
    assert "没有待处理的申请" in officer.get("/rights?lang=zh").text
    assert verify(desk.home.path).ok


def test_while_a_claim_is_open_the_phone_is_restricted_and_closing_it_erases(
    desk: Desk, visit: tuple[str, str], visitor: Visitor
) -> None:
    auditor, officer, client = visitor("auditor"), visitor("privacy"), visitor("li")
    opened_claim = post(auditor, "/rights/claims", "/rights", whom=NUMBER, reason="commission")
    assert visit[0] in opened_claim.text
    assert "佣金归属" in opened_claim.text
    ask_both(client, visit[0])
    contact = contact_in(officer.get("/rights").text)
    code = send_code(officer, contact)
    after = post(officer, f"/rights/phones/{contact}/prove", "/rights", code=code)
    assert after.url.path == "/rights"
    assert "已核实，限制使用" in after.text
    assert MASKED not in client.get(f"/visits/{visit[0]}/checkin").text
    been = post(client, "/lookback", "/lookback", phone=NUMBER)
    assert visit[0] not in been.text
    assert [one["person"] for one in erased(desk)] == [visit[1]]
    post(auditor, f"/rights/claims/{visit[0]}/close", "/rights")
    assert [one["person"] for one in erased(desk)] == [visit[1], contact]
    with opened(desk.home.database, desk.home.keys_database) as vault:
        assert not vault.remembers(contact)


def test_the_officer_gets_a_file_of_all_that_is_held_and_that_is_on_record(
    desk: Desk, visit: tuple[str, str], visitor: Visitor
) -> None:
    officer = visitor("privacy")
    answer = post(officer, "/rights/access", "/rights", whom=visit[0])
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert f"faces/{visit[0]}.jpg" in archive.namelist()
    made = [one for one in desk.home.open_ledger().records(("export.made",)) if one.fields["what"] == "access_request"]
    assert len(made) == 1
    assert made[0].fields["account"].startswith("acc-")
    assert contact_of(desk) in visitor("auditor").get("/access").text, "that it was looked at is in the access log"
    nobody = post(officer, "/rights/access", "/rights", whom="13911112222")
    assert nobody.status_code == 409
    assert "没有找到" in nobody.text


def test_the_form_for_a_file_sent_twice_is_one_export_and_hands_out_nothing_unrecorded(
    desk: Desk, visit: tuple[str, str], visitor: Visitor
) -> None:
    officer = visitor("privacy")
    form = {"csrf_token": form_token(officer, "/rights"), "request_id": secrets.token_hex(16), "whom": visit[0]}
    first, second = (officer.post("/rights/access", data=form) for _ in range(2))
    (made,) = desk.home.open_ledger().records(("export.made",))
    assert hashlib.sha256(first.content).hexdigest() == made.fields["sha256"]
    assert second.status_code == 409
    assert "已经生成并记录" in second.text
    assert post(officer, "/rights/access", "/rights", whom=visit[0]).headers["content-type"] == "application/zip"


def contact_of(desk: Desk) -> str:
    with opened(desk.home.database, desk.home.keys_database) as vault:
        (contact,) = find_subject(desk.home.open_ledger(), vault, NUMBER).contacts
    return contact


def test_the_impact_report_is_handed_out_and_unknown_claims_are_refused(visitor: Visitor) -> None:
    officer = visitor("privacy")
    report = officer.get("/rights/impact.html")
    assert "个人信息保护影响评估" in report.text
    assert "attachment" in report.headers["content-disposition"]
    assert post(officer, "/rights/claims", "/rights", whom="v-nobody", reason="commission").status_code == 409


def test_a_visit_without_face_or_phone_offers_nothing_to_erase(door: Door, visitor: Visitor) -> None:
    visit = door.see()
    client = visitor("li")
    until_shown(client, visit)
    page = client.get(f"/visits/{visit}/erase").text
    assert "本机没有这位访客的人脸" in page
    assert f'action="/visits/{visit}/erase"' not in page
    assert client.get("/erasures/1-1").status_code == 404


def test_a_fourth_code_of_a_day_is_refused_in_words(visit: tuple[str, str], visitor: Visitor) -> None:
    client, officer = visitor("li"), visitor("privacy")
    ask_both(client, visit[0])
    (path,) = re.findall(r'action="(/rights/phones/[^"]+/code)"', officer.get("/rights").text)
    assert [post(officer, path, "/rights").status_code for _ in range(4)] == [200, 200, 200, 409]
    assert "24 小时内最多发 3 次" in post(officer, path, "/rights").text


def test_a_phone_that_is_forgotten_while_it_is_being_proven_is_told_so(
    desk: Desk, visit: tuple[str, str], visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, officer = visitor("li"), visitor("privacy")
    ask_both(client, visit[0])
    (path,) = re.findall(r'action="(/rights/phones/[^"]+)/code"', officer.get("/rights").text)
    (code,) = re.findall(r'code-shown">(\d{6})<', post(officer, f"{path}/code", "/rights").text)

    def run_out(_connection: sqlite3.Connection, contact_id: str) -> bool:
        home = desk.home
        with closing(home.open_ledger("desk", Clock())) as ledger, opened(home.database, home.keys_database) as vault:
            vault.destroy_keys([contact_id])
            with ledger.transaction() as transaction:
                forget(vault, transaction, contact_id)
        return False

    form = {"csrf_token": form_token(officer, "/rights"), "request_id": secrets.token_hex(16), "code": code}
    monkeypatch.setattr("edge.rights.phone_erasure.disputed", run_out)
    told = officer.post(f"{path}/prove", data=form)
    assert told.status_code == 409
    assert "没有找到，或已经处理" in told.text


def unmasked(desk: Desk) -> list[dict[str, Any]]:
    told = desk.home.open_ledger().records(("export.made",))
    return [dict(one.fields) for one in told if one.fields["what"] == "unmask"]


def test_a_phone_is_shown_in_full_once_with_a_reason_and_after_look_and_record(
    desk: Desk, visit: tuple[str, str], visitor: Visitor
) -> None:
    client = visitor("privacy")
    assert NUMBER not in client.get("/rights").text
    form = {"whom": visit[0], "reason": "dispute", "request_id": "a" * 32}
    page = post(client, "/rights/unmask", "/rights", **form)
    assert f"+86{NUMBER}" in page.text
    assert page.headers["cache-control"] == "no-store"
    (record,) = unmasked(desk)
    assert (record["reason"], record["request"]) == ("dispute", "a" * 32)
    assert record["person"].startswith("c-")
    assert f"已记录 #{record['seq']}" in page.text
    with closing(desk.home.open_ledger()) as ledger:
        (look,) = [row for row in newest(ledger.connection, 9) if row.action == "unmask"]
    assert look.subject == record["person"]
    assert look.at_us <= record["at"]["wall_us"], "the look is on record before"
    again = post(client, "/rights/unmask", "/rights", **form)
    assert NUMBER not in again.text
    assert "已显示过" in again.text
    assert len(unmasked(desk)) == 1, "the same form shows none, and says nothing new"
    by_contact = post(client, "/rights/unmask", "/rights", whom=record["person"], reason="legal")
    assert NUMBER in by_contact.text
    assert [one["reason"] for one in unmasked(desk)] == ["dispute", "legal"]
    assert verify(desk.home.path).ok


def test_without_a_reason_by_a_number_or_while_restricted_no_phone_is_shown_and_nothing_recorded(
    desk: Desk, visit: tuple[str, str], visitor: Visitor
) -> None:
    officer = visitor("privacy")
    for reason in ("", "curiosity"):
        assert post(officer, "/rights/unmask", "/rights", whom=visit[0], reason=reason).status_code == 422
    for whom in (NUMBER, "v-none", "c-none"):
        refused = post(officer, "/rights/unmask", "/rights", whom=whom, reason="dispute")
        assert refused.status_code == 409
        assert "没有可显示的号码" in refused.text
        assert f"+86{NUMBER}" not in refused.text
    with closing(desk.home.open_ledger()) as ledger:
        contact = contact_at(ledger.connection, visit[0])
        assert contact is not None
        restrict(ledger.connection, contact, 1)
    refused = post(officer, "/rights/unmask", "/rights", whom=visit[0], reason="dispute")
    assert refused.status_code == 409
    assert "限制处理" in refused.text
    assert unmasked(desk) == []


def test_the_auditor_is_neither_offered_nor_shown_a_phone_in_full(
    desk: Desk, visit: tuple[str, str], visitor: Visitor
) -> None:
    auditor = visitor("auditor")
    assert "/rights/unmask" in visitor("privacy").get("/rights").text
    assert "/rights/unmask" not in auditor.get("/rights").text
    refused = post(auditor, "/rights/unmask", "/rights", whom=visit[0], reason="dispute")
    assert refused.status_code == 403
    assert NUMBER not in refused.text
    assert unmasked(desk) == []


def test_a_phone_restricted_after_it_was_looked_up_is_not_shown(desk: Desk, visit: tuple[str, str]) -> None:
    home = desk.home
    unmasking = Unmasking(lambda: home.open_ledger("desk", Clock()), home.database, home.keys_database)
    contact = unmasking.contact(visit[0])
    with closing(home.open_ledger()) as ledger:
        restrict(ledger.connection, contact, 1)
    with pytest.raises(NoNumber) as told:
        unmasking.show(contact, "dispute", "c" * 32, desk.wang.account_id)
    assert told.value.fault == "restricted"
    assert unmasked(desk) == []


def test_a_look_that_cannot_be_written_down_shows_no_phone(
    desk: Desk, visit: tuple[str, str], visitor: Visitor
) -> None:
    officer = visitor("privacy")
    token = form_token(officer, "/rights")
    with closing(sqlite3.connect(desk.home.database)) as connection, connection:
        connection.execute("ALTER TABLE access_log RENAME TO hidden")
    form = {"csrf_token": token, "request_id": "b" * 32, "whom": visit[0], "reason": "dispute"}
    answer = officer.post("/rights/unmask", data=form)
    assert answer.status_code == 503
    assert NUMBER not in answer.text
    with closing(sqlite3.connect(desk.home.database)) as connection, connection:
        connection.execute("ALTER TABLE hidden RENAME TO access_log")
    assert unmasked(desk) == []


@pytest.mark.usefixtures("head_office")
def test_nobody_whom_head_office_has_not_confirmed_acts_as_its_privacy_officer_or_auditor(
    desk: Desk, visit: tuple[str, str], visitor: Visitor
) -> None:
    ask_both(visitor("li"), visit[0])
    officer = visitor("privacy")
    contact = contact_in(officer.get("/rights").text)
    for role in ("privacy", "auditor"):
        accounts_of(desk.home).add(f"mole {role}", PASSWORD, role, office="hq")
        mole = visitor(f"mole {role}")
        refused = post(mole, "/rights/claims", "/rights", whom=NUMBER, reason="commission")
        assert refused.status_code == 403
        assert "总部尚未确认此账号" in refused.text
    assert post(visitor("mole privacy"), f"/rights/phones/{contact}/code", "/rights").status_code == 403
    with closing(desk.home.open_ledger()) as ledger:
        assert [one for one in ledger.records(("visit.corrected",)) if "claim" in one.fields] == []
    assert post(officer, "/rights/claims", "/rights", whom=NUMBER, reason="commission").status_code == 200
