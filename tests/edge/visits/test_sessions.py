"""One visit over many cameras: its zones, its path, its party, and coming in again."""

from dataclasses import replace
from datetime import timedelta

import pytest

from edge.consent import CapturePolicy
from edge.visits.parties import PARTY_SPAN, PARTY_WITHIN
from models.faces import Template
from sync.format.stamp import to_us
from tests.edge.conftest import MakeNode
from tests.edge.visiting import PACK, T0, Node, after, arrival, like, must, person


def path_of(node: Node, visit_id: str) -> list[tuple[str, int]]:
    """Zone and seconds of each stay, of the last visit.left."""
    left = [record.fields for record in node.records("visit.left") if record.fields["visit"] == visit_id][-1]
    return [(one["zone"], round((one["until_us"] - one["from_us"]) / 1e6)) for one in left["path"]]


# -- zones ---------------------------------------------------------------------------------------------------------


def test_somebody_seen_at_several_cameras_is_one_visit_with_its_path_and_dwell(node: Node) -> None:
    visit = must(node.arrive(person(0), 1, T0), "first")["visit"]
    node.visits.seen("door", (1,), after(4))
    node.leave(1, after(4))
    for camera, begin, end in (("table", 30, 300), ("flat", 400, 700), ("desks", 800, 1000)):
        assert node.arrive(person(0), 1, after(begin), camera=camera) is None
        node.visits.seen(camera, (1,), after(end))
        node.leave(1, after(end), camera)
    node.visits.close("stopped")
    assert node.kinds() == ["first", "left"]
    assert path_of(node, visit) == [("entrance", 4), ("model", 270), ("showflat", 300), ("talks", 200)]
    (left,) = node.records("visit.left")
    assert left.fields["dwell_us"] == {
        "entrance": 4_000_000, "model": 270_000_000, "showflat": 300_000_000, "talks": 200_000_000
    }  # fmt: skip
    assert left.fields["end_us"] == to_us(after(1000))


def test_somebody_first_seen_at_an_inner_camera_is_a_visit_that_says_so_and_has_no_party(node: Node) -> None:
    fields = must(node.arrive(person(0), 1, T0, camera="table"), "first")
    assert fields["zone"] == "model"
    assert "party_id" not in fields
    assert "party" not in fields


def test_a_re_entry_is_only_at_an_entrance(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(5))
    assert node.arrive(person(0), 1, after(2400), camera="desks") is None, "forty minutes at a table without a camera"
    node.leave(1, after(2410), "desks")
    assert must(node.arrive(person(0), 2, after(3000)), "reentry")["out_us"] == 590 * 1_000_000


