"""One visit that was somebody else's: what it left goes to them, and the two are a question from then on."""

import secrets
from contextlib import closing
from pathlib import Path

import pytest

from edge.clock import Clock
from edge.desk.answers import Answers
from edge.desk.arrivals import Arrivals
from edge.desk.folding import KINDS
from edge.desk.shown import ShownVisit
from edge.desk.splitting import NotTakenOut, Splitting
from edge.rights.retention import erase
from edge.visits.explanation import explain
from edge.visits.visit_log import visit_log
from sync import verify_standalone
from sync.certificate.bundle import zipped
from sync.certificate.certified import lines
from sync.certificate.examine import examine
from sync.certificate.found import bundle_of
from sync.format.records import Record
from sync.verify.verify import verify
from tests.edge.visiting import CROP, PACK, Node, after, like, must, person
from tests.sync.a_site import HOUR_US, ASite

HOURS = 3600


@pytest.fixture
def known(node: Node) -> tuple[str, str, str]:
    """(person, their own visit, the visit of a stranger whom the node took for them)."""
    first = must(node.arrive(person(0), 1, after(0)), "first")
    gone(node, 1, 5)
    back = must(node.arrive(like(person(0), 0.7), 2, after(6 * HOURS)), "return")
    gone(node, 2, 6 * HOURS + 5)
    assert back["person"] == first["person"]
    return first["person"], first["visit"], back["visit"]


def gone(node: Node, track: int, at_s: float) -> None:
    node.leave(track, after(at_s))
    node.visits.sweep(after(at_s + 5 * HOURS))


def must_show(node: Node, visit_id: str) -> ShownVisit:
    arrivals = Arrivals()
    for record in node.ledger.records(KINDS):
        arrivals.add(record)
    shown = arrivals.get(visit_id)
    assert shown is not None
    return shown


def split(node: Node, visit: str, whose: str) -> list[Record]:
    splitting = Splitting(lambda: node.home.open_ledger("desk", Clock()), node.home)
    return splitting.other_person(visit, whose, secrets.token_hex(16), "acc-wang")


def templates(node: Node, who: str) -> int:
    return len(node.vault.templates.of(who, PACK))


def test_a_visit_of_somebody_else_takes_its_face_along_and_leaves_the_person_theirs(
    node: Node, known: tuple[str, str, str]
) -> None:
    whose, own, false = known
    assert templates(node, whose) == 2
    corrected, taken = split(node, false, whose)
    heir = corrected.fields["person"]
    assert (corrected.kind, "decision" in corrected.fields) == ("visit.corrected", False)
    assert (taken.kind, taken.fields["visit"], taken.fields["reason"]) == ("person.split", false, "visit")
    assert (taken.fields["person"], taken.fields["persons"]) == (whose, [whose, heir])
    assert (templates(node, whose), templates(node, heir)) == (1, 1)
    assert (node.vault.of_visits.crop(own), node.vault.of_visits.crop(false)) == (CROP, CROP)
    assert taken.fields["templates"] == 1
    with closing(node.home.open_ledger("desk", Clock())) as desk:
        erase(desk, node.vault, whose, "request", None)
    assert node.vault.of_visits.crop(own) is None
    assert node.vault.of_visits.crop(false) == CROP, "under a key of its own"
    assert verify(node.home.path).ok


def test_what_was_left_to_the_desk_the_desk_may_say_to_be_somebody_new(node: Node) -> None:
    whose = must(node.arrive(person(0), 1, after(0)), "first")["person"]
    gone(node, 1, 5)
    asked = must(node.arrive(like(person(0), 0.4), 2, after(6 * HOURS)), "unsure")
    gone(node, 2, 6 * HOURS + 5)
    home, row = node.home, must_show(node, asked["visit"])
    Answers(lambda: home.open_ledger("desk", Clock()), home.database, home.keys_database).answer(row, whose, "acc-li")
    corrected, _ = split(node, asked["visit"], whose)
    assert corrected.fields["decision"] == "first"
    row = must_show(node, asked["visit"])
    assert (row.original, row.decision, row.person_id) == ("unsure", "first", corrected.fields["person"])


