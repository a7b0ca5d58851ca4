"""The path of a visit over the zones: stays that go on, end, overlap, and come back out of a record."""

import random
from datetime import timedelta

from edge.visits.stays import MAX_STAYS, Path
from sync.format import canonical
from sync.format.stamp import to_us
from tests.edge.visiting import after


def walked(*sightings: tuple[str, float, float]) -> Path:
    path = Path()
    for zone, from_s, until_s in sightings:
        path.seen(zone, after(from_s), after(until_s))
    return path


def stays(path: Path) -> list[tuple[str, float, float]]:
    began_us = to_us(after(0))
    return [
        (one["zone"], (one["from_us"] - began_us) / 1e6, (one["until_us"] - began_us) / 1e6)
        for one in path.fields()["path"]
    ]


def test_a_walk_over_three_zones_is_three_stays_with_their_dwell() -> None:
    path = walked(("entrance", 0, 4), ("model", 60, 90), ("model", 150, 400), ("talks", 500, 900))
    assert stays(path) == [("entrance", 0, 4), ("model", 60, 400), ("talks", 500, 900)]
    assert path.fields()["dwell_us"] == {"entrance": 4_000_000, "model": 340_000_000, "talks": 400_000_000}


def test_unseen_for_five_minutes_ends_a_stay_and_one_second_less_does_not() -> None:
    assert stays(walked(("model", 0, 10), ("model", 309, 320))) == [("model", 0, 320)]
    assert stays(walked(("model", 0, 10), ("model", 310, 320))) == [("model", 0, 10), ("model", 310, 320)]


def test_going_elsewhere_and_back_is_a_stay_of_its_own() -> None:
    path = walked(("model", 0, 10), ("talks", 40, 50), ("model", 80, 90))
    assert stays(path) == [("model", 0, 10), ("talks", 40, 50), ("model", 80, 90)]


def test_two_cameras_that_overlap_are_two_stays_and_not_one_for_every_frame() -> None:
    path = Path()
    for second in range(100):
        path.seen("model" if second % 2 else "talks", after(second), after(second))
    assert stays(path) == [("talks", 0, 98), ("model", 1, 99)]


def test_a_long_walk_keeps_its_beginning_and_its_end_and_all_of_its_time() -> None:
    path = walked(*((("model", "talks")[i % 2], 100 * i, 100 * i + 10) for i in range(100)))
    fields = path.fields()
    assert len(fields["path"]) == MAX_STAYS
    assert fields["path_omitted"] == 100 - MAX_STAYS
    assert stays(path)[0] == ("model", 0, 10)
    assert stays(path)[-1] == ("talks", 9900, 9910)
    assert fields["dwell_us"] == {"model": 500_000_000, "talks": 500_000_000}
    assert len(canonical.encode(fields)) < 2048


def test_a_path_read_back_says_the_same_and_goes_on_as_the_first_would_have() -> None:
    rng = random.Random(7)
    first, moment = Path(), 0.0
    for _ in range(80):
        moment += rng.choice([1, 30, 400])
        first.seen(rng.choice(["entrance", "model", "talks"]), after(moment), after(moment + rng.choice([0, 5])))
    second = Path.parse(first.fields())
    assert second.fields() == first.fields()
    for path in (first, second):
        path.seen("showflat", after(moment + 50), after(moment + 70))
    assert second.fields() == first.fields()


def test_a_stay_that_a_crash_cut_off_has_no_end_until_the_person_is_seen_again() -> None:
    path = Path()
    path.began("model", after(10))
    assert path.fields() == {"path": [{"zone": "model", "from_us": to_us(after(10))}], "dwell_us": {"model": 0}}
    again = Path.parse(path.fields())
    again.seen("model", after(60), after(80))
    assert stays(again) == [("model", 10, 80)]


def test_an_earlier_version_s_visit_left_has_no_path() -> None:
    assert Path.parse({"visit": "v-1", "reason": "gap"}).fields() == {"path": [], "dwell_us": {}}


def test_a_moved_clock_moves_the_stays_with_it() -> None:
    path = walked(("model", 0, 10))
    path.shift(timedelta(hours=1))
    path.seen("model", after(3600 + 15), after(3600 + 20))
    assert stays(path) == [("model", 3600, 3620)]
