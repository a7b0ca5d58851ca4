"""Who serves: turns out of the day's records, skips with a reason, and returning visitors to whom they had."""

import re
import secrets
from collections.abc import Callable
from contextlib import closing
from datetime import date, timedelta
from typing import Any

import httpx
import pytest

from edge.clock import Clock
from edge.desk.rota import BadRota, Rota, assignments_since, order_of, queue, set_order
from sync.format.records import Record
from sync.verify.verify import verify
from tests.conftest import form_token
from tests.edge.kiosk.conftest import Desk, until_shown
from tests.edge.kiosk.door import Door
from tests.edge.kiosk.test_facts import NUMBER, OTHER, Host

DAY, LI, WANG, ZHAO = date(2026, 11, 26), "acc-li", "acc-wang", "code-7"


@pytest.fixture
def host(desk: Desk, door: Door) -> Host:
    set_order(desk.home.database, DAY, [LI, WANG, ZHAO])
    return Host(desk, door)


def assign(host: Host, visit: str, consultant: str, request: str = "", **skipped: Any) -> Record:
    rota = Rota(lambda: host.desk.home.open_ledger("desk", Clock()))
    arrival = host.arrival(visit)
    return rota.assign(
        visit,
        arrival.person_id,
        consultant,
        skipped.get("skipped", {}),
        request or secrets.token_hex(16),
        LI,
        day=DAY,
        from_us=0,
    )


def waiting(host: Host) -> tuple[str, ...]:
    with closing(host.desk.home.open_ledger()) as ledger:
        return queue(order_of(ledger.connection, DAY), assignments_since(ledger, 0))


def test_consultants_take_turns_in_the_days_order(host: Host, door: Door) -> None:
    for who, after in ((LI, (WANG, ZHAO, LI)), (WANG, (ZHAO, LI, WANG)), (ZHAO, (LI, WANG, ZHAO))):
        record = assign(host, door.see(), who)
        assert record.fields["turn"] == "next"
        assert "skipped" not in record.fields
        assert waiting(host) == after
    assert verify(host.desk.home.path).ok


def test_who_is_busy_keeps_the_turn_and_who_is_away_loses_it(host: Host, door: Door) -> None:
    record = assign(host, door.see(), ZHAO, skipped={LI: "busy", WANG: "away"})
    assert record.fields["turn"] == "next"
    assert record.fields["skipped"] == [
        {"consultant": LI, "reason": "busy"},
        {"consultant": WANG, "reason": "away"},
    ]
    assert waiting(host) == (LI, WANG, ZHAO)


def test_who_was_asked_for_by_name_keeps_their_turn_and_the_record_says_whose_it_was(host: Host, door: Door) -> None:
    record = assign(host, door.see(), ZHAO)
    assert (record.fields["turn"], record.fields["proposed"]) == ("chosen", LI)
    assert waiting(host) == (LI, WANG, ZHAO)


def test_a_returning_face_and_a_returning_phone_go_to_whom_they_had(host: Host, door: Door) -> None:
    one, person = door.arrive("first", ago_s=7200)
    host.register(one, NUMBER)
    assign(host, one, LI)
    by_face, _ = door.arrive("return", person=person, similarity=0.8)
    assert assign(host, by_face, LI).fields["turn"] == "earlier"
    by_phone = door.see()
    host.register(by_phone, NUMBER)
    assert assign(host, by_phone, LI).fields["turn"] == "earlier"
    stranger = door.see()
    host.register(stranger, OTHER)
    assert assign(host, stranger, WANG).fields["turn"] == "next"


def test_the_same_form_twice_assigns_once_and_a_stranger_to_the_rota_never(host: Host, door: Door) -> None:
    visit, request = door.see(), secrets.token_hex(16)
    assert assign(host, visit, LI, request).seq == assign(host, visit, LI, request).seq
    with pytest.raises(BadRota, match="not on today's rota"):
        assign(host, visit, "acc-nobody")
    with pytest.raises(BadRota, match="not on today's rota"):
        assign(host, visit, LI, skipped={"acc-nobody": "busy"})
    assert len(list(door.ledger.records(("visit.assigned",)))) == 1


def test_a_day_without_an_order_has_that_of_the_day_before_it(host: Host) -> None:
    database = host.desk.home.database
    set_order(database, DAY + timedelta(days=2), [ZHAO])
    with closing(host.desk.home.open_ledger()) as ledger:
        assert order_of(ledger.connection, DAY + timedelta(days=1)) == (LI, WANG, ZHAO)
        assert order_of(ledger.connection, DAY + timedelta(days=9)) == (ZHAO,)
        assert order_of(ledger.connection, DAY - timedelta(days=1)) == ()
    for odd in ("", "two words", "x" * 65, "'; drop table rota"):
        with pytest.raises(BadRota):
            set_order(database, DAY, [odd])


def test_a_host_skips_with_a_reason_and_assigns_the_next_at_the_page(
    desk: Desk, door: Door, visitor: Callable[..., httpx.Client]
) -> None:
    manager, client = visitor("wang"), visitor("li")
    for who in (desk.li.account_id, desk.wang.account_id):
        sent = {"csrf_token": form_token(manager, "/rota"), "what": "add", "who": who}
        assert manager.post("/rota", data=sent).status_code == 303
    assert client.get("/rota").status_code == 403
    visit = door.see()
    until_shown(client, visit)
    page = f"/visits/{visit}/checkin"
    Host(desk, door).register(visit)
    found: list[str] = []
    while not found:
        found = re.findall(r'name="consultant" value="([^"]+)"', client.get(page).text)
    assert found == [desk.li.account_id]
    html = client.get(page).text
    hidden = dict(re.findall(r'name="(csrf_token|request_id|skipped|consultant)" value="([^"]*)"', html))
    html = client.post(f"/visits/{visit}/assign", data={**hidden, "skip": "busy"}, follow_redirects=True).text
    assert "已跳过 li（正在接待）" in html
    assert "轮到 wang" in html
    hidden = dict(re.findall(r'name="(csrf_token|request_id|skipped|consultant)" value="([^"]*)"', html))
    html = client.post(f"/visits/{visit}/assign", data=hidden, follow_redirects=True).text
    (record,) = door.ledger.records(("visit.assigned",))
    assert record.fields["skipped"] == [{"consultant": desk.li.account_id, "reason": "busy"}]
    assert f"记录 #{record.seq}" in html
    assert "正在接待" in manager.get("/rota").text
    assert "接待：wang" in client.get(f"/fragments/arrival/{visit}").text
