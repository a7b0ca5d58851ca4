"""Every arrival is closed at the desk: by phone, as a walk-in, or dismissed; what is shown was recorded."""

import re
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from edge.clock import Clock
from edge.desk.checkin import DISMISSALS, Arrival, CheckIn, Registration
from edge.people.contacts import hash_anew, opening
from edge.people.phones import number_hmac, parse_phone, reported_hmac
from edge.people.vault import opened
from edge.rights.retention import erase, expire
from sync.format.keyring import KeyRing
from sync.format.records import Record
from sync.format.signing import commitment
from sync.format.stamp import Stamp
from sync.node.ledger import Ledger
from sync.verify.verify import verify
from tests.conftest import form_token
from tests.edge.kiosk.conftest import Desk, until
from tests.edge.kiosk.door import Door

Visitor = Callable[..., httpx.Client]
NUMBER = "13800005678"


def checkins(desk: Desk, *kinds: str) -> list[Record]:
    with closing(desk.home.open_ledger()) as ledger:
        return list(ledger.records(kinds or ("visit.checkin",)))


def shown(client: httpx.Client, visit: str) -> str:
    until(lambda: client.get(f"/fragments/arrival/{visit}").status_code == 200)
    return client.get(f"/visits/{visit}/checkin").text


def send(client: httpx.Client, visit: str, what: str = "checkin", **form: Any) -> httpx.Response:
    page = f"/visits/{visit}/checkin"
    html = shown(client, visit)
    hidden = dict(re.findall(r'name="(csrf_token|request_id)" value="([^"]+)"', html))
    sent = {"csrf_token": form_token(client, "/"), "request_id": secrets.token_hex(16), **hidden, **form}
    return client.post(page.replace("checkin", what), data=sent, follow_redirects=True)


def test_an_arrival_is_registered_by_phone_with_what_was_known_then(desk: Desk, door: Door, visitor: Visitor) -> None:
    friend, _ = door.arrive("first", ago_s=300, party_id="g-1", party=1)
    visit, person = door.arrive("first", ago_s=298, party_id="g-1", party=2, agents=["p-agent"])
    client = visitor("li")
    until(lambda: client.get(f"/fragments/arrival/{friend}").status_code == 200)
    answer = send(client, visit, way="phone", phone=NUMBER)
    assert answer.status_code == 200
    (record,) = checkins(desk)
    KeyRing({"desk": desk.home.signer("desk").public}).check(record)
    fields = record.fields
    assert (fields["visit"], fields["person"], fields["state"], fields["way"]) == (visit, person, "registered", "phone")
    assert fields["account"] == desk.li.account_id
    assert fields["company"] == [friend]
    assert fields["agents"] == ["p-agent"]
    assert fields["party_id"] == "g-1"
    assert 298e6 <= fields["since_us"] <= 400e6
    assert "central_as_of_us" not in fields, "no central has been heard"
    assert f"记录 #{record.seq}" in answer.text
    assert "138****5678" in answer.text
    assert NUMBER not in answer.text
    assert f"记录 #{record.seq}" in client.get(f"/fragments/arrival/{visit}").text
    with closing(desk.home.open_ledger()) as ledger, opened(desk.home.database, desk.home.keys_database) as vault:
        salt, number = opening(ledger.connection, vault, visit) or (b"", b"")
    assert number == b"+8613800005678"
    assert commitment(salt, number).hex() == fields["phone"]
    assert verify(desk.home.path).ok


def test_the_same_form_sent_twice_gets_the_same_receipt(desk: Desk, door: Door, visitor: Visitor) -> None:
    visit, _ = door.arrive("first")
    client, request = visitor("li"), secrets.token_hex(16)
    html = shown(client, visit)
    assert 'name="request_id"' in html
    form = {"csrf_token": form_token(client, "/"), "request_id": request, "way": "walk_in"}
    first, second = (client.post(f"/visits/{visit}/checkin", data=form, follow_redirects=True) for _ in range(2))
    (record,) = checkins(desk)
    assert "phone" not in record.fields
    assert first.status_code == second.status_code == 200
    assert f"记录 #{record.seq}" in second.text
    other = client.post(
        f"/visits/{visit}/checkin", data={**form, "request_id": "0" * 32, "way": "phone", "phone": NUMBER}
    )
    assert other.status_code == 409, "another form does not register it a second time"
    assert len(checkins(desk)) == 1
    assert "138****5678" not in client.get(f"/visits/{visit}/checkin").text


