"""A central's store in PostgreSQL, copied as of one moment into a SQLite file, so that one verifier judges both.

Rows are read from the tables themselves, not through an index. What a copy cannot show is judged on the way: programs
and policies that change what is written or read, tables and indexes made otherwise, and an index that hides a row.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sync.audit.chain_audit import Bad
from sync.storage.database import CENTRAL_FORMAT
from sync.storage.postgres import check_url, connect, named
from sync.storage.schema import CENTRAL_TABLES, central_tables
from sync.storage.settings import store_url

if TYPE_CHECKING:
    from psycopg import Connection

_AT_ONCE = 1000  # rows
_FOLDER = "/var/tmp"  # on a disk: /tmp is memory on many systems, and a store is large
# what is read beside the evidence; any other table is nobody's here, and its name and columns are whatever they are
_BESIDE = ("nodes", "enrolments", "openings", "notices", "quarantine", "code_uses")
_TYPE_OF = {"TEXT": "text", "INTEGER": "bigint", "BLOB": "bytea"}
# (kind, name) of what FirstVisit never makes, in the place where its tables lie
_FOREIGN = """
SELECT 'trigger', t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
 WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace
UNION ALL SELECT 'rule', r.rulename FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
 WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
UNION ALL SELECT 'row policy of table', c.relname FROM pg_class c
 WHERE c.relrowsecurity AND c.relnamespace = current_schema()::regnamespace
UNION ALL SELECT 'view or foreign table', c.relname FROM pg_class c
 WHERE c.relkind NOT IN ('r', 'i', 't') AND c.relnamespace = current_schema()::regnamespace
ORDER BY 1, 2 LIMIT 1
"""
_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
 WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_INDEXES = """
SELECT array_agg(a.attname::text ORDER BY k.place) FROM pg_index i
 CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
 LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
 WHERE i.indrelid = to_regclass(%s) AND i.indisvalid AND i.indpred IS NULL GROUP BY i.indexrelid
"""


@contextmanager
def central_database(directory: Path) -> Iterator[Path]:
    """The SQLite file to read a central's store from, for as long as the block runs: its own, or a copy; raises Bad."""
    url = store_url(directory)
    if url is None:
        yield directory / "central.db"
    else:
        with copied(url) as path:
            yield path


@contextmanager
def copied(url: str) -> Iterator[Path]:
    """A SQLite file with what the store at `url` holds, for as long as the block runs.

    Raises Bad where the tables are not to be believed, and DatabaseError where they cannot be read.
    """
    name = check_url(url)
    with tempfile.TemporaryDirectory(prefix="firstvisit-", dir=os.environ.get("TMPDIR", _FOLDER)) as folder:
        path = Path(folder) / "central.db"
        with closing(connect(url)) as source, named(name), closing(sqlite3.connect(path)) as copy:
            source.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            there = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename = ANY(%s)"
            tables = [row[0] for row in source.execute(there, ([*CENTRAL_TABLES, *_BESIDE],))]
            found = source.execute(_FOREIGN).fetchone()
            if found is not None:
                raise Bad(f"the database holds the {found[0]} {found[1]!r}, which FirstVisit never makes")
            for statement in central_tables():
                copy.execute(statement)
            for table in tables:
                if table in CENTRAL_TABLES:
                    _check_shape(source, copy, table)
                    _check_indexes(source, copy, table)
                _copy(source, copy, table)
            copy.execute(f"PRAGMA user_version = {CENTRAL_FORMAT.version}")
            copy.commit()
        yield path


def _copy(source: "Connection", copy: sqlite3.Connection, table: str) -> None:
    _by(source, "seq")
    with source.cursor(f"copy_{table}", binary=True) as cursor:
        cursor.itersize = _AT_ONCE
        cursor.execute(f'SELECT * FROM "{table}"'.encode())
        columns = [column.name for column in cursor.description or ()]
        if table not in CENTRAL_TABLES:
            names = ", ".join('"' + column.replace('"', '""') + '"' for column in columns)
            copy.execute(f'CREATE TABLE "{table}" ({names})')
        marks = ", ".join("?" * len(columns))
        try:
            while rows := cursor.fetchmany(_AT_ONCE):
                copy.executemany(f'INSERT INTO "{table}" VALUES ({marks})', rows)
        except sqlite3.IntegrityError as error:
            raise Bad(f"table {table}: {error}") from error


def _check_shape(source: "Connection", copy: sqlite3.Connection, table: str) -> None:
    expected = [(row[1], _TYPE_OF[row[2]]) for row in copy.execute(f"PRAGMA table_info({table})")]
    found = [(row[0], row[1]) for row in source.execute(_COLUMNS, (table,))]
    if found != expected:
        raise Bad(f"table {table}: not as FirstVisit makes it")
    made = {tuple(row[0]) for row in source.execute(_INDEXES, (table,))}
    for columns in _index_columns(copy, table):
        if columns not in made:
            raise Bad(f"table {table}: its index on {', '.join(columns)} is missing")


def _check_indexes(source: "Connection", copy: sqlite3.Connection, table: str) -> None:
    """Count the rows once from the table and once along each index."""
    _by(source, "seq")
    rows = _one(source, f"SELECT count(*) FROM {table}")
    _by(source, "index")
    for columns in _index_columns(copy, table):
        along = ", ".join(columns)
        if _one(source, f"SELECT count(*) FROM (SELECT 1 FROM {table} ORDER BY {along} OFFSET 0) AS walk") != rows:
            raise Bad(f"table {table}: its index on {along} does not show every row")


def _index_columns(copy: sqlite3.Connection, table: str) -> list[tuple[str, ...]]:
    """The columns of each index that FirstVisit makes."""
    keys = sorted((row[5], row[1]) for row in copy.execute(f"PRAGMA table_info({table})") if row[5])
    made = [tuple(name for _, name in keys)]
    for row in copy.execute(f"PRAGMA index_list({table})").fetchall():
        columns = tuple(part[2] for part in copy.execute(f"PRAGMA index_info({row[1]})"))
        if columns not in made:
            made.append(columns)
    return [columns for columns in made if columns]


def _by(source: "Connection", way: str) -> None:
    """Have rows read from the table ("seq") or in the order of an index ("index")."""
    ordered = way == "index"
    for setting, on in (
        ("enable_indexscan", ordered),
        ("enable_indexonlyscan", ordered),
        ("enable_bitmapscan", False),
        ("enable_seqscan", not ordered),
        ("enable_sort", not ordered),
    ):
        source.execute(f"SET LOCAL {setting} = {'on' if on else 'off'}".encode())


def _one(source: "Connection", sql: str) -> Any:
    row = source.execute(sql.encode()).fetchone()
    return row[0] if row else None
