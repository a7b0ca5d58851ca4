"""Who is here, since when, and for the first time or not: decided and recorded with a real ledger and vault."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from camera.quality import MIN_QUALITY_ALONE
from edge.clock import Clock
from edge.consent import CapturePolicy, Horizon, declare
from edge.people.handing_over import absorb
from edge.people.vault import opened
from edge.recognition.decision import Verdict, decide
from edge.recognition.gallery import Candidate, Match
from edge.visits.open_visit import MAX_COMPANY
from edge.visits.visits import REENTRY_AFTER
from sync.format.records import MAX_BODY_BYTES
from sync.format.stamp import to_us
from sync.verify.verify import verify
from tests.edge.visiting import CHIP, CROP, PACK, PLACE, RULE, STRANGERS, T0, Node, after, arrival, like, must, person

MakeNode = Callable[..., Node]

# -- the rules ---------------------------------------------------------------------------------------------------


def match(best: float | None, second: float | None = None, twins: float = 0.0, elder: str = "a") -> Match:
    return Match(
        None if best is None else Candidate("a", best),
        None if second is None else Candidate("b", second),
        0 if best is None else 1 if second is None else 2,
        twins,
        None if best is None else elder,
    )


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (match(None), Verdict("first")),  # nobody to compare with
        (match(0.24), Verdict("first")),
        (match(0.24, 0.23), Verdict("first")),
        (match(0.25), Verdict("unsure")),  # the lower threshold itself is between
        (match(0.49), Verdict("unsure")),
        (match(0.49, 0.1), Verdict("unsure")),
        (match(0.5), Verdict("return", "a")),  # the upper threshold itself decides
        (match(0.5, 0.375), Verdict("return", "a")),  # exactly the margin
        (match(0.5, 0.376), Verdict("unsure")),  # not clear of the second
        (match(0.7, 0.65, twins=0.2), Verdict("unsure")),  # two different people, both alike
        (match(0.7, 0.65, twins=0.5), Verdict("return", "a", ("a", "b"))),  # one person enrolled twice
        (match(0.7, 0.65, twins=0.9, elder="b"), Verdict("return", "b", ("b", "a"))),  # the older id stands
        (match(0.8, 0.6, twins=0.7, elder="b"), Verdict("return", "b", ("b", "a"))),  # also far ahead of it
        (match(0.52, 0.49, twins=0.9), Verdict("unsure")),  # the second does not pass
        (match(-0.2, -0.3), Verdict("first")),
    ],
)
def test_the_table_of_decisions(found: Match, verdict: Verdict) -> None:
    assert decide(found, RULE) == verdict


def test_thresholds_never_assume_fewer_than_a_thousand_people(node: Node) -> None:
    rule = node.visits.rule()
    assert rule.upper == STRANGERS.threshold(0.003, 1000)
    assert rule.lower == STRANGERS.threshold(0.10, 1000)
    assert rule.margin == pytest.approx((rule.upper - rule.lower) / 2)


# -- the record --------------------------------------------------------------------------------------------------


def test_a_first_visit_says_what_it_was_compared_with(make_node: MakeNode) -> None:
    node = make_node(place=PLACE)
    must(node.arrive(person(0), 1, T0), "first")
    fields = must(node.arrive(like(person(0), 0.2), 2, after(10), camera="side"), "first")
    rule = node.visits.rule()
    assert re.fullmatch("v-[0-9a-f]{20}", fields.pop("visit"))
    assert re.fullmatch("p-[0-9a-f]{20}", fields.pop("person"))
    assert re.fullmatch("g-[0-9a-f]{20}", fields.pop("party_id"))
    for envelope in ("v", "node", "epoch", "seq", "prev", "kind", "key", "at"):
        fields.pop(envelope)
    assert fields == {
        "site": "puxi-01",
        "camera": "side",
        "zone": "entrance",
        "party": 1,
        "source": "usb",
        "source_hash": "b" * 64,
        "arrived_us": round(after(10).timestamp() * 1e6),
        "pack": PACK,
        "similarity_e6": 200_000,
        "upper_e6": round(STRANGERS.threshold(0.003, 1000) * 1e6),
        "lower_e6": round(rule.lower * 1e6),
        "quality_e6": 800_000,
        "shots": 3,
        "grade": "B",
        "gallery_n": 1,
        "gallery_since_us": round(after(1).timestamp() * 1e6),
        "unconsented_horizon_s": 86_400,
        "place": PLACE,
    }


def test_the_very_first_visit_compared_with_nobody_and_says_so(node: Node) -> None:
    fields = must(node.arrive(person(0), 1, T0), "first")
    assert fields["gallery_n"] == 0
    assert fields["gallery_since_us"] == round(after(1).timestamp() * 1e6)  # it begins with this very person
    assert "similarity_e6" not in fields
    assert "margin_e6" not in fields
    assert "place" not in fields


def test_a_return_names_the_person_with_similarity_and_margin(node: Node) -> None:
    first = must(node.arrive(person(0), 1, T0), "first")
    must(node.arrive(person(1), 2, T0), "first")
    node.leave(1, after(5))
    node.visits.sweep(after(5 * 3600))
    back = must(node.arrive(like(person(0), 0.8), 3, after(5 * 3600)), "return")
    assert back["person"] == first["person"]
    assert back["visit"] != first["visit"]
    assert back["similarity_e6"] == pytest.approx(800_000, abs=1)
    assert back["margin_e6"] == pytest.approx(800_000, abs=1)
    assert back["gallery_n"] == 2
    assert len(node.vault.people()) == 2


def test_a_poor_picture_of_somebody_known_is_recognised_but_not_kept(node: Node) -> None:
    first = must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(5))
    node.visits.sweep(after(5 * 3600))
    back = must(node.arrive(like(person(0), 0.8), 2, after(5 * 3600), quality=MIN_QUALITY_ALONE - 0.01), "return")
    assert back["person"] == first["person"]
    assert [known.templates for known in node.vault.people()] == [1]
    node.leave(2, after(5 * 3600 + 5))
    node.visits.sweep(after(10 * 3600))
    must(node.arrive(like(person(0), 0.8), 3, after(10 * 3600), quality=MIN_QUALITY_ALONE), "return")
    assert [known.templates for known in node.vault.people()] == [2]


def test_thresholds_rise_with_the_templates_and_not_only_with_the_people(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    before = node.visits.rule()
    (stored,) = (sealed.opened() for sealed in node.vault.templates.sealed(PACK))
    for number in range(1, 1200):
        node.gallery.add(replace(stored, template_id=stored.template_id + number))
    assert (len(node.gallery), node.gallery.templates) == (1, 1200)
    assert node.visits.rule().upper > before.upper
    assert node.visits.rule().lower > before.lower


def test_an_unsure_visit_has_a_provisional_person_who_is_not_searched(node: Node) -> None:
    first = must(node.arrive(person(0), 1, T0), "first")
    unsure = must(node.arrive(like(person(0), 0.4), 2, after(10)), "unsure")
    assert unsure["person"] != first["person"]
    assert unsure["candidates"] == [{"person": first["person"], "similarity_e6": unsure["similarity_e6"]}]
    assert unsure["grade"] == "C"
    assert {p.person_id: p.searchable for p in node.vault.people()} == {
        first["person"]: True,
        unsure["person"]: False,
    }
    assert len(node.gallery) == 1
    assert node.vault.of_visits.crop(unsure["visit"]) == CROP


def test_one_person_enrolled_twice_returns_as_the_older_and_a_merge_is_proposed(node: Node) -> None:
    elder = must(node.arrive(person(0), 1, T0), "first")
    # seen in one frame with the first, so a person of their own although nearly the same face
    newer = must(node.arrive(like(person(0), 0.9), 2, after(1), together=(1,)), "first")
    node.leave(1, after(5))
    node.leave(2, after(5))
    node.visits.sweep(after(5 * 3600))
    back = must(node.arrive(like(person(0), 0.98), 3, after(5 * 3600)), "return")
    assert back["person"] == elder["person"]
    assert back["merge"] == [elder["person"], newer["person"]]
    assert back["margin_e6"] < round(node.visits.rule().margin * 1e6)


def test_files_never_grade_above_c(node: Node) -> None:
    assert must(node.arrive(person(0), 1, T0, camera="film"), "first")["grade"] == "C"
    assert must(node.arrive(person(1), 1, T0, camera="door"), "first")["grade"] == "B"


def test_every_record_of_a_day_verifies_and_holds_no_float_no_face_and_no_crop(make_node: MakeNode) -> None:
    node = make_node(place=PLACE)
    node.arrive(person(0), 1, T0)
    node.arrive(like(person(0), 0.4), 2, after(2), together=(1,))
    node.arrive(person(2), 3, after(3))
    node.leave(1, after(8))
    node.arrive(person(0), 4, after(1200))
    node.visits.close("stopped")

    def walk(value: object) -> Iterator[object]:
        yield value
        if isinstance(value, dict):
            for item in value.values():
                yield from walk(item)
        if isinstance(value, list):
            for item in value:
                yield from walk(item)

    records = node.records()
    assert {record.kind for record in records} >= {"visit.first", "visit.reentry", "visit.left"}
    for record in records:
        assert not any(isinstance(value, float | bool) or value is None for value in walk(json.loads(record.body)))
        assert CROP not in record.body
        assert person(0).tobytes() not in record.body
    verdict = verify(node.home.path)
    assert verdict.ok, verdict.why


def test_the_body_stays_small_in_a_crowd_of_sixty(node: Node) -> None:
    crowd = range(60)
    for track in crowd:
        record = node.arrive(person(track), track, after(track / 60), together=tuple(i for i in crowd if i != track))
        must(record, "first")
        assert record is not None
        assert len(record.body) < MAX_BODY_BYTES / 2
        assert len(record.fields.get("company", [])) == min(track, MAX_COMPANY)
    for track in crowd:
        node.leave(track, after(10))
    back = node.arrive(person(59), 100, after(3600), together=())
    assert len(must(back, "reentry")["company_before"]) == MAX_COMPANY


# -- two in one frame --------------------------------------------------------------------------------------------


def test_two_in_one_frame_are_never_the_same_person(node: Node) -> None:
    first = must(node.arrive(person(0), 1, T0), "first")
    second = must(node.arrive(like(person(0), 0.95), 2, after(1), together=(1,)), "first")
    assert second["person"] != first["person"]
    assert second["gallery_n"] == 0  # the one beside them was not compared
    assert second["company"] == [first["visit"]]


def test_who_was_in_the_frame_stays_struck_after_their_track_has_ended(node: Node) -> None:
    first = must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(4))
    second = must(node.arrive(like(person(0), 0.95), 2, after(1), together=(1,)), "first")
    assert second["person"] != first["person"]
    assert second["company"] == [first["visit"]]


def test_the_same_track_number_of_another_camera_is_somebody_else(node: Node) -> None:
    must(node.arrive(person(0), 1, T0, camera="side"), "first")
    fields = must(node.arrive(person(1), 2, after(1), camera="door", together=(1,)), "first")
    assert "company" not in fields
    assert fields["gallery_n"] == 1


# -- a visit is not a track --------------------------------------------------------------------------------------


def test_coming_back_within_the_gap_continues_the_visit_without_a_record(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(10))
    assert node.arrive(person(0), 2, after(200)) is None
    assert node.arrive(person(0), 1, after(210), camera="side") is None
    assert node.kinds() == ["first"]
    assert len(node.vault.people()) == 1


def test_out_for_five_minutes_is_a_reentry_with_the_company_before_and_after(node: Node) -> None:
    visit = must(node.arrive(person(0), 1, T0), "first")["visit"]
    friend = must(node.arrive(person(1), 2, after(1), together=(1,)), "first")["visit"]
    node.leave(1, after(20))
    node.leave(2, after(20))
    agent = must(node.arrive(person(2), 3, after(2399)), "first")["visit"]
    fields = must(node.arrive(person(0), 4, after(2400), together=(3,)), "reentry")
    assert fields["visit"] == visit
    assert fields["camera"] == "door"
    assert fields["out_us"] == 2380 * 1_000_000
    assert fields["at_us"] == round(after(2400).timestamp() * 1e6)
    assert fields["company_before"] == [friend]
    assert fields["company_after"] == [agent]
    node.leave(4, after(2410))
    again = must(node.arrive(person(0), 5, after(3000)), "reentry")
    assert again["company_before"] == [agent]
    assert again["company_after"] == []


def test_just_under_five_minutes_out_is_no_reentry(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(10))
    seconds = REENTRY_AFTER.total_seconds()
    assert node.arrive(person(0), 2, after(10 + seconds - 0.001)) is None
    node.leave(2, after(500))
    must(node.arrive(person(0), 3, after(500 + seconds)), "reentry")


def test_a_second_camera_does_not_make_the_company_of_the_first_forgotten(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    friend = must(node.arrive(person(1), 2, after(1), together=(1,)), "first")["visit"]
    assert node.arrive(person(0), 1, after(8), camera="side") is None
    for camera in ("door", "side"):
        node.leave(1, after(20), camera)
    assert must(node.arrive(person(0), 9, after(1000)), "reentry")["company_before"] == [friend]


def test_somebody_in_view_for_hours_is_still_the_same_visit(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    for hour in range(1, 11):
        node.visits.seen("door", (1,), after(3600 * hour))
        node.visits.sweep(after(3600 * hour + 1))
    assert node.arrive(person(0), 1, after(36_030), camera="side") is None
    assert node.kinds() == ["first"]


def test_the_gap_ends_a_visit_and_the_next_one_is_a_return(node: Node) -> None:
    first = must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(60))
    node.visits.sweep(after(60 + 4 * 3600))
    assert node.kinds() == ["first"]  # the gap itself still belongs to the visit
    node.visits.sweep(after(61 + 4 * 3600))
    (left,) = node.records("visit.left")
    assert left.fields["visit"] == first["visit"]
    assert left.fields["end_us"] == round(after(60).timestamp() * 1e6)
    assert left.fields["reason"] == "gap"
    must(node.arrive(person(0), 2, after(70 + 4 * 3600)), "return")
    node.visits.sweep(after(80 + 4 * 3600))
    assert node.kinds() == ["first", "left", "return"]


def test_gap_zero_ends_a_visit_three_seconds_after_its_last_frame(make_node: MakeNode) -> None:
    node = make_node(gap=timedelta(0))
    must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(2))
    node.visits.sweep(after(5))
    assert node.arrive(person(0), 2, after(5)) is None  # within three seconds it is the same visit
    node.leave(2, after(6))
    node.visits.sweep(after(9.1))
    assert node.kinds() == ["first", "left"]
    must(node.arrive(person(0), 3, after(9.2)), "return")


def test_a_return_after_the_gap_does_not_wait_for_the_sweep(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(10))
    must(node.arrive(person(0), 2, after(5 * 3600)), "return")
    node.visits.sweep(after(5 * 3600))
    (left,) = node.records("visit.left")
    assert left.fields["end_us"] == round(after(10).timestamp() * 1e6)
    assert node.arrive(person(0), 3, after(5 * 3600 + 60)) is None  # the newer visit is the one that goes on


def test_close_ends_every_open_visit_once(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    must(node.arrive(person(1), 2, after(1)), "first")
    node.leave(1, after(5))
    node.visits.close("source_end")
    node.visits.close("source_end")
    assert [record.fields["reason"] for record in node.records("visit.left")] == ["source_end"] * 2


# -- over restarts -----------------------------------------------------------------------------------------------


def test_a_visit_open_at_a_crash_is_closed_with_its_end_unknown(node: Node) -> None:
    visit = must(node.arrive(person(0), 1, T0), "first")["visit"]
    node.start()
    assert node.recover(after(600)) == 1
    (left,) = node.records("visit.left")
    assert (left.fields["visit"], left.fields["reason"]) == (visit, "crash")
    assert "end_us" not in left.fields
    node.start()
    assert node.recover(after(700)) == 0


def test_after_a_crash_the_visit_goes_on_and_no_time_out_is_claimed_that_nobody_watched(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    node.start()
    node.recover(after(1200))
    assert node.arrive(person(0), 1, after(1230)) is None  # twenty minutes, perhaps all of them at the door
    node.leave(1, after(1240))
    must(node.arrive(person(0), 2, after(1600)), "reentry")


def test_after_a_crash_minutes_out_count_from_the_restart(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    node.start()
    node.recover(after(1200))
    assert must(node.arrive(person(0), 1, after(1600)), "reentry")["out_us"] == 400_000_000


def test_a_restart_within_the_gap_resumes_and_after_it_does_not(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(60))
    node.visits.close("stopped")
    node.start()
    assert node.recover(after(120)) == 0
    assert node.arrive(person(0), 1, after(130)) is None
    node.visits.close("stopped")
    node.start()
    node.recover(after(6 * 3600))
    must(node.arrive(person(0), 1, after(6 * 3600)), "return")


def test_with_gap_zero_a_new_run_starts_new_visits_at_once(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    node.visits.close("source_end")
    node.start(gap=timedelta(0))
    node.recover(after(2))
    must(node.arrive(person(0), 1, after(2)), "return")


def test_a_reentry_counts_as_open_for_the_next_start(node: Node) -> None:
    visit = must(node.arrive(person(0), 1, T0), "first")["visit"]
    node.leave(1, after(10))
    node.visits.close("stopped")
    node.start()
    node.recover(after(20))
    must(node.arrive(person(0), 1, after(1000)), "reentry")
    node.start()
    assert node.recover(after(1100)) == 1
    assert [record.fields["visit"] for record in node.records("visit.left")] == [visit, visit]


# -- forgetting ---------------------------------------------------------------------------------------------------


def test_somebody_erased_by_another_process_comes_back_as_new(node: Node) -> None:
    first = must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(10))
    with opened(node.home.database, node.home.keys_database) as other:
        other.destroy_keys([first["person"]])
        with node.ledger.transaction() as transaction:
            other.forget(transaction.connection, first["person"])
    again = must(node.arrive(person(0), 2, after(60)), "first")
    assert again["person"] != first["person"]
    assert again["gallery_n"] == 0


def test_a_return_adds_the_face_of_that_visit(node: Node) -> None:
    known = must(node.arrive(person(0), 1, T0), "first")["person"]
    node.leave(1, after(10))
    must(node.arrive(like(person(0), 0.9), 2, after(5 * 3600)), "return")
    assert [sealed.person_id for sealed in node.vault.templates.sealed(PACK)] == [known, known]
    (remembered,) = node.vault.people()
    assert remembered.stored_us == to_us(after(5 * 3600 + 1))
    node.leave(2, after(5 * 3600 + 9))
    again = must(node.arrive(like(person(0), 0.9), 3, after(10 * 3600)), "return")
    assert again["similarity_e6"] == pytest.approx(1e6, abs=10), "the newer template is searched too"


# -- after_consent -------------------------------------------------------------------------------------------------


@pytest.fixture
def unnamed(make_node: MakeNode) -> Node:
    return make_node(policy=CapturePolicy("after_consent", "", timedelta(hours=24)), place=PLACE)


def test_an_unnamed_arrival_is_seen_with_its_party_and_nothing_of_a_person(unnamed: Node) -> None:
    record = unnamed.visits.arrived_unnamed(arrival(7, T0, together=(8, 9)))
    fields = must(record, "seen")
    assert set(fields) - {"v", "node", "epoch", "seq", "prev", "kind", "key", "at"} == {
        "visit", "site", "camera", "source", "source_hash", "arrived_us", "party", "quality_e6", "shots",
        "grade", "place", "zone", "party_id",
    }  # fmt: skip
    assert fields["party"] == 3
    assert fields["grade"] == "C"
    assert unnamed.vault.people() == []
    assert unnamed.vault.of_visits.crop(fields["visit"]) is None


def test_an_unnamed_visit_ends_with_its_track(unnamed: Node) -> None:
    first = must(unnamed.visits.arrived_unnamed(arrival(1, T0)), "seen")
    second = must(unnamed.visits.arrived_unnamed(arrival(2, after(1), together=(1,))), "seen")
    assert second["company"] == [first["visit"]]
    unnamed.visits.seen("door", (1, 2), after(3))
    unnamed.leave(1, after(4))
    unnamed.leave(1, after(4))  # told twice changes nothing
    unnamed.visits.arrived_unnamed(arrival(3, after(6), together=(1, 2)))
    unnamed.leave(2, after(7))
    unnamed.visits.close("stopped")
    left = [(record.fields["visit"], record.fields["reason"]) for record in unnamed.records("visit.left")]
    assert left[:2] == [(first["visit"], "track_end"), (second["visit"], "track_end")]
    assert [reason for _, reason in left] == ["track_end", "track_end", "stopped"]


def test_unnamed_arrivals_leave_no_byte_of_a_face_in_any_file(unnamed: Node, find_bytes) -> None:
    for track in range(1, 6):
        record = unnamed.visits.arrived_unnamed(arrival(track, after(track)))
        unnamed.leave(track, after(track + 5))
    for needle in (CROP, CROP[:10], b"\xff\xd8\xff\xe0", CHIP.tobytes(), CHIP[0].tobytes()):
        assert find_bytes(unnamed.home.path, needle) == []
    assert find_bytes(unnamed.home.path, record.body)  # the search does find what is there


def test_named_arrivals_leave_crop_and_template_sealed_only(node: Node, find_bytes) -> None:
    face = like(person(0), 0.6)
    record = node.arrive(face, 1, T0)
    for needle in (CROP, b"\xff\xd8\xff\xe0", CHIP[0].tobytes(), face.tobytes()):
        assert find_bytes(node.home.path, needle) == []
    assert record is not None
    assert find_bytes(node.home.path, record.body)
    assert node.vault.of_visits.crop(record.fields["visit"]) == CROP


# -- the desk's answers ------------------------------------------------------------------------------------------


def test_a_visit_the_desk_has_named_goes_on_as_that_person_s(node: Node) -> None:
    known = must(node.arrive(person(0), 1, T0), "first")["person"]
    node.leave(1, after(2))
    node.visits.sweep(after(5 * 3600))
    asked = must(node.arrive(like(person(0), 0.4), 2, after(6 * 3600)), "unsure")
    desk = node.home.open_ledger("desk", Clock())
    with desk.transaction() as transaction:
        fields = {"visit": asked["visit"], "decision": "return", "person": known, "reason": "same_person"}
        transaction.append("visit.corrected", fields)
        absorb(transaction.connection, node.vault, asked["person"], known)
    desk.close()
    node.leave(2, after(6 * 3600 + 2))
    assert node.arrive(person(0), 3, after(6 * 3600 + 60)) is None, "a second visit within the gap"
    assert node.kinds() == ["first", "left", "unsure"]


# -- the clock is moved --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1), timedelta(days=20_000)])
def test_a_moved_clock_makes_nobody_seem_to_have_been_out(node: Node, jump: timedelta) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(10))
    node.visits.shift(jump)
    node.visits.sweep(after(20) + jump)
    assert node.arrive(person(0), 2, after(40) + jump) is None, "half a minute out is the same visit, and no re-entry"
    assert node.kinds() == ["first"]


def test_an_answer_to_an_older_question_does_not_make_a_newer_visit_older(node: Node) -> None:
    known = must(node.arrive(person(0), 1, T0), "first")["person"]
    node.leave(1, after(2))
    node.visits.sweep(after(5 * 3600))
    asked = must(node.arrive(like(person(0), 0.4), 2, after(6 * 3600)), "unsure")
    node.leave(2, after(6 * 3600 + 10))
    must(node.arrive(person(0), 3, after(7 * 3600)), "return")
    node.leave(3, after(7 * 3600 + 30))
    desk = node.home.open_ledger("desk", Clock())
    desk.append("visit.corrected", {"visit": asked["visit"], "decision": "return", "person": known})
    desk.close()
    assert node.arrive(person(0), 4, after(7 * 3600 + 60)) is None, "half a minute out is no re-entry of an hour"


def test_first_never_reaches_further_back_than_any_policy_since_let_it(node: Node) -> None:
    day, now = CapturePolicy("ephemeral", "test", timedelta(hours=24)), datetime.now(UTC)
    assert Horizon(day, node.ledger, node.home.path).seconds(now) == 86_400
    declare(CapturePolicy("after_consent", "", timedelta(hours=24)), node.ledger, node.home.path)
    month = CapturePolicy("ephemeral", "test", timedelta(days=30))
    declare(month, node.ledger, node.home.path)
    horizon = Horizon(month, node.ledger, node.home.path)
    assert horizon.seconds(now + timedelta(hours=1)) == pytest.approx(3600, abs=5)  # everybody before was forgotten
    assert horizon.seconds(now + timedelta(days=60)) == 30 * 86_400


def test_an_answer_nobody_can_read_does_not_stop_the_node(node: Node) -> None:
    must(node.arrive(person(0), 1, T0), "first")
    desk = node.home.open_ledger("desk", Clock())
    desk.append("visit.corrected", {"visit": 7})
    desk.append("visit.corrected", {"person": "p-nobody"})
    desk.close()
    must(node.arrive(person(1), 2, after(10)), "first")
    node.start()
    node.recover(after(20))


def test_a_start_reads_no_further_back_than_the_last_boot_before_the_gap(node: Node) -> None:
    for day in range(3):
        node.recover(after(day * 86400))
        must(node.arrive(person(day), 1, after(day * 86400 + 5)), "first")
        node.leave(1, after(day * 86400 + 10))
        node.visits.close("stopped")
        node.start()
    # the records' own stamps are of now, so a start an hour from now is long after every boot
    soon = datetime.now(UTC) + timedelta(hours=5)
    assert node.visits._last_boot_before(soon - timedelta(hours=4)) == (
        1,
        list(node.ledger.records(("node.boot",)))[-1].seq,
    )
    assert node.recover(soon) == 0
