"""Where the store of a central lies: in central.db in its folder."""

from pathlib import Path

from sync.central.store.sqlite import FILE_NAME, SqliteDatabase
from sync.central.store.store import Store


def create_store(directory: Path) -> None:
    """Make an empty store for the central in DIR; raises DatabaseError where one is."""
    with Store(SqliteDatabase.create(directory / FILE_NAME)) as store:
        store.migrate()


def migrate_store(directory: Path) -> None:
    """Bring DIR's store up to this version, for whoever is about to write; raises as opening does."""
    with Store(SqliteDatabase.for_migration(directory / FILE_NAME)) as store:
        store.migrate()


def open_store(directory: Path) -> Store:
    """Open DIR's store for this thread; raises DatabaseError (missing, damaged, out of reach) or NewerFormat."""
    return Store(SqliteDatabase(directory / FILE_NAME))


def accounts_path(directory: Path) -> Path:
    """The database in which DIR's console keeps who may sign in."""
    return directory / FILE_NAME
