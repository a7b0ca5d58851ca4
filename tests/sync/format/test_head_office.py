from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.format.canonical import Fields
from sync.format.head_office import HeadOffice, bases
from sync.format.notices import AccountSet, AccountWord, BadBody, read_order
from sync.format.records import Record
from sync.node.trust import account_notices
from tests.sync.a_site import ASite

ZHAO = "acc-" + "a" * 16


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ASite]:
    site = ASite(tmp_path / "site")
    yield site
    site.close()


def _word(site: ASite, office: str = "hq", proposal: str = "0" * 64) -> Record:
    said: Fields = {"visit": "v-1", "proposal": proposal, "verdict": "approved", "account": ZHAO, "office": office}
    return site.desk.append("visit.approved", said)


def _counts(site: ASite, word: Record) -> str | None:
    records = site.node.records(("access.digest", "notice.applied", "visit.approved"))
    return bases(records, account_notices(site.node.connection)).get(word.hash)


def test_an_account_that_the_desk_made_up_speaks_for_nobody(site: ASite) -> None:
    site.change_account(ZHAO)
    assert _counts(site, _word(site)) is None


def test_a_confirmed_account_speaks_from_then_on_and_in_its_office_only(site: ASite) -> None:
    made = site.change_account(ZHAO)
    before = _word(site)
    site.confirm(made)
    after, elsewhere = _word(site), _word(site, "puxi-02")
    assert [_counts(site, one) for one in (before, after, elsewhere)] == [None, "desk", None]


@pytest.mark.parametrize("act", ["password", "pin", "removed", "made", "found", "whatever_comes"])
def test_whatever_changes_of_an_account_ends_its_confirmation_until_it_is_given_anew(site: ASite, act: str) -> None:
    site.confirm(site.change_account(ZHAO))
    changed = site.change_account(ZHAO, act)
    between = _word(site)
    site.confirm(changed)
    assert [_counts(site, one) for one in (between, _word(site))] == [None, "desk"]


def test_a_confirmation_under_way_while_the_password_is_changed_confirms_nobody(site: ASite) -> None:
    made = site.change_account(ZHAO)
    site.change_account(ZHAO, "password")  # central had not heard of it when it wrote the notice
    site.confirm(made)
    assert _counts(site, _word(site)) is None


@pytest.mark.parametrize("taken_back", [AccountSet(ZHAO, True), AccountSet(ZHAO, False)])
def test_a_later_word_of_centrals_takes_it_back(site: ASite, taken_back: AccountSet) -> None:
    site.confirm(site.change_account(ZHAO))
    before = _word(site)
    site.tell(taken_back)
    assert [_counts(site, one) for one in (before, _word(site))] == ["desk", None]


def test_a_privacy_officer_approves_no_correction(site: ASite) -> None:
    site.confirm(site.change_account(ZHAO, role="privacy"))
    assert _counts(site, _word(site)) is None


def test_a_notice_of_another_node_confirms_nobody_here(site: ASite, tmp_path: Path) -> None:
    other = ASite(tmp_path / "other", site.central, "puxi-02-a")
    site.change_account(ZHAO)
    answer = other.confirm(other.change_account(ZHAO))
    site.node.append("notice.applied", {"nseq": 1, "hash": answer.fields["hash"], "account": ZHAO})
    head_office = HeadOffice(account_notices(other.node.connection))
    for record in site.node.records(("access.digest", "notice.applied")):
        head_office.follow(record)
    assert not head_office.confirms(ZHAO, "auditor", "hq")
    other.close()


def test_a_word_of_centrals_own_counts_as_it_was_said_and_no_other(site: ASite) -> None:
    said = AccountWord("acc-" + "e" * 16, "hq", "v-1", "5" * 64, "refused")
    answer = site.tell(said)
    assert {name: answer.fields[name] for name in ("visit", "proposal", "verdict")} == {
        "visit": "v-1",
        "proposal": "5" * 64,
        "verdict": "refused",
    }
    twisted = site.node.append("notice.applied", {**_plain(answer), "verdict": "approved"})
    made_up = site.node.append("notice.applied", {**_plain(answer), "hash": "6" * 64})
    rests = bases(site.node.records(("notice.applied",)), account_notices(site.node.connection))
    assert rests == {answer.hash: "central"}
    assert {twisted.hash, made_up.hash}.isdisjoint(rests)


@pytest.mark.parametrize(
    "body",
    [
        {"account": ZHAO, "enabled": 0, "role": "auditor", "office": "hq", "epoch": 1, "seq": 7},
        {"account": ZHAO, "enabled": 1, "role": "manager", "office": "hq", "epoch": 1, "seq": 7},
        {"account": ZHAO, "enabled": 1, "role": "auditor", "office": "hq"},
        {"account": ZHAO, "enabled": 1, "role": "auditor", "office": "总部", "epoch": 1, "seq": 7},
        {"account": ZHAO, "office": "hq", "visit": "v-1", "proposal": "5" * 64, "verdict": "maybe"},
        {"account": ZHAO, "office": "hq", "visit": "v-1", "proposal": "5" * 63, "verdict": "approved"},
    ],
)
def test_a_body_that_says_anything_else_is_not_understood(body: Fields) -> None:
    with pytest.raises(BadBody):
        read_order("account", body)


def test_what_is_said_of_accounts_is_read_back_as_it_was_written() -> None:
    for said in (
        AccountSet(ZHAO, True),
        AccountSet(ZHAO, True, "privacy", "hq", (2, 9)),
        AccountWord(ZHAO, "hq", "v-1", "5" * 64, "approved"),
    ):
        assert read_order("account", said.fields()) == said


def _plain(record: Record) -> Fields:
    return {name: record.fields[name] for name in ("nseq", "hash", "account", "visit", "proposal", "verdict")}
