import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from sync import SyncError
from sync.format.accounts import Account
from sync.web.accounts import Accounts, NotAnAccount, Refused
from sync.web.backoff import FREE_FAILURES, LONGEST_SHARED_WAIT_S, LONGEST_WAIT_S, Wait
from sync.web.sessions import Sessions
from sync.web.tablets import Tablet, Tablets

GOOD = "correct horse battery"
DESK = "192.0.2.7"
QUICK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
SECRET = bytes(range(32))


@pytest.fixture
def accounts(db: Path, clock: Callable[[], float]) -> Accounts:
    return Accounts(db, clock, QUICK, SECRET)


@pytest.fixture
def tablet(db: Path, clock: Callable[[], float]) -> Tablet:
    tablets = Tablets(db, clock)
    tablets.register("a" * 43, "left desk", "acc-0")
    found = tablets.find("a" * 43)
    assert found
    return found


def test_a_password_is_kept_as_an_argon2_hash_only(db: Path) -> None:
    accounts = Accounts(db)
    account = accounts.add("李敏", GOOD, "front_desk")
    assert accounts.by_password("李敏", GOOD, None, DESK) == account
    (kept,) = sqlite3.connect(db).execute("SELECT password_hash FROM accounts").fetchone()
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert GOOD.encode() not in db.read_bytes()


@pytest.mark.parametrize(
    ("name", "password", "pin", "why"),
    [
        ("wang", "short", None, "12 characters or more, this one 5"),
        ("wang", "a" * 400, None, "at most 256"),
        ("wang", "a" * 12, None, "too easy to guess"),
        ("wangjianguo-12", "WangJianguo-12", None, "too easy to guess"),
        ("wang", None, "12a4", "4 to 8 digits"),
        ("wang", None, "123", "4 to 8 digits"),
        ("wang", None, "0000", "too easy to guess"),
        ("wang", None, "4567", "too easy to guess"),
        ("wang", None, None, "a password or a PIN is needed"),
        ("", GOOD, None, "1 to 40 letters"),
        ("<b>", GOOD, None, "1 to 40 letters"),
    ],
)
def test_a_weak_account_is_refused_in_one_line(
    accounts: Accounts, name: str, password: str | None, pin: str | None, why: str
) -> None:
    with pytest.raises(NotAnAccount, match=why) as refused:
        accounts.add(name, password, "front_desk", pin)
    assert "\n" not in str(refused.value)
    assert accounts.empty()


def test_a_name_is_taken_once_and_a_role_is_known(accounts: Accounts) -> None:
    accounts.add("wang", GOOD, "manager")
    with pytest.raises(NotAnAccount, match="already exists"):
        accounts.add("wang", GOOD, "front_desk")
    with pytest.raises(NotAnAccount, match="role 'owner': allowed are front_desk"):
        accounts.add("chen", GOOD, "owner")


def test_accounts_need_a_database(tmp_path: Path) -> None:
    with pytest.raises(SyncError, match=r"none\.db: unable to open"):
        Accounts(tmp_path / "none.db").empty()
    assert not (tmp_path / "none.db").exists()


def test_a_wrong_password_and_an_unknown_name_are_answered_alike(accounts: Accounts) -> None:
    accounts.add("wang", GOOD, "manager")
    assert accounts.by_password("wang", "wrong horse battery", None, DESK) == Refused()
    assert accounts.by_password("nobody", GOOD, None, DESK) == Refused()


def test_a_pin_is_no_password_and_a_password_no_pin(accounts: Accounts, tablet: Tablet) -> None:
    both = accounts.add("wang", GOOD, "front_desk", "2580")
    only = accounts.add("chen", None, "front_desk", "7391")
    assert accounts.by_pin(both.account_id, "2580", tablet, DESK) == both
    assert accounts.by_pin(only.account_id, "7391", tablet, DESK) == only
    assert accounts.by_password("wang", "2580", None, DESK) == Refused()
    assert accounts.by_password("chen", "", None, DESK) == Refused()
    assert accounts.by_pin(both.account_id, GOOD, tablet, DESK) == Refused()


