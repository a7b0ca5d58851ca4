import secrets
from collections.abc import Callable
from contextlib import closing

import httpx
import pytest

from edge.access_log import check
from edge.kiosk.app import create_app
from edge.kiosk.sign_in import accounts_of, records_of, tablets_of
from sync.format.records import Record
from sync.node.in_force import KeyNotInForce
from sync.storage.database import connect
from sync.web.accounts import NotAnAccount
from tests.conftest import form_token
from tests.edge.kiosk.conftest import PASSWORD, Desk


def _told(desk: Desk, what: str = "accounts") -> list[Record]:
    with closing(desk.home.open_ledger()) as ledger:
        return [one for one in ledger.records(("access.digest",)) if what in one.fields]


def test_every_change_of_an_account_is_a_record_of_ids_roles_and_offices_and_nothing_else(desk: Desk) -> None:
    accounts = accounts_of(desk.home)
    zhao = accounts.add("赵审计", PASSWORD, "auditor", office="head_office")
    accounts.set_password("赵审计", "another horse battery")
    accounts.set_pin("li", "7391")
    accounts.set_password("li", PASSWORD)
    accounts.set_pin("li", None)
    accounts.remove("赵审计")
    told = _told(desk)
    auditor = {"account": zhao.account_id, "role": "auditor", "office": "head_office"}
    li = {"account": desk.li.account_id, "role": "front_desk", "office": "puxi-01"}
    assert [one.fields["accounts"] for one in told] == [
        [{**auditor, "act": "made"}],
        [{**auditor, "act": "password"}],
        [{**li, "act": "pin"}],
        [{**li, "act": "password"}],
        [{**li, "act": "pin_taken"}],
        [{**auditor, "act": "removed"}],
    ]
    bodies = b"".join(one.body for one in told)
    assert "赵审计".encode() not in bodies
    assert b"argon2" not in bodies
    log = check(desk.home.database)
    assert log is not None
    assert not log.why, "a digest that tells of accounts is a digest still"


def test_an_account_that_no_record_may_tell_of_is_not_made(desk: Desk) -> None:
    with closing(connect(desk.home.database)) as connection:
        revoked = (desk.home.signer("desk").public.key_id,)
        connection.execute("INSERT INTO revoked_keys VALUES (?, 1, 0, 'compromised')", revoked)
    accounts = accounts_of(desk.home)
    with pytest.raises(KeyNotInForce):
        accounts.add("zhao", PASSWORD, "auditor", office="head_office")
    with pytest.raises(KeyNotInForce):
        accounts.set_password("auditor", "another horse battery")
    assert "zhao" not in [one.name for one in accounts.all()]
    assert accounts.by_password("auditor", PASSWORD, None, "here") in accounts.all()
    assert _told(desk) == []
    create_app(desk.home)  # the pages are served all the same


def test_a_change_that_is_refused_leaves_no_record(desk: Desk) -> None:
    accounts = accounts_of(desk.home)
    with pytest.raises(NotAnAccount):
        accounts.add("li", PASSWORD, "auditor")
    with pytest.raises(NotAnAccount):
        accounts.set_pin("auditor", "7391")
    assert _told(desk) == []


def test_accounts_put_into_the_database_by_hand_are_told_of_when_the_kiosk_starts(desk: Desk) -> None:
    accounts = accounts_of(desk.home)
    accounts.add("chen", PASSWORD, "front_desk", office="puxi-01")
    assert records_of(desk.home).find() == 5, "those that the fixture has put there past any record"
    with closing(connect(desk.home.database)) as connection:
        connection.execute(
            "INSERT INTO accounts (account_id, name, role, password_hash, pin_hash, created_s, office)"
            " VALUES ('acc-00112233445566aa', 'ghost', 'auditor', '', '', 0, 'hq')"
        )
    create_app(desk.home)
    ghost = {"account": "acc-00112233445566aa", "act": "found", "role": "auditor", "office": "hq"}
    assert _told(desk)[-1].fields["accounts"] == [ghost]
    before = len(_told(desk))
    create_app(desk.home)
    assert len(_told(desk)) == before, "once is enough"


def test_a_tablet_registered_and_revoked_is_told_of(visitor: Callable[..., httpx.Client], desk: Desk) -> None:
    wang = visitor("wang")
    form = {"csrf_token": form_token(wang, "/tablets"), "request_id": secrets.token_hex(16), "name": "left"}
    held = set()
    for cookies in (None, None, ""):  # sent twice, and once more by a browser that never got the answer
        if cookies is not None:
            wang.cookies.delete("fv_kiosk_tablet")
        assert wang.post("/tablets", data=form).status_code == 303
        held.add(wang.cookies["fv_kiosk_tablet"])
    assert len(held) == 1, "whichever answer comes last, its cookie holds"
    (tablet,) = tablets_of(desk.home).all()
    path = f"/tablets/{tablet.tablet_id}/revoke"
    for _ in range(2):  # the second finds none there
        assert wang.post(path, data={"csrf_token": form_token(wang, "/node")}).status_code == 303
    said = {"tablet": tablet.tablet_id, "account": desk.wang.account_id}
    assert [one.fields["tablets"] for one in _told(desk, "tablets")] == [
        [{**said, "act": "registered"}],
        [{**said, "act": "revoked"}],
    ]
