"""The tables that evidence lies in, and whether those of a file are still what FirstVisit makes."""

import re
import sqlite3
from contextlib import closing

import sqlite_utils

from sync.storage.ledger_tables import MIGRATIONS, has_kept

# Central's; here for the verifier too, which imports no central.
RECORDS = """
CREATE TABLE records (
  node_id     TEXT    NOT NULL,
  epoch       INTEGER NOT NULL,
  seq         INTEGER NOT NULL,
  kind        TEXT    NOT NULL,
  body        BLOB    NOT NULL,
  hash        BLOB    NOT NULL,
  prev_hash   BLOB    NOT NULL,
  signature   BLOB    NOT NULL,
  received_us INTEGER NOT NULL,
  PRIMARY KEY (node_id, epoch, seq)
) STRICT
"""
LISTS = (
    """
CREATE TABLE visits (
  order_us INTEGER NOT NULL,
  tie      INTEGER NOT NULL,
  node_id  TEXT    NOT NULL,
  epoch    INTEGER NOT NULL,
  seq      INTEGER NOT NULL,
  visit    BLOB    NOT NULL,
  PRIMARY KEY (node_id, epoch, seq)
) STRICT
""",
    "CREATE INDEX visits_arrivals ON visits (order_us, tie)",
    "CREATE INDEX visits_arrivals_of_node ON visits (node_id, order_us, tie)",
    """
CREATE TABLE corrections (
  node_id TEXT    NOT NULL,
  visit   BLOB    NOT NULL,
  epoch   INTEGER NOT NULL,
  seq     INTEGER NOT NULL,
  PRIMARY KEY (node_id, visit, epoch, seq)
) STRICT
""",
)
"""By what pages find visits among the records; `arrivals.py` says what stands in them."""
LOG = (
    "CREATE TABLE log (one INTEGER NOT NULL PRIMARY KEY, size INTEGER NOT NULL) STRICT",
    """
CREATE TABLE log_tiles (
  level  INTEGER NOT NULL,
  number INTEGER NOT NULL,
  data   BLOB    NOT NULL,
  PRIMARY KEY (level, number)
) STRICT
""",
    """
CREATE TABLE log_runs (
  leaf    INTEGER NOT NULL PRIMARY KEY,
  leaves  INTEGER NOT NULL,
  node_id TEXT    NOT NULL,
  epoch   INTEGER NOT NULL,
  seq     INTEGER NOT NULL
) STRICT
""",
    "CREATE UNIQUE INDEX log_runs_of_node ON log_runs (node_id, epoch, seq)",
    """
CREATE TABLE log_statements (
  leaf    INTEGER NOT NULL PRIMARY KEY,
  kind    TEXT    NOT NULL,
  node_id TEXT    NOT NULL,
  data    BLOB    NOT NULL
) STRICT
""",
)
"""Central's log: how long it is, its tiles, and what each leaf stands for: records of one node in a row, from `seq` on,
or a statement."""
TIMESTAMPS = """
CREATE TABLE log_timestamps (
  at_us INTEGER NOT NULL PRIMARY KEY,
  size  INTEGER NOT NULL,
  note  TEXT    NOT NULL,
  token BLOB    NOT NULL
) STRICT
"""
LOG_TABLES = ("log", "log_tiles", "log_runs", "log_statements", "log_timestamps")
CENTRAL_TABLES = ("records", "visits", "corrections", *LOG_TABLES)


def altered_ledger(connection: sqlite3.Connection) -> str | None:
    """Say what of a HOME's evidence tables is not as `Ledger.create` makes it; None where all is."""
    with closing(sqlite3.connect(":memory:")) as made:
        MIGRATIONS.apply(sqlite_utils.Database(made))
        return _altered(connection, made, ("ledger", "acks", *(("kept_records",) if has_kept(connection) else ())))


def altered_records(connection: sqlite3.Connection) -> str | None:
    """The same of central's."""
    with closing(sqlite3.connect(":memory:")) as made:
        for statement in central_tables():
            made.execute(statement)
        return _altered(connection, made, CENTRAL_TABLES)


def central_tables() -> tuple[str, ...]:
    """What makes the tables that evidence lies in at central, and their indexes."""
    return RECORDS, *LISTS, *LOG, TIMESTAMPS


def _altered(connection: sqlite3.Connection, made: sqlite3.Connection, tables: tuple[str, ...]) -> str | None:
    found, expected = _parts(connection, tables), _parts(made, tables)
    for part in sorted(found.keys() | expected.keys()):
        if part not in found:
            return f"{part}: missing"
        if part not in expected:
            return f"{part}: FirstVisit makes none of this name"
        if found[part] != expected[part]:
            return f"{part}: not as FirstVisit makes it"
    return None


def _parts(connection: sqlite3.Connection, tables: tuple[str, ...]) -> dict[str, str]:
    """Tables and their indexes with what made them, less the quotes, in which versions of the tools differ."""
    parts = {}
    marks = ", ".join("?" * len(tables))
    query = f"SELECT type, name, ifnull(sql, '') FROM sqlite_master WHERE lower(tbl_name) IN ({marks})"
    for row in connection.execute(query, tables):
        kind, name, text = (_text(part) for part in row)
        parts[f"{kind} {name}"] = " ".join(re.sub(r'["`\[\]]', "", text).split())
    return parts


def _text(part: str | bytes) -> str:
    return part.decode(errors="replace") if isinstance(part, bytes) else part