def test_a_phone_that_comes_again_is_a_return_by_phone_whatever_the_face(
    desk: Desk, door: Door, visitor: Visitor
) -> None:
    first, _ = door.arrive("first", ago_s=7200)
    second = door.see(ago_s=60)
    client = visitor("li")
    send(client, first, way="phone", phone=NUMBER)
    answer = send(client, second, way="walk_in", phone="+86 138 0000 5678")
    assert "回访（电话）：首次到访" in answer.text.replace("\uff08", "（").replace("\uff09", "）")
    assert "li 登记" in answer.text
    one, two = checkins(desk)
    assert "earlier" not in one.fields
    assert two.fields["earlier"] == first
    assert two.fields["earlier_us"] == one.fields["arrived_us"]
    assert two.fields["phone"] != one.fields["phone"], "a commitment tells nobody that two phones are one"
    assert "回访" in client.get(f"/fragments/arrival/{second}").text


def test_what_is_no_phone_is_refused_in_one_line_and_nothing_is_recorded(
    desk: Desk, door: Door, visitor: Visitor
) -> None:
    visit, _ = door.arrive("first")
    client = visitor("li")
    for typed in ("", "12345", "<b>", "138000056780"):
        answer = send(client, visit, way="phone", phone=typed)
        assert answer.status_code == 422
        assert answer.text.count('role="alert"') == 1
    assert checkins(desk) == []
    assert client.post(f"/visits/{visit}/checkin", data={"csrf_token": form_token(client, "/")}).status_code == 422
    assert send(client, visit, way="phone", phone=NUMBER, request_id="x").status_code == 422
    assert send(client, visit, "dismiss", dismissal="ghost").status_code == 422
    assert checkins(desk) == []


def test_a_dismissal_is_one_tap_and_recorded_with_its_code(desk: Desk, door: Door, visitor: Visitor) -> None:
    client = visitor("li")
    for dismissal in DISMISSALS:
        visit, _ = door.arrive("first")
        assert send(client, visit, "dismiss", dismissal=dismissal).status_code == 200
        record = checkins(desk)[-1]
        assert (record.fields["state"], record.fields.get("reason")) == DISMISSALS[dismissal]
        assert record.fields["visit"] == visit
        assert "way" not in record.fields


def test_a_dismissal_can_be_taken_back_or_become_a_registration_and_all_of_it_stays_on_record(
    desk: Desk, door: Door, visitor: Visitor
) -> None:
    visit, _ = door.arrive("first")
    client = visitor("li")
    send(client, visit, "dismiss", dismissal="courier")
    assert "快递" in client.get(f"/fragments/arrival/{visit}").text
    assert send(client, visit, "dismiss", dismissal="left").status_code == 409, "it stands as a courier"
    send(client, visit, "reopen")
    assert send(client, visit, "reopen").status_code == 409
    send(client, visit, "dismiss", dismissal="companion")
    send(client, visit, way="walk_in")
    assert send(client, visit, "reopen").status_code == 409, "a registration is not taken back here"
    assert [r.fields["state"] for r in checkins(desk)] == ["not_customer", "open", "companion", "registered"]


def test_the_first_page_counts_what_is_open_and_what_each_account_closed(door: Door, visitor: Visitor) -> None:
    visits = [door.arrive("first", ago_s=i)[0] for i in range(4)]
    li, wang = visitor("li"), visitor("wang")
    for visit in visits:
        shown(li, visit)
    assert "4 待登记" in li.get("/fragments/today").text
    send(li, visits[0], way="walk_in")
    send(li, visits[1], "dismiss", dismissal="left")
    send(wang, visits[2], way="phone", phone=NUMBER)
    told = wang.get("/fragments/today").text
    assert "1 待登记" in told
    assert "2 已登记" in told
    assert "1 已排除" in told
    panels = re.sub(r"\s+", " ", wang.get("/fragments/panels").text)
    assert "<dt>li</dt><dd>1 已登记 · 1 已排除</dd>" in panels
    assert "<dt>wang</dt><dd>1 已登记 · 0 已排除</dd>" in panels
    assert "1 open" in wang.get("/fragments/today?lang=en").text


def test_an_erasure_takes_the_phone_out_of_every_byte_and_the_chain_still_verifies(
    desk: Desk, door: Door, visitor: Visitor
) -> None:
    visit, person = door.arrive("first")
    client = visitor("li")
    send(client, visit, way="phone", phone=NUMBER)
    home = desk.home
    files = [home.path / name for name in ("firstvisit.db", "firstvisit.db-wal", "keys.db", "keys.db-wal")]
    with opened(home.database, home.keys_database) as vault:
        digest = number_hmac(vault.pepper(), parse_phone(NUMBER))
        held = b"".join(file.read_bytes() for file in files if file.exists())
        assert digest in held
        assert NUMBER.encode() not in held
        (contact,) = vault.contacts_of(person)
        assert erase(home.open_ledger("desk"), vault, person, "request", None).complete
        assert vault.contacts_of(person) == [contact], "only the face was to go"
        assert "138****5678" in client.get(f"/visits/{visit}/checkin").text
        assert erase(home.open_ledger("desk"), vault, contact, "request", None).complete
        assert vault.contacts_of(person) == []
    left = b"".join(file.read_bytes() for file in files if file.exists())
    assert digest not in left
    assert NUMBER.encode() not in left
    assert NUMBER[3:].encode() not in left
    page = client.get(f"/visits/{visit}/checkin").text
    assert "138****5678" not in page
    assert "已登记" in page
    assert verify(home.path).ok


