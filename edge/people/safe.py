"""The two databases of a HOME's people, opened by one thread: rows, and what opens under people's keys."""

from pathlib import Path
from typing import Any

from edge.people.person_keys import PersonKeys, VaultError, open_under, seal_under
from sync.storage.database import LEDGER_FORMAT, Patience, named, open_checked


class Safe:
    """What every part of the vault reads with. keys: the people's keys."""

    def __init__(self, database: Path, keys_database: Path, patience: Patience) -> None:
        """As `Vault`, which opens it."""
        self._path = database
        self.keys = PersonKeys(database, keys_database, patience)
        try:
            self._database = open_checked(database, LEDGER_FORMAT)
        except BaseException:
            self.keys.close()
            raise

    def close(self) -> None:
        self._database.close()
        self.keys.close()

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What a query finds."""
        with named(self._path):
            return self._database.execute(query, values).fetchall()

    def ids(self, query: str, *values: object) -> list[str]:
        """The first column of what a query finds."""
        return [row[0] for row in self.rows(query, *values)]

    def key(self, person_id: str) -> bytes | None:
        """A person's key, None where there is none (any more)."""
        return self.keys.of(person_id)

    def seal(self, person_id: str, plain: bytes, purpose: str) -> bytes:
        """Encrypt under a person's key; raises VaultError where there is none."""
        key = self.key(person_id)
        if key is None:
            raise VaultError(f"person {person_id}: no key")
        return seal_under(key, plain, purpose)

    def unseal(self, person_id: str, sealed: bytes, purpose: str) -> bytes | None:
        """Decrypt what `seal` gave, None once the key is destroyed; raises VaultError where it does not open."""
        key = self.key(person_id)
        return None if key is None else open_under(key, sealed, purpose)
