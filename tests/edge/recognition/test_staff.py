"""Staff and agents before the cameras: counted and noted, never visitors; and no customer is lost to a likeness."""

import sqlite3
from contextlib import closing
from datetime import date, timedelta

import pytest

from edge.recognition.enrolment import enrolled_fields
from edge.recognition.passes import ONE_PASS
from edge.rights.retention import erase, expire
from sync.format import canonical
from sync.format.signing import digest
from sync.format.stamp import to_us
from sync.node.alarms import Alarms
from sync.node.ledger import Ledger
from tests.edge.visiting import PACK, T0, Node, after, like, must, person


def passes(node: Node) -> list[dict[str, object]]:
    return list(node.staff.counted().get("passes", []))


# -- no visitors ---------------------------------------------------------------------------------------------------


def test_staff_pass_a_hundred_times_and_are_one_number(node: Node) -> None:
    node.enrol(person(0))
    for number in range(100):
        moment = 120 * number
        assert node.arrive(like(person(0), 0.9), number, after(moment)) is None
        node.leave(number, after(moment + 5))
    assert node.records() == []
    assert passes(node) == [{"day": "2026-07-01", "staff": 100}]
    assert len(node.gallery) == 0, "they are not compared with visitors either"


def test_standing_at_the_desk_all_morning_is_one_pass(node: Node) -> None:
    node.enrol(person(0))
    node.arrive(person(0), 1, T0)
    for minute in range(1, 60):
        node.visits.seen("door", (1,), after(60 * minute))
    node.leave(1, after(3540))
    node.arrive(person(0), 2, after(3560), camera="side")
    assert passes(node) == [{"day": "2026-07-01", "staff": 1}]
    node.leave(2, after(3570))
    node.arrive(person(0), 3, after(3571) + ONE_PASS)
    assert passes(node) == [{"day": "2026-07-01", "staff": 2}]


def test_the_days_of_the_counter_are_the_site_s(node: Node) -> None:
    node.enrol(person(0))
    node.enrol(person(1), "agent")
    node.arrive(person(0), 1, after(0))  # ten in the morning in Shanghai
    node.arrive(person(1), 2, after(14 * 3600 + 30))  # half past midnight there
    assert passes(node) == [{"day": "2026-07-01", "staff": 1}, {"day": "2026-07-02", "agent": 1}]
    node.staff.told(after(14 * 3600 + 60))
    assert passes(node) == [{"day": "2026-07-02", "agent": 1}], "a day that is over is told once more and no longer"


def test_the_counter_goes_on_over_a_restart_and_ends_with_the_day(node: Node) -> None:
    node.enrol(person(0))
    node.arrive(person(0), 1, T0)
    node.ledger.append("node.alive", {"since_us": 1, "until_us": 2, "people": 0, "cameras": [], **node.staff.counted()})
    node.start(today=date(2026, 7, 1))
    node.arrive(person(0), 1, after(600))
    assert passes(node) == [{"day": "2026-07-01", "staff": 2}]
    node.start(today=date(2026, 7, 2))
    assert passes(node) == []


def test_somebody_enrolled_while_the_node_runs_is_known_at_once_and_removed_a_visitor_again(
    node: Node, desk: Ledger
) -> None:
    must(node.arrive(person(1), 1, T0), "first")
    member = node.enrol(person(0))
    assert node.arrive(person(0), 2, after(60)) is None
    erase(desk, node.vault, member, "staff", None)
    assert must(node.arrive(person(0), 3, after(120)), "first")["person"] != member


def test_the_roster_outlives_every_retention(node: Node) -> None:
    node.enrol(person(0))
    must(node.arrive(person(1), 1, T0), "first")
    assert expire(node.ledger, node.vault, node.policy, T0 + timedelta(days=3650)) == 1
    assert [one.enrolled for one in node.vault.people()] == [True]
    assert node.arrive(person(0), 2, after(60)) is None


def test_first_is_compared_with_visitors_only(node: Node) -> None:
    node.enrol(person(0))
    fields = must(node.arrive(person(1), 1, after(60)), "first")
    assert fields["gallery_n"] == 0
    assert fields["gallery_since_us"] == to_us(after(61)), "the gallery begins with the first visitor"


# -- no customer is lost -------------------------------------------------------------------------------------------


def test_between_the_thresholds_a_visit_stays_one_and_says_whom_it_resembles(node: Node) -> None:
    member = node.enrol(person(0))
    fields = must(node.arrive(like(person(0), 0.4), 1, T0), "first")
    assert fields["maybe_staff"] == member
    assert passes(node) == []


def test_a_known_customer_who_resembles_staff_one_day_stays_a_customer(node: Node) -> None:
    customer = must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(5))
    member = node.enrol(like(person(0), 0.2, spare=1))  # plainly somebody else
    again = must(node.arrive(like(person(0), 0.8, spare=1), 2, after(5 * 3600)), "return")  # 0.75 like the member
    assert again["person"] == customer["person"]
    assert again["maybe_staff"] == member


