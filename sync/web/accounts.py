"""Accounts of people: a password, or a PIN that is good on a registered tablet only."""

import hmac
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
from sync.format.accounts import CODE, Account, AccountChange, Act
from sync.web.backoff import Attempt, Backoff, Wait
from sync.web.changes import Changing, untold
from sync.web.tables import locked, opened
from sync.web.tablets import Tablet

Role: TypeAlias = Literal["front_desk", "manager", "auditor", "privacy", "installer", "viewer"]
PIN_ROLES: tuple[Role, ...] = ("front_desk", "manager")
"""Who works at the desk's tablet. The others see what the desk must not, from devices that nobody has registered."""

MIN_PASSWORD_CHARS = 12
MAX_PASSWORD_CHARS = 256  # an argon2 run over megabytes would be a way to stop the pages
_NAME = re.compile(r"[^\W_](?:[\w .@-]{0,38}[\w.])?")
_PIN = re.compile(r"[0-9]{4,8}")
_RUNS = "01234567890 09876543210"
# OWASP's Password Storage Cheat Sheet, its least memory: what keeps a PIN is the secret, and the desk changes hands on
# a busy box. Measured on two cores at a load of 19, median of nine: 0.10 s, and 0.72 s by what hashes passwords.
_PIN_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_KEYED = "hmac-sha256:"  # before the hash of a PIN; an older one has none, until its owner signs in again


class NotAnAccount(SyncError):
    """An account that may not be made so; the text says why."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Wrong, without saying what was wrong."""


