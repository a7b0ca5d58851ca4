"""The desk hands out certificates: to whom is signed in, for what can be certified, and the chain says so."""

import hashlib
import io
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from sync.format.messages import Ack
from sync.verify.verify import verify
from tests.conftest import form_token
from tests.edge.kiosk.conftest import Desk, until, until_shown
from tests.edge.kiosk.door import Door
from tests.sync.a_site import ACentral

Visitor = Callable[..., httpx.Client]


@pytest.fixture
def central(desk: Desk) -> ACentral:
    """A central that the node has joined."""
    central = ACentral()
    desk.home.central_pub.write_text(central.pub())
    return central


def acknowledge(door: Door, central: ACentral) -> None:
    head = door.ledger.head()
    assert head is not None
    record = door.ledger.record(head.epoch, head.seq)
    assert record is not None
    now_us = record.stamp.wall_us + 250_000
    assert door.ledger.accept_ack(
        Ack.seal(record.node_id, record.epoch, record.seq, record.hash, now_us, 8, central.key("ack"))
    )


def exports(door: Door) -> list[dict[str, object]]:
    return [record.fields for record in door.ledger.records(("export.made",))]


def test_a_first_visit_is_certified_as_paper_and_as_evidence(
    desk: Desk, door: Door, central: ACentral, visitor: Visitor, tmp_path: Path
) -> None:
    visit, _ = door.arrive("first")
    acknowledge(door, central)
    client = visitor("li")
    until_shown(client, visit)
    assert f'href="/certificates/{visit}"' in client.get("/arrivals").text
    path = f"/certificates/{visit}"
    told: dict[str, httpx.Response] = {}
    for form in ("pdf", "zip"):
        answer = client.post(path, data={"csrf_token": form_token(client, path), "form": form})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == f"application/{form}"
        assert answer.headers["content-disposition"] == f'attachment; filename="{visit}.{form}"'
        told[form] = answer
    assert told["pdf"].content.startswith(b"%PDF-")
    (tmp_path / "visit.zip").write_bytes(told["zip"].content)
    assert verify(tmp_path / "visit.zip", desk.home.node_pub).ok
    with zipfile.ZipFile(io.BytesIO(told["zip"].content)) as archive:
        assert "certificate.pdf" in archive.namelist()
    assert [(made["what"], made["visit"], made["account"]) for made in exports(door)] == [
        ("certificate", visit, desk.li.account_id)
    ] * 2
    assert exports(door)[1]["sha256"] == hashlib.sha256(told["zip"].content).hexdigest()
    assert verify(desk.home.path).ok


def test_a_visit_that_was_checked_in_is_certified_with_that_and_verifies(
    desk: Desk, door: Door, central: ACentral, visitor: Visitor, tmp_path: Path
) -> None:
    visit, _ = door.arrive("first")
    acknowledge(door, central)
    client = visitor("li")
    until_shown(client, visit)
    page = f"/visits/{visit}/checkin"
    form = {"csrf_token": form_token(client, page), "request_id": "0" * 32, "way": "phone", "phone": "13800005678"}
    assert client.post(page, data=form).status_code == 303
    record = door.ledger.last_of("visit.checkin")
    assert record is not None
    assert record.fields["central_as_of_us"] == door.ledger.last_ack_us()
    assert "中心数据截至" in client.get(page).text
    acknowledge(door, central)
    path = f"/certificates/{visit}"
    for kind in ("pdf", "zip"):
        answer = client.post(path, data={"csrf_token": form_token(client, path), "form": kind})
        assert answer.status_code == 200
    (tmp_path / "visit.zip").write_bytes(answer.content)
    assert verify(tmp_path / "visit.zip", desk.home.node_pub).ok
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        held = b"".join(archive.read(name) for name in archive.namelist())
    assert record.fields["phone"].encode() in held
    assert b"13800005678" not in held


def test_a_desk_whose_key_is_revoked_checks_nobody_in_and_says_why(
    desk: Desk, door: Door, central: ACentral, visitor: Visitor
) -> None:
    visit, _ = door.arrive("first")
    acknowledge(door, central)
    client = visitor("li")
    until_shown(client, visit)
    with closing(sqlite3.connect(desk.home.database)) as connection, connection:
        key_id = desk.home.signer("desk").public.key_id
        connection.execute("INSERT INTO revoked_keys VALUES (?, 1, 1, 'lost')", (key_id,))
    page = f"/visits/{visit}/checkin"
    form = {"csrf_token": form_token(client, page), "request_id": "0" * 32, "way": "phone", "phone": "13800005678"}
    answer = client.post(page, data=form)
    assert answer.status_code == 409
    assert "没有记录：本台的前台密钥已失效" in answer.text
    assert door.ledger.last_of("visit.checkin") is None


