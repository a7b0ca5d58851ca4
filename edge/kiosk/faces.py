"""Faces for the pages, out of one vault that stays open."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edge.vault import Vault


class Faces:
    """Serves every page thread from one thread of its own, to which the vault's connections belong."""

    def __init__(self, database: Path, keys_database: Path) -> None:
        self._database = database
        self._keys_database = keys_database
        self._vault: Vault | None = None  # its thread's alone
        self._thread = ThreadPoolExecutor(1, "faces")

    def crop(self, visit_id: str) -> bytes | None:
        """The visit's face as JPEG, or None where there is none (any more); raises VaultError."""
        return self._thread.submit(self._crop, visit_id).result()

    def close(self) -> None:
        self._thread.submit(self._close)
        self._thread.shutdown()

    def _crop(self, visit_id: str) -> bytes | None:
        self._vault = self._vault or Vault(self._database, self._keys_database)
        try:
            return self._vault.crop(visit_id)
        except BaseException:
            self._close()  # the next one opens it anew
            raise

    def _close(self) -> None:
        if self._vault is not None:
            self._vault.close()
            self._vault = None
