"""Two ids and what the desk says of them: merged, split, look-alikes; the decisions are the running node's own."""

import secrets
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import pytest

from edge.clock import Clock
from edge.desk.merging import BadPair, Merging, Said
from edge.home import Home
from edge.people.vault import Vault
from edge.recognition.decision import Verdict, decide
from edge.recognition.gallery import Candidate, Gallery, Match
from edge.rights.retention import erase, erase_ordered
from models.faces import Template
from sync.node.orders import Erasure
from sync.verify.verify import verify
from tests.edge.visiting import CROP, PACK, RULE, Node, after, like, must, person

MakeNode = Callable[..., Node]
DAY = 24 * 3600


@dataclass
class Desk:
    """Says of two ids what somebody at the desk would."""

    home: Home

    def __post_init__(self) -> None:
        self.merging = Merging(lambda: self.home.open_ledger("desk", Clock()), self.home)

    def one_person(self, *two: str) -> Said:
        return self.merging.one_person((two[0], two[1]), "v-asks", secrets.token_hex(16), "acc-li")

    def look_alike(self, *two: str) -> Said:
        return self.merging.look_alike((two[0], two[1]), "v-asks", secrets.token_hex(16), "acc-li")

    def not_same(self, alias: str) -> Said:
        return self.merging.not_same(alias, secrets.token_hex(16), "acc-wang")


@pytest.fixture
def says(home: Home) -> Desk:
    return Desk(home)


def gone(node: Node, at_s: float) -> None:
    """Everybody has left, and the gap has passed."""
    for track in range(1, 20):
        node.leave(track, after(at_s))
    node.visits.sweep(after(at_s + 5 * 3600))


def twice(node: Node) -> tuple[str, str]:
    """One face enrolled as two people: they were seen in one frame. Returns (older, newer), and all have left."""
    older = must(node.arrive(person(0), 1, after(0)), "first")
    newer = must(node.arrive(like(person(0), 0.9), 2, after(1), together=(1,)), "first")
    gone(node, 5)
    return older["person"], newer["person"]


def templates(vault: Vault, who: str) -> int:
    return len(vault.templates.of(who, PACK))


# -- one person ----------------------------------------------------------------------------------------------------


def test_a_proposal_of_the_node_is_merged_with_one_record_and_searched_by_the_older_id(node: Node, says: Desk) -> None:
    older, newer = twice(node)
    back = must(node.arrive(like(person(0), 0.98), 3, after(6 * 3600)), "return")
    assert back["merge"] == [older, newer]
    said = says.one_person(*back["merge"])
    assert (said.news, said.word, said.record.kind) == (True, "merged", "person.merged")
    fields = said.record.fields
    assert (fields["persons"], fields["person"], fields["alias"]) == ([older, newer], older, newer)
    assert (fields["reason"], fields["account"], fields["proposed_by"]) == ("same_person", "acc-li", "v-asks")
    node.gallery.refresh()
    assert newer not in node.gallery
    assert len(node.gallery) == 1
    assert templates(node.vault, older) == 3, "all of them under one key"
    assert templates(node.vault, newer) == 0
    assert node.vault.standing(newer) == older
    assert node.vault.sweep_keys() == 0, "the other key is destroyed"
    gone(node, 6 * 3600 + 5)
    again = must(node.arrive(like(person(0), 0.9), 4, after(12 * 3600)), "return")
    assert again["person"] == older
    assert "merge" not in again, "nothing more to ask"
    assert verify(node.home.path).ok


def test_the_first_word_on_two_ids_stands_whoever_says_another(node: Node, says: Desk) -> None:
    older, newer = twice(node)
    merged = says.one_person(older, newer)
    for again in (says.one_person(newer, older), says.look_alike(older, newer)):
        assert (again.news, again.word, again.record.seq) == (False, "merged", merged.record.seq)
    with pytest.raises(BadPair, match="not two people"):
        says.one_person(older, "p-nobody")
    with pytest.raises(BadPair, match="not two people"):
        says.one_person(older, older)


def test_pictures_and_visits_that_go_on_follow_a_merge_in_the_running_node_and_over_a_restart(
    make_node: MakeNode, says: Desk
) -> None:
    node = make_node()
    older = must(node.arrive(person(0), 1, after(0)), "first")
    newer = must(node.arrive(like(person(0), 0.9), 2, after(1), together=(1,)), "first")
    node.leave(1, after(5))
    says.one_person(older["person"], newer["person"])
    assert node.vault.of_visits.crop(newer["visit"]) == CROP
    assert node.arrive(like(person(0), 0.99), 3, after(30)) is None, "still here: no new visit, whichever of the two"
    other = make_node()
    other.recover(after(40))
    assert other.arrive(like(person(0), 0.95), 4, after(50)) is None, "and none after a restart"
    returned = [record.fields["person"] for record in node.records("visit.return")]
    assert returned == []


def test_a_merge_taken_back_gives_everybody_what_was_theirs_and_both_records_stay(node: Node, says: Desk) -> None:
    older, newer = twice(node)
    says.one_person(older, newer)
    back = must(node.arrive(like(person(0), 0.98), 3, after(6 * 3600)), "return")
    assert back["person"] == older
    said = says.not_same(newer)
    assert (said.record.kind, said.record.fields["reason"]) == ("person.split", "not_same")
    assert (said.record.fields["person"], said.record.fields["alias"]) == (older, newer)
    assert [record.kind for record in node.records("person.merged", "person.split")] == [
        "person.merged",
        "person.split",
    ]
    node.gallery.refresh()
    assert newer in node.gallery
    assert templates(node.vault, older) == 2, "its own, and the one stored since"
    assert templates(node.vault, newer) == 1
    assert node.vault.standing(newer) == newer
    assert says.not_same(newer).news is False
    with pytest.raises(BadPair, match="not merged"):
        says.not_same(older)
    assert says.one_person(older, newer).news, "and it may be said anew"
    assert verify(node.home.path).ok


