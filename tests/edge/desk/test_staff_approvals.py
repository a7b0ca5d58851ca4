import json
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from edge import EdgeError
from edge.commands.people import list_people
from edge.desk.approvals import NotAsked, NotConfirmed, NotTheirs
from edge.desk.staff_approvals import LAPSES_AFTER_S, StaffApprovals
from edge.home import Home
from edge.kiosk.sign_in import records_of
from edge.people.vault import opened
from edge.recognition.enrolment import KIND, Enrolment, Faces, enrol
from edge.recognition.roster import Roster
from edge.rights.retention import expire
from sync.format.accounts import Account, AccountChange
from sync.format.records import Record
from sync.node.alarms import Alarms
from sync.node.ledger import Ledger
from tests.edge.head_office import HeadOffice
from tests.edge.visiting import PACK, T0, Node, after, must, person

WANG = Account("acc-wang", "wang", "manager", "puxi-01")
ZHAO = Account("acc-" + "a" * 16, "zhao", "auditor", "head_office")
Propose = Callable[..., Enrolment]


@pytest.fixture
def propose(node: Node, desk: Ledger) -> Propose:
    """Proposes whoever has this vector."""

    def propose(number: int, account: Account = WANG, request: str | None = None) -> Enrolment:
        vectors = np.stack([np.asarray(person(number), np.float32)])
        faces = Faces(PACK, vectors, 0.5, 0.6, 0.6)
        given = {"account": account, "request": request or secrets.token_hex(16)}
        return enrol(desk, node.vault, faces, role="staff", consent="s-1", agent_code=None, now=T0, **given)

    return propose


@pytest.fixture
def approvals(home: Home, tmp_path: Path) -> StaffApprovals:
    HeadOffice(home, tmp_path / "hq").confirm(ZHAO)
    return StaffApprovals(lambda: home.open_ledger("desk"), home, "puxi-01")


def _answer(approvals: StaffApprovals, asked: Enrolment, verdict: str, account: Account = ZHAO) -> Record:
    return approvals.answer(asked.record.hash.hex(), verdict, secrets.token_hex(16), account)  # type: ignore[arg-type]


def test_whoever_is_proposed_is_a_visitor_until_an_auditor_approves_and_staff_from_then_on(
    node: Node, propose: Propose, approvals: StaffApprovals
) -> None:
    asked = propose(0)
    first = must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(5))
    word = _answer(approvals, asked, "approved")
    assert (word.fields["state"], word.fields["proposal"]) == ("approved", asked.record.hash.hex())
    assert word.fields["seen_before"] == first["visit"], "the face came while it waited, and the record says so"
    assert word.fields["visitor"] == first["person"]
    assert node.arrive(person(0), 2, after(6 * 3600)) is None, "staff are no visitors"
    assert [one["visit"] for one in (record.fields for record in node.records("visit.first"))] == [first["visit"]]


def test_a_refused_face_is_erased_and_stays_a_visitor(
    node: Node, desk: Ledger, propose: Propose, approvals: StaffApprovals
) -> None:
    asked = propose(0)
    assert _answer(approvals, asked, "refused").fields["state"] == "refused"
    assert not node.vault.remembers(asked.person_id)
    (erased,) = desk.records(("person.erased",))
    assert erased.fields["person"] == asked.person_id
    must(node.arrive(person(0), 1, T0), "first")
    with pytest.raises(NotAsked):
        approvals.answer("0" * 64, "approved", "a" * 32, ZHAO)
    assert _answer(approvals, asked, "approved").fields["state"] == "refused", "the first word stands"
    assert propose(0).person_id != asked.person_id, "asking again is free"


