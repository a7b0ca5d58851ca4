"""The store in a PostgreSQL database, which several workers may share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from psycopg import Connection
from psycopg.adapt import Buffer
from psycopg.sql import SQL, Identifier
from psycopg.types.string import StrDumper

from sync.central.store.database import Row, Values
from sync.storage.database import DatabaseError
from sync.storage.postgres import check_url, connect, definition, named, statement


class _Text(StrDumper):
    """PostgreSQL holds no NUL in a text. What must stay as it was signed is kept as bytes; the rest is for showing."""

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}"))


class PostgresDatabase:
    """The database of a URL, used by one thread; a connection that was lost is made again with the next call."""

    def __init__(self, url: str) -> None:
        """Raises DatabaseError where there is no server, or one that would not keep what it has committed."""
        self._url = url
        self.name = check_url(url)
        self._slots: list[int] = []
        self._connection = self._open()

    def exists(self) -> bool:
        """Whether the tables of a store are there."""
        return self.query("SELECT to_regclass('migrations') IS NOT NULL")[0][0] is True

    def query(self, sql: str, values: Values = ()) -> list[Row]:
        with self._connected() as connection, connection.cursor(binary=True) as cursor:
            cursor.execute(statement(sql), values)
            return cursor.fetchall() if cursor.description else []

    def execute(self, sql: str, values: Values = ()) -> int:
        with self._connected() as connection:
            return connection.execute(statement(sql), values).rowcount

    def many(self, sql: str, rows: Sequence[Values]) -> int:
        if not rows:
            return 0
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.executemany(statement(sql), rows)
            return cursor.rowcount

    def insert(self, table: str, rows: Sequence[Values]) -> int:
        if not rows:
            return 0
        with self._connected() as connection, connection.cursor() as cursor:
            with cursor.copy(SQL("COPY {} FROM STDIN").format(Identifier(table))) as copy:
                for row in rows:
                    copy.write_row(row)
            return cursor.rowcount

    def define(self, sql: str) -> None:
        with self._connected() as connection:
            connection.execute(definition(sql))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._connected() as connection, connection.transaction():
            yield

    def data_version(self) -> int:
        return int(self.query("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")[0][0])

    def scrub(self) -> bool:
        with self._connected() as connection:
            connection.execute("VACUUM sidecars")
        return (
            True  # it frees what was deleted; that is overwritten when the room is used, PostgreSQL's log in its time
        )

    def hold(self, slots: Sequence[int]) -> None:
        # A lock belongs to the connection that writes: who has lost it can commit nothing any more.
        self._slots = list(slots)
        with self._connected() as connection:
            self._take_slots(connection)

    def close(self) -> None:
        self._connection.close()

    # -- inside ------------------------------------------------------------------------------------------------

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        if self._connection.closed:
            self._connection = self._open()
        with named(self.name):
            yield self._connection

    def _open(self) -> Connection:
        connection = connect(self._url)
        connection.adapters.register_dumper(str, _Text)
        with named(self.name):
            self._take_slots(connection)
        return connection

    def _take_slots(self, connection: Connection) -> None:
        """Take the locks of our slots, or close the connection."""
        taken = connection.execute(
            "SELECT bool_and(pg_try_advisory_lock(hashtext(current_schema()), slot)) FROM unnest(%s::int[]) AS slot",
            (self._slots,),
        ).fetchone()
        if self._slots and taken != (True,):
            connection.close()
            raise DatabaseError(f"{self.name}: another central writes for some of these nodes")
