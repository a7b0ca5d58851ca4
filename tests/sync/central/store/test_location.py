"""Stores are made once, opened where they are, and the same wherever they lie."""

from pathlib import Path

import psycopg
import pytest

from sync import SyncError
from sync.central.store.location import accounts_path, create_store, migrate_store, open_store
from sync.storage.database import DatabaseError, NewerFormat
from sync.storage.settings import settings_text


@pytest.fixture
def directory(tmp_path: Path, store_url: str | None) -> Path:
    """A central's folder that names its store, which is not made yet."""
    (tmp_path / "central.toml").write_text(settings_text("hq", "mqtt://127.0.0.1:1883", store_url))
    return tmp_path


def test_a_new_store_is_empty_and_is_not_made_twice(directory: Path, store_url: str | None) -> None:
    with pytest.raises(DatabaseError, match="no central store there"):
        open_store(directory)
    create_store(directory, store_url)
    assert accounts_path(directory).is_file()
    for _again in range(2):
        with open_store(directory) as store:
            assert (store.nodes(), store.visits(), list(store.records()), store.refusals()) == ([], [], [], [])
        migrate_store(directory)
    with pytest.raises(DatabaseError, match="already there"):
        create_store(directory, store_url)


def test_a_store_that_a_later_version_has_changed_is_refused(directory: Path, store_url: str | None) -> None:
    create_store(directory, store_url)
    with open_store(directory) as store:
        store.database.execute("INSERT INTO migrations VALUES (?)", ("of-tomorrow",))
    with pytest.raises(NewerFormat, match="written by a newer FirstVisit"):
        migrate_store(directory)


def test_the_data_version_changes_when_somebody_else_has_written(directory: Path, store_url: str | None) -> None:
    create_store(directory, store_url)
    with open_store(directory) as reader, open_store(directory) as writer:
        before = reader.data_version()
        assert reader.data_version() == before
        with writer.database.transaction():
            writer.database.execute("INSERT INTO refusals VALUES (?, ?, 1, 1, ?)", ("n1", "GAP", "a\0b"))
        assert reader.data_version() != before
        assert reader.refusals()[0].detail.startswith("a")


def test_a_transaction_that_fails_leaves_nothing(directory: Path, store_url: str | None) -> None:
    create_store(directory, store_url)
    with open_store(directory) as store:
        sql, row = "INSERT INTO refusals VALUES (?, ?, 1, 1, ?)", ("n1", "GAP", "why")

        def twice() -> None:
            with store.database.transaction():
                store.database.execute(sql, row)
                store.database.execute(sql, row)

        with pytest.raises(DatabaseError, match=r"(?i)unique"):
            twice()
        assert store.refusals() == []
        store.database.execute(sql, row)  # and it goes on
        assert len(store.refusals()) == 1


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://u:s3cret@127.0.0.1:1/db", "postgresql://127.0.0.1:1/db: connection failed"),
        ("postgresql://u:s3cret@127.0.0.1:99999/db", "store URL: not of the form"),
        ("postgresql://u:s3%zzcret@127.0.0.1/db", "postgresql://127.0.0.1/db: the URL is not understood"),
        ("mysql://u:s3cret@127.0.0.1/db", "store URL: scheme 'mysql', expected postgresql"),
    ],
)
def test_a_server_out_of_reach_is_named_in_one_line_without_the_password(tmp_path: Path, url: str, why: str) -> None:
    with pytest.raises(SyncError) as raised:
        create_store(tmp_path, url)
    text = str(raised.value)
    assert text.startswith(why)
    assert "s3" not in text
    assert "\n" not in text
    assert list(tmp_path.iterdir()) == []


def test_what_the_server_refuses_is_one_line(tmp_path: Path, postgres) -> None:
    with pytest.raises(DatabaseError, match=r'database "nowhere" does not exist$') as raised:
        create_store(tmp_path, f"postgresql://postgres:s3cret@127.0.0.1:{postgres.port}/nowhere")
    assert "s3cret" not in str(raised.value)


def test_commits_are_durable_whatever_the_server_prefers(tmp_path: Path, postgres) -> None:
    url = postgres.fresh() + "%20-csynchronous_commit%3Doff"
    with psycopg.connect(url) as other:
        assert other.execute("SHOW synchronous_commit").fetchone() == ("off",)
    (tmp_path / "central.toml").write_text(settings_text("hq", "mqtt://127.0.0.1:1883", url))
    create_store(tmp_path, url)
    with open_store(tmp_path) as store:
        assert store.database.query("SHOW synchronous_commit") == [("on",)]
