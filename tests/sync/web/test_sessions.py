from collections.abc import Callable
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from sync.format.accounts import Account
from sync.web.accounts import Accounts
from sync.web.sessions import LONGEST_S, Sessions
from sync.web.tablets import Tablets

IDLE_S = 600.0


@pytest.fixture
def account(db: Path, clock: Callable[[], float]) -> Account:
    quick = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    return Accounts(db, clock, quick).add("wang", "correct horse battery", "manager")


@pytest.fixture
def sessions(db: Path, clock: Callable[[], float]) -> Sessions:
    return Sessions(db, IDLE_S, clock)


def test_a_session_is_found_by_its_token_and_by_no_other(sessions: Sessions, account: Account, db: Path) -> None:
    token = sessions.start(account, None)
    found = sessions.find(token, touch=False)
    assert found
    assert found.account == account
    assert sessions.find(("A" if token[0] != "A" else "B") + token[1:], touch=False) is None
    assert sessions.find(None, touch=False) is None
    assert not [file for file in db.parent.iterdir() if token.encode() in file.read_bytes()]


def test_a_session_ends_when_nobody_uses_it(sessions: Sessions, account: Account, clock: Callable[[], float]) -> None:
    token = sessions.start(account, None)
    clock.now_s += IDLE_S - 1  # type: ignore[attr-defined]
    assert sessions.find(token, touch=False)
    clock.now_s += 2  # type: ignore[attr-defined]
    assert sessions.find(token, touch=True) is None


def test_use_puts_the_end_off_but_not_for_ever(
    sessions: Sessions, account: Account, clock: Callable[[], float]
) -> None:
    token = sessions.start(account, None)
    began_s = clock()
    while sessions.find(token, touch=True):
        assert clock() - began_s <= LONGEST_S
        clock.now_s += IDLE_S - 1  # type: ignore[attr-defined]
    assert clock() - began_s > LONGEST_S


def test_asking_whether_it_lives_does_not_keep_it_alive(
    sessions: Sessions, account: Account, clock: Callable[[], float]
) -> None:
    found = sessions.find(sessions.start(account, None), touch=True)
    assert found
    for _ in range(2):
        assert sessions.alive(found.key)
        clock.now_s += IDLE_S * 0.6  # type: ignore[attr-defined]
    assert not sessions.alive(found.key)


def test_ending_a_session_ends_that_one_only(sessions: Sessions, account: Account) -> None:
    here, there = sessions.start(account, None), sessions.start(account, None)
    found = sessions.find(here, touch=False)
    assert found
    sessions.end(found.key)
    assert sessions.find(here, touch=False) is None
    assert sessions.find(there, touch=False)


def test_revoking_a_tablet_ends_its_sessions(
    sessions: Sessions, account: Account, db: Path, clock: Callable[[], float]
) -> None:
    tablets = Tablets(db, clock)
    tablets.register(cookie := "a" * 43, "left desk", account.account_id)
    tablet = tablets.find(cookie)
    assert tablet
    on_tablet, elsewhere = sessions.start(account, tablet), sessions.start(account, None)
    tablets.revoke(tablet.tablet_id, account.account_id)
    assert tablets.find(cookie) is None
    assert sessions.find(on_tablet, touch=False) is None
    assert sessions.find(elsewhere, touch=False)
