"""central.db: the store in one SQLite file, in WAL mode and fully synchronous."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sync.central.shard import SLOTS
from sync.central.store.database import Row, Values
from sync.storage.database import (
    BUSY_TIMEOUT_S,
    CENTRAL_FORMAT,
    DatabaseError,
    create,
    immediate,
    migrate,
    named,
    open_checked,
)
from sync.web import tables

FILE_NAME = "central.db"
_WAL_PAGES = 8192  # 32 MiB: SQLite's 1,000 pages are full with every second batch, and emptying them syncs two files


class SqliteDatabase:
    """An existing central.db, opened by one thread; the console's accounts lie in the same file."""

    def __init__(self, path: Path) -> None:
        """Raises DatabaseError (missing, damaged) or NewerFormat."""
        self._path = path
        self.connection = open_checked(path, CENTRAL_FORMAT)
        # one bit of one node's row is that row's damage, not an error of whatever reads it beside others
        self.connection.text_factory = lambda text: text.decode(errors="replace")
        with self._errors():
            self.connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")

    @classmethod
    def create(cls, path: Path) -> "SqliteDatabase":
        """Make the file, without any table of the store yet; raises DatabaseError where something is there."""
        create(path, CENTRAL_FORMAT, tables.MIGRATIONS, mode=0o600)
        return cls(path)

    @classmethod
    def for_migration(cls, path: Path) -> "SqliteDatabase":
        """Open a file of any version so far: until 0.1 it kept the names of its migrations elsewhere."""
        migrate(path, CENTRAL_FORMAT, tables.MIGRATIONS)
        database = cls(path)
        with database.transaction():
            database.define("CREATE TABLE IF NOT EXISTS migrations (name TEXT NOT NULL PRIMARY KEY)")
            database.execute(
                "INSERT INTO migrations SELECT name FROM _sqlite_migrations WHERE migration_set = 'central'"
                " ON CONFLICT DO NOTHING"
            )
        return database

    @property
    def name(self) -> str:
        return str(self._path)

    def query(self, sql: str, values: Values = ()) -> list[Row]:
        with self._errors():
            return self.connection.execute(sql, values).fetchall()

    def execute(self, sql: str, values: Values = ()) -> int:
        with self._errors():
            return self.connection.execute(sql, values).rowcount

    def many(self, sql: str, rows: Sequence[Values]) -> int:
        if not rows:
            return 0
        with self._errors():
            return self.connection.executemany(sql, rows).rowcount

    def insert(self, table: str, rows: Sequence[Values]) -> int:
        marks = ", ".join("?" * len(rows[0])) if rows else ""
        return self.many(f"INSERT INTO {table} VALUES ({marks})", rows)

    def define(self, statement: str) -> None:
        with self._errors():
            self.connection.execute(statement)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._errors(), immediate(self.connection):
            yield

    def hold(self, slots: Sequence[int]) -> None:
        if len(slots) < SLOTS:
            raise DatabaseError(f"{self.name}: SQLite has one writer; workers share a PostgreSQL (store.url)")

    def data_version(self) -> int:
        with self._errors():
            (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def scrub(self) -> bool:
        with self._errors():  # secure_delete has overwritten the pages; the log holds them as they were
            self.connection.execute("PRAGMA busy_timeout = 0")  # a reader must not keep every node waiting
            try:
                (busy, _, _) = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self.connection.execute(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT_S * 1000)}")
        return not busy

    def close(self) -> None:
        self.connection.close()

    def _errors(self) -> AbstractContextManager[None]:
        return named(self._path)
