"""Why a visit was decided as it was, told from the record and from what is kept as long as the face."""

import json
from datetime import timedelta

import pytest

from edge import EdgeError
from edge.rights.retention import erase
from edge.visits.explanation import Explained, explain
from edge.visits.visit_log import visit_log
from tests.edge.visiting import T0, Node, after, like, must, person


def explained(node: Node, visit_id: str) -> Explained:
    return explain(visit_log(node.ledger), visit_id, node.vault)


def test_a_return_names_its_shots_the_nearest_people_and_the_line_that_decided(node: Node) -> None:
    known = must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(5))
    must(node.arrive(person(1), 2, after(60)), "first")
    node.visits.sweep(after(86_000))
    back = must(node.arrive(like(person(0), 0.9), 3, after(86_000)), "return")
    told = explained(node, back["visit"])
    assert told.because == "clear"
    assert told.kept is not None
    assert told.kept.nearest[0].person_id == known["person"]
    assert told.kept.nearest[0].similarity == pytest.approx(0.9, abs=1e-4)
    assert len(told.kept.nearest) == 2
    assert [round(shot.quality, 2) for shot in told.kept.shots] == [0.8, 0.79, 0.78]
    assert told.kept.shortfalls == ("liveness_unknown",)
    lines = "\n".join(told.lines())
    assert f"nearest 1: {known['person']} at 0.900" in lines
    assert "reaches the upper threshold" in lines
    assert "not grade A: no liveness network has answered" in lines


def test_a_shortfall_says_which_grade_it_costs(node: Node) -> None:
    visit = must(node.arrive(person(0), 1, T0, shots=2), "first")["visit"]
    lines = explained(node, visit).lines()
    assert "not grade B: fewer than 3 shots" in lines
    assert "not grade A: no liveness network has answered" in lines


def test_the_first_of_all_is_compared_with_nobody(node: Node) -> None:
    visit = must(node.arrive(person(0), 1, T0), "first")["visit"]
    told = explained(node, visit)
    assert (told.because, told.kept and told.kept.nearest) == ("nobody", ())


def test_two_in_one_frame_are_not_among_each_others_nearest(node: Node) -> None:
    one = must(node.arrive(person(0), 1, T0), "first")
    two = must(node.arrive(like(person(0), 0.9), 2, after(1), together=(1,)), "first")
    told = explained(node, two["visit"])
    assert told.kept is not None
    assert one["person"] not in {near.person_id for near in told.kept.nearest}


def test_once_the_face_is_forgotten_only_the_record_explains(node: Node) -> None:
    visit = must(node.arrive(person(0), 1, T0), "first")
    desk = node.home.open_ledger("desk")
    erase(desk, node.vault, visit["person"], "request", None)
    told = explained(node, visit["visit"])
    assert told.kept is None
    assert told.lines()[-1] == "shots and nearest people: none kept (the face is no longer kept)"


def test_somebody_erased_is_not_named_in_the_explanations_of_others(node: Node) -> None:
    one = must(node.arrive(person(0), 1, T0), "first")["person"]
    node.leave(1, after(5))
    two = must(node.arrive(like(person(0), 0.2), 2, after(60)), "first")["visit"]
    erase(node.home.open_ledger("desk"), node.vault, one, "request", None)
    told = explained(node, two)
    assert told.kept is not None
    assert [near.person_id for near in told.kept.nearest] == [None]
    assert one not in json.dumps(told.fields())
    assert "nearest 1: somebody no longer remembered at 0.200" in told.lines()


def test_what_outlives_its_horizon_goes_with_the_face(node: Node) -> None:
    visit = must(node.arrive(person(0), 1, T0), "first")["visit"]
    with node.ledger.transaction() as transaction:
        node.vault.outlived.drop(transaction.connection, round((T0 + timedelta(days=1)).timestamp() * 1e6))
    assert node.vault.of_visits.crop(visit) is None
    assert explained(node, visit).kept is None


def test_a_visit_that_is_not_there_is_named(node: Node) -> None:
    with pytest.raises(EdgeError, match="v-none: no such visit"):
        explained(node, "v-none")