def test_nobody_who_is_not_signed_in_or_comes_from_elsewhere_gets_one(
    door: Door, central: ACentral, visitor: Visitor
) -> None:
    visit, _ = door.arrive("first")
    acknowledge(door, central)
    path = f"/certificates/{visit}"
    assert visitor().get(path).status_code in (303, 401, 403)
    assert visitor().post(path, data={"form": "zip"}).status_code in (303, 401, 403)
    client = visitor("wang")
    until_shown(client, visit)
    assert client.post(path, data={"form": "zip"}).status_code == 403
    good = {"csrf_token": form_token(client, path), "form": "zip"}
    assert client.post(path, data=good, headers={"origin": "http://elsewhere"}).status_code == 403
    assert client.post(path, data={**good, "form": "exe"}).status_code == 422
    assert client.post("/certificates/v-nobody", data=good).status_code == 404
    assert exports(door) == []


def test_what_cannot_be_certified_offers_none_and_says_why(door: Door, central: ACentral, visitor: Visitor) -> None:
    film = door.arrive("first", source="file")[0]
    seen, unsure = door.see(), door.arrive("unsure", candidates=(("p-1", 0.4),))[0]
    acknowledge(door, central)
    client = visitor("wang")
    until_shown(client, unsure)
    page = client.get("/arrivals").text
    for visit, why in ((film, "来源是文件"), (seen, "没有比对任何人"), (unsure, "请先在")):
        assert f"/certificates/{visit}" not in page
        assert why in client.get(f"/certificates/{visit}").text
        answer = client.post(f"/certificates/{visit}", data={"csrf_token": form_token(client, "/"), "form": "zip"})
        assert answer.status_code == 409
        assert why in answer.text
    assert exports(door) == []


def test_a_node_without_central_and_a_damaged_visit_give_none(desk: Desk, door: Door, visitor: Visitor) -> None:
    visit, _ = door.arrive("first")
    client = visitor("wang")
    until_shown(client, visit)
    assert "/certificates/" not in client.get("/arrivals").text
    assert "尚未加入中心" in client.get(f"/certificates/{visit}").text
    desk.home.central_pub.write_text(ACentral().pub())
    page = client.get(f"/certificates/{visit}").text
    assert "中心尚未确认" in page
    with closing(sqlite3.connect(desk.home.database)) as connection:
        change = "replace(CAST(body AS TEXT), '\"gallery_n\":126', '\"gallery_n\":926')"
        connection.execute(f"UPDATE ledger SET body = CAST({change} AS BLOB)")
        connection.commit()
    form = {"csrf_token": form_token(client, f"/certificates/{visit}"), "form": "pdf"}
    answer = client.post(f"/certificates/{visit}", data=form)
    assert answer.status_code == 409
    assert "没有通过验证" in answer.text
    assert exports(door) == []


def test_a_desk_whose_key_is_revoked_issues_none_and_says_why(
    desk: Desk, door: Door, central: ACentral, visitor: Visitor
) -> None:
    visit, _ = door.arrive("first")
    acknowledge(door, central)
    client = visitor("li")
    until_shown(client, visit)
    with closing(sqlite3.connect(desk.home.database)) as connection, connection:
        key_id = desk.home.signer("desk").public.key_id
        connection.execute("INSERT INTO revoked_keys VALUES (?, 1, 1, 'lost')", (key_id,))
    form = {"csrf_token": form_token(client, f"/certificates/{visit}"), "form": "zip"}
    answer = client.post(f"/certificates/{visit}", data=form)
    assert answer.status_code == 409
    assert "没有出具：本台的前台密钥已失效" in answer.text
    assert exports(door) == []


def test_a_visit_signed_after_its_key_was_revoked_is_marked_and_gets_none(
    desk: Desk, door: Door, central: ACentral, visitor: Visitor
) -> None:
    visit, _ = door.arrive("first")
    acknowledge(door, central)
    client = visitor("li")
    until_shown(client, visit)
    assert "此前已被吊销" not in client.get(f"/fragments/arrival/{visit}").text
    with closing(sqlite3.connect(desk.home.database)) as connection, connection:
        key_id = desk.home.signer("node").public.key_id
        connection.execute("INSERT INTO revoked_keys VALUES (?, 1, 1, 'lost')", (key_id,))
    until(lambda: "签名密钥此前已被吊销" in client.get(f"/fragments/arrival/{visit}").text)
    assert "不出具证书" in client.get(f"/certificates/{visit}").text
    assert "proves nothing" in client.get(f"/fragments/arrival/{visit}?lang=en").text
