"""A badge at the desk: it names staff or an agent, closes nothing by itself, and can be taken back."""

import json
import re
import secrets
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from edge.cli import app
from edge.clock import Clock
from edge.desk.badges import badge_of
from edge.minted import new_badge, new_id, new_salt
from edge.people.vault import opened
from edge.rights.retention import erase
from sync.format.records import Record
from sync.format.signing import commitment
from sync.verify.verify import verify
from tests.conftest import form_token
from tests.edge.kiosk.conftest import Desk, until_shown
from tests.edge.kiosk.door import Door

Visitor = Callable[..., httpx.Client]
Enrol = Callable[..., tuple[str, str]]
pytestmark = pytest.mark.usefixtures("head_office")


def send(client: httpx.Client, path: str, **form: str) -> httpx.Response:
    sent = {"csrf_token": form_token(client, "/node"), "request_id": secrets.token_hex(16), **form}
    return client.post(path, data=sent, follow_redirects=True)


@pytest.fixture
def enrolled(visitor: Visitor, desk: Desk) -> Enrol:
    """Has somebody enrolled by a badge; returns their id and the code drawn for them."""

    def enrolled(role: str = "staff", verdict: str = "approved") -> tuple[str, str]:
        page = send(visitor("wang"), "/enrol", role=role, by="badge").text
        shown = re.search("<code>(FVB1[A-Z2-7]{16})</code>", page)
        assert shown is not None
        return approved(visitor, desk, verdict), shown[1]

    return enrolled


def approved(visitor: Visitor, desk: Desk, verdict: str = "approved") -> str:
    """Has the newest proposal answered; returns whose it is."""
    with closing(desk.home.open_ledger()) as ledger:
        proposal = [one for one in ledger.records(("person.enrolled",)) if one.fields["state"] == "proposed"][-1]
    if verdict:
        send(visitor("auditor"), f"/approvals/staff/{proposal.hash.hex()}", verdict=verdict)
    return str(proposal.fields["person"])


def typed(visitor: Visitor, desk: Desk, code: str) -> str:
    """Has a badge approved as they were before codes were drawn: of a word that somebody typed; returns whose it is."""
    person, salt = new_id("p"), new_salt()
    with (
        closing(desk.home.open_ledger("desk", Clock())) as ledger,
        opened(desk.home.database, desk.home.keys_database) as vault,
    ):
        vault.create_key(person)
        with ledger.transaction() as transaction:
            said = {"person": person, "role": "staff", "templates": 0, "state": "proposed"}
            badge = commitment(salt, code.encode()).hex()
            transaction.append("person.enrolled", {**said, "account": desk.wang.account_id, "badge": badge})
            vault.enrolled.add(
                transaction.connection, person, "staff", "", np.empty((0, 0), np.float32), datetime.now(UTC),
                visitor_id=None, label=salt + code.encode(), pending=True,
            )  # fmt: skip
    return approved(visitor, desk)


def closings(door: Door) -> list[Record]:
    return list(door.ledger.records(("visit.checkin",)))


@pytest.mark.parametrize(("role", "says"), [("staff", "本案员工"), ("agent", "渠道人员")])
def test_a_badge_closes_an_arrival_only_at_the_hosts_tap_and_is_taken_back(
    visitor: Visitor, desk: Desk, door: Door, enrolled: Enrol, role: str, says: str
) -> None:
    person, badge = enrolled(role)
    visit, client = door.see(), visitor("li")
    until_shown(client, visit)
    page = send(client, f"/visits/{visit}/code", code=f" {badge} ").text
    assert f"工牌有效：{says}" in page
    assert closings(door) == [], "shown, and nothing is written"
    tap = re.search(r'action="/visits/[^"]+/badge".*?name="request_id" value="([0-9a-f]{32})"', page, re.DOTALL)
    assert tap is not None
    for _ in range(2):
        page = send(client, f"/visits/{visit}/badge", code=badge, request_id=tap[1]).text
    (record,) = closings(door)
    told = {name: record.fields[name] for name in ("visit", "state", "reason", "badge", "account")}
    assert told == {
        "visit": visit, "state": "not_customer", "reason": role, "badge": person, "account": desk.li.account_id,
    }  # fmt: skip
    assert badge.encode() not in record.body
    assert "已出示工牌" in page
    send(client, f"/visits/{visit}/reopen")
    assert closings(door)[-1].fields["state"] == "open"
    assert verify(desk.home.path).ok


