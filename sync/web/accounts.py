"""Accounts of people: a password, or a PIN that is good on a registered tablet only."""

import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from sync import SyncError
from sync.web.backoff import Attempt, Backoff, Wait
from sync.web.tables import locked, opened
from sync.web.tablets import Tablet

Role: TypeAlias = Literal["front_desk", "manager", "viewer"]

MIN_PASSWORD_CHARS = 12
MAX_PASSWORD_CHARS = 256  # an argon2 run over megabytes would be a way to stop the pages
_NAME = re.compile(r"[^\W_](?:[\w .@-]{0,38}[\w.])?")
_PIN = re.compile(r"[0-9]{4,8}")
_RUNS = "01234567890 09876543210"


class NotAnAccount(SyncError):
    """An account that may not be made so; the text says why."""


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may sign in; only `account_id` ever enters a record."""

    account_id: str
    name: str
    role: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Wrong, without saying what was wrong."""


class Accounts:
    """The accounts of one database."""

    def __init__(
        self, db_path: Path, now_s: Callable[[], float] = time.time, hasher: PasswordHasher | None = None
    ) -> None:
        """Take the accounts of a migrated database; now_s: seconds since 1970.

        hasher: RFC 9106 4, second recommended option, where left out: argon2id, 64 MiB, 3 passes.
        """
        self._path = db_path
        self._now_s = now_s
        self._hasher = hasher or PasswordHasher()
        self._one_at_a_time = threading.Lock()  # 64 MiB a run: a burst of guesses must not take the appliance's memory
        self._backoff = Backoff(db_path, now_s)

    def add(self, name: str, password: str | None, role: str, pin: str | None = None) -> Account:
        """Make an account; raises NotAnAccount (a name that is taken or odd, a password or PIN that is too weak)."""
        if not _NAME.fullmatch(name):
            raise NotAnAccount(f"name {name!r}: 1 to 40 letters and digits are allowed, with spaces and . @ - between")
        if role not in get_args(Role):
            raise NotAnAccount(f"role {role!r}: allowed are {', '.join(get_args(Role))}")
        if password is None and pin is None:
            raise NotAnAccount(f"{name}: a password or a PIN is needed")
        if password is not None:
            _check_password(name, password)
        if pin is not None:
            _check_pin(name, pin)
        account = Account(f"acc-{secrets.token_hex(8)}", name, role)
        password_hash = self._hasher.hash(password) if password is not None else ""
        pin_hash = self._hasher.hash(pin) if pin is not None else ""
        with locked(self._path) as db:
            if db.table("accounts").count_where("name = ?", [name]):
                raise NotAnAccount(f"{name}: this account already exists")
            db.execute(
                "INSERT INTO accounts (account_id, name, role, password_hash, pin_hash, created_s)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (account.account_id, name, role, password_hash, pin_hash, self._now_s()),
            )
        return account

    def empty(self) -> bool:
        """Whether nobody can sign in yet."""
        with opened(self._path) as db:
            return db.table("accounts").count == 0

    def with_pin(self) -> list[Account]:
        """Everybody who has a PIN, by name: what a registered tablet offers to tap."""
        with opened(self._path) as db:
            offered = db.table("accounts").rows_where("pin_hash != '' AND enabled = 1", order_by="name")
            return [_account(row) for row in offered]

    def named(self, account_id: str) -> str | None:
        """The name behind an account id, or None."""
        with opened(self._path) as db:
            row = next(db.table("accounts").rows_where("account_id = ?", [account_id]), None)
        return str(row["name"]) if row else None

    def by_password(self, name: str, password: str, tablet: Tablet | None, address: str) -> Account | Refused | Wait:
        """Check a password; tablet: the registered one it comes from. address: the client's, for back-off."""
        with opened(self._path) as db:
            row = next(db.table("accounts").rows_where("name = ?", [name.strip()]), None)
        return self._check(row, "password_hash", password, tablet, address, name.strip())

    def by_pin(self, account_id: str, pin: str, tablet: Tablet, address: str) -> Account | Refused | Wait:
        """Check a PIN, which only means anything on a registered tablet."""
        with opened(self._path) as db:
            row = next(db.table("accounts").rows_where("account_id = ?", [account_id]), None)
        return self._check(row, "pin_hash", pin, tablet, address, account_id)

    @cached_property
    def _nobody(self) -> str:
        """A hash that no password fits: a name that is not there takes the same work as one that is."""
        return self._hasher.hash(secrets.token_hex(16))

    def _check(
        self, row: Mapping[str, Any] | None, column: str, secret: str, tablet: Tablet | None, address: str, typed: str
    ) -> Account | Refused | Wait:
        # A stranger's guesses slow strangers down, not the desk's own tablet: each tablet counts by itself.
        attempt = Attempt(
            account=str(row["account_id"]) if row else typed[:80],
            device=f"tablet {tablet.tablet_id}" if tablet else f"address {address}",
            registered=tablet is not None,
        )
        wait = self._backoff.begin(attempt)
        if wait is not None:
            return wait
        held = str(row[column]) if row and row[column] else self._nobody
        with self._one_at_a_time:
            good = _verify(self._hasher, held, secret[:MAX_PASSWORD_CHARS]) and held is not self._nobody
        if not good or row is None or not row["enabled"]:  # one answer to all: who is disabled is nobody's to learn
            return Refused()
        self._backoff.succeeded(attempt)
        return _account(row)


def set_enabled(connection: sqlite3.Connection, account_id: str, enabled: bool) -> None:
    """Let an account sign in, or not and end its sessions, in the caller's transaction; unknown ones stay so."""
    connection.execute("UPDATE accounts SET enabled = ? WHERE account_id = ?", (int(enabled), account_id))
    if not enabled:
        connection.execute("DELETE FROM web_sessions WHERE account_id = ?", (account_id,))


def _verify(hasher: PasswordHasher, held: str, secret: str) -> bool:
    try:
        return hasher.verify(held, secret)
    except (VerificationError, InvalidHashError):
        return False


def _account(row: Mapping[str, Any]) -> Account:
    return Account(row["account_id"], row["name"], row["role"])


def _check_password(name: str, password: str) -> None:
    if len(password) < MIN_PASSWORD_CHARS:
        raise NotAnAccount(f"{name}: a password has {MIN_PASSWORD_CHARS} characters or more, this one {len(password)}")
    if len(password) > MAX_PASSWORD_CHARS:
        raise NotAnAccount(f"{name}: a password has at most {MAX_PASSWORD_CHARS} characters")
    if len(set(password)) < 4 or password.casefold() == name.casefold():
        raise NotAnAccount(f"{name}: this password is too easy to guess")


def _check_pin(name: str, pin: str) -> None:
    if not _PIN.fullmatch(pin):
        raise NotAnAccount(f"{name}: a PIN has 4 to 8 digits")
    if len(set(pin)) == 1 or pin in _RUNS:
        raise NotAnAccount(f"{name}: this PIN is too easy to guess")