def test_a_member_of_staff_who_was_missed_once_is_not_missed_for_ever(node: Node) -> None:
    member = node.enrol(person(0))
    missed = must(node.arrive(like(person(0), 0.4, spare=1), 1, T0), "first")
    assert missed["maybe_staff"] == member
    node.leave(1, after(5))
    # 0.6 like the photograph, and 0.97 like what the camera saw before
    assert node.arrive(like(person(0), 0.6, spare=1), 2, after(60)) is None
    assert passes(node) == [{"day": "2026-07-01", "staff": 1}]


def test_a_customer_much_less_like_staff_than_like_themself_is_not_even_flagged(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(5))
    node.enrol(like(person(0), 0.4))
    assert "maybe_staff" not in must(node.arrive(person(0), 2, after(5 * 3600)), "return")


def test_somebody_hired_who_visited_before_is_staff_from_then_on(node: Node) -> None:
    visitor = must(node.arrive(person(0), 1, T0), "first")["person"]
    node.leave(1, after(5))
    node.enrol(like(person(0), 0.9), visitor_id=visitor)
    assert node.arrive(person(0), 2, after(60)) is None
    assert passes(node) == [{"day": "2026-07-01", "staff": 1}]
    node.visits.close("stopped")
    assert node.kinds() == ["first", "left"], "what was recorded stays"


def test_whoever_is_in_one_frame_with_a_member_of_staff_is_not_that_member(node: Node) -> None:
    node.enrol(person(0))
    assert node.arrive(person(0), 1, T0) is None
    must(node.arrive(like(person(0), 0.9), 2, after(1), together=(1,)), "first")


# -- agents --------------------------------------------------------------------------------------------------------


def test_an_agent_alone_is_no_visitor(node: Node) -> None:
    node.enrol(person(0), "agent")
    assert node.arrive(person(0), 1, T0) is None
    assert node.records() == []
    assert passes(node) == [{"day": "2026-07-01", "agent": 1}]


@pytest.mark.parametrize("together", [True, False], ids=["in one frame", "seconds before"])
def test_an_agent_who_comes_in_with_somebody_is_recorded_on_the_visit(node: Node, together: bool) -> None:
    agent, colleague = node.enrol(person(0), "agent"), node.enrol(person(1), "staff")
    assert node.arrive(person(0), 1, T0) is None
    assert node.arrive(person(1), 2, after(1)) is None
    fields = must(node.arrive(person(2), 3, after(4), together=(1, 2) if together else ()), "first")
    assert fields["agents"] == [agent]
    assert colleague not in str(fields)
    assert fields["party"] == 1, "agents are no members of the party"


def test_an_agent_who_comes_seconds_later_is_told_when_the_visit_is_left(node: Node) -> None:
    agent = node.enrol(person(0), "agent")
    assert "agents" not in must(node.arrive(person(1), 1, T0), "first")
    assert node.arrive(person(0), 2, after(4)) is None
    node.visits.close("stopped")
    (left,) = node.records("visit.left")
    assert left.fields["agents"] == [agent]


def test_an_agent_who_comes_a_minute_later_or_at_another_door_was_not_near(node: Node) -> None:
    node.enrol(person(0), "agent")
    must(node.arrive(person(1), 1, T0), "first")
    node.arrive(person(0), 1, after(2), camera="side")
    node.arrive(person(0), 2, after(60))
    node.visits.close("stopped")
    (left,) = node.records("visit.left")
    assert "agents" not in left.fields


def test_alone_at_ten_and_beside_an_agent_at_ten_forty(node: Node) -> None:
    agent = node.enrol(person(0), "agent")
    first = must(node.arrive(person(1), 1, T0), "first")
    assert "agents" not in first
    assert "company" not in first
    node.leave(1, after(300))
    assert node.arrive(person(0), 2, after(2398)) is None
    back = must(node.arrive(person(1), 3, after(2400), together=(2,)), "reentry")
    assert back["visit"] == first["visit"]
    assert back["out_us"] == 2100 * 1_000_000
    assert (back["company_before"], back["company_after"]) == ([], [])
    assert "agents_before" not in back
    assert back["agents_after"] == [agent]
    node.leave(3, after(2410))
    again = must(node.arrive(person(1), 4, after(4000)), "reentry")
    assert again["agents_before"] == [agent]
    assert "agents_after" not in again


def test_what_a_crash_leaves_of_the_agents_is_what_was_recorded(node: Node) -> None:
    agent = node.enrol(person(0), "agent")
    node.arrive(person(0), 1, T0)
    must(node.arrive(person(1), 2, after(1)), "first")
    node.start()
    node.recover(after(60))
    (left,) = node.records("visit.left")
    assert left.fields["agents"] == [agent]
    assert must(node.arrive(person(1), 1, after(1000)), "reentry")["agents_before"] == [agent]


# -- packs ---------------------------------------------------------------------------------------------------------


