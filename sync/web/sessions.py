"""Who is signed in: kept here, so that it can be ended here."""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sync.format.accounts import Account
from sync.web.tables import locked, opened
from sync.web.tablets import Tablet

IDLE_S = 3600.0
LONGEST_S = 12 * 3600.0  # a shift; a session that is always busy ends with it


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody signed in. key: SHA-256 of the cookie's token, the token itself is not kept.

    on_tablet: they did it on a registered tablet, where the next one needs but a tap and a PIN.
    """

    key: bytes
    account: Account
    csrf_token: str
    on_tablet: bool


class Sessions:
    """The sessions of one database. idle_s: how long one lasts without its user doing anything."""

    def __init__(self, db_path: Path, idle_s: float = IDLE_S, now_s: Callable[[], float] = time.time) -> None:
        self._path = db_path
        self._idle_s = idle_s
        self._now_s = now_s

    def start(self, account: Account, tablet: Tablet | None) -> str:
        """Sign somebody in; returns the token (32 random bytes, as text) for the cookie."""
        token = secrets.token_urlsafe(32)
        now_s = self._now_s()
        with locked(self._path) as db:
            db.execute(
                "DELETE FROM web_sessions WHERE used_s < ? OR started_s < ?", (now_s - self._idle_s, now_s - LONGEST_S)
            )
            db.execute(
                "INSERT INTO web_sessions (token_hash, account_id, tablet_id, csrf_token, started_s, used_s)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    _key(token),
                    account.account_id,
                    tablet.tablet_id if tablet else "",
                    secrets.token_urlsafe(32),
                    now_s,
                    now_s,
                ),
            )
        return token

    def find(self, token: str | None, *, touch: bool) -> Session | None:
        """The living session behind a cookie; touch: this is the user's own doing, and puts the idle end off."""
        return self._find(_key(token), touch) if token else None

    def alive(self, key: bytes) -> bool:
        """Whether the session still is; asking does not keep it alive."""
        return self._find(key, touch=False) is not None

    def end(self, key: bytes) -> None:
        with opened(self._path) as db:
            db.table("web_sessions").delete_where("token_hash = ?", [key])

    def _find(self, key: bytes, touch: bool) -> Session | None:
        now_s = self._now_s()
        with opened(self._path) as db:
            row = db.execute(
                "SELECT account_id, name, role, office, tablet_id, csrf_token, started_s, used_s"
                " FROM web_sessions JOIN accounts USING (account_id) WHERE token_hash = ? AND enabled = 1",
                (key,),
            ).fetchone()
            if row is None:
                return None
            account_id, name, role, office, tablet_id, csrf_token, started_s, used_s = row
            if now_s - used_s > self._idle_s or now_s - started_s > LONGEST_S:
                return None
            if touch and now_s - used_s > 1:  # a page brings several requests; one write is enough
                db.execute("UPDATE web_sessions SET used_s = ? WHERE token_hash = ?", (now_s, key))
        return Session(key, Account(account_id, name, role, office), csrf_token, bool(tablet_id))


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
