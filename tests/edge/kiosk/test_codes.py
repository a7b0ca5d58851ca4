"""Codes at check-in: verified offline, refused with a word and a record, and never a phone in any of it."""

import hashlib
import json
import re
import secrets
import sqlite3
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from camera.pipeline import Step
from camera.source import Frame
from edge import cli
from edge.cameras.live_view import LiveView
from edge.clock import Clock, wall_us
from edge.desk.codes import CodeReader, CodeRefused
from edge.desk.pictures import NoCode, code_in
from edge.desk.reports import keep_subject_key
from edge.people.phones import parse_phone
from edge.people.restricted import restrict
from edge.people.vault import opened
from edge.rights.retention import erase
from sync.central.codes import find as find_code
from sync.central.codes import issue, revoke, subject_key
from sync.central.keys import load_role
from sync.central.notices import append, rotate
from sync.central.store.location import open_store
from sync.format.notices import ReportKnown
from sync.format.records import Record
from sync.verify.receipts import read_receipt, verify_receipt
from sync.verify.verify import verify
from tests.conftest import form_token
from tests.edge.cameras.test_live_view import GREY
from tests.edge.kiosk.conftest import Desk, until_shown
from tests.edge.kiosk.door import Door
from tests.edge.kiosk.hq import AGENT, Hq, picture_of
from tests.sync.uplink_site import Central

Visitor = Callable[..., httpx.Client]
NUMBER, OTHER, SAME_DIGITS = "13800005678", "13900001234", "13811115678"


@pytest.fixture
def hq(desk: Desk, tmp_path: Path) -> Hq:
    return Hq(desk, tmp_path)


def records(desk: Desk, *kinds: str) -> list[Record]:
    with closing(desk.home.open_ledger()) as ledger:
        return list(ledger.records(kinds))


def scan(client: httpx.Client, visit: str, code: str, what: str = "code", **form: Any) -> httpx.Response:
    until_shown(client, visit)
    html = client.get(f"/visits/{visit}/checkin").text
    hidden = dict(re.findall(r'name="(csrf_token|request_id)" value="([^"]+)"', html))
    sent = {"csrf_token": form_token(client, "/"), "request_id": secrets.token_hex(16), **hidden, "code": code, **form}
    return client.post(f"/visits/{visit}/{what}", data=sent, follow_redirects=True)


def test_a_report_waits_for_the_customer_s_phone_and_is_then_on_record(
    desk: Desk, door: Door, hq: Hq, visitor: Visitor
) -> None:
    visit, _ = door.arrive("first")
    client, code = visitor("li"), hq.report()
    asked = scan(client, visit, code.text())
    assert asked.status_code == 200
    assert "报备码有效" in asked.text
    assert AGENT in asked.text
    assert records(desk, "visit.checkin", "code.refused") == [], "nothing is recorded before the phone is known"
    done = scan(client, visit, code.text(), phone=NUMBER, way="code")
    (record,) = records(desk, "visit.checkin")
    fields = record.fields
    assert (fields["way"], fields["state"]) == ("code", "registered")
    assert (fields["code"], fields["code_kind"]) == (code.code.hash, "report")
    assert (fields["report"], fields["agent"], fields["report_us"]) == (code.code.report_id, AGENT, code.code.made_us)
    assert f"记录 #{record.seq}" in done.text
    card = client.get(f"/fragments/arrival/{visit}").text
    assert "出示报备码" in card
    assert AGENT in card
    for secret in (b"1385678", NUMBER.encode(), code.code.fit.hex().encode(), code.code.salt.hex().encode()):
        assert secret not in record.body
    assert verify(desk.home.path).ok


def test_a_phone_typed_before_the_scan_needs_no_second_touch(desk: Desk, door: Door, hq: Hq, visitor: Visitor) -> None:
    visit, _ = door.arrive("first")
    scan(visitor("li"), visit, hq.report().text().lower(), phone=NUMBER)
    assert records(desk, "visit.checkin")[0].fields["code_kind"] == "report"


