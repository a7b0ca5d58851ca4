"""The node's night: everything it holds is verified anew, and what central has held long enough leaves."""

import logging
import random
import sqlite3
from contextlib import closing
from dataclasses import astuple, fields
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import sqlite_utils
from sqlite_utils.migrations import Migrations

from sync import SyncError
from sync.format.stamp import to_us
from sync.node.alarms import Alarms
from sync.node.ledger import Ledger
from sync.node.purge import purge
from sync.storage.database import LEDGER_FORMAT, DiskFull, Patience, give_up, immediate, named, open_checked
from sync.verify.nightly import Checked, Nightly

log = logging.getLogger(__name__)

MIGRATIONS = Migrations("nightly")
KEPT_CHECKS = 400
_COLUMNS = ", ".join(field.name for field in fields(Checked))


@MIGRATIONS()
def checks(db: sqlite_utils.Database) -> None:
    """What each night's verification found."""
    db.table("checks").create(
        {
            "started_us": int,
            "ended_us": int,
            "ok": int,
            "failed": int,
            "why": str,
            "first_bad": int,
            "checked": int,
            "epoch": int,
            "seq": int,
            "head": str,
        },
        pk="started_us",
        not_null={"ended_us", "ok", "failed", "why", "checked", "epoch", "seq", "head"},
    )


class Checks:
    """The nights of one HOME. It holds no connection, so any thread may ask it."""

    def __init__(self, database: Path, patience: Patience = give_up) -> None:
        """patience: whether to wait on while somebody else holds the write lock."""
        self._database = database
        self._patience = patience

    def last(self) -> Checked | None:
        """The newest check; None where there is none, or no table yet. Raises DatabaseError."""
        with closing(open_checked(self._database, LEDGER_FORMAT)) as connection, named(self._database):
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'checks'").fetchone() is None:
                return None
            found = connection.execute(f"SELECT {_COLUMNS} FROM checks ORDER BY ended_us DESC LIMIT 1").fetchone()
        return _read(found) if found else None

    def keep(self, found: Checked) -> None:
        """Store a check, and let the oldest go; raises DiskFull or DatabaseError."""
        with (
            closing(open_checked(self._database, LEDGER_FORMAT)) as connection,
            named(self._database),
            immediate(connection, self._patience),
        ):
            marks = ", ".join("?" * len(fields(Checked)))
            connection.execute(f"INSERT OR REPLACE INTO checks ({_COLUMNS}) VALUES ({marks})", astuple(found))
            connection.execute(
                "DELETE FROM checks WHERE started_us NOT IN"
                " (SELECT started_us FROM checks ORDER BY ended_us DESC LIMIT ?)",
                (KEPT_CHECKS,),
            )


def _read(row: sqlite3.Row | tuple[object, ...]) -> Checked:
    values = dict(zip((field.name for field in fields(Checked)), row, strict=True))
    return Checked(**{**values, "ok": bool(values["ok"]), "failed": bool(values["failed"])})


class Night:
    """Follows the checks of the node that runs, keeps what they find, and purges after a good one.

    Nothing is purged behind a check that found damage: what is there is evidence of it.
    """

    def __init__(
        self, home: Path, database: Path, ledger: Ledger, zone: str, ledger_days: int, patience: Patience = give_up
    ) -> None:
        """ledger: the node's writer, of the calling thread. ledger_days: as of `purge`. patience: as of `Checks`."""
        self._checks = Checks(database, patience)
        self._alarms = Alarms(database, patience)
        self._ledger = ledger
        self._days = ledger_days
        self._nightly = Nightly(home, ZoneInfo(zone), random.Random(), self._checks.last())
        self._found: Checked | None = None  # not stored yet
        self._purging = False

    def follow(self, now: datetime) -> None:
        """One small step of the night's work; raises DiskFull, after which the step is done again."""
        self._found = self._nightly.follow(now) or self._found
        if self._found is not None:
            self._keep(self._found)
            self._purging = self._found.ok
            self._found = None
        elif self._purging:
            self._purge(now)

    def stop(self) -> None:
        self._nightly.stop()

    def _keep(self, found: Checked) -> None:
        took_s = (found.ended_us - found.started_us) / 1e6
        if found.ok:
            log.info("everything verified records=%d took_s=%.0f", found.checked, took_s)
            self._alarms.forget("CHAIN_DAMAGED", "CHECK_FAILED")
        else:
            log.error("alarm code=%s detail=%s", found.alarm, found.damage)
            self._alarms.raise_alarm(found.alarm, found.damage, found.ended_us)
        self._checks.keep(found)

    def _purge(self, now: datetime) -> None:
        try:
            record = purge(self._ledger, self._days)
        except DiskFull:
            raise
        except SyncError as error:
            self._purging = False
            log.error("nothing purged: %s", error)
            self._alarms.raise_alarm("CHAIN_DAMAGED", str(error), to_us(now))
            return
        if record is None:
            self._purging = False
        else:
            log.info("purged records=%d upto=%d", record.fields["records"], record.fields["purged"]["upto"])
