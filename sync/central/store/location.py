"""Where the store of a central lies: in central.db in its folder, or in the PostgreSQL that central.toml names."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sync.central.store.database import Database
from sync.central.store.sqlite import FILE_NAME, SqliteDatabase
from sync.central.store.store import Store
from sync.storage.database import DatabaseError, Format, create, migrate
from sync.storage.settings import store_url
from sync.web import tables

if TYPE_CHECKING:
    from sync.central.store.postgres import PostgresDatabase

ACCOUNTS_FILE = "accounts.db"  # beside a PostgreSQL store: who signs in to a console is that machine's own matter
_ACCOUNTS_FORMAT = Format("console's accounts", 1)


def check_empty(url: str) -> None:
    """Raise SyncError where the PostgreSQL of this URL is out of reach or holds a store already."""
    with closing(_postgres(url)) as database:
        if database.exists():
            raise DatabaseError(f"{database.name}: a central store is already there")


def create_store(directory: Path, url: str | None = None) -> None:
    """Make an empty store for the central in DIR; raises DatabaseError where one is.

    url: of a PostgreSQL database; None for central.db.
    """
    database: Database
    if url is None:
        database = SqliteDatabase.create(directory / FILE_NAME)
    else:
        check_empty(url)
        database = _postgres(url)
        create(directory / ACCOUNTS_FILE, _ACCOUNTS_FORMAT, tables.MIGRATIONS, mode=0o600)
    with Store(database) as store:
        store.migrate()


def migrate_store(directory: Path) -> None:
    """Bring DIR's store up to this version, for whoever is about to write; raises as opening does."""
    if store_url(directory) is None:
        database: Database = SqliteDatabase.for_migration(directory / FILE_NAME)
    else:
        migrate(directory / ACCOUNTS_FILE, _ACCOUNTS_FORMAT, tables.MIGRATIONS)
        database = _open(directory)
    with Store(database) as store:
        store.migrate()


def open_store(directory: Path) -> Store:
    """Open DIR's store for this thread; raises DatabaseError (missing, damaged, out of reach) or NewerFormat."""
    return Store(_open(directory))


def accounts_path(directory: Path) -> Path:
    """The database in which DIR's console keeps who may sign in."""
    return directory / (FILE_NAME if store_url(directory) is None else ACCOUNTS_FILE)


def _open(directory: Path) -> Database:
    url = store_url(directory)
    if url is None:
        return SqliteDatabase(directory / FILE_NAME)
    database = _postgres(url)
    if not database.exists():
        database.close()
        raise DatabaseError(f"{database.name}: no central store there")
    return database


def _postgres(url: str) -> "PostgresDatabase":
    try:  # not at the top: a central on SQLite does without psycopg
        from sync.central.store.postgres import PostgresDatabase
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise DatabaseError("a store in PostgreSQL needs psycopg: pip install 'psycopg[binary]' beside us") from error
    return PostgresDatabase(url)
