"""Facts, never accusations: each code, what it rests on, and that there is none without its record."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import pytest

from edge.clock import Clock
from edge.desk.checkin import Arrival, CheckIn, Registration
from edge.desk.codes import CodeKind, ShownCode
from edge.desk.fact import Fact, facts_fields
from edge.people.contacts import keep_agents_phone
from edge.people.enrolled import Role
from edge.people.phones import parse_phone
from edge.people.vault import Vault, opened
from edge.recognition.enrolment import enrolled_fields
from sync.format.records import Record
from sync.verify.verify import verify
from tests.edge.kiosk.conftest import Desk, until, until_shown
from tests.edge.kiosk.door import PACK, Door

NUMBER, OTHER = "13800005678", "13811112222"
OUT = {"lat_e7": 1, "lon_e7": 2, "accuracy_e6": 3, "source": "installer", "inside": "out"}


@dataclass
class Host:
    """Somebody at the desk who checks in what came through the door; no page in between."""

    desk: Desk
    door: Door

    def __post_init__(self) -> None:
        self.checkin = CheckIn(lambda: self.desk.home.open_ledger("desk", Clock()), self.desk.home)

    def register(self, visit: str, phone: str | None = NUMBER, code: ShownCode | None = None) -> Record:
        number = None if phone is None else parse_phone(phone)
        way: Any = "walk_in" if phone is None else "phone"
        request = secrets.token_hex(16)
        return self.checkin.register(self.arrival(visit), Registration(way, number, code=code), request, "acc-li")[0]

    def dismiss(self, visit: str, dismissal: str) -> Record:
        return self.checkin.dismiss(self.arrival(visit), dismissal, secrets.token_hex(16), "acc-li")[0]

    def arrival(self, visit: str) -> Arrival:
        kinds = ("visit.seen", "visit.first", "visit.return", "visit.unsure")
        began = next(one for one in self.door.ledger.records(kinds) if one.fields["visit"] == visit)
        at = (began.epoch, began.seq)
        return Arrival(visit, began.fields.get("person"), began.fields["arrived_us"], None, (), at)

    def enrol(self, role: Role, visitor: str | None, phone: str | None = None) -> tuple[str, Record]:
        """Put somebody on the roster as enrolling does, but for the network."""
        person, salt = f"p{secrets.token_hex(8)}", secrets.token_bytes(32)
        vector = np.random.default_rng().normal(size=(1, 128)).astype(np.float32)
        home = self.desk.home
        with opened(home.database, home.keys_database) as vault, closing(home.open_ledger("desk", Clock())) as ledger:
            vault.create_key(person)
            with ledger.transaction() as transaction:
                fields = enrolled_fields(vault, person, role, PACK, vector, visitor)
                record = transaction.append("person.enrolled", {**fields, "state": "proposed"})
                approval = {"person": person, "state": "approved", "proposal": record.hash.hex()}
                outside = {"account": "acc-zhao", "office": "head_office"}
                transaction.append("person.enrolled", approval | outside)
                self._write(vault, transaction.connection, person, role, vector, visitor)
                if phone is not None:
                    keep_agents_phone(transaction.connection, vault, person, parse_phone(phone), salt)
        return person, record

    @staticmethod
    def _write(vault: Vault, connection: Any, person: str, role: Role, vector: Any, visitor: str | None) -> None:
        now = datetime.now(UTC)
        vault.enrolled.add(connection, person, role, PACK, vector, now, visitor_id=visitor, label=None)


@pytest.fixture
def host(desk: Desk, door: Door) -> Iterator[Host]:
    yield Host(desk, door)
    assert verify(desk.home.path).ok


def told(record: Record) -> dict[str, Any]:
    """What a check-in says of each of its facts."""
    on: dict[str, Any] = record.fields.get("facts_on", {})
    assert sorted(on) == record.fields.get("facts", [])
    return on


def test_a_plain_visit_has_no_facts(host: Host, door: Door) -> None:
    visit, _ = door.arrive("first")
    record = host.register(visit)
    assert "facts" not in record.fields
    assert "facts_on" not in record.fields


def test_a_face_with_another_phone_and_a_phone_with_another_face_are_facts_of_the_later_visit(
    host: Host, door: Door
) -> None:
    one, person = door.arrive("first", ago_s=7200)
    first = host.register(one, NUMBER)
    two, _ = door.arrive("return", person=person, similarity=0.8, ago_s=3600)
    second = host.register(two, OTHER)
    assert told(second) == {
        "face_other_phone": {"visit": one, "at_us": first.fields["arrived_us"], "epoch": 1, "seq": first.seq}
    }
    three, _ = door.arrive("first", ago_s=60)
    third = host.register(three, OTHER)
    assert told(third) == {
        "phone_other_face": {"visit": two, "at_us": second.fields["arrived_us"], "epoch": 1, "seq": second.seq}
    }
    four, _ = door.arrive("return", person=person, similarity=0.8)
    assert set(told(host.register(four, NUMBER))) == {"face_other_phone"}


def test_somebody_who_refused_the_face_raises_no_fact_of_faces(host: Host, door: Door) -> None:
    seen = door.see(ago_s=600)
    host.register(seen, NUMBER)
    visit, _ = door.arrive("first")
    assert told(host.register(visit, NUMBER)) == {}, "no face was there, so none is another"


def test_alone_at_ten_and_beside_an_agent_at_twenty_to_eleven(host: Host, door: Door) -> None:
    visit, _ = door.arrive("first", ago_s=2400)
    fields = {"visit": visit, "camera": "entrance", "at_us": 1_790_000_000_000_000, "out_us": 1_800_000_000}
    door.ledger.append("visit.reentry", {**fields, "company_before": [], "company_after": []})
    other, _ = door.arrive("first", ago_s=2400)
    told_so = door.ledger.append(
        "visit.reentry",
        {**fields, "visit": other, "company_before": [], "company_after": [], "agents_after": ["p-agent"]},
    )
    assert told(host.register(visit)) == {}, "out and back alone is nothing"
    assert told(host.register(other, OTHER)) == {
        "joined_by_agent": {
            "at_us": 1_790_000_000_000_000,
            "agents": ["p-agent"],
            "out_us": 1_800_000_000,
            "epoch": 1,
            "seq": told_so.seq,
        }
    }


def test_alone_at_the_first_visit_and_beside_an_agent_at_a_later_one(host: Host, door: Door) -> None:
    one, person = door.arrive("first", ago_s=7200)
    two, _ = door.arrive("return", person=person, similarity=0.8, agents=["p-agent"])
    fact = told(host.register(two))["joined_by_agent"]
    assert (fact["visit"], fact["agents"]) == (one, ["p-agent"])
    assert fact["first_us"] == host.arrival(one).arrived_us
    three, friend = door.arrive("first", ago_s=7200, agents=["p-agent"])
    four, _ = door.arrive("return", person=friend, similarity=0.8, agents=["p-agent"])
    assert "joined_by_agent" not in told(host.register(four, OTHER)), "the agent was there from the first"
    assert three != four


@pytest.mark.parametrize(("role", "code"), [("agent", "agent_face"), ("staff", "staff_face")])
def test_a_face_that_is_enrolled_after_it_visited_is_a_fact_from_then_on(
    host: Host, door: Door, role: Role, code: str
) -> None:
    visit, person = door.arrive("first", ago_s=600)
    assert told(host.register(visit)) == {}
    member, record = host.enrol(role, person)
    again, _ = door.arrive("return", person=person, similarity=0.8)
    assert told(host.register(again))[code] == {
        "person": member,
        "role": role,
        "at_us": record.stamp.wall_us,
        "epoch": 1,
        "seq": record.seq,
    }


def test_an_enrolment_that_the_desks_key_did_not_sign_raises_no_fact(host: Host, door: Door) -> None:
    visit, person = door.arrive("first", ago_s=600)
    _, record = host.enrol("agent", person)
    door.ledger.connection.execute("UPDATE ledger SET signature = ? WHERE seq = ?", (bytes(64), record.seq))
    assert told(host.register(visit)) == {}
    door.ledger.connection.execute("UPDATE ledger SET signature = ? WHERE seq = ?", (record.signature, record.seq))


def test_an_agents_own_phone_is_a_fact_also_without_a_face(host: Host, door: Door) -> None:
    member, record = host.enrol("agent", None, NUMBER)
    fact = told(host.register(door.see(), NUMBER))["agent_phone"]
    assert (fact["person"], fact["seq"]) == (member, record.seq)
    assert told(host.register(door.see(), OTHER)) == {}


def test_a_likeness_of_the_roster_is_told_as_no_more_than_that(host: Host, door: Door) -> None:
    member, _ = host.enrol("staff", None)
    visit, _ = door.arrive("first", maybe_staff=member)
    assert told(host.register(visit))["resembles_roster"]["person"] == member


def test_off_site_and_dismissed_before_rest_on_their_own_records(host: Host, door: Door) -> None:
    visit, _ = door.arrive("first", place=OUT)
    dismissed = host.dismiss(visit, "courier")
    facts = told(host.register(visit))
    assert facts["off_site"]["seq"] == host.arrival(visit).at[1]
    assert facts["dismissed_before"] == {
        "state": "not_customer",
        "reason": "courier",
        "account": "acc-li",
        "at_us": dismissed.stamp.wall_us,
        "epoch": 1,
        "seq": dismissed.seq,
    }


def report(made_us: int, kind: CodeKind = "report") -> ShownCode:
    return ShownCode(kind, "ab" * 32, "rep-1" if kind == "report" else None, "agt-1", None, made_us)


def test_an_arrival_before_its_report_was_made_is_a_fact_of_the_first_arrival(host: Host, door: Door) -> None:
    one, person = door.arrive("first", ago_s=7200)
    arrived_us = host.arrival(one).arrived_us
    after = told(host.register(one, NUMBER, report(arrived_us + 1)))["before_report"]
    assert after == {
        "visit": one,
        "report": "rep-1",
        "made_us": arrived_us + 1,
        "at_us": arrived_us,
        "epoch": 1,
        "seq": host.arrival(one).at[1],
    }
    by_face, _ = door.arrive("return", person=person, similarity=0.8)
    other = replace(report(arrived_us + 1), code_hash="ef" * 32)
    assert told(host.register(by_face, None, other))["before_report"]["visit"] == one
    by_phone = door.see()
    assert told(host.register(by_phone, NUMBER, report(arrived_us + 1)))["before_report"]["visit"] == one


def test_a_report_made_before_anybody_came_and_an_agents_own_code_are_no_facts(host: Host, door: Door) -> None:
    visit, _ = door.arrive("first", ago_s=60)
    arrived_us = host.arrival(visit).arrived_us
    assert told(host.register(visit, NUMBER, report(arrived_us))) == {}
    other, _ = door.arrive("first", ago_s=60)
    assert told(host.register(other, OTHER, report(arrived_us + 10**9, "agent"))) == {}


def test_a_report_shown_with_different_faces_is_a_fact_and_an_agents_own_code_is_not(host: Host, door: Door) -> None:
    one, two, three = (door.arrive("first", ago_s=60)[0] for _ in range(3))
    first = host.register(one, NUMBER, report(1))
    assert told(first) == {}
    fact = told(host.register(two, NUMBER, report(1)))["code_other_face"]
    assert (fact["visit"], fact["seq"]) == (one, first.seq)
    agents = ShownCode("agent", "cd" * 32, None, "agt-1")
    host.register(three, OTHER, agents)
    four, _ = door.arrive("first")
    assert "code_other_face" not in told(host.register(four, "13700001111", agents))


def test_facts_are_read_back_as_they_were_written_and_the_earliest_of_a_code_counts() -> None:
    facts = [
        Fact("off_site", 5, (1, 2)),
        Fact("off_site", 3, (1, 1)),
        Fact("agent_phone", 4, None, {"person": "p-1"}),
    ]
    assert Fact.read(facts_fields(facts)) == (facts[2], facts[1])
    assert facts_fields([]) == {}
    assert Fact.read({"facts": ["of_a_later_version"]}) == (Fact("of_a_later_version", 0),)


def test_facts_stand_on_the_card_and_the_page_with_when_and_which_record(
    host: Host, door: Door, visitor: Callable[..., httpx.Client]
) -> None:
    one, person = door.arrive("first", ago_s=7200)
    first = host.register(one, NUMBER)
    two, _ = door.arrive("return", person=person, similarity=0.8, place=OUT)
    client = visitor("li")
    until_shown(client, two)
    early = client.get(f"/visits/{two}/checkin").text
    assert "事实：到访时设备位于案场围栏之外" in early, "known before anybody registers"
    host.register(two, OTHER)
    until(lambda: "同一面孔曾用另一手机号登记" in client.get(f"/fragments/arrival/{two}").text)
    assert "事实 2 条" in client.get("/").text
    _, enrolment = host.enrol("agent", person)
    later = client.get(f"/visits/{two}/checkin").text
    assert "此面孔登记为经纪人" in later, "what has come up since is told too"
    assert f"记录 #{enrolment.seq}" in later
    for page in (f"/visits/{two}/checkin", f"/fragments/arrival/{two}"):
        zh = client.get(f"{page}?lang=zh").text
        assert "同一面孔曾用另一手机号登记" in zh
        assert f"记录 #{first.seq}" in zh
        assert "Fact: the same face registered with another phone" in client.get(f"{page}?lang=en").text
