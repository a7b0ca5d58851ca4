"""What the store asks of a database, whichever it is: few calls, one transaction at a time, errors that name it.

SQL is written once: `?` for values, the types TEXT, INTEGER (64 bits) and BLOB, `ON CONFLICT` as both databases have
it, the order of a join named by `CROSS JOIN`. What a query needs of a body stands in a column of its own, filled in the
transaction that keeps the record: no database is asked to read JSON.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from sync.storage.database import NewerFormat

_OF_0_1 = {"nodes_and_notices"}  # a step that has been cut into several since
Row: TypeAlias = tuple[Any, ...]
Values: TypeAlias = Sequence[object]


class Database(Protocol):
    """A database opened by one thread; every call raises DatabaseError or DiskFull, which name it."""

    @property
    def name(self) -> str:
        """As errors call it, never with a password."""

    def query(self, sql: str, values: Values = ()) -> list[Row]:
        """Every row of an answer."""

    def execute(self, sql: str, values: Values = ()) -> int:
        """Change something; returns how many rows."""

    def many(self, sql: str, rows: Sequence[Values]) -> int:
        """Change something once for each of `rows`, of which there may be none; returns how many rows in all."""

    def insert(self, table: str, rows: Sequence[Values]) -> int:
        """Add whole rows, columns in order, by the fastest way there is; returns how many were kept."""

    def define(self, statement: str) -> None:
        """Make a table or an index."""

    def transaction(self) -> AbstractContextManager[None]:
        """Hold the right to write for the block; at its end all of it is durable, on any error nothing was changed."""

    def hold(self, slots: Sequence[int]) -> None:
        """Keep the nodes of these slots (`shard.py`) to ourselves until closed; refused where others have one."""

    def data_version(self) -> int:
        """A number that changes when somebody else has written; asking reads no table."""

    def scrub(self) -> bool:
        """Leave as little of what was deleted in the database's own files as it can; False: try again later."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the tables, applied once to a database and never changed after its release.

    name: unique among all. statements: what `Database.define` gets. fill: writes the rows that records already held
    call for.
    """

    name: str
    statements: tuple[str, ...]
    fill: Callable[[Database], None] | None = None


def migrate(database: Database, migrations: Sequence[Migration]) -> None:
    """Apply what the database has not had, all of it or nothing; who comes second finds it done.

    Raises NewerFormat where it has had one that is not among ours.
    """
    with database.transaction():
        database.define("CREATE TABLE IF NOT EXISTS migrations (name TEXT NOT NULL PRIMARY KEY)")
        done = {str(name) for (name,) in database.query("SELECT name FROM migrations")}
        if later := done - _OF_0_1 - {migration.name for migration in migrations}:
            raise NewerFormat(f"{database.name}: written by a newer FirstVisit (its tables have {min(later)!r})")
        for migration in migrations:
            if migration.name not in done:
                for statement in migration.statements:
                    database.define(statement)
                if migration.fill:
                    migration.fill(database)
                database.execute("INSERT INTO migrations VALUES (?)", (migration.name,))


class Tables:
    """Some tables of the store; each module beside this one is one idea, with its own SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database
