from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sync.format.canonical import Fields
from sync.format.records import Record
from sync.format.source import lines, source_of
from sync.format.visit_fields import settles
from tests.sync.a_site import ASite


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Callable[[str, Fields], Record]]:
    """Appends a record about the one visit."""
    site = ASite(tmp_path / "site")
    yield lambda kind, fields: site.desk.append(f"visit.{kind}", {"visit": "v-1", **fields})
    site.close()


def _register(told: Callable[[str, Fields], Record], way: str = "phone") -> Record:
    return told("checkin", {"state": "registered", "way": way, "account": "li"})


def _ask(told: Callable[[str, Fields], Record], **changes: object) -> Record:
    return told("corrected", {"state": "proposed", "reason": "typo", "account": "li", **changes})


def _answer(told: Callable[[str, Fields], Record], asked: Record, verdict: str, account: str = "zhao") -> Record:
    word = {"proposal": asked.hash.hex(), "verdict": verdict, "account": account, "office": "head_office"}
    return told("approved", word)


def test_a_proposal_changes_nothing_until_it_is_approved(told: Callable[[str, Fields], Record]) -> None:
    registered, asked = _register(told), _ask(told, way="walk_in", first_us=17)
    assert source_of([registered, asked]).standing == {"way": "phone"}
    assert not settles(asked.fields)
    approved = source_of([registered, asked, _answer(told, asked, "approved")])
    assert approved.registered == {"way": "phone"}
    assert approved.standing == {"way": "walk_in", "first_us": 17}


def test_a_refused_proposal_stays_and_changes_nothing(told: Callable[[str, Fields], Record]) -> None:
    registered, asked = _register(told), _ask(told, way="walk_in")
    refused = source_of([registered, asked, _answer(told, asked, "refused"), _answer(told, asked, "approved")])
    assert refused.standing == {"way": "phone"}
    assert [one.verdict for one in refused.proposals] == ["refused"], "the first word stands"


@pytest.mark.parametrize(
    "more",
    [
        {"account": "li"},
        {"office": "puxi-01"},
        {"office": ""},
        {"proposal": "0" * 64},
        {"verdict": "maybe"},
        {"verdict": ["approved"]},
    ],
)
def test_a_word_of_the_asker_of_their_office_on_something_else_or_of_neither_kind_counts_for_nothing(
    told: Callable[[str, Fields], Record], more: Fields
) -> None:
    registered, asked = _register(told), _ask(told, agent="a-17", office="puxi-01")
    word = {"proposal": asked.hash.hex(), "verdict": "approved", "account": "zhao", "office": "head_office", **more}
    found = source_of([registered, asked, told("approved", word)])
    assert found.standing == {"way": "phone"}
    assert [one.verdict for one in found.proposals] == [None]


def test_a_visit_registered_anew_begins_anew(told: Callable[[str, Fields], Record]) -> None:
    first, asked = _register(told), _ask(told, way="walk_in")
    word, undone = _answer(told, asked, "approved"), told("checkin", {"state": "open", "account": "li"})
    assert source_of([first, asked, word, undone]).standing == {}
    assert source_of([first, asked, word, undone, _register(told, "code")]).standing == {"way": "code"}


def test_a_verifier_prints_both_versions_and_no_text_of_strangers(told: Callable[[str, Fields], Record]) -> None:
    registered, asked = _register(told), _ask(told, way="walk_in", agent="\x1b[31m evil")
    assert lines(source_of([registered])) == []
    first, second, third = lines(source_of([registered, asked]))
    assert first == "source as registered: way phone"
    assert second.startswith("correction to way walk_in, agent ? asked for at seq ")
    assert second.endswith("(typo): not decided")
    assert third == "source that stands: way phone"