def test_a_badge_closes_no_customer_who_is_registered(visitor: Visitor, door: Door, enrolled: Enrol) -> None:
    _, badge = enrolled()
    visit, client = door.see(), visitor("li")
    until_shown(client, visit)
    send(client, f"/visits/{visit}/checkin", way="phone", phone="13800005678")
    assert "已经处理过" in send(client, f"/visits/{visit}/code", code=badge).text
    assert send(client, f"/visits/{visit}/badge", code=badge).status_code == 409
    assert [one.fields["state"] for one in closings(door)] == ["registered"]


def test_what_nobody_has_approved_or_somebody_has_left_is_no_badge(
    visitor: Visitor, desk: Desk, door: Door, enrolled: Enrol
) -> None:
    _, waiting = enrolled(verdict="")
    gone, left = enrolled()
    with (
        closing(desk.home.open_ledger("desk", Clock())) as ledger,
        opened(desk.home.database, desk.home.keys_database) as vault,
    ):
        assert badge_of(desk.home.path, ledger, vault, left) is not None
        erase(ledger, vault, gone, "staff", None)
    visit, client = door.see(), visitor("li")
    until_shown(client, visit)
    for code in (waiting, left, new_badge(), ""):
        assert "工牌有效" not in send(client, f"/visits/{visit}/code", code=code).text
        answer = send(client, f"/visits/{visit}/badge", code=code)
        assert answer.status_code == 422
        assert "不是有效的工牌" in answer.text
    assert closings(door) == []


def test_another_code_written_into_the_row_is_no_badge(desk: Desk, enrolled: Enrol) -> None:
    person, badge = enrolled()
    other = new_badge()
    with closing(desk.home.open_ledger()) as ledger, opened(desk.home.database, desk.home.keys_database) as vault:
        label = vault.enrolled.label(person)
        assert label is not None
        assert badge_of(desk.home.path, ledger, vault, badge) is not None
        forged = label[:32] + other.encode()
        assert commitment(forged[:32], forged[32:]) != commitment(label[:32], label[32:])
        ledger.connection.execute(
            "UPDATE roster SET sealed = ? WHERE person_id = ?", (vault.seal(person, forged, f"label:{person}"), person)
        )
        assert vault.enrolled.label(person) == forged, "it opens"
        assert badge_of(desk.home.path, ledger, vault, other) is None


def test_a_badge_of_before_whose_code_was_typed_opens_nothing_and_is_listed_as_such(
    visitor: Visitor, desk: Desk, door: Door, enrolled: Enrol
) -> None:
    person, _ = enrolled()
    old = {typed(visitor, desk, code) for code in ("7", "AGENT-STATIC-CODE")}
    visit, client = door.see(), visitor("li")
    until_shown(client, visit)
    for code in ("7", "AGENT-STATIC-CODE"):
        assert "工牌有效" not in send(client, f"/visits/{visit}/code", code=code).text
        assert send(client, f"/visits/{visit}/badge", code=code).status_code == 422
    assert closings(door) == []
    listed = CliRunner().invoke(app, ["people", "list", "--home", str(desk.home.path), "--json"])
    rows = {row["person_id"]: row for row in json.loads(listed.stdout)}
    assert {rows[one]["why"] for one in old} == {"badge_typed"}
    assert (rows[person]["role"], rows[person]["why"]) == ("staff", None)
    assert {row["agent_code"] for row in rows.values()} == {None}, "no list shows a badge's code"


def test_a_code_sent_as_a_customers_is_never_taken_for_a_badge(visitor: Visitor, door: Door, enrolled: Enrol) -> None:
    _, badge = enrolled()
    visit, client = door.see(), visitor("li")
    until_shown(client, visit)
    assert "工牌有效" in send(client, f"/visits/{visit}/code", code=badge).text
    assert "工牌有效" not in send(client, f"/visits/{visit}/code", code=badge, way="code").text