def _fail(accounts: Accounts, times: int, tablet: Tablet | None = None, address: str = DESK) -> None:
    for _ in range(times):
        assert accounts.by_password("wang", "wrong horse battery", tablet, address) == Refused()


def test_failures_slow_the_next_attempts_down_more_and_more(accounts: Accounts, clock: Callable[[], float]) -> None:
    account = accounts.add("wang", GOOD, "manager")
    _fail(accounts, FREE_FAILURES)
    waits: list[float] = []
    for _ in range(6):
        answer = accounts.by_password("wang", GOOD, None, DESK)
        assert isinstance(answer, Wait), "the right password must wait as well, or waiting would betray it"
        waits.append(answer.seconds)
        clock.now_s += answer.seconds  # type: ignore[attr-defined]
        _fail(accounts, 1)
    assert waits == sorted(set(waits))
    clock.now_s += LONGEST_WAIT_S  # type: ignore[attr-defined]
    assert accounts.by_password("wang", GOOD, None, DESK) == account


def test_a_stranger_cannot_lock_the_desk_out(accounts: Accounts, tablet: Tablet) -> None:
    account = accounts.add("wang", GOOD, "manager", "2580")
    _fail(accounts, FREE_FAILURES, address="198.51.100.9")
    assert isinstance(accounts.by_password("wang", GOOD, None, "198.51.100.9"), Wait)
    assert accounts.by_pin(account.account_id, "2580", tablet, DESK) == account
    assert accounts.by_password("wang", GOOD, tablet, DESK) == account


def test_strangers_make_the_owner_wait_for_half_a_minute_at_most(
    accounts: Accounts, clock: Callable[[], float]
) -> None:
    account = accounts.add("root", GOOD, "viewer")
    for number in range(60):
        clock.now_s += 3600  # type: ignore[attr-defined]
        accounts.by_password("root", "wrong horse battery", None, f"198.51.100.{number}")
    waiting = accounts.by_password("root", GOOD, None, DESK)
    assert isinstance(waiting, Wait)
    assert waiting.seconds <= LONGEST_SHARED_WAIT_S == 30
    clock.now_s += waiting.seconds  # type: ignore[attr-defined]
    assert accounts.by_password("root", GOOD, None, DESK) == account


def test_a_clock_set_back_makes_nobody_wait_for_the_time_it_lost(
    accounts: Accounts, clock: Callable[[], float]
) -> None:
    account = accounts.add("wang", GOOD, "manager")
    _fail(accounts, FREE_FAILURES)
    clock.now_s -= 86_400  # type: ignore[attr-defined]
    waiting = accounts.by_password("wang", GOOD, None, DESK)
    assert isinstance(waiting, Wait), "setting the clock back forgives nothing either"
    assert waiting.seconds < 60
    clock.now_s += waiting.seconds  # type: ignore[attr-defined]
    assert accounts.by_password("wang", GOOD, None, DESK) == account


@pytest.mark.parametrize("pause_s", [0, 3601, 7202])
def test_a_stolen_tablet_guesses_no_more_pins_a_day_for_pausing(
    accounts: Accounts, tablet: Tablet, clock: Callable[[], float], pause_s: float
) -> None:
    account = accounts.add("wang", None, "front_desk", "2580")
    began_s, guesses = clock(), 0
    while clock() < began_s + 86_400:
        answer = accounts.by_pin(account.account_id, "2581", tablet, DESK)
        if answer == Refused():
            guesses += 1
        else:
            assert isinstance(answer, Wait)
            clock.now_s += max(answer.seconds, pause_s if answer.seconds > 60 else 0)  # type: ignore[attr-defined]
    assert 0 < guesses <= 96 + 3 * FREE_FAILURES + 1


