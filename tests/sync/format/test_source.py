from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sync.format.canonical import Fields
from sync.format.records import Record
from sync.format.source import UNDO_US, Source, lines, source_of
from sync.format.visit_fields import settles
from tests.sync.a_site import DAY_US, ASite


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ASite]:
    site = ASite(tmp_path / "site")
    yield site
    site.close()


@pytest.fixture
def told(site: ASite) -> Callable[[str, Fields], Record]:
    """Appends a record about the one visit."""
    return lambda kind, fields: site.desk.append(f"visit.{kind}", {"visit": "v-1", **fields})


def _fold(records: list[Record]) -> Source:
    """With the words of whoever gave one as if central had confirmed them: that is test_head_office.py's."""
    return source_of(records, {one.hash: "desk" for one in records if one.kind == "visit.approved"})


def _register(told: Callable[[str, Fields], Record], way: str = "phone") -> Record:
    return told("checkin", {"state": "registered", "way": way, "account": "li"})


def _ask(told: Callable[[str, Fields], Record], **changes: object) -> Record:
    return told("corrected", {"state": "proposed", "reason": "typo", "account": "li", **changes})


def _answer(told: Callable[[str, Fields], Record], asked: Record, verdict: str, account: str = "zhao") -> Record:
    word = {"proposal": asked.hash.hex(), "verdict": verdict, "account": account, "office": "head_office"}
    return told("approved", word)


def test_a_proposal_changes_nothing_until_it_is_approved(told: Callable[[str, Fields], Record]) -> None:
    registered, asked = _register(told), _ask(told, way="walk_in", first_us=17)
    assert _fold([registered, asked]).standing == {"way": "phone"}
    assert not settles(asked.fields)
    approved = _fold([registered, asked, _answer(told, asked, "approved")])
    assert approved.registered == {"way": "phone"}
    assert approved.standing == {"way": "walk_in", "first_us": 17}


def test_a_refused_proposal_stays_and_changes_nothing(told: Callable[[str, Fields], Record]) -> None:
    registered, asked = _register(told), _ask(told, way="walk_in")
    refused = _fold([registered, asked, _answer(told, asked, "refused"), _answer(told, asked, "approved")])
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
    found = _fold([registered, asked, told("approved", word)])
    assert found.standing == {"way": "phone"}
    assert [one.verdict for one in found.proposals] == [None]


def test_a_word_that_is_not_head_offices_changes_nothing_and_is_said_to_be_none(
    told: Callable[[str, Fields], Record],
) -> None:
    registered, asked = _register(told), _ask(told, way="walk_in")
    word = _answer(told, asked, "approved")
    source = source_of([registered, asked, word], {})
    assert source.standing == {"way": "phone"}
    assert [one.verdict for one in source.proposals] == [None]
    assert f"not approved from outside: the word at seq {word.seq} does not count" in lines(source)[1]


def test_centrals_own_word_stands_before_any_of_the_desks_whichever_came_first(
    told: Callable[[str, Fields], Record],
) -> None:
    registered, asked = _register(told), _ask(told, way="walk_in")
    desks, centrals = _answer(told, asked, "approved"), _answer(told, asked, "refused", "hq-1")
    for words in ([desks, centrals], [centrals, desks]):
        source = source_of([registered, asked, *words], {desks.hash: "desk", centrals.hash: "central"})
        assert source.standing == {"way": "phone"}
        assert [(one.verdict, one.basis) for one in source.proposals] == [("refused", "central")]
    assert "by central's own word" in lines(source)[1]
    assert "on the desk's key alone" in lines(_fold([registered, asked, desks]))[1]


def test_a_registration_that_its_host_takes_back_in_time_begins_anew(told: Callable[[str, Fields], Record]) -> None:
    first = _register(told)
    undone = told("checkin", {"state": "open", "account": "li", "undoes": first.hash.hex()})
    assert _fold([first, undone]).standing == {}
    assert _fold([first, undone, _register(told, "code")]).standing == {"way": "code"}


