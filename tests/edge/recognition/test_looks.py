"""A track is decided at the first look where that is sure, and its better pictures are kept for the next visit."""

from collections.abc import Callable

import numpy as np
import pytest

from edge.consent import CapturePolicy
from edge.people.vault import opened
from models.faces import Template
from tests.edge.visiting import PACK, T0, Node, after, arrival, like, must, person

MakeNode = Callable[..., Node]


def sure(node: Node, who: np.ndarray) -> bool:
    return node.visits.sure(arrival(99, after(9 * 3600)), Template(who, PACK))


@pytest.mark.parametrize(
    ("similarity", "expected"),
    [(0.1, True), (0.21, True), (0.25, False), (0.35, False), (0.5, False), (0.55, True), (0.9, True)],
)
def test_sure_is_what_lies_a_margin_away_from_both_thresholds(node: Node, similarity: float, expected: bool) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(10))
    assert sure(node, like(person(0), similarity)) is expected


def test_with_nobody_to_compare_with_the_first_look_is_sure(node: Node) -> None:
    assert sure(node, person(0))


def test_a_member_of_staff_is_sure_and_one_who_may_be_is_not(node: Node) -> None:
    node.enrol(person(5))
    assert sure(node, like(person(5), 0.9))
    assert not sure(node, like(person(5), 0.4))


def test_who_stood_in_one_frame_is_struck_out_of_the_first_look_too(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    assert node.visits.sure(arrival(2, after(1), together=(1,)), Template(like(person(0), 0.4), PACK))


def test_being_sure_records_nothing(node: Node) -> None:
    before = len(node.records())
    sure(node, person(0))
    assert len(node.records()) == before
    assert node.vault.count() == 0


def better(node: Node, who: np.ndarray, track: int = 1) -> None:
    shown = arrival(track, after(2))
    if node.visits.stored(shown):
        node.visits.bettered(shown, Template(who, PACK))


def test_better_pictures_take_the_place_of_those_decided_on_and_no_record_changes(node: Node) -> None:
    first = must(node.arrive(person(0), 1, T0), "first")
    told = [record.hash for record in node.records()]
    clearer = like(person(0), 0.8)
    better(node, clearer)
    node.leave(1, after(10))
    assert [record.hash for record in node.records()] == told
    with opened(node.home.database, node.home.keys_database) as after_a_restart:
        (kept,) = after_a_restart.templates.of(first["person"], PACK)
    assert kept.vector == pytest.approx(clearer)
    again = must(node.arrive(clearer, 2, after(5 * 3600)), "return")
    assert (again["person"], again["similarity_e6"]) == (first["person"], pytest.approx(1e6, abs=10))


def test_pictures_that_are_not_surely_the_same_person_change_nothing(node: Node) -> None:
    first = must(node.arrive(person(0), 1, T0), "first")
    better(node, like(person(0), 0.4))
    (kept,) = node.vault.templates.of(first["person"], PACK)
    assert kept.vector == pytest.approx(person(0))


def test_pictures_are_bettered_once_and_not_after_the_track(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    must(node.arrive(person(1), 2, T0), "first")
    better(node, like(person(0), 0.9))
    node.leave(2, after(5))
    assert not node.visits.stored(arrival(1, after(2)))
    assert not node.visits.stored(arrival(2, after(2)))


def test_somebody_erased_meanwhile_is_not_remembered_by_better_pictures(node: Node) -> None:
    first = must(node.arrive(person(0), 1, T0), "first")
    with opened(node.home.database, node.home.keys_database) as other:
        other.destroy_keys([first["person"]])
        with node.ledger.transaction() as transaction:
            other.forget(transaction.connection, first["person"])
    better(node, like(person(0), 0.9))
    assert node.vault.templates.of(first["person"], PACK) == []
    node.gallery.refresh()
    assert len(node.gallery) == 0


def test_a_bettered_template_lives_no_longer_than_the_one_it_replaces(make_node: MakeNode) -> None:
    node = make_node(policy=CapturePolicy("ephemeral", "test", after(3600) - T0))
    must(node.arrive(person(0), 1, T0), "first")
    (before,) = node.vault.people()
    better(node, like(person(0), 0.9))
    (now,) = node.vault.people()
    assert (now.stored_us, now.created_us, now.templates) == (before.stored_us, before.created_us, 1)
