"""The desk can ask why a visit was decided as it was."""

from collections.abc import Callable

import httpx

from edge.people.vault import opened
from edge.rights.retention import erase
from tests.edge.kiosk.conftest import Desk, until_shown
from tests.edge.kiosk.door import Door

Visitor = Callable[..., httpx.Client]


def test_a_card_links_to_the_shots_the_nearest_people_and_the_rule(door: Door, visitor: Visitor) -> None:
    known, person = door.arrive("first", ago_s=3600)
    visit, _ = door.arrive("unsure", similarity=0.44, candidates=((person, 0.44), ("p-gone", 0.31)))
    client = visitor("li")
    until_shown(client, visit)
    assert f'href="/visits/{visit}/why"' in client.get(f"/fragments/arrival/{visit}").text
    page = client.get(f"/visits/{visit}/why").text
    assert "介于下限 0.380 与上限 0.520 之间" in page
    assert f"/crops/{known}.jpg" in page  # the nearest person, as last seen
    assert "0.440" in page
    assert "0.310" in page
    assert "没有活体检测结果" in page
    assert "84 px" in page
    english = client.get(f"/visits/{visit}/why?lang=en").text
    assert "between 0.380 and 0.520: the desk decides" in english


def test_a_return_is_said_to_be_clear_of_a_second_person_only_where_there_was_one(door: Door, visitor: Visitor) -> None:
    alone, _ = door.arrive("return", similarity=0.77, gallery_n=1)
    clear, _ = door.arrive("return", similarity=0.77, margin_e6=310_000)
    client = visitor("li")
    until_shown(client, clear)
    assert "只有一位可比对的人" in client.get(f"/visits/{alone}/why").text
    assert "明显领先第二位（0.310）" in client.get(f"/visits/{clear}/why").text


def test_of_somebody_erased_only_what_the_record_says_is_told(desk: Desk, door: Door, visitor: Visitor) -> None:
    visit, person = door.arrive("return", similarity=0.77)
    client = visitor("li")
    until_shown(client, visit)
    with opened(desk.home.database, desk.home.keys_database) as vault:
        erase(desk.home.open_ledger("desk"), vault, person, "request", None)
    page = client.get(f"/visits/{visit}/why").text
    assert "0.770" in page
    assert "已按期限删除" in page
    assert "84 px" not in page


def test_why_is_for_those_signed_in_and_for_visits_there_are(door: Door, visitor: Visitor) -> None:
    visit, _ = door.arrive("first")
    assert visitor().get(f"/visits/{visit}/why").status_code in (303, 401, 403)
    assert visitor("wang").get("/visits/v-none/why").status_code == 404
