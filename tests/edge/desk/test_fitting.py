"""Which party a form most likely belongs to, by the clock."""

from collections.abc import Callable
from contextlib import closing

import pytest

from edge.desk.fitting import ALIKE_US, LONGEST_AFTER_US, LONGEST_BEFORE_US, Fit, fitting
from edge.desk.parties import ShownParty
from edge.home import Home
from tests.edge.desk.test_parties import shown
from tests.edge.kiosk.door import Door

MINUTE_US = 60_000_000


@pytest.fixture
def home(make_home: Callable[..., Home]) -> Home:
    return make_home(mode="after_consent")


@pytest.fixture
def came(home: Home) -> list[ShownParty]:
    """Three parties, 40, 20 and 5 minutes ago; the second of two."""
    with closing(Door(home)) as door:
        door.see(ago_s=2400)
        for _ in range(2):
            door.see(ago_s=1200, party_id="g-2", party=2)
        door.see(ago_s=300)
    return shown(home)


def test_a_form_fits_the_party_that_came_nearest_before_it(came: list[ShownParty]) -> None:
    for party in came:
        assert fitting(party.arrived_us + 3 * MINUTE_US, came) == Fit(party, 3 * MINUTE_US, 0)


def test_a_code_at_the_entrance_may_be_scanned_just_before_the_camera_has_them(came: list[ShownParty]) -> None:
    last = came[-1]
    assert fitting(last.arrived_us - LONGEST_AFTER_US, came) == Fit(last, -LONGEST_AFTER_US, 0)
    late = fitting(last.arrived_us - LONGEST_AFTER_US - 1, came)
    assert late is not None
    assert late.party == came[1], "who came after that is somebody else"


def test_two_who_came_together_in_time_are_both_as_likely_and_it_is_said(came: list[ShownParty]) -> None:
    first, second, _ = came
    halfway_us = (first.arrived_us + second.arrived_us) // 2
    assert fitting(halfway_us - ALIKE_US, [first, second]) == Fit(first, halfway_us - ALIKE_US - first.arrived_us, 0)
    between = fitting(second.arrived_us + ALIKE_US // 2, [second, second])
    assert between is not None
    assert between.alike == 1


def test_where_nobody_came_near_nobody_is_proposed(came: list[ShownParty]) -> None:
    assert fitting(came[-1].arrived_us + LONGEST_BEFORE_US + 1, came[-1:]) is None
    assert fitting(came[0].arrived_us, []) is None