@pytest.mark.parametrize("typed", [NUMBER, f"+86{NUMBER}"])
def test_a_phone_sent_as_a_code_is_put_where_phones_go(desk: Desk, door: Door, visitor: Visitor, typed: str) -> None:
    visit, _ = door.arrive("first")
    told = scan(visitor("li"), visit, typed)
    assert told.status_code == 422
    assert "这是手机号，不是码" in told.text
    assert f'name="phone" type="tel" inputmode="numeric" maxlength="40" value="{typed}"' in told.text
    assert records(desk, "visit.checkin", "code.refused") == []


def test_another_phone_is_refused_also_one_with_the_same_digits_and_the_same_phone_comes_again(
    desk: Desk, door: Door, hq: Hq, visitor: Visitor
) -> None:
    visits = [door.arrive("first", ago_s=60 - i)[0] for i in range(4)]
    client, code = visitor("li"), hq.report()
    wrong = scan(client, visits[0], code.text(), phone=OTHER)
    assert wrong.status_code == 422
    assert "手机号与报备不符" in wrong.text
    scan(client, visits[0], code.text(), phone=NUMBER)
    assert scan(client, visits[1], code.text(), phone=NUMBER).status_code == 200, "a repeat visit is fine"
    assert scan(client, visits[2], code.text(), phone=SAME_DIGITS).status_code == 422
    first, second = records(desk, "code.refused")
    for refused, visit in ((first, visits[0]), (second, visits[2])):
        assert refused.fields["reason"] == "other_phone"
        assert (refused.fields["code"], refused.fields["visit"]) == (code.code.hash, visit)
        assert refused.fields.keys() - {"v", "node", "epoch", "seq", "prev", "kind", "key", "at", "anchor"} == {
            "visit", "request", "account", "reason", "code",
        }  # fmt: skip
    assert [record.fields["visit"] for record in records(desk, "visit.checkin")] == visits[:2]
    with closing(desk.home.open_ledger()) as ledger:
        bound = ledger.connection.execute("SELECT count(*) FROM contact_visits").fetchone()
    assert bound == (2,), "what was refused has bound no phone"


@pytest.mark.parametrize("fate", ["restricted", "erased"])
def test_a_report_stays_with_its_number_when_that_is_restricted_or_erased(
    desk: Desk, door: Door, hq: Hq, visitor: Visitor, find_bytes: Callable[[Path, bytes], list[str]], fate: str
) -> None:
    visits = [door.arrive("first", ago_s=60 - i)[0] for i in range(3)]
    client, code = visitor("li"), hq.report()
    scan(client, visits[0], code.text(), phone=NUMBER)
    with (
        closing(desk.home.open_ledger("desk", Clock())) as ledger,
        opened(desk.home.database, desk.home.keys_database) as vault,
    ):
        (contact,) = ledger.connection.execute("SELECT person_id FROM contacts").fetchone()
        if fate == "restricted":
            with ledger.transaction() as transaction:
                restrict(transaction.connection, contact, wall_us())
        else:
            erase(ledger, vault, contact, "request", None)
    assert scan(client, visits[1], code.text(), phone=SAME_DIGITS).status_code == 422
    assert records(desk, "code.refused")[0].fields["reason"] == "other_phone"
    assert scan(client, visits[2], code.text(), phone=NUMBER).status_code == 200, "the customer's own report still"
    assert [record.fields["visit"] for record in records(desk, "visit.checkin")] == [visits[0], visits[2]]
    for secret in (code.code.salt, code.code.fit):
        assert find_bytes(desk.home.path, secret) == [], "nothing here by which numbers could be tried"


def test_a_report_of_which_an_older_version_kept_no_number_is_closed_once_the_phone_is_erased(
    desk: Desk, door: Door, hq: Hq, visitor: Visitor
) -> None:
    visits = [door.arrive("first", ago_s=60 - i)[0] for i in range(3)]
    client, code = visitor("li"), hq.report()
    scan(client, visits[0], code.text(), phone=NUMBER)
    with (
        closing(desk.home.open_ledger("desk", Clock())) as ledger,
        opened(desk.home.database, desk.home.keys_database) as vault,
    ):
        with ledger.transaction() as transaction:
            transaction.connection.execute("UPDATE code_uses SET phone = NULL")
        assert scan(client, visits[1], code.text(), phone=NUMBER).status_code == 200
        with ledger.transaction() as transaction:
            transaction.connection.execute("UPDATE code_uses SET phone = NULL")
        (contact,) = ledger.connection.execute("SELECT person_id FROM contacts").fetchone()
        erase(ledger, vault, contact, "request", None)
    assert scan(client, visits[2], code.text(), phone=SAME_DIGITS).status_code == 422


