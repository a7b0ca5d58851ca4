"""Who came first: proven, likely or undecidable, and never more than the intervals carry."""

import json
from pathlib import Path

import pytest

from sync.certificate.certified import Certificate
from sync.certificate.compare import Comparison, compare
from sync.certificate.examine import examine
from sync.certificate.found import bundle_of, found_in
from tests.sync.a_site import DAY_US, HOUR_US, SECOND_US, ACentral, ASite


def sites(tmp_path: Path, second: ACentral | None = None) -> tuple[ASite, ASite]:
    central = ACentral()
    made = ASite(tmp_path / "one", central, "puxi-01-a"), ASite(tmp_path / "two", second or central, "pudong-02-a")
    for site in made:
        site.ack()
        site.watch(HOUR_US)
    return made


def answer(site: ASite, visit: str, other: ASite, second: str) -> Comparison:
    compared = compare(found(site, visit), found(other, second))
    turned = compare(found(other, second), found(site, visit))
    assert (turned.answer, turned.reason) == (compared.answer, compared.reason)
    assert turned.first == (None if compared.first is None else 1 - compared.first)
    json.dumps(compared.fields())
    assert all(compared.lines())
    return compared


def found(site: ASite, visit: str) -> Certificate:
    return examine(bundle_of(site.path, visit))


def told(compared: Comparison) -> tuple[str, int | None, str]:
    return compared.answer, compared.first, compared.reason


def test_one_uninterrupted_clock_proves_the_order_of_two_arrivals(tmp_path: Path) -> None:
    site, _ = sites(tmp_path)
    first = site.visit()
    site.go(30 * SECOND_US)
    second = site.visit()
    site.ack(delay_us=HOUR_US)  # central's bounds alone are hours wide
    compared = answer(site, first, site, second)
    assert told(compared) == ("proven", 0, "one_clock")
    assert compared.records_first == 0


def test_a_clock_set_back_between_them_changes_nothing(tmp_path: Path) -> None:
    site, _ = sites(tmp_path)
    first = site.visit()
    site.go(30 * SECOND_US, -2 * HOUR_US)
    second = site.visit()
    site.ack()
    assert told(answer(site, first, site, second)) == ("proven", 0, "one_clock")


def test_whoever_waited_long_at_the_door_may_have_come_first_though_recorded_second(tmp_path: Path) -> None:
    site, _ = sites(tmp_path)
    early = site.kernel.wall_us
    site.go(60 * SECOND_US)
    quick = site.visit()
    slow = site.visit(arrived_us=early)
    site.ack()
    compared = answer(site, slow, site, quick)
    assert told(compared) == ("proven", 0, "one_clock")
    assert compared.records_first == 1
    assert any("another question" in line for line in compared.lines())


def test_nobody_can_sign_today_that_somebody_came_hours_ago(tmp_path: Path) -> None:
    site, _ = sites(tmp_path)
    early = site.kernel.wall_us
    site.watch(HOUR_US)
    honest = site.visit()
    site.ack()
    site.watch(HOUR_US)
    late = site.visit(arrived_us=early)
    site.ack()
    assert told(answer(site, late, site, honest)) == ("undecidable", None, "overlap")
    assert found(site, late).arrival.moment.grade == "B"
    site.watch(HOUR_US)
    last = site.visit()
    site.ack()
    assert told(answer(site, late, site, last)) == ("proven", 0, "one_clock")  # even its record lies before that one


def test_arrivals_a_second_apart_are_undecidable_and_their_records_are_not(tmp_path: Path) -> None:
    site, _ = sites(tmp_path)
    first, second = site.visit(lasting_us=SECOND_US), site.visit(lasting_us=SECOND_US)
    site.ack()
    compared = answer(site, first, site, second)
    assert told(compared) == ("undecidable", None, "overlap")
    assert compared.records_first == 0


def test_central_s_bounds_prove_it_between_two_nodes(tmp_path: Path) -> None:
    one, two = sites(tmp_path)
    first = one.visit()
    one.ack()
    two.go(3 * HOUR_US)
    two.append_alive()
    two.ack()
    second = two.visit()
    two.ack()
    compared = answer(one, first, two, second)
    assert told(compared) == ("proven", 0, "bounds")
    assert compared.records_first is None


def test_a_restart_between_them_proves_the_order_though_the_clock_then_says_1970(tmp_path: Path) -> None:
    site, _ = sites(tmp_path)
    first = site.visit()
    site.reboot(off_us=HOUR_US, wall_us=0)
    second = site.visit()
    compared = answer(site, first, site, second)
    assert told(compared) == ("likely", 0, "unconfirmed")
    assert compared.records_first is None
    site.ack()
    compared = answer(site, first, site, second)
    assert told(compared) == ("proven", 0, "restart")
    assert compared.records_first == 0


def test_only_the_nodes_own_clocks_make_it_likely(tmp_path: Path) -> None:
    one, two = sites(tmp_path)
    first = one.visit()
    two.go(600 * SECOND_US)
    second = two.visit()
    for site in (one, two):
        site.reboot(off_us=DAY_US)  # nothing confirms them before the next day
        site.ack()
    assert told(answer(one, first, two, second)) == ("likely", 0, "claims")


def test_two_centrals_make_the_same_bounds_likely(tmp_path: Path) -> None:
    one, two = sites(tmp_path, ACentral("elsewhere"))
    first = one.visit()
    one.ack()
    two.go(3 * HOUR_US)
    two.append_alive()
    two.ack()
    second = two.visit()
    two.ack()
    assert told(answer(one, first, two, second)) == ("likely", 0, "two_centrals")


def test_at_the_same_minute_at_two_doors_nobody_can_say(tmp_path: Path) -> None:
    one, two = sites(tmp_path)
    first, second = one.visit(), two.visit()
    one.ack()
    two.ack()
    assert told(answer(one, first, two, second)) == ("undecidable", None, "overlap")


def test_without_a_bound_from_central_nothing_is_decided(tmp_path: Path) -> None:
    one, two = sites(tmp_path)
    one.reboot(off_us=HOUR_US, wall_us=0)
    first = one.visit()
    two.go(9 * HOUR_US)
    second = two.visit()
    two.ack()
    assert told(answer(one, first, two, second)) == ("undecidable", None, "unknown")


def test_a_visit_is_found_in_whichever_of_the_paths_holds_it(tmp_path: Path) -> None:
    one, two = sites(tmp_path)
    first, second = one.visit(), two.visit()
    assert found_in([one.path, two.path], second).visit == second
    (tmp_path / "bundle.json").write_bytes(bundle_of(one.path, first).encode())
    assert found_in([two.path, tmp_path / "bundle.json"], first) == bundle_of(one.path, first)


@pytest.mark.parametrize("minutes", [1, 10])
def test_an_undecided_answer_names_nobody(tmp_path: Path, minutes: int) -> None:
    one, two = sites(tmp_path)
    first = one.visit()
    one.reboot(off_us=HOUR_US, wall_us=0)
    two.go(minutes * 60 * SECOND_US)
    second = two.visit()
    fields = compare(found(one, first), found(two, second)).fields()
    assert ("first" in fields) == (fields["answer"] != "undecidable")