@pytest.mark.parametrize(
    "account",
    [
        WANG,
        replace(ZHAO, role="manager"),
        replace(ZHAO, office="puxi-01"),
        replace(ZHAO, office=""),
        replace(ZHAO, account_id="acc-wang"),
    ],
)
def test_nobody_of_the_office_nor_the_asker_puts_anybody_on_the_roster(
    node: Node, desk: Ledger, propose: Propose, approvals: StaffApprovals, account: Account
) -> None:
    asked = propose(0)
    with pytest.raises(NotTheirs):
        _answer(approvals, asked, "approved", account)
    assert len(list(desk.records(("person.enrolled",)))) == 1
    must(node.arrive(person(0), 1, T0), "first")


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"account": "acc-zhao"},
        {"office": "head_office"},
        {"account": "acc-zhao", "office": "puxi-01"},
        {"account": "acc-wang", "office": "head_office"},
        {"account": "acc-zhao", "office": "pudong-02"},
    ],
)
@pytest.mark.parametrize("verdict", ["approved", "refused"])
def test_a_word_that_the_desk_key_signed_counts_only_from_outside(
    node: Node, desk: Ledger, propose: Propose, approvals: StaffApprovals, said: dict[str, str], verdict: str
) -> None:
    asked = propose(0, replace(WANG, office="pudong-02"))
    word = {"person": asked.person_id, "state": verdict, "proposal": asked.record.hash.hex(), **said}
    desk.append("person.enrolled", word)
    (applicant,) = approvals.applicants(desk, node.vault)
    assert applicant.decided is None
    roster = Roster(node.home.path, node.ledger)
    assert dict(roster.members()) == {}
    assert _answer(approvals, asked, "approved").fields["account"] == ZHAO.account_id
    assert set(roster.members()) == {asked.person_id}, "the first word from outside is the auditor's"


def test_a_face_is_proposed_once_and_the_same_form_gives_the_same_record(propose: Propose, desk: Ledger) -> None:
    first = propose(0, request="a" * 32)
    assert propose(0, request="a" * 32).record.hash == first.record.hash
    with pytest.raises(EdgeError, match="proposed already"):
        propose(0)
    assert len(list(desk.records(("person.enrolled",)))) == 1


def test_a_face_that_has_visited_is_told_when_it_is_proposed(
    node: Node, propose: Propose, approvals: StaffApprovals, desk: Ledger
) -> None:
    visit = must(node.arrive(person(0), 1, T0), "first")
    asked = propose(0)
    assert asked.seen_before == visit["visit"]
    (applicant,) = approvals.applicants(desk, node.vault)
    assert (applicant.seen_before, applicant.decided) == (visit["visit"], None)


def test_a_proposal_outlives_retention_and_lapses_after_a_fortnight(
    home: Home, node: Node, propose: Propose, approvals: StaffApprovals, desk: Ledger
) -> None:
    asked = propose(0)
    expire(node.ledger, node.vault, node.policy, after(0) + timedelta(days=3))
    assert node.vault.remembers(asked.person_id)
    proposed_us = asked.record.stamp.wall_us
    assert approvals.lapse(proposed_us + round(LAPSES_AFTER_S * 1e6)) == 0
    assert approvals.lapse(proposed_us + round(LAPSES_AFTER_S * 1e6) + 1) == 1
    with opened(home.database, home.keys_database) as vault:
        assert not vault.remembers(asked.person_id)
    assert approvals.applicants(desk, node.vault) == []
    with pytest.raises(NotAsked):
        _answer(approvals, asked, "approved")


def test_an_approved_one_never_lapses(node: Node, propose: Propose, approvals: StaffApprovals) -> None:
    asked = propose(0)
    _answer(approvals, asked, "approved")
    assert approvals.lapse(asked.record.stamp.wall_us * 2) == 0
    assert node.vault.remembers(asked.person_id)


def test_an_auditor_whom_head_office_has_not_confirmed_puts_nobody_on_the_roster(
    node: Node, propose: Propose, approvals: StaffApprovals
) -> None:
    asked = propose(0)
    mole = Account("acc-" + "b" * 16, "mole", "auditor", "hq")
    for verdict in ("approved", "refused"):
        with pytest.raises(NotConfirmed):
            _answer(approvals, asked, verdict, mole)
    assert node.vault.remembers(asked.person_id)
    assert _answer(approvals, asked, "approved").fields["state"] == "approved"


MOLE = Account("acc-" + "b" * 16, "mole", "auditor", "hq")