def test_what_people_mistype_on_their_tablet_does_not_add_up(
    accounts: Accounts, tablet: Tablet, clock: Callable[[], float]
) -> None:
    account = accounts.add("wang", None, "front_desk", "2580")
    for _ in range(20):
        clock.now_s += 60  # type: ignore[attr-defined]
        for _ in range(FREE_FAILURES - 1):
            assert accounts.by_pin(account.account_id, "2581", tablet, DESK) == Refused()
        assert accounts.by_pin(account.account_id, "2580", tablet, DESK) == account


def test_a_device_that_tries_many_names_waits_too(accounts: Accounts) -> None:
    for number in range(3 * FREE_FAILURES):
        assert accounts.by_password(f"guess{number}", GOOD, None, DESK) == Refused()
    assert isinstance(accounts.by_password("another", GOOD, None, DESK), Wait)


def test_a_success_forgets_the_accounts_failures(accounts: Accounts) -> None:
    account = accounts.add("wang", GOOD, "manager")
    for _ in range(3):
        _fail(accounts, FREE_FAILURES - 1)
        assert accounts.by_password("wang", GOOD, None, DESK) == account


def test_guesses_made_at_once_do_not_outrun_the_count(accounts: Accounts) -> None:
    accounts.add("wang", GOOD, "manager")
    answers: list[Account | Refused | Wait] = []
    guesses = [
        Thread(target=lambda: answers.append(accounts.by_password("wang", "wrong horse battery", None, DESK)))
        for _ in range(12)
    ]
    for guess in guesses:
        guess.start()
    for guess in guesses:
        guess.join()
    assert answers.count(Refused()) == FREE_FAILURES


@pytest.mark.parametrize("role", ["auditor", "privacy", "installer", "viewer"])
def test_who_is_not_of_the_desk_has_a_password_and_no_pin(accounts: Accounts, role: str) -> None:
    with pytest.raises(NotAnAccount, match="zhao: a password is needed"):
        accounts.add("zhao", None, role, "2580")
    with pytest.raises(NotAnAccount, match="zhao: a PIN is for front_desk and manager only"):
        accounts.add("zhao", GOOD, role, "2580")
    accounts.add("zhao", GOOD, role, office="head_office")
    with pytest.raises(NotAnAccount, match="a PIN is for front_desk and manager only"):
        accounts.set_pin("zhao", "2580")


def test_the_database_alone_tells_no_pin(db: Path, accounts: Accounts, tablet: Tablet) -> None:
    account = accounts.add("wang", None, "front_desk", "2580")
    (kept,) = sqlite3.connect(db).execute("SELECT pin_hash FROM accounts").fetchone()
    with pytest.raises(VerifyMismatchError):
        QUICK.verify(kept.removeprefix("hmac-sha256:"), "2580")
    elsewhere = Accounts(db, hasher=QUICK, pin_secret=bytes(32))
    assert elsewhere.by_pin(account.account_id, "2580", tablet, DESK) == Refused()
    assert accounts.by_pin(account.account_id, "2580", tablet, DESK) == account


def test_a_pin_of_one_account_is_no_other_accounts(db: Path, accounts: Accounts, tablet: Tablet) -> None:
    accounts.add("wang", None, "front_desk", "2580")
    chen = accounts.add("chen", None, "front_desk", "7391")
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute(
            "UPDATE accounts SET pin_hash = (SELECT pin_hash FROM accounts WHERE name = 'wang') WHERE name = 'chen'"
        )
    assert accounts.by_pin(chen.account_id, "2580", tablet, DESK) == Refused()


def test_a_pin_of_an_older_version_is_keyed_once_its_owner_signs_in(
    db: Path, accounts: Accounts, tablet: Tablet
) -> None:
    account = accounts.add("wang", None, "front_desk", "2580")
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("UPDATE accounts SET pin_hash = ?", (QUICK.hash("2580"),))
    assert accounts.by_pin(account.account_id, "2581", tablet, DESK) == Refused()
    for _ in range(2):
        assert accounts.by_pin(account.account_id, "2580", tablet, DESK) == account
        (kept,) = sqlite3.connect(db).execute("SELECT pin_hash FROM accounts").fetchone()
        assert kept.startswith("hmac-sha256:")


