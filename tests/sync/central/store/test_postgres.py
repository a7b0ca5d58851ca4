"""A PostgreSQL that is not durable is refused, one that goes away is found again, and nobody writes for another."""

from collections.abc import Iterator

import pytest

from sync.central.store.postgres import PostgresDatabase
from sync.storage.database import DatabaseError
from tests.sync.postgres_server import PostgresServer, free_port, missing


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of one test's own, to stop and kill."""
    if why := missing():
        pytest.skip(why)
    server = PostgresServer(free_port())
    yield server
    server.remove()


def test_a_server_that_does_not_sync_is_refused(server: PostgresServer) -> None:
    server.start("fsync=off")
    with pytest.raises(DatabaseError, match="the server runs with fsync=off"):
        PostgresDatabase(server.url)


def test_a_server_that_was_killed_is_found_again_with_what_was_committed(server: PostgresServer) -> None:
    server.start()
    database = PostgresDatabase(server.url)
    database.hold(range(256))
    database.define("CREATE TABLE t (x INTEGER)")
    with database.transaction():
        database.execute("INSERT INTO t VALUES (1)")
    server.kill()
    with pytest.raises(DatabaseError, match=f"postgresql://127.0.0.1:{server.port}/postgres: "):
        database.query("SELECT x FROM t")
    with pytest.raises(DatabaseError, match="connection failed"):
        database.query("SELECT x FROM t")
    server.start()
    assert database.query("SELECT x FROM t") == [(1,)]
    with pytest.raises(DatabaseError, match="another central writes for some of these nodes"):
        PostgresDatabase(server.url).hold([7])  # the locks came back with the connection
    database.close()


def test_slots_that_another_holds_are_refused_until_it_has_gone(postgres: PostgresServer) -> None:
    url = postgres.fresh()
    first, second, elsewhere = PostgresDatabase(url), PostgresDatabase(url), PostgresDatabase(postgres.fresh())
    first.hold([1, 3, 5])
    elsewhere.hold([1])
    with pytest.raises(DatabaseError, match="another central"):
        second.hold([0, 5])
    third = PostgresDatabase(url)
    third.hold([0, 2])  # what was refused in part holds nothing
    first.close()
    fourth = PostgresDatabase(url)
    fourth.hold([5, 4])
    for database in (second, third, fourth, elsewhere):
        database.close()
