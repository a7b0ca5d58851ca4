"""The tables of a ledger or a central store, read whole, though damaged, and held to how FirstVisit makes them."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sync.audit.chain_audit import Audit, Bad, Columns
from sync.storage.database import program
from sync.storage.readonly import READ_ERRORS, damage

_ROWS = (
    # The order comes out of the index alone and the columns out of the table alone: SQLite would otherwise answer
    # epoch and seq from the index, and altered ones in the table would pass.
    "SELECT k.epoch, k.seq, t.body, t.signature, t.epoch, t.seq, t.kind, t.hash, t.prev_hash, {acked}"
    " FROM {table} AS k CROSS JOIN {table} AS t ON t.rowid = k.rowid"
    " WHERE {scope} (k.epoch, k.seq) > (?, ?) ORDER BY k.epoch, k.seq"
)
_FROM_THE_FIRST = (-(2**63), 0)  # an altered number may be below zero
_AT_ONCE = 500  # rows
_HIDDEN = re.compile(r"row (\d+) missing from index (.+)")  # SQLite's words
LEDGER_ROWS = _ROWS.format(table="ledger", acked="t.acked", scope="")
KEPT_ROWS = (
    "SELECT body, signature, epoch, seq, kind, hash, prev_hash, NULL FROM kept_records NOT INDEXED ORDER BY epoch, seq"
)
CENTRAL_ROWS = _ROWS.format(table="records", acked="NULL", scope="k.node_id = ? AND")


@contextmanager
def damage_named(database: Path) -> Iterator[None]:
    """Raise damage of the file as Bad."""
    try:
        yield
    except READ_ERRORS as error:
        if why := damage(error):
            raise Bad(f"{database.name}: {why}") from error
        raise


def walk(
    connection: sqlite3.Connection,
    audit: Audit,
    query: str,
    *scope: str,
    after: tuple[object, object] = _FROM_THE_FIRST,
) -> None:
    """Verify every row after a place; raises Bad."""
    try:
        for row in _swiftly(connection, query, (*scope, *after)):
            audit.row(row[2], row[3], Columns(*row[4:]))
            after = row[0], row[1]
    except READ_ERRORS as error:
        if not damage(error):
            raise
        _walk_to_damage(connection, audit, query, scope, after)


def _swiftly(connection: sqlite3.Connection, query: str, values: tuple[object, ...]) -> Iterator[tuple[Any, ...]]:
    cursor = connection.execute(query, values)
    while rows := cursor.fetchmany(_AT_ONCE):
        yield from rows


def _walk_to_damage(
    connection: sqlite3.Connection,
    audit: Audit,
    query: str,
    scope: tuple[str, ...],
    after: tuple[object, object],
) -> None:
    """Verify what follows `after`, one query a row: a damaged page then costs the rows on it and none before."""
    while True:
        behind = after[0], -(2**63) if after[1] is None else after[1]  # nothing is greater than NULL
        try:
            row = connection.execute(f"{query} LIMIT 1", (*scope, *behind)).fetchone()
        except READ_ERRORS as error:
            if why := damage(error):
                raise Bad(f"cannot be read: {why}", audit.next) from error
            raise
        if row is None:
            return
        after = row[0], row[1]
        audit.row(row[2], row[3], Columns(*row[4:]))


def check_indexes(connection: sqlite3.Connection, table: str, seq: str = "seq") -> None:
    """Raise Bad where an index says something else than its table: lists read through it would hide a record."""
    found = [row[0].decode(errors="replace") for row in connection.execute(f"PRAGMA integrity_check({table})")]
    if found == ["ok"]:
        return
    for line in found:
        if hidden := _HIDDEN.fullmatch(line):
            at = connection.execute(
                f"SELECT epoch, {seq} FROM {table} NOT INDEXED WHERE rowid = ?", (int(hidden[1]),)
            ).fetchone()
            raise Bad(f"table {table}: missing from index {hidden[2]}", at)
    raise Bad(f"table {table}: {found[0].splitlines()[-1]}")


def check_programs(connection: sqlite3.Connection) -> None:
    if found := program(connection):
        raise Bad(f"the database holds the {found}, which FirstVisit never makes")


def check_count(connection: sqlite3.Connection, table: str, checked: int) -> None:
    """Raise Bad where the table has rows that no chain led to: lists would show them."""
    (rows,) = connection.execute(f"SELECT count(*) FROM {table} NOT INDEXED").fetchone()
    if rows != checked:
        raise Bad(f"table {table}: {rows} rows, {checked} of them in a chain")


def check_schema(altered: str | None) -> None:
    if altered:
        raise Bad(altered)
