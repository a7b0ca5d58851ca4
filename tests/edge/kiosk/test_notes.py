import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from edge.access_log import KIND, check
from edge.clock import Clock
from edge.desk.desk_secrets import desk_secret
from edge.desk.notes import Notes
from sync.format.records import Record
from sync.verify.verify import verify
from tests.conftest import form_token
from tests.edge.kiosk.conftest import Desk, until_shown
from tests.edge.kiosk.door import Door

Visitor = Callable[..., httpx.Client]
TEXT = "王经理要我把来源改成渠道 Broker-77"


@pytest.fixture
def visit_id(visitor: Visitor, door: Door) -> str:
    visit_id, _ = door.arrive("first")
    until_shown(visitor("li"), visit_id)
    return visit_id


def _leave(client: httpx.Client, visit_id: str, text: str = "", request: str = "") -> httpx.Response:
    sent = {"request_id": request or secrets.token_hex(16), "text": text, "csrf_token": form_token(client, "/node")}
    return client.post(f"/visits/{visit_id}/note", data=sent)


def _digests(desk: Desk) -> list[Record]:
    with closing(desk.home.open_ledger()) as ledger:
        return list(ledger.records((KIND,)))


def test_one_tap_leaves_a_note_that_only_the_auditor_reads(visitor: Visitor, visit_id: str) -> None:
    li = visitor("li")
    done = _leave(li, visit_id)
    assert done.status_code == 200
    assert "已封存并入链" in done.text
    assert "已封存并入链" not in li.get(f"/visits/{visit_id}/note").text, "nobody after them learns of it"
    page = visitor("auditor").get("/notes").text
    assert "没有文字说明" in page
    assert visit_id in page
    assert "与链上承诺一致" in page
    for name in ("li", "wang", "privacy", "installer"):
        assert visitor(name).get("/notes").status_code == 403


def test_the_chain_holds_a_commitment_and_neither_the_visit_nor_the_writer(
    visitor: Visitor, desk: Desk, visit_id: str, find_bytes: Callable[[Path, bytes], list[str]]
) -> None:
    _leave(visitor("li"), visit_id, TEXT)
    (record,) = (one for one in _digests(desk) if "notes" in one.fields)
    own = record.fields.keys() - {"v", "node", "epoch", "seq", "prev", "kind", "key", "at", "anchor"}
    assert own == {"entries", "link", "notes"}
    assert visit_id.encode() not in record.body
    assert desk.li.account_id.encode() not in record.body
    for part in (TEXT, "Broker-77"):
        assert find_bytes(desk.home.path, part.encode()) == []
    assert TEXT in visitor("auditor").get("/notes").text
    checked = check(desk.home.database)
    assert checked is not None
    assert checked.why == ""
    assert verify(desk.home.path, desk.home.node_pub).ok


def test_the_same_form_twice_leaves_one_note_and_one_that_is_too_long_none(
    visitor: Visitor, desk: Desk, visit_id: str
) -> None:
    li = visitor("li")
    for _ in range(2):
        assert "已封存并入链" in _leave(li, visit_id, TEXT, "a" * 32).text
    assert len([one for one in _digests(desk) if "notes" in one.fields]) == 1
    assert _leave(li, visit_id, "x" * 501).status_code == 422
    assert len([one for one in _digests(desk) if "notes" in one.fields]) == 1


def test_a_note_changed_or_moved_at_rest_is_told_or_does_not_open(visitor: Visitor, desk: Desk, visit_id: str) -> None:
    for text in ("one", "two"):
        _leave(visitor("li"), visit_id, text)
    with closing(sqlite3.connect(desk.home.database)) as connection, connection:
        connection.execute("UPDATE notes SET seq = (SELECT min(seq) FROM notes)")
    page = visitor("auditor").get("/notes").text
    assert (page.count("与链上承诺一致"), page.count("不符")) == (1, 1)
    with closing(sqlite3.connect(desk.home.database)) as connection, connection:
        connection.execute("UPDATE notes SET sealed = (SELECT sealed FROM notes ORDER BY note_id LIMIT 1)")
    page = visitor("auditor").get("/notes").text
    assert page.count("与链上承诺一致") + page.count("不符") == 1, "sealed to its own id"


def test_notes_go_with_their_time_and_open_under_no_other_secret(visitor: Visitor, desk: Desk, visit_id: str) -> None:
    _leave(visitor("li"), visit_id, TEXT)
    notes = Notes(lambda: desk.home.open_ledger("desk", Clock()), desk_secret(desk.home.keys_database, "note"))
    with closing(desk.home.open_ledger()) as ledger:
        (note,) = notes.all(ledger)
        assert list(Notes(desk.home.open_ledger, bytes(32)).all(ledger)) == []
        notes.drop(note.made_us)
        assert len(list(notes.all(ledger))) == 1
        notes.drop(note.made_us + 1)
        assert list(notes.all(ledger)) == []


def test_a_revoked_desk_key_keeps_no_note(visitor: Visitor, desk: Desk, visit_id: str) -> None:
    with closing(sqlite3.connect(desk.home.database)) as connection, connection:
        key_id = desk.home.signer("desk").public.key_id
        connection.execute("INSERT INTO revoked_keys VALUES (?, 1, 1, 'compromised')", (key_id,))
    refused = _leave(visitor("li"), visit_id, TEXT)
    assert refused.status_code == 409
    assert "没有记录" in refused.text
    assert "没有便签" in visitor("auditor").get("/notes").text