def test_whoever_registers_a_visit_again_changes_nothing_of_its_source(told: Callable[[str, Fields], Record]) -> None:
    first, second = _register(told), _register(told, "code")
    source = _fold([first, second])
    assert source.standing == {"way": "phone"}
    assert lines(source)[1:] == [
        f"check-in at seq {second.seq}: changes nothing, the visit was registered already",
        "source that stands: way phone",
    ]


@pytest.mark.parametrize("more", [{"account": "wang"}, {"undoes": "0" * 64}, {"undoes": None}])
def test_nobody_takes_back_what_another_has_registered_or_names_none(
    told: Callable[[str, Fields], Record], more: dict[str, str | None]
) -> None:
    first = _register(told)
    said = {"state": "open", "account": "li", "undoes": first.hash.hex(), **more}
    undone = told("checkin", {name: value for name, value in said.items() if value is not None})
    assert _fold([first, undone, _register(told, "code")]).standing == {"way": "phone"}


def test_a_registration_stands_once_its_ten_minutes_are_over(site: ASite) -> None:
    def told(fields: Fields) -> Record:
        return site.desk.append("visit.checkin", {"visit": "v-1", "account": "li", **fields})

    first = told({"state": "registered", "way": "phone"})
    site.go(UNDO_US)
    undone = told({"state": "open", "undoes": first.hash.hex()})
    assert _fold([first, undone, told({"state": "registered", "way": "code"})]).standing == {"way": "phone"}


def test_a_clock_set_back_makes_no_late_undo_good_and_one_set_forward_no_early_one_late(site: ASite) -> None:
    def told(fields: Fields) -> Record:
        return site.desk.append("visit.checkin", {"visit": "v-1", "account": "li", **fields})

    for elapsed_us, jump_us, stands in ((3 * DAY_US, -3 * DAY_US, {"way": "phone"}), (UNDO_US - 1, DAY_US, {})):
        first = told({"state": "registered", "way": "phone"})
        site.go(elapsed_us, jump_us)
        assert _fold([first, told({"state": "open", "undoes": first.hash.hex()})]).standing == stands


@pytest.mark.parametrize(
    ("off_us", "set_us", "ran_us", "stands"),
    [
        (20_000_000, 20_000_000, 0, {}),
        (3 * DAY_US, 20_000_000, UNDO_US, {"way": "phone"}),  # the new boot has run for longer by itself
        (3 * DAY_US, 3 * DAY_US, 0, {"way": "phone"}),
    ],
)
def test_over_a_restart_the_wall_clock_and_the_new_boot_have_to_be_in_time(
    site: ASite, off_us: int, set_us: int, ran_us: int, stands: Fields
) -> None:
    said: Fields = {"visit": "v-1", "account": "li"}
    first = site.desk.append("visit.checkin", {**said, "state": "registered", "way": "phone"})
    site.reboot(off_us, first.stamp.wall_us + set_us)
    site.go(ran_us, -ran_us)
    undone = site.desk.append("visit.checkin", {**said, "state": "open", "undoes": first.hash.hex()})
    assert _fold([first, undone]).standing == stands


def test_what_an_auditor_has_been_asked_to_judge_is_not_taken_back(told: Callable[[str, Fields], Record]) -> None:
    first, asked = _register(told), _ask(told, way="walk_in")
    undone = told("checkin", {"state": "open", "account": "li", "undoes": first.hash.hex()})
    word = _answer(told, asked, "approved")
    assert _fold([first, asked, undone, _register(told, "code"), word]).standing == {"way": "walk_in"}


def test_a_verifier_prints_both_versions_and_no_text_of_strangers(told: Callable[[str, Fields], Record]) -> None:
    registered, asked = _register(told), _ask(told, way="walk_in", agent="\x1b[31m evil")
    assert lines(_fold([registered])) == []
    first, second, third = lines(_fold([registered, asked]))
    assert first == "source as registered: way phone"
    assert second.startswith("correction to way walk_in, agent ? asked for at seq ")
    assert second.endswith("(typo): not decided")
    assert third == "source that stands: way phone"