def test_the_same_scan_sent_twice_is_one_record(desk: Desk, door: Door, hq: Hq, visitor: Visitor) -> None:
    visit, _ = door.arrive("first")
    client, request = visitor("li"), secrets.token_hex(16)
    torn = hq.report().text()[:-9]
    for _ in range(2):
        answer = scan(client, visit, torn, request_id=request)
        assert answer.status_code == 422
    (refused,) = records(desk, "code.refused")
    assert refused.fields["reason"] == "torn"
    assert f"已记录 #{refused.seq}" in answer.text
    for _ in range(2):
        scan(client, visit, hq.report().text(), phone=NUMBER, request_id=request[::-1])
    assert len(records(desk, "visit.checkin")) == 1


def test_an_agent_s_code_names_the_agent_and_proves_no_report(desk: Desk, door: Door, hq: Hq, visitor: Visitor) -> None:
    bare, with_phone = (door.arrive("first", ago_s=9 - i)[0] for i in range(2))
    client, code = visitor("li"), hq.agent()
    asked = scan(client, bare, code.text())
    assert "不代表已报备" in asked.text
    assert records(desk, "visit.checkin") == []
    scan(client, bare, code.text(), way="code")
    scan(client, with_phone, code.text(), phone=OTHER)
    for record in records(desk, "visit.checkin"):
        assert (record.fields["code_kind"], record.fields["agent"]) == ("agent", AGENT)
        assert record.fields.keys().isdisjoint({"report", "report_us"})


def test_a_site_s_code_is_a_walk_in_at_one_scan(desk: Desk, door: Door, hq: Hq, visitor: Visitor) -> None:
    visit, _ = door.arrive("first")
    scan(visitor("li"), visit, hq.site().text())
    (record,) = records(desk, "visit.checkin")
    assert (record.fields["way"], record.fields["code_kind"]) == ("walk_in", "site")


def test_a_foreign_code_is_kept_as_a_hash_that_nobody_can_try_numbers_against(
    desk: Desk, door: Door, visitor: Visitor
) -> None:
    visits = [door.arrive("first", ago_s=9 - i)[0] for i in range(2)]
    client, text = visitor("li"), f"https://crm.example/?tel={NUMBER}"
    assert "只留存哈希" in scan(client, visits[0], text).text
    for visit in visits:
        scan(client, visit, text, way="code")
    one, two = records(desk, "visit.checkin")
    assert one.fields["code_kind"] == "foreign"
    assert one.fields["code"] == two.fields["code"], "the same code is found again"
    assert one.fields["code"] not in {hashlib.sha256(text.encode()).hexdigest()}
    assert NUMBER.encode() not in desk.home.database.read_bytes()
    told = CliRunner().invoke(
        cli.app, ["desk", "code", "-", "--home", str(desk.home.path), "--json"], input=f"{text}\n"
    )
    found = json.loads(told.output)
    assert (found["state"], found["code"]) == ("unknown", one.fields["code"])
    assert found["records"] == [f"1:{one.seq} visit.checkin {visits[0]}", f"1:{two.seq} visit.checkin {visits[1]}"]