def test_a_phone_given_without_a_face_is_erased_by_the_number_the_page_shows(
    desk: Desk, door: Door, visitor: Visitor
) -> None:
    visit = door.see()
    client = visitor("li")
    found = re.search(r"c-[0-9a-f]{20}", send(client, visit, way="phone", phone=NUMBER).text)
    assert found
    with opened(desk.home.database, desk.home.keys_database) as vault:
        erase(desk.home.open_ledger("desk"), vault, found[0], "request", None)
    assert "138****5678" not in client.get(f"/visits/{visit}/checkin").text


def test_the_phone_outlives_the_face_whose_time_is_up(desk: Desk, door: Door, visitor: Visitor) -> None:
    visit, person = door.arrive("first")
    client = visitor("li")
    send(client, visit, way="phone", phone=NUMBER)
    policy = desk.home.policy(desk.home.settings())
    with opened(desk.home.database, desk.home.keys_database) as vault:
        assert expire(door.ledger, vault, policy, datetime.now(UTC) + timedelta(days=2)) == 1
        assert not vault.remembers(person)
        assert vault.sweep_keys() == 0
        assert vault.keyless() == []
    again, _ = door.arrive("first")
    assert "回访" in send(client, again, way="phone", phone=NUMBER).text


def test_a_phone_goes_when_its_own_time_is_up_and_a_record_says_so(desk: Desk, door: Door, visitor: Visitor) -> None:
    visit = door.see()
    client = visitor("li")
    found = re.search(r"c-[0-9a-f]{20}", send(client, visit, way="phone", phone=NUMBER).text)
    assert found
    policy, now = desk.home.policy(desk.home.settings()), datetime.now(UTC)
    assert policy.phones == timedelta(days=180)
    with opened(desk.home.database, desk.home.keys_database) as vault:
        expire(door.ledger, vault, policy, now + timedelta(days=179))
        assert "138****5678" in client.get(f"/visits/{visit}/checkin").text
        expire(door.ledger, vault, policy, now + timedelta(days=181))
        assert not vault.remembers(found[0])
    record = checkins(desk, "retention.run")[-1]
    assert (record.fields["expired"], record.fields["basis"]) == ([found[0]], "phone")
    assert "138****5678" not in client.get(f"/visits/{visit}/checkin").text
    assert verify(desk.home.path).ok


def test_a_check_in_that_a_power_cut_ends_leaves_nothing_half_bound(desk: Desk, door: Door, visitor: Visitor) -> None:
    visit, person = door.arrive("first", ago_s=60)
    home, writer = desk.home, desk.home.writer("desk", Clock())

    def cut(_before: Stamp | None) -> Stamp:
        raise OSError("power cut")

    dying = CheckIn(lambda: Ledger(home.database, replace(writer, stamp=cut)), home)
    arrival = Arrival(visit, person, 1_790_000_000_000_000, None, (), (1, 1))
    with pytest.raises(OSError, match="power cut"):
        dying.register(arrival, Registration("phone", parse_phone(NUMBER)), "0" * 32, desk.li.account_id)
    with closing(home.open_ledger()) as ledger:
        assert ledger.connection.execute("SELECT count(*) FROM contacts").fetchone() == (0,)
        assert ledger.connection.execute("SELECT count(*) FROM contact_visits").fetchone() == (0,)
    assert checkins(desk) == []
    client = visitor("li")
    assert "138****5678" in send(client, visit, way="phone", phone=NUMBER).text
    assert len(checkins(desk)) == 1


def test_a_restored_home_finds_the_phones_of_before_under_its_own_pepper(
    desk: Desk, door: Door, visitor: Visitor
) -> None:
    visit = door.see(ago_s=60)
    send(visitor("li"), visit, way="phone", phone=NUMBER)
    home, phone = desk.home, parse_phone(NUMBER)
    with closing(sqlite3.connect(home.keys_database)) as keys, keys:
        keys.execute("UPDATE phone_pepper SET pepper = ?", (bytes(32),))
    with opened(home.database, home.keys_database) as vault, closing(home.open_ledger("desk", Clock())) as ledger:
        with ledger.transaction() as transaction:
            hash_anew(transaction.connection, vault)
        held = ledger.connection.execute("SELECT number_hmac, reported_hmac FROM contacts").fetchall()
    assert held == [(number_hmac(bytes(32), phone), reported_hmac(bytes(32), phone.reported))]