def test_whoever_comes_again_of_the_two_is_a_question_and_not_the_wrong_one(
    node: Node, known: tuple[str, str, str]
) -> None:
    whose, _, false = known
    heir = split(node, false, whose)[0].fields["person"]
    asked = must(node.arrive(like(person(0), 0.7), 3, after(20 * HOURS)), "unsure")
    assert {candidate["person"] for candidate in asked["candidates"]} == {whose, heir}


def test_a_visit_that_goes_on_is_the_others_in_the_running_node(node: Node) -> None:
    first = must(node.arrive(person(0), 1, after(0)), "first")
    gone(node, 1, 5)
    back = must(node.arrive(like(person(0), 0.7), 2, after(6 * HOURS)), "return")
    heir = split(node, back["visit"], first["person"])[0].fields["person"]
    must(node.arrive(person(5), 3, after(6 * HOURS + 60)), "first")
    (row,) = [one for one in visit_log(node.ledger) if one.visit_id == back["visit"]]
    assert (row.person_id, row.decision, row.original_decision) == (heir, "return", "return"), (
        "no desk makes a first visit"
    )
    assert node.visits._book.newest_of(heir) is not None


def test_said_again_it_stands_and_what_is_not_theirs_is_refused(node: Node, known: tuple[str, str, str]) -> None:
    whose, _, false = known
    before = split(node, false, whose)
    assert [one.hash for one in split(node, false, whose)] == [one.hash for one in before]
    stranger = must(node.arrive(person(3), 4, after(30 * HOURS)), "first")
    with pytest.raises(NotTakenOut):
        split(node, stranger["visit"], whose)
    with pytest.raises(NotTakenOut):
        split(node, stranger["visit"], "p-nobody")
    assert node.vault.sweep_keys() == 1, "the key made for nothing opens nothing, and is swept"
    assert len(node.records("person.split")) == 1


def test_explain_says_whose_visit_it_was_not(node: Node, known: tuple[str, str, str]) -> None:
    whose, _, false = known
    heir = split(node, false, whose)[0].fields["person"]
    told = explain(visit_log(node.ledger), false, node.vault)
    assert f"split out at the desk: it was not {whose}, but {heir}" in told.lines()
    assert told.fields()["split_from"] == whose
    assert told.kept is not None, "what it was decided on went along"


def test_a_consent_goes_with_the_visit_at_which_it_was_given(node: Node, known: tuple[str, str, str]) -> None:
    whose, own, false = known
    with closing(node.home.open_ledger("desk", Clock())) as desk:
        for visit in (own, false):
            with desk.transaction() as transaction:
                given = {"visit": visit, "person": whose, "purpose": "visitor", "version": f"of {visit}"}
                transaction.append("consent.given", given)
                node.vault.keep_consent(transaction.connection, whose, f"of {visit}", 1)
    heir = split(node, false, whose)[0].fields["person"]
    kept = node.ledger.connection.execute("SELECT person_id, version FROM consents").fetchall()
    assert {tuple(row) for row in kept} == {(whose, f"of {own}"), (heir, f"of {false}")}


def test_both_verifiers_name_whose_visit_it_was_not(tmp_path: Path) -> None:
    site = ASite(tmp_path / "home")
    site.watch(HOUR_US)
    visit = site.visit("return", person="p-1")
    site.desk.append("visit.corrected", {"visit": visit, "person": "p-2", "account": "u-1"})
    site.desk.append("person.split", {"visit": visit, "persons": ["p-1", "p-2"], "person": "p-1", "reason": "visit"})
    site.ack(checkpoint=True)
    bundle = bundle_of(site.path, visit)
    site.close()
    told = "this visit was not of person p-1"
    assert any(told in line for line in lines(examine(bundle)))
    path = tmp_path / "b.zip"
    path.write_bytes(zipped(bundle.encode(), {}))
    assert told in "\n".join(verify_standalone.verify(path, verify_standalone.Given(None)))