@pytest.mark.parametrize("asked", ["older", "newer"])
def test_whoever_is_merged_and_erased_is_gone_under_both_ids(node: Node, says: Desk, asked: str) -> None:
    ids = dict(zip(("older", "newer"), twice(node), strict=True))
    says.one_person(ids["older"], ids["newer"])
    with closing(node.home.open_ledger("desk", Clock())) as ledger:
        erased = erase(ledger, node.vault, ids[asked], "request", None)
    assert erased.record.fields["person"] == ids["older"]
    node.gallery.refresh()
    assert len(node.gallery) == 0
    assert not node.vault.people()
    with pytest.raises(BadPair, match="forgotten"):
        says.not_same(ids["newer"])


def test_central_may_order_the_erasure_by_an_id_that_was_merged(node: Node, says: Desk) -> None:
    older, newer = twice(node)
    says.one_person(older, newer)
    order = Erasure(7, newer, "request", None)
    assert erase_ordered(node.ledger, node.vault, [order], after(7 * 3600)) == 1
    assert not node.vault.people()
    record = node.records("retention.run")[-1]
    assert record.fields["expired"] == [older]
    assert set(record.fields["reached"]) == {older, newer}


def test_a_consent_goes_with_a_merge_and_back_with_its_end(node: Node, says: Desk) -> None:
    older, newer = twice(node)
    with node.ledger.transaction() as transaction:
        node.vault.keep_consent(transaction.connection, older, "visitor-1", 1)
        node.vault.keep_consent(transaction.connection, newer, "visitor-2", 2)
    says.one_person(older, newer)
    assert (node.vault.consented_us(older), node.vault.consented_us(newer)) == (2, None)
    says.not_same(newer)
    assert (node.vault.consented_us(older), node.vault.consented_us(newer)) == (1, 2)
    says.one_person(older, newer)
    with node.ledger.transaction() as transaction:
        node.vault.keep_consent(transaction.connection, older, "visitor-2", 3)
    says.not_same(newer)
    assert (node.vault.consented_us(older), node.vault.consented_us(newer)) == (3, 2), "given since, it stays"


# -- look-alikes ---------------------------------------------------------------------------------------------------


def pair_of(best: float, lookalike: float) -> Match:
    return Match(Candidate("a", best), Candidate("c", 0.1), 3, 0.0, "a", Candidate("b", lookalike))


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (pair_of(0.99, 0.2), Verdict("unsure")),  # however clear
        (pair_of(0.5, -1.0), Verdict("unsure")),  # nothing of the other is left to compare with
        (pair_of(0.25, 0.2), Verdict("unsure")),
        (pair_of(0.24, 0.2), Verdict("first")),  # like neither of them
        (Match(Candidate("a", 0.9), Candidate("b", 0.9), 2, 0.9, "a", Candidate("b", 0.9)), Verdict("unsure")),
    ],
)
def test_one_of_a_marked_pair_is_never_a_return_by_similarity(found: Match, verdict: Verdict) -> None:
    assert decide(found, RULE) == verdict


def test_twins_marked_as_a_pair_are_always_asked_about_with_both_as_candidates(node: Node, says: Desk) -> None:
    one = must(node.arrive(person(0), 1, after(0)), "first")
    other = must(node.arrive(like(person(0), 0.6), 2, after(1), together=(1,)), "first")
    gone(node, 5)
    before = must(node.arrive(like(person(0), 0.95, spare=7), 3, after(6 * 3600)), "return")
    assert before["person"] == one["person"]
    gone(node, 6 * 3600 + 5)
    said = says.look_alike(one["person"], other["person"])
    assert (said.record.kind, said.record.fields["reason"]) == ("person.split", "lookalike")
    assert said.record.fields["persons"] == [one["person"], other["person"]]
    now = must(node.arrive(like(person(0), 0.95, spare=7), 4, after(12 * 3600)), "unsure")
    assert {candidate["person"] for candidate in now["candidates"]} == {one["person"], other["person"]}
    assert now["lookalike"] == other["person"]
    stranger = must(node.arrive(person(5), 5, after(12 * 3600 + 60)), "first")
    assert "lookalike" not in stranger
    assert verify(node.home.path).ok


def test_a_pair_stays_a_pair_over_a_restart_and_when_one_of_them_is_merged(make_node: MakeNode, says: Desk) -> None:
    node = make_node()
    older, newer = twice(node)
    twin = must(node.arrive(like(person(0), 0.6, spare=9), 3, after(6 * 3600), together=()), "return")
    assert twin["merge"] == [older, newer] or twin["person"] == older
    relative = must(node.arrive(person(3), 4, after(6 * 3600 + 100)), "first")["person"]
    says.look_alike(newer, relative)
    says.one_person(older, newer)
    fresh = Gallery(node.vault, PACK)
    assert node.vault.lookalikes() == {older: frozenset({relative}), relative: frozenset({older})}
    found = fresh.search(Template(person(0), PACK), frozenset())
    assert found.lookalike is not None
    assert found.lookalike.person_id == relative


def test_inside_one_of_a_pair_goes_on_with_the_visit_they_came_in_with(node: Node, says: Desk) -> None:
    one = must(node.arrive(person(0), 1, after(0)), "first")
    other = must(node.arrive(like(person(0), 0.6), 2, after(1), together=(1,)), "first")
    node.leave(2, after(5))
    says.look_alike(one["person"], other["person"])
    assert node.arrive(person(0), 1, after(30), camera="table") is None, "nobody comes in at the model"
    must(node.arrive(person(0), 9, after(60), camera="side"), "unsure")