def test_whom_the_desk_has_still_to_name_is_not_asked_about_again_at_the_next_camera(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    asked = must(node.arrive(like(person(0), 0.4), 2, after(60)), "unsure")
    assert node.arrive(like(person(0), 0.4), 1, after(90), camera="table") is None
    # somebody else who is as much like the first is another question
    must(node.arrive(like(person(0), 0.4, spare=100), 2, after(95), camera="table"), "unsure")
    node.visits.close("stopped")
    assert path_of(node, asked["visit"]) == [("entrance", 1), ("model", 1)]


def test_an_open_question_is_remembered_over_a_restart_and_ends_with_the_answer_or_the_face(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    asked = must(node.arrive(like(person(0), 0.4), 2, after(60)), "unsure")
    node.visits.close("stopped")
    node.start()
    node.recover(after(120))
    assert node.arrive(like(person(0), 0.4), 1, after(130), camera="table") is None
    node.vault.destroy_keys([asked["person"]])
    must(node.arrive(like(person(0), 0.4), 2, after(140), camera="table"), "unsure")


def test_what_a_crash_leaves_of_a_path_is_what_was_recorded(node: Node) -> None:
    visit = must(node.arrive(person(0), 1, T0), "first")["visit"]
    node.leave(1, after(5))
    must(node.arrive(person(0), 2, after(1000)), "reentry")
    node.start()
    assert node.recover(after(1200)) == 1
    (left,) = node.records("visit.left")
    assert left.fields["visit"] == visit
    assert left.fields["path"] == [
        {"zone": "entrance", "from_us": to_us(T0)},
        {"zone": "entrance", "from_us": to_us(after(1000))},
    ]


def test_a_path_goes_on_over_a_restart(node: Node) -> None:
    visit = must(node.arrive(person(0), 1, T0), "first")["visit"]
    node.leave(1, after(4))
    assert node.arrive(person(0), 1, after(10), camera="table") is None
    node.visits.close("stopped")
    node.start()
    node.recover(after(60))
    assert node.arrive(person(0), 1, after(90), camera="desks") is None
    node.visits.close("stopped")
    assert [zone for zone, _ in path_of(node, visit)] == ["entrance", "model", "talks"]


def test_a_new_visit_closes_the_old_one_of_the_same_person_first(node: Node) -> None:
    old = must(node.arrive(person(0), 1, T0), "first")["visit"]
    node.leave(1, after(5))
    must(node.arrive(person(0), 2, after(5 * 3600)), "return")
    assert node.kinds() == ["first", "left", "return"]
    node.visits.sweep(after(5 * 3600))
    node.visits.close("stopped")
    assert [record.fields["visit"] for record in node.records("visit.left")].count(old) == 1


def test_a_record_says_how_likely_the_best_shot_is_masked_and_live_where_something_looked(node: Node) -> None:
    seen = arrival(1, T0)
    best = replace(seen.shots[0], masked=0.875, live=0.25)
    looked_at = replace(seen, shots=(best, *seen.shots[1:]))
    fields = must(node.visits.arrived(looked_at, Template(person(0), PACK), after(1)), "first")
    assert (fields["masked_e6"], fields["live_e6"]) == (875_000, 250_000)
    assert not {"masked_e6", "live_e6"} & must(node.arrive(person(1), 2, after(60)), "first").keys()


# -- parties -------------------------------------------------------------------------------------------------------


def test_people_who_enter_within_seconds_are_one_proposed_party_that_the_first_record_opens(node: Node) -> None:
    first = must(node.arrive(person(0), 1, T0), "first")
    second = must(node.arrive(person(1), 2, after(3)), "first")
    third = must(node.arrive(person(2), 3, after(7)), "first")
    later = must(node.arrive(person(3), 4, after(7) + PARTY_WITHIN + timedelta(seconds=1)), "first")
    assert first["party_id"] == second["party_id"] == third["party_id"] != later["party_id"]
    assert [one["party"] for one in (first, second, third, later)] == [1, 2, 3, 1]


def test_the_order_in_which_they_are_decided_does_not_matter(node: Node) -> None:
    late = must(node.arrive(person(0), 1, after(4)), "first")
    early = must(node.arrive(person(1), 2, T0), "first")
    assert late["party_id"] == early["party_id"]


def test_two_doors_are_two_parties(node: Node) -> None:
    door = must(node.arrive(person(0), 1, T0), "first")
    side = must(node.arrive(person(1), 1, after(1), camera="side"), "first")
    assert door["party_id"] != side["party_id"]


def test_a_stream_of_people_is_no_party_of_a_whole_morning(node: Node) -> None:
    parties: dict[str, list[float]] = {}
    for number in range(20):
        moment = 4.0 * number
        fields = must(node.arrive(person(number), number, after(moment)), "first")
        parties.setdefault(fields["party_id"], []).append(moment)
    assert len(parties) == 4
    assert all(max(moments) - min(moments) <= PARTY_SPAN.total_seconds() for moments in parties.values())


def test_a_re_entry_names_the_party_they_came_back_with_and_the_company_of_both_ways(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    friend = must(node.arrive(person(1), 2, after(3)), "first")["visit"]  # right behind, never in one frame
    node.leave(1, after(20))
    node.leave(2, after(20))
    other = must(node.arrive(person(2), 3, after(2397)), "first")
    back = must(node.arrive(person(0), 4, after(2400)), "reentry")
    assert back["company_before"] == [friend]
    assert back["company_after"] == [other["visit"]]
    assert back["party_id"] == other["party_id"]


def test_the_company_at_the_door_is_known_after_a_restart(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    friend = must(node.arrive(person(1), 2, after(1), together=(1,)), "first")["visit"]
    node.visits.close("stopped")
    node.start()
    node.recover(after(60))
    assert must(node.arrive(person(0), 1, after(2000)), "reentry")["company_before"] == [friend]


def test_around_the_model_nobody_becomes_company(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    must(node.arrive(person(1), 2, after(600)), "first")
    assert node.arrive(person(0), 1, after(700), camera="table") is None
    assert node.arrive(person(1), 2, after(701), camera="table", together=(1,)) is None
    assert must(node.arrive(person(0), 3, after(3000)), "reentry")["company_before"] == []


# -- after_consent -------------------------------------------------------------------------------------------------


@pytest.fixture
def unnamed(make_node: MakeNode) -> Node:
    return make_node(policy=CapturePolicy("after_consent", "", timedelta(hours=24)))


def test_unnamed_arrivals_are_proposed_as_parties_too(unnamed: Node) -> None:
    first = must(unnamed.visits.arrived_unnamed(arrival(1, T0)), "seen")
    unnamed.leave(1, after(2))
    second = must(unnamed.visits.arrived_unnamed(arrival(2, after(3))), "seen")
    assert first["party_id"] == second["party_id"]
    assert (first["party"], second["party"]) == (1, 2)


def test_nobody_unnamed_arrives_at_an_inner_camera_where_they_may_have_come_in_before(unnamed: Node) -> None:
    assert unnamed.visits.arrived_unnamed(arrival(1, T0, camera="table")) is None
    unnamed.visits.seen("table", (1,), after(1))
    unnamed.leave(1, after(2), "table")
    assert unnamed.records() == []