def test_each_way_in_which_a_code_is_not_good_has_its_word_and_its_record(
    desk: Desk, door: Door, hq: Hq, visitor: Visitor, tmp_path: Path
) -> None:
    visit, _ = door.arrive("first")
    client = visitor("li")
    revoked, retired = hq.report(), hq.agent()
    revoke(hq.directory, find_code(hq.directory, revoked.code.hash), "abused")
    foreign_central = Central(tmp_path / "other").directory
    forged = issue(foreign_central, "agent", 30, agent_id=AGENT)[0]
    rotate(hq.directory, "code", hq.directory / "keys" / "root.key")
    hq.tell()
    elsewhere = hq.agent().code
    key = load_role(hq.directory, "code")
    hour_us = 3_600_000_000
    said = {
        revoked.text()[:-40]: "torn",
        forged.text(): "forged",
        retired.text(): "old_key",
        replace(elsewhere, sites=("puxi-02",)).seal(key).text(): "other_site",
        replace(elsewhere, made_us=elsewhere.made_us + hour_us).seal(key).text(): "not_yet",
        replace(elsewhere, made_us=0, until_us=elsewhere.made_us).seal(key).text(): "expired",
        revoked.code.seal(key).text(): "revoked",
    }
    for text, reason in said.items():
        answer = scan(client, visit, text, phone=NUMBER)
        refused = records(desk, "code.refused")[-1]
        assert answer.status_code == 422
        assert answer.text.count('role="alert"') == 1
        assert refused.fields["reason"] == reason
        assert f"已记录 #{refused.seq}" in answer.text
    assert records(desk, "visit.checkin") == []
    assert scan(client, visit, "").status_code == 422
    assert len(records(desk, "code.refused")) == len(said)


def test_a_desk_that_has_joined_no_central_says_so(desk: Desk, door: Door, tmp_path: Path, visitor: Visitor) -> None:
    visit, _ = door.arrive("first")
    code = issue(Central(tmp_path / "other").directory, "agent", 30, agent_id=AGENT)[0]
    assert "尚未加入中心" in scan(visitor("li"), visit, code.text()).text
    assert records(desk, "code.refused")[0].fields["reason"] == "no_central"


def test_a_report_that_central_has_seen_elsewhere_is_flagged_and_not_refused(
    desk: Desk, door: Door, hq: Hq, visitor: Visitor
) -> None:
    visit, _ = door.arrive("first")
    client, code = visitor("li"), hq.report()
    used_us = time.time_ns() // 1000 - 60_000_000
    with open_store(hq.directory) as store:
        subject = next(iter(store.codes())).subject or ""
        said = ReportKnown(
            code.code.report_id or "", subject, AGENT, code.code.made_us, code.code.until_us, "puxi-01-b", used_us
        )
        append(store, "puxi-01-a", said, load_role(hq.directory, "notice"))
    hq.tell()
    assert "该报备已在 puxi-01-b 使用" in scan(client, visit, code.text()).text
    scan(client, visit, code.text(), phone=NUMBER)
    (record,) = records(desk, "visit.checkin")
    assert (record.fields["used_at"], record.fields["used_us"]) == ("puxi-01-b", used_us)
    assert "puxi-01-b" in client.get(f"/fragments/arrival/{visit}").text


def test_a_code_is_read_out_of_a_picture_and_nothing_of_it_is_kept(
    desk: Desk, door: Door, hq: Hq, visitor: Visitor
) -> None:
    visit, _ = door.arrive("first")
    client, code = visitor("li"), hq.report()
    until_shown(client, visit)

    def send(picture: bytes, **more: str) -> httpx.Response:
        form = {"csrf_token": form_token(client, "/"), "request_id": secrets.token_hex(16), **more}
        files = {"picture": ("p.jpg", picture, "image/jpeg")}
        return client.post(f"/visits/{visit}/code/picture", data=form, files=files, follow_redirects=True)

    assert "没有可识别的码" in send(picture_of()).text
    assert "多个码" in send(picture_of("one foreign code", "another foreign code")).text
    for broken in (b"", b"GIF89a", picture_of(code.text())[:200]):
        assert "不是可读取的图片" in send(broken).text
    assert records(desk, "code.refused") == [], "without a code there is nothing to keep a hash of"
    assert "报备码有效" in send(picture_of(code.text(), "a foreign code")).text, "of several, ours is meant"
    send(picture_of(code.text()), phone=NUMBER)
    assert records(desk, "visit.checkin")[0].fields["code"] == code.code.hash
    read = client.post(
        "/code/read", data={"csrf_token": form_token(client, "/")}, files={"picture": picture_of(code.text())}
    )
    assert read.json() == {"text": code.text()}
    none = client.post("/code/read", data={"csrf_token": form_token(client, "/")}, files={"picture": picture_of()})
    assert none.status_code == 204


