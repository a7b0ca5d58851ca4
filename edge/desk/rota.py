"""Who serves (轮排): consultants take turns in the day's order; who returns goes to whom they had.

Whose turn it is follows from the day's `visit.assigned` records alone. Somebody assigned by turn goes to the end; of
those who were skipped, whoever was busy keeps their place, whoever was away or passed goes to the end too. A visitor
who asked for somebody, or came back to them, costs nobody a turn.
"""

import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import sqlite_utils
from sqlite_utils.migrations import Migrations

from edge import EdgeError
from edge.clock import wall_us
from sync.format.canonical import Fields
from sync.format.records import Record
from sync.node.ledger import Ledger
from sync.node.moments import place_before
from sync.storage.database import connect, immediate, named

ROTA = Migrations("rota")
KIND = "visit.assigned"
Turn: TypeAlias = Literal["next", "earlier", "chosen"]
Skip: TypeAlias = Literal["busy", "away", "passed"]
SKIPS: tuple[Skip, ...] = get_args(Skip)
MAX_CONSULTANTS = 40
_CONSULTANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@ROTA()
def rota(db: sqlite_utils.Database) -> None:
    """The order of each day that was given one, and who was assigned to which visit: the newest of its records."""
    db.table("rota").create({"day": str, "position": int, "consultant": str}, pk=("day", "position"))
    db.table("assigned").create(
        {"visit_id": str, "person_id": str, "consultant": str, "at_us": int},
        pk="visit_id",
        not_null={"consultant", "at_us"},
    )
    db.table("assigned").create_index(["person_id", "at_us"])


class BadRota(EdgeError):
    """An order or an assignment that cannot be; the text says why."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Who should serve a visit; None where nobody is left in the day's order. earlier: whom the visitor had before."""

    consultant: str | None
    turn: Turn
    earlier: str | None


def order_of(connection: sqlite3.Connection, day: date) -> tuple[str, ...]:
    """The order of a day; where it was given none, that of the last day before it that was."""
    rows = connection.execute(
        "SELECT consultant FROM rota WHERE day = (SELECT max(day) FROM rota WHERE day <= ?) ORDER BY position",
        (day.isoformat(),),
    )
    return tuple(row[0] for row in rows)


def set_order(database: Path, day: date, consultants: Iterable[str]) -> None:
    """Give a day its order: accounts, or codes of consultants who have none; raises BadRota."""
    ordered = list(dict.fromkeys(consultants))
    if len(ordered) > MAX_CONSULTANTS:
        raise BadRota(f"rota: {len(ordered)} consultants, at most {MAX_CONSULTANTS} are possible")
    for consultant in ordered:
        if not _CONSULTANT.fullmatch(consultant):
            raise BadRota(f"consultant {consultant[:64]!r}: letters, digits, dots, underscores and dashes, up to 64")
    with named(database), closing(connect(database)) as connection, immediate(connection):
        connection.execute("DELETE FROM rota WHERE day = ?", (day.isoformat(),))
        rows = [(day.isoformat(), position, consultant) for position, consultant in enumerate(ordered)]
        connection.executemany("INSERT INTO rota VALUES (?, ?, ?)", rows)


def queue(order: Iterable[str], assigned: Iterable[Record]) -> tuple[str, ...]:
    """The order as it stands after a day's assignments, the next one first."""
    waiting = list(order)
    for record in assigned:
        if record.fields.get("turn") != "next":
            continue
        gone = [one["consultant"] for one in record.fields.get("skipped", ()) if one["reason"] != "busy"]
        for consultant in (*gone, record.fields["consultant"]):
            if consultant in waiting:
                waiting.remove(consultant)
                waiting.append(consultant)
    return tuple(waiting)


def assignments_since(ledger: Ledger, from_us: int) -> list[Record]:
    """The assignments of a day that began at a moment, in chain order."""
    told = ledger.records((KIND,), place_before(ledger, from_us))
    return [record for record in told if record.stamp.wall_us >= from_us]


def earlier_consultant(connection: sqlite3.Connection, visit_id: str, person_id: str | None) -> str | None:
    """Whom the same face or the same phone had last, at another visit."""
    found = connection.execute(
        "SELECT consultant FROM assigned WHERE visit_id <> ? AND (person_id = ? OR visit_id IN"
        " (SELECT visit_id FROM contact_visits WHERE person_id = (SELECT person_id FROM contact_visits"
        " WHERE visit_id = ?))) ORDER BY at_us DESC LIMIT 1",
        (visit_id, person_id, visit_id),
    ).fetchone()
    return found[0] if found else None


def served_by(connection: sqlite3.Connection, visit_id: str) -> str | None:
    """Who was assigned to a visit last."""
    found = connection.execute("SELECT consultant FROM assigned WHERE visit_id = ?", (visit_id,)).fetchone()
    return found[0] if found else None


def propose(waiting: Iterable[str], earlier: str | None, skipped: Mapping[str, Skip]) -> Proposal:
    """Who is next, those skipped left out; whoever was served by one of the day's consultants goes to them again."""
    left = [consultant for consultant in waiting if consultant not in skipped]
    if earlier in left:
        return Proposal(earlier, "earlier", earlier)
    return Proposal(left[0] if left else None, "next", earlier)


class Rota:
    """Assigns visits under the desk key; each call opens the ledger for its own thread."""

    def __init__(self, open_ledger: Callable[[], Ledger]) -> None:
        self._open_ledger = open_ledger

    def assign(
        self,
        visit_id: str,
        person_id: str | None,
        consultant: str,
        skipped: Mapping[str, Skip],
        request: str,
        account_id: str,
        *,
        day: date,
        from_us: int,
    ) -> Record:
        """Record who serves a visit; the newest record counts, and the same request again gets the first one's back.

        skipped: whose turn it was before, and why not; from_us: when the day began. Raises BadRota where the consultant
        is not on the day's rota, KeyNotInForce where the desk's key may sign no more.
        """
        with closing(self._open_ledger()) as ledger, ledger.transaction() as transaction:
            today = assignments_since(ledger, from_us)
            if same := [record for record in today if record.fields["request"] == request]:
                return same[0]
            waiting = queue(order_of(ledger.connection, day), today)
            if consultant not in waiting or not skipped.keys() <= set(waiting) - {consultant}:
                raise BadRota(f"consultant {consultant[:64]!r}: not on today's rota")
            proposed = propose(waiting, earlier_consultant(ledger.connection, visit_id, person_id), skipped)
            turn: Turn = proposed.turn if proposed.consultant == consultant else "chosen"
            fields: Fields = {
                "visit": visit_id,
                "consultant": consultant,
                "turn": turn,
                "request": request,
                "account": account_id,
            }
            if person_id is not None:
                fields["person"] = person_id
            if skipped:
                fields["skipped"] = [{"consultant": who, "reason": why} for who, why in skipped.items()]
            if turn == "chosen" and proposed.consultant is not None:
                fields["proposed"] = proposed.consultant
            record = transaction.append(KIND, fields)
            transaction.connection.execute(
                "INSERT OR REPLACE INTO assigned VALUES (?, ?, ?, ?)",
                (visit_id, person_id, consultant, wall_us()),
            )
        return record