def test_a_changed_secret_ends_the_sessions_and_the_old_one(
    db: Path, clock: Callable[[], float], accounts: Accounts, tablet: Tablet
) -> None:
    account, sessions = accounts.add("wang", GOOD, "front_desk", "2580"), Sessions(db, now_s=clock)
    tokens = [sessions.start(account, tablet)]
    assert accounts.set_password("wang", "another horse battery") == account
    assert sessions.find(tokens[0], touch=False) is None
    assert accounts.by_password("wang", GOOD, tablet, DESK) == Refused()
    assert accounts.by_password("wang", "another horse battery", tablet, DESK) == account
    token = sessions.start(account, tablet)
    accounts.set_pin("wang", "7391")
    assert sessions.find(token, touch=False) is None
    assert accounts.by_pin(account.account_id, "2580", tablet, DESK) == Refused()
    assert accounts.by_pin(account.account_id, "7391", tablet, DESK) == account
    accounts.set_pin("wang", None)
    assert accounts.with_pin() == []
    for change in (lambda: accounts.set_password("wang", "short"), lambda: accounts.set_pin("wang", "1111")):
        with pytest.raises(NotAnAccount):
            change()
    assert accounts.by_password("wang", "another horse battery", tablet, DESK) == account


def test_whoever_has_but_a_pin_keeps_it_until_they_have_a_password(accounts: Accounts) -> None:
    accounts.add("wang", None, "front_desk", "2580")
    with pytest.raises(NotAnAccount, match="no password either"):
        accounts.set_pin("wang", None)
    accounts.set_password("wang", GOOD)
    accounts.set_pin("wang", None)


def test_a_removed_account_lets_nobody_in_and_keeps_its_name_for_the_records(
    db: Path, clock: Callable[[], float], accounts: Accounts, tablet: Tablet
) -> None:
    account, sessions = accounts.add("wang", GOOD, "front_desk", "2580"), Sessions(db, now_s=clock)
    token = sessions.start(account, tablet)
    accounts.remove("wang")
    assert sessions.find(token, touch=False) is None
    assert accounts.by_password("wang", GOOD, tablet, DESK) == Refused()
    assert accounts.by_pin(account.account_id, "2580", tablet, DESK) == Refused()
    assert accounts.named(account.account_id) == "wang"
    assert (accounts.all(), accounts.with_pin()) == ([], [])
    with pytest.raises(NotAnAccount, match="no such account"):
        accounts.remove("wang")
    with pytest.raises(NotAnAccount, match="already exists"):
        accounts.add("wang", GOOD, "front_desk")


def test_nonsense_tapped_on_the_desks_tablet_does_not_close_the_desk(
    accounts: Accounts, tablet: Tablet, clock: Callable[[], float]
) -> None:
    names = ("li", "chen", "zhou", "sun")
    victims = [accounts.add(name, None, "front_desk", "2580") for name in names]
    wang = accounts.add("wang", None, "front_desk", "7391")
    for _ in range(30):
        for victim in victims:
            answer = accounts.by_pin(victim.account_id, "2581", tablet, DESK)
            if isinstance(answer, Wait):
                clock.now_s += answer.seconds  # type: ignore[attr-defined]
    waiting = accounts.by_pin(wang.account_id, "7391", tablet, DESK)
    if isinstance(waiting, Wait):
        assert waiting.seconds <= LONGEST_SHARED_WAIT_S
        clock.now_s += waiting.seconds  # type: ignore[attr-defined]
        waiting = accounts.by_pin(wang.account_id, "7391", tablet, DESK)
    assert waiting == wang