def test_a_picture_that_claims_to_be_huge_is_not_unpacked() -> None:
    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + head
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    began = time.monotonic()
    with pytest.raises(NoCode, match="no_picture"):
        code_in(data + bytes(64))
    assert time.monotonic() - began < 5


def test_only_the_desk_s_own_site_and_times_decide_and_a_phone_is_never_needed_to_say_no(desk: Desk, hq: Hq) -> None:
    reader = CodeReader(desk.home.path, desk.home.keys_database, "puxi-01")
    code = hq.report()
    now_us = code.code.made_us
    assert reader.read(code.text(), None, now_us - 200_000_000).kind == "report", "the clocks differ a little"
    assert reader.read(code.text(), parse_phone(NUMBER), code.code.until_us - 1).kind == "report"
    with pytest.raises(CodeRefused, match="expired"):
        reader.read(code.text(), None, code.code.until_us)
    with pytest.raises(CodeRefused, match="not_yet"):
        reader.read(code.text(), None, now_us - 400_000_000)


@pytest.fixture
def entrance(desk: Desk) -> Iterator[Callable[[bytes], None]]:
    """A node whose camera at the entrance runs; called with what it sees, a JPEG."""
    view, over, sees = LiveView(desk.home.database.resolve().parent), threading.Event(), [GREY]
    view.start()

    def run() -> None:
        number = 0
        while not over.wait(0.05):
            number += 1
            view.follow(Frame("entrance", number, datetime.now(UTC), number * 40_000_000, sees[-1]), Step())

    camera = threading.Thread(target=run)
    camera.start()
    yield lambda picture: sees.append(cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR))
    over.set()
    camera.join()
    view.stop()


def test_a_code_held_before_the_node_s_camera_is_read_when_the_desk_asks(
    desk: Desk, door: Door, hq: Hq, visitor: Visitor, entrance: Callable[[bytes], None]
) -> None:
    visit, _ = door.arrive("first")
    client, code = visitor("li"), hq.agent()
    entrance(picture_of(code.text(), wide=1920))
    assert "经纪人码有效" in scan(client, visit, "", "code/camera", camera="entrance").text
    assert records(desk, "code.refused", "visit.checkin") == []


def test_a_camera_that_shows_nothing_or_is_not_there_is_said(
    door: Door, visitor: Visitor, monkeypatch: pytest.MonkeyPatch, entrance: Callable[[bytes], None]
) -> None:
    assert entrance
    monkeypatch.setattr("edge.kiosk.codes.CAMERA_S", 0.3)
    visit, _ = door.arrive("first")
    client = visitor("li")
    assert "没有可识别的码" in scan(client, visit, "", "code/camera", camera="entrance").text
    assert "当前没有画面" in scan(client, visit, "", "code/camera", camera="no-such").text


def test_the_slip_of_a_check_in_is_signed_and_masks_the_phone_and_the_agent_s_copy_has_none(
    desk: Desk, door: Door, hq: Hq, visitor: Visitor
) -> None:
    visit, _ = door.arrive("first")
    client, code = visitor("li"), hq.report()
    page = scan(client, visit, code.text(), phone=NUMBER).text
    (record,) = records(desk, "visit.checkin")
    link = f"/receipts/1.{record.seq}"
    assert link in page
    html = client.get(link).text
    customer, agent = html.split("经纪人联", 1)[0], html.rsplit('<section class="slip"', 1)[1]
    assert "138****5678" in customer
    assert "138****5678" not in agent
    assert NUMBER not in html
    assert "报备码有效" in agent
    assert record.hash.hex() in agent
    assert str(code.code.report_id) in agent
    receipt = read_receipt(re.findall("FVR1[A-Z2-7]+", html)[0])
    assert verify_receipt(receipt, None, desk.home.node_pub).ok
    assert verify_receipt(receipt, desk.home.path, None).ok
    svg = client.get(f"{link}/code.svg")
    assert svg.headers["content-type"] == "image/svg+xml"
    assert client.get(link).text.count("FVR1") == html.count("FVR1") == 1
    assert re.findall("FVR1[A-Z2-7]+", client.get(link).text) == [receipt.text()], "printed again it is the same"
    for nothing in ("/receipts/1.1", "/receipts/1.9999", "/receipts/x", "/receipts/0.1"):
        assert client.get(nothing).status_code == 404