def _forge(desk: Ledger, node: Node, asked: Enrolment, account: Account = MOLE, verdict: str = "approved") -> Record:
    """An answer signed by the desk key past every page, and the row that goes with it."""
    said = {"person": asked.person_id, "state": verdict, "proposal": asked.record.hash.hex()}
    with desk.transaction() as transaction:
        if verdict == "approved":
            node.vault.enrolled.admit(transaction.connection, asked.person_id, None)
        return transaction.append(KIND, {**said, "account": account.account_id, "office": account.office})


def test_a_customer_whom_the_desk_key_approves_by_itself_stays_a_customer_and_it_is_an_alarm(
    node: Node, desk: Ledger, propose: Propose, approvals: StaffApprovals, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = propose(0)
    word = _forge(desk, node, asked)
    must(node.arrive(person(0), 1, T0), "first")
    assert Roster(node.home.path, desk).members() == {}
    (alarm,) = Alarms(node.home.database).all()
    assert alarm.code == "ROSTER_UNPROVEN"
    assert f"head office had confirmed (/approvals), not counted: {asked.person_id}" in alarm.detail
    capfd.readouterr()
    list_people(node.home.path, None, True)
    (row,) = [one for one in json.loads(capfd.readouterr().out) if one["role"] != "visitor"]
    assert (row["person_id"], row["role"], row["why"]) == (asked.person_id, "unproven", "unconfirmed")
    (applicant,) = approvals.applicants(desk, node.vault)
    assert applicant.decided is None
    assert applicant.unconfirmed is not None
    assert applicant.unconfirmed.hash == word.hash


def test_whoever_lost_the_ground_of_their_approval_is_kept_and_counts_again_once_it_is_approved_anew(
    node: Node, desk: Ledger, propose: Propose, approvals: StaffApprovals
) -> None:
    asked = propose(0)
    _forge(desk, node, asked)
    first = must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(5))
    assert approvals.lapse(asked.record.stamp.wall_us * 2) == 0, "an older version's staff are not erased"
    assert _answer(approvals, asked, "approved").fields["seen_before"] == first["visit"]
    assert node.arrive(person(0), 2, after(6 * 3600)) is None
    (applicant,) = approvals.applicants(desk, node.vault)
    assert applicant.verdict == "approved"
    assert [one.code for one in Alarms(node.home.database).all()] == []


def test_an_approval_counts_by_what_central_had_said_at_its_place_in_the_chain(
    node: Node, desk: Ledger, propose: Propose, home: Home, tmp_path: Path
) -> None:
    central, roster = HeadOffice(home, tmp_path / "hq"), Roster(home.path, desk)
    early, good, late = propose(0), propose(1), propose(2)
    _forge(desk, node, early, ZHAO)
    central.confirm(ZHAO)
    _forge(desk, node, good, ZHAO)
    with records_of(home).changing() as change:
        change.accounts.append(AccountChange(ZHAO.account_id, "password", ZHAO.role, ZHAO.office))
    _forge(desk, node, late, ZHAO)
    for read in (roster, Roster(home.path, desk)):
        assert set(read.members()) == {good.person_id}
        assert set(read.unconfirmed()) == {early.person_id, late.person_id}


def test_staff_approved_before_the_node_joined_central_are_unproven_from_then_on(
    desk: Ledger, propose: Propose, home: Home, tmp_path: Path
) -> None:
    asked, roster = propose(0), Roster(home.path, desk)
    alone = StaffApprovals(lambda: home.open_ledger("desk"), home, "puxi-01")
    _answer(alone, asked, "approved")
    assert set(roster.members()) == {asked.person_id}
    central = HeadOffice(home, tmp_path / "hq")
    assert (dict(roster.members()), set(roster.unconfirmed())) == ({}, {asked.person_id})
    central.confirm(ZHAO)
    _answer(alone, asked, "approved")
    assert (set(roster.members()), set(roster.unconfirmed())) == ({asked.person_id}, set())


def test_a_refusal_of_nobody_s_whom_central_confirmed_erases_nobody(
    node: Node, desk: Ledger, propose: Propose, approvals: StaffApprovals
) -> None:
    asked = propose(0)
    _forge(desk, node, asked, verdict="refused")
    assert approvals.lapse(asked.record.stamp.wall_us) == 0
    assert _answer(approvals, asked, "approved").fields["state"] == "approved"
    assert set(Roster(node.home.path, desk).members()) == {asked.person_id}
