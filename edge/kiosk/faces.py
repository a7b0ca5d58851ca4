"""Faces for the pages, and why they were decided on as they were, out of one vault that stays open."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from edge.people.vault import Vault
from edge.visits.explanation import Explanation, read_explanation

Read = TypeVar("Read")


class Faces:
    """Serves every page thread from one thread of its own, to which the vault's connections belong."""

    def __init__(self, database: Path, keys_database: Path) -> None:
        self._database = database
        self._keys_database = keys_database
        self._vault: Vault | None = None  # its thread's alone
        self._thread = ThreadPoolExecutor(1, "faces")

    def crop(self, visit_id: str) -> bytes | None:
        """The visit's face as JPEG, or None where there is none (any more); raises VaultError."""
        return self._thread.submit(self._read, _crop, visit_id).result()

    def explanation(self, visit_id: str) -> Explanation | None:
        """Why the visit was decided as it was, or None where that is not kept (any more); raises VaultError."""
        return self._thread.submit(self._read, read_explanation, visit_id).result()

    def close(self) -> None:
        self._thread.submit(self._close)
        self._thread.shutdown()

    def _read(self, what: Callable[[Vault, str], Read], visit_id: str) -> Read:
        self._vault = self._vault or Vault(self._database, self._keys_database)
        try:
            return what(self._vault, visit_id)
        except BaseException:
            self._close()  # the next one opens it anew
            raise

    def _close(self) -> None:
        if self._vault is not None:
            self._vault.close()
            self._vault = None


def _crop(vault: Vault, visit_id: str) -> bytes | None:
    return vault.of_visits.crop(visit_id)