def test_a_registration_that_nobody_signed_gets_no_slip(desk: Desk, door: Door, visitor: Visitor) -> None:
    visit, _ = door.arrive("first")
    client = visitor("li")
    sent = {"csrf_token": form_token(client, "/"), "request_id": secrets.token_hex(16), "way": "walk_in"}
    until_shown(client, visit)
    client.post(f"/visits/{visit}/checkin", data=sent)
    (record,) = records(desk, "visit.checkin")
    link = f"/receipts/1.{record.seq}"
    assert client.get(link).status_code == 200
    with closing(sqlite3.connect(desk.home.database)) as connection, connection:
        connection.execute("UPDATE ledger SET signature = zeroblob(64) WHERE seq = ?", (record.seq,))
    assert client.get(link).status_code == 404
    assert client.get(f"{link}/code.svg").status_code == 404


def test_each_code_refused_is_on_record_whatever_the_form_calls_itself(
    desk: Desk, door: Door, hq: Hq, visitor: Visitor
) -> None:
    visit, _ = door.arrive("first")
    client, code = visitor("li"), hq.report().text()
    for torn in (code[:-9], code[:-10], code[:-9]):
        scan(client, visit, torn, request_id="ab" * 16)
    assert len({one.fields["code"] for one in records(desk, "code.refused")}) == 2
    assert len(records(desk, "code.refused")) == 2, "the same twice is one"


def test_the_slip_of_a_refused_code_says_why_and_proves_it(desk: Desk, door: Door, hq: Hq, visitor: Visitor) -> None:
    visit, _ = door.arrive("first")
    client = visitor("li")
    page = scan(client, visit, hq.report().text(), phone=OTHER).text
    (refused,) = records(desk, "code.refused")
    assert f"/receipts/1.{refused.seq}" in page
    html = client.get(f"/receipts/1.{refused.seq}").text
    assert "码无效" in html
    assert "原因：手机号与报备不符" in html
    assert "139" not in html.split("<main")[1].split("FVR1")[0].replace(refused.hash.hex(), "")
    receipt = read_receipt(re.findall("FVR1[A-Z2-7]+", html)[0])
    verdict = verify_receipt(receipt, desk.home.path, desk.home.node_pub)
    assert verdict.ok
    assert "a code was refused: other_phone" in verdict.lines


def test_a_phone_that_was_reported_is_known_without_its_code_once_the_desk_has_central_s_key(
    desk: Desk, door: Door, hq: Hq, visitor: Visitor
) -> None:
    visits = [door.arrive("first", ago_s=60 - i)[0] for i in range(4)]
    client, code = visitor("li"), hq.report().code
    hq.tell()

    def register(visit: str, phone: str, way: str = "walk_in") -> str:
        until_shown(client, visit)
        form = {"csrf_token": form_token(client, "/"), "request_id": secrets.token_hex(16), "way": way, "phone": phone}
        return client.post(f"/visits/{visit}/checkin", data=form, follow_redirects=True).text

    register(visits[0], NUMBER)
    keep_subject_key(desk.home.keys_database, subject_key(hq.directory))
    told = register(visits[1], NUMBER)
    assert f"该手机号已有报备：经纪人 {AGENT}" in told
    assert "未出示报备码" in client.get(f"/fragments/arrival/{visits[1]}").text
    assert "已有报备" not in register(visits[2], OTHER)
    revoke(hq.directory, find_code(hq.directory, code.hash), "abused")
    hq.tell()
    assert "已有报备" not in register(visits[3], NUMBER), "what was taken back protects nobody"
    one, two, three, four = (record.fields.get("reports") for record in records(desk, "visit.checkin"))
    assert (one, two, three, four) == (None, [code.report_id], None, None)