def test_whoever_is_enrolled_with_another_pack_only_is_told_of_at_the_start(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.enrol(person(0), pack="other@0")
    node.start()
    assert "enrolled with another pack, not recognised: count=1" in caplog.text
    must(node.arrive(person(0), 1, T0), "first")


# -- rows that somebody wrote into the databases -------------------------------------------------------------------


def test_a_row_without_a_signed_enrolment_hides_nobody_and_is_an_alarm(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    planted = node.enrol(person(0), told=False)
    must(node.arrive(person(0), 1, T0), "first")
    must(node.arrive(person(1), 2, after(60)), "first")
    assert caplog.text.count("without a signed enrolment of that face") == 1
    (alarm,) = Alarms(node.home.database).all()
    assert (alarm.code, planted in alarm.detail) == ("ROSTER_UNPROVEN", True)


def test_an_enrolment_under_another_key_than_the_desk_s_counts_for_nothing(node: Node) -> None:
    planted = node.enrol(person(0), told=False)
    fields = enrolled_fields(node.vault, planted, "staff", PACK, person(0)[None], None)
    record = node.ledger.append("visit.left", {"person": planted})  # the last one, as it would be forged
    body = {**canonical.decode(record.body), "kind": "person.enrolled", **fields}
    with closing(sqlite3.connect(node.home.database)) as database, database:
        database.execute(
            "UPDATE ledger SET kind = 'person.enrolled', body = ?, hash = ? WHERE epoch = ? AND seq = ?",
            (canonical.encode(body), digest("record-hash", canonical.encode(body)), record.epoch, record.seq),
        )
    must(node.arrive(person(0), 1, T0), "first")


@pytest.mark.parametrize("restarted", [False, True])
def test_another_face_under_an_enrolled_id_hides_nobody(node: Node, restarted: bool) -> None:
    member = node.enrol(person(0))
    assert node.arrive(person(0), 1, T0) is None
    with node.ledger.transaction() as transaction:
        node.vault.templates.add(transaction.connection, member, PACK, person(1), T0)
    if restarted:
        node.start()
    must(node.arrive(person(1), 2, after(60)), "first")


def test_a_face_put_in_the_place_of_an_enrolled_one_hides_nobody(node: Node) -> None:
    member = node.enrol(person(0))
    sealed = node.vault.seal(member, person(1).tobytes(), f"template:{member}:{PACK}")
    with closing(sqlite3.connect(node.home.database)) as database, database:
        database.execute("UPDATE templates SET sealed = ? WHERE person_id = ?", (sealed, member))
    node.start()
    must(node.arrive(person(1), 1, T0), "first")


def test_the_role_is_the_record_s_and_not_the_row_s(node: Node) -> None:
    agent = node.enrol(person(0), "agent")
    with closing(sqlite3.connect(node.home.database)) as database, database:
        database.execute("UPDATE roster SET role = 'staff' WHERE person_id = ?", (agent,))
    node.start()
    node.arrive(person(0), 1, T0)
    assert must(node.arrive(person(1), 2, after(1), together=(1,)), "first")["agents"] == [agent]


def test_an_unproven_row_does_not_stand_before_a_member_who_looks_like_it(node: Node) -> None:
    node.enrol(like(person(0), 0.9))
    node.enrol(person(0), told=False)
    assert node.arrive(person(0), 1, T0) is None


def test_somebody_taken_off_the_roster_does_not_come_back_with_their_row(node: Node, desk: Ledger) -> None:
    member = node.enrol(person(0))
    with closing(sqlite3.connect(node.home.keys_database)) as keys:
        (key,) = keys.execute("SELECT key FROM person_keys WHERE person_id = ?", (member,)).fetchone()
    erase(desk, node.vault, member, "staff", None)
    with closing(sqlite3.connect(node.home.keys_database)) as keys, keys:
        keys.execute("INSERT INTO person_keys VALUES (?, ?)", (member, key))
    with node.ledger.transaction() as transaction:
        node.vault.enrolled.add(
            transaction.connection, member, "staff", PACK, person(0)[None], T0, visitor_id=None, label=None
        )
    node.start()
    must(node.arrive(person(0), 1, T0), "first")


def test_a_proposed_enrolment_counts_once_it_is_approved(node: Node, desk: Ledger) -> None:
    member = node.enrol(person(0), told=False)
    fields = enrolled_fields(node.vault, member, "staff", PACK, person(0)[None], None)
    desk.append("person.enrolled", fields)  # past the auditor
    proposal = desk.append("person.enrolled", {**fields, "state": "proposed"})
    must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(5))
    other = desk.append("person.enrolled", {**fields, "person": "p-x", "state": "proposed"})
    outside = {"account": "acc-zhao", "office": "head_office"}
    desk.append("person.enrolled", {"person": member, "state": "approved", "proposal": other.hash.hex(), **outside})
    node.start()
    must(node.arrive(person(0), 2, after(5 * 3600)), "return")
    node.leave(2, after(5 * 3600 + 5))
    desk.append("person.enrolled", {"person": member, "state": "approved", "proposal": proposal.hash.hex(), **outside})
    node.start()
    assert node.arrive(person(0), 3, after(10 * 3600)) is None
