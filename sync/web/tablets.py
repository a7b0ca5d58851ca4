"""Registered tablets: devices on which a manager has allowed PINs, and screens that show one page to everybody."""

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sync.format.accounts import TabletChange
from sync.web.changes import Changing, untold
from sync.web.tables import opened


@dataclass(frozen=True, slots=True)
class Tablet:
    """A device that holds one of our tokens; registered_by: an account id.

    display: a screen for everybody, with its one page and no PIN.
    """

    tablet_id: str
    name: str
    registered_by: str
    registered_s: float
    display: bool


class Tablets:
    """The registered tablets of one database; a token is stored as its SHA-256 only."""

    def __init__(self, db_path: Path, now_s: Callable[[], float] = time.time, changing: Changing | None = None) -> None:
        """changing: how a change is told of where somebody must hear of it."""
        self._path = db_path
        self._changing = changing or untold(db_path)
        self._now_s = now_s

    def register(self, token: str, name: str, account_id: str, *, display: bool = False) -> str:
        """Allow PINs on a device, or make a display of it; returns the tablet's id.

        token: what its cookie will hold, that nobody can guess; one that is registered already changes nothing.
        """
        tablet_id, shown = secrets.token_hex(8), name.strip()[:40] or "tablet"
        with self._changing() as change:
            known = change.connection.execute("SELECT tablet_id FROM tablets WHERE token_hash = ?", (_digest(token),))
            if (row := known.fetchone()) is not None:
                return str(row[0])
            change.connection.execute(
                "INSERT INTO tablets (tablet_id, token_hash, name, registered_by, registered_s, display)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (tablet_id, _digest(token), shown, account_id, self._now_s(), int(display)),
            )
            change.tablets.append(TabletChange(tablet_id, "display" if display else "registered", account_id))
        return tablet_id

    def find(self, token: str | None) -> Tablet | None:
        """The tablet whose token this is."""
        if not token:
            return None
        with opened(self._path) as db:
            row = next(db.table("tablets").rows_where("token_hash = ?", [_digest(token)]), None)
        return _tablet(row) if row else None

    def all(self) -> list[Tablet]:
        with opened(self._path) as db:
            return [_tablet(row) for row in db.table("tablets").rows_where(order_by="registered_s")]

    def revoke(self, tablet_id: str, account_id: str) -> None:
        """Forget a tablet; whoever is signed in on it no longer is. account_id: whoever says so."""
        with self._changing() as change:
            forgotten = change.connection.execute("DELETE FROM tablets WHERE tablet_id = ?", (tablet_id,)).rowcount
            change.connection.execute("DELETE FROM web_sessions WHERE tablet_id = ?", (tablet_id,))
            if forgotten:
                change.tablets.append(TabletChange(tablet_id, "revoked", account_id))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _tablet(row: Mapping[str, Any]) -> Tablet:
    return Tablet(row["tablet_id"], row["name"], row["registered_by"], row["registered_s"], bool(row["display"]))