class Accounts:
    """The accounts of one database."""

    def __init__(
        self,
        db_path: Path,
        now_s: Callable[[], float] = time.time,
        hasher: PasswordHasher | None = None,
        pin_secret: bytes | None = None,
        changing: Changing | None = None,
    ) -> None:
        """Take the accounts of a migrated database; now_s: seconds since 1970.

        hasher: RFC 9106 4, second recommended option, where left out: argon2id, 64 MiB, 3 passes. pin_secret: 32 bytes
        that lie apart from the database, for of ten thousand PINs argon2 alone hides none from whoever has it; without
        one nobody has a PIN. changing: how a change is told of where somebody must hear of it.
        """
        self._path = db_path
        self._changing = changing or untold(db_path)
        self._pin_secret = pin_secret
        self._now_s = now_s
        self._hasher = hasher or PasswordHasher()
        self._pin_hasher = hasher or _PIN_HASHER
        self._one_at_a_time = threading.Lock()  # 64 MiB a run: a burst of guesses must not take the appliance's memory
        self._backoff = Backoff(db_path, now_s)

    def add(self, name: str, password: str | None, role: str, pin: str | None = None, office: str = "") -> Account:
        """Make an account; raises NotAnAccount (a name that is taken or odd, a password or PIN that is too weak)."""
        if not _NAME.fullmatch(name):
            raise NotAnAccount(f"name {name!r}: 1 to 40 letters and digits are allowed, with spaces and . @ - between")
        if role not in get_args(Role):
            raise NotAnAccount(f"role {role!r}: allowed are {', '.join(get_args(Role))}")
        if office and not CODE.fullmatch(office):
            raise NotAnAccount(f"office {office!r}: a site's id, or a code like head_office")
        if password is None and (pin is None or role not in PIN_ROLES):
            raise NotAnAccount(f"{name}: a password {'or a PIN ' if role in PIN_ROLES else ''}is needed")
        account = Account(f"acc-{secrets.token_hex(8)}", name, role, office)
        password_hash = self._password_hash(name, password) if password is not None else ""
        pin_hash = self._pin_hash(account, pin) if pin is not None else ""
        with self._changing() as change:
            if change.connection.execute("SELECT 1 FROM accounts WHERE name = ?", (name,)).fetchone():
                raise NotAnAccount(f"{name}: this account already exists")
            change.connection.execute(
                "INSERT INTO accounts (account_id, name, role, password_hash, pin_hash, created_s, office)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (account.account_id, name, role, password_hash, pin_hash, self._now_s(), office),
            )
            change.accounts.append(_told(account, "made"))
        return account

    def set_password(self, name: str, password: str) -> Account:
        """Give somebody another password and end their sessions; raises NotAnAccount."""
        account = self._known(name)
        self._replace(account, "password_hash", self._password_hash(name, password), "password")
        return account

    def set_pin(self, name: str, pin: str | None) -> Account:
        """Give somebody another PIN, or with None take theirs, and end their sessions; raises NotAnAccount."""
        account = self._known(name)
        if pin is None and not self._has_password(account):
            raise NotAnAccount(f"{name}: has no password either: give them one first")
        hashed = "" if pin is None else self._pin_hash(account, pin)
        self._replace(account, "pin_hash", hashed, "pin_taken" if pin is None else "pin")
        return account

    def remove(self, name: str) -> Account:
        """Let somebody in no more and forget what they signed in with; raises NotAnAccount where nobody has this name.

        Their name stays: records name the account.
        """
        account = self._known(name)
        with self._changing() as change:
            set_enabled(change.connection, account.account_id, False)
            change.connection.execute(
                "UPDATE accounts SET password_hash = '', pin_hash = '' WHERE account_id = ?", (account.account_id,)
            )
            change.accounts.append(_told(account, "removed"))
        return account

    def all(self) -> list[Account]:
        """Everybody who may sign in, by name."""
        with opened(self._path) as db:
            return [_account(row) for row in db.table("accounts").rows_where("enabled = 1", order_by="name")]

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
        if row is None or self._pin_secret is None:
            return self._check(None, "pin_hash", pin, tablet, address, account_id)
        keyed = row["pin_hash"].startswith(_KEYED)
        typed = self._keyed(row["account_id"], pin[:MAX_PASSWORD_CHARS]) if keyed else pin
        held = {**row, "pin_hash": row["pin_hash"].removeprefix(_KEYED)}
        answer = self._check(held, "pin_hash", typed, tablet, address, account_id)
        if isinstance(answer, Account) and not keyed:
            self._key_pin(answer, pin)
        return answer

    @cached_property
    def _nobody(self) -> str:
        """A hash that no password fits: a name that is not there takes the same work as one that is."""
        return self._hasher.hash(secrets.token_hex(16))

    def _known(self, name: str) -> Account:
        with opened(self._path) as db:
            row = next(db.table("accounts").rows_where("name = ?", [name]), None)
        if row is None or not row["enabled"]:
            raise NotAnAccount(f"{name}: no such account")
        return _account(row)

    def _has_password(self, account: Account) -> bool:
        with opened(self._path) as db:
            return bool(
                db.table("accounts").count_where("account_id = ? AND password_hash != ''", [account.account_id])
            )

    def _replace(self, account: Account, column: str, hashed: str, act: Act) -> None:
        with self._changing() as change:
            change.connection.execute(
                f"UPDATE accounts SET {column} = ? WHERE account_id = ?", (hashed, account.account_id)
            )
            change.connection.execute("DELETE FROM web_sessions WHERE account_id = ?", (account.account_id,))
            change.accounts.append(_told(account, act))

    def _key_pin(self, account: Account, pin: str) -> None:
        """Hash the PIN that somebody has as it is hashed now; nothing about the account changes by it."""
        hashed = self._pin_hash(account, pin)
        with locked(self._path) as db:
            db.execute("UPDATE accounts SET pin_hash = ? WHERE account_id = ?", (hashed, account.account_id))

    def _password_hash(self, name: str, password: str) -> str:
        _check_password(name, password)
        return self._hasher.hash(password)

    def _pin_hash(self, account: Account, pin: str) -> str:
        if account.role not in PIN_ROLES:
            raise NotAnAccount(
                f"{account.name}: a PIN is for {' and '.join(PIN_ROLES)} only, {account.role} signs in by password"
            )
        _check_pin(account.name, pin)
        return _KEYED + self._pin_hasher.hash(self._keyed(account.account_id, pin))

    def _keyed(self, account_id: str, pin: str) -> str:
        if self._pin_secret is None:
            raise NotAnAccount("PINs: this application knows none")
        return hmac.new(self._pin_secret, f"{account_id}:{pin}".encode(), "sha256").hexdigest()

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
    return Account(row["account_id"], row["name"], row["role"], row["office"])


def _told(account: Account, act: Act) -> AccountChange:
    return AccountChange(account.account_id, act, account.role, account.office)


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
