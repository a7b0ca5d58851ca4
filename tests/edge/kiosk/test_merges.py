"""The queue of questions: two crops side by side, one tap, one record, also of two ids that may be one person."""

import re
from collections.abc import Callable, Iterator

import httpx
import pytest

from sync.verify.verify import verify
from tests.conftest import form_token
from tests.edge.kiosk.conftest import Desk, until
from tests.edge.kiosk.door import Door

Visitor = Callable[..., httpx.Client]


@pytest.fixture
def two(desk: Desk, door: Door) -> Iterator[tuple[str, str, str]]:
    """(visit that asks, older person, newer person)."""
    _, older = door.arrive("first", ago_s=7200)
    _, newer = door.arrive("first", ago_s=3600)
    visit, _ = door.arrive("return", person=older, similarity=0.8, merge=[older, newer])
    yield visit, older, newer
    assert verify(desk.home.path).ok


def say(client: httpx.Client, path: str, **form: str) -> httpx.Response:
    html = client.get("/questions").text
    request = re.search(r'name="request_id" value="([0-9a-f]{32})"', html)
    sent = {"csrf_token": form_token(client, "/questions"), "request_id": request[1] if request else "0" * 32, **form}
    return client.post(path, data=sent, follow_redirects=True)


def asked(client: httpx.Client, visit: str) -> bool:
    return f'id="two-{visit}"' in client.get("/questions").text


def test_two_ids_that_may_be_one_person_are_merged_at_one_tap(
    door: Door, visitor: Visitor, two: tuple[str, str, str]
) -> None:
    visit, older, newer = two
    client = visitor("li")
    until(lambda: asked(client, visit))
    html = client.get("/questions").text
    assert html.count("/crops/") == 2, "the two faces side by side"
    page = say(client, f"/merges/{visit}", word="merged").text
    (record,) = door.ledger.records(("person.merged",))
    assert (record.fields["person"], record.fields["alias"]) == (older, newer)
    assert f"已合并为同一人，以较早者为准，记录 #{record.seq}" in page
    assert not asked(client, visit)
    assert "已合并为同一人" in client.get(f"/fragments/arrival/{visit}").text
    assert "已合并" not in client.get(f"/questions?said={record.seq + 1}").text, "what is shown was recorded"
    again = say(client, f"/merges/{visit}", word="lookalike").text
    assert f"记录 #{record.seq}" in again, "the first word stands, and is what is shown"
    assert list(door.ledger.records(("person.split",))) == []


def test_a_merge_is_taken_back_by_the_manager_alone(door: Door, visitor: Visitor, two: tuple[str, str, str]) -> None:
    visit, _, newer = two
    client, manager = visitor("li"), visitor("wang")
    until(lambda: asked(client, visit))
    say(client, f"/merges/{visit}", word="merged")
    assert "撤回合并" not in client.get("/questions").text
    assert say(client, f"/merges/{newer}/back").status_code == 403
    page = say(manager, f"/merges/{newer}/back").text
    (record,) = door.ledger.records(("person.split",))
    assert f"合并已撤回，记录 #{record.seq}" in page
    assert record.fields["reason"] == "not_same"
    assert say(manager, "/merges/p-nobody/back").status_code == 409


def test_two_who_only_look_alike_are_marked_at_one_tap_and_not_asked_about_again(
    door: Door, visitor: Visitor, two: tuple[str, str, str]
) -> None:
    visit, older, newer = two
    client = visitor("li")
    until(lambda: asked(client, visit))
    assert "今后一律由前台确认" in say(client, f"/merges/{visit}", word="lookalike").text
    (record,) = door.ledger.records(("person.split",))
    assert record.fields["persons"] == [older, newer]
    assert not asked(client, visit)


def test_a_twin_is_answered_and_marked_at_one_tap(desk: Desk, door: Door, visitor: Visitor) -> None:
    _, known = door.arrive("first", ago_s=3600)
    unsure, provisional = door.arrive("unsure", similarity=0.45, candidates=((known, 0.45),))
    client = visitor("li")
    until(lambda: unsure in client.get("/questions").text)
    html = client.get("/questions").text
    assert f'id="{unsure}"' in html
    assert html.count("/crops/") == 2
    assert say(client, f"/questions/{unsure}", pair="p-nobody").status_code == 404
    assert say(client, f"/questions/{unsure}", pair=known, person="new").status_code == 422
    assert say(client, f"/questions/{unsure}").status_code == 422
    assert list(door.ledger.records(("visit.corrected",))) == [], "nothing is written of a form that says nothing"
    say(client, f"/questions/{unsure}", pair=known)
    (answer,) = door.ledger.records(("visit.corrected",))
    (pair,) = door.ledger.records(("person.split",))
    assert (answer.fields["decision"], answer.fields["person"]) == ("first", provisional)
    assert (pair.fields["reason"], set(pair.fields["persons"])) == ("lookalike", {known, provisional})
    assert verify(desk.home.path).ok


def test_a_candidate_merged_meanwhile_is_shown_once_and_answers_as_the_older(
    door: Door, visitor: Visitor, two: tuple[str, str, str]
) -> None:
    visit, older, newer = two
    unsure, _ = door.arrive("unsure", similarity=0.45, candidates=((newer, 0.46), (older, 0.45)))
    client = visitor("li")
    until(lambda: asked(client, visit) and unsure in client.get("/questions").text)
    say(client, f"/merges/{visit}", word="merged")
    question = client.get("/questions").text.split(f'id="{unsure}"')[1]
    assert question.count('class="candidate"') == 1
    say(client, f"/questions/{unsure}", person=newer)
    (answer,) = door.ledger.records(("visit.corrected",))
    assert (answer.fields["decision"], answer.fields["person"]) == ("return", older)


def test_one_visit_is_split_out_of_a_person_by_the_manager_with_the_faces_side_by_side(
    desk: Desk, door: Door, visitor: Visitor
) -> None:
    _, known = door.arrive("first", ago_s=7200)
    false, _ = door.arrive("return", person=known, similarity=0.7)
    li, manager, path = visitor("li"), visitor("wang"), f"/visits/{false}/other-person"
    until(lambda: f'href="{path}"' in manager.get(f"/visits/{false}/why").text)
    assert path not in li.get(f"/visits/{false}/why").text
    html = manager.get(path).text
    assert html.count("/crops/") == 2, "the two faces side by side"
    request = re.search(r'name="request_id" value="([0-9a-f]{32})"', html)
    assert request is not None
    sent = {"csrf_token": form_token(manager, path), "request_id": request[1]}
    assert li.post(path, data={**sent, "csrf_token": form_token(li, "/questions")}).status_code == 403
    pages = [manager.post(path, data=sent, follow_redirects=True).text for _ in range(2)]
    (record,) = door.ledger.records(("person.split",))
    assert (record.fields["visit"], record.fields["person"]) == (false, known)
    assert all(f"已单独成为另一人，记录 #{record.seq}" in page for page in pages)
    assert f"记录 #{record.seq}" in li.get(f"/visits/{false}/why").text
    assert "d-return" in li.get(f"/fragments/arrival/{false}").text, "no desk makes a first visit of it"
    assert manager.get(f"/crops/{false}.jpg").status_code == 200
    assert verify(desk.home.path).ok
