"""What is kept of a visit under its person's key: the face, why it was decided so, what was signed."""

import sqlite3
from datetime import datetime

from edge.people.person_keys import open_under, seal_under
from edge.people.safe import Safe
from sync.format.stamp import to_us

BY_VISIT = {"crops": "crop", "explanations": "explanation", "signatures": "signature"}
"""Tables of what is kept of a visit, and what is sealed there."""


class OfVisits:
    """Faces, explanations and signatures; what is added is written inside the ledger's transaction."""

    def __init__(self, safe: Safe) -> None:
        self._safe = safe

    def crop(self, visit_id: str) -> bytes | None:
        """The visit's face as JPEG, decrypted in memory, or None where there is none (any more)."""
        return self._read("crops", visit_id)

    def explanation(self, visit_id: str) -> bytes | None:
        """Why a visit was decided as it was, as `add_explanation` took it, or None where there is none (any more)."""
        return self._read("explanations", visit_id)

    def signature(self, visit_id: str) -> bytes | None:
        """What a visitor signed at a visit, as `add_signature` took it, or None where there is none (any more)."""
        return self._read("signatures", visit_id)

    def add_crop(
        self, connection: sqlite3.Connection, visit_id: str, person_id: str, jpeg: bytes, stored: datetime
    ) -> None:
        """Keep a visit's face under its person's key; a person erased meanwhile keeps none."""
        self._keep(connection, "crops", visit_id, person_id, jpeg, stored)

    def add_explanation(
        self, connection: sqlite3.Connection, visit_id: str, person_id: str, explanation: bytes, stored: datetime
    ) -> None:
        """Keep why a visit was decided as it was under its person's key, as long as its face."""
        self._keep(connection, "explanations", visit_id, person_id, explanation, stored)

    def add_signature(
        self, connection: sqlite3.Connection, visit_id: str, person_id: str, signed: bytes, stored: datetime
    ) -> None:
        """Keep what a visitor signed at a visit under their key, as long as their consent."""
        self._keep(connection, "signatures", visit_id, person_id, signed, stored)

    def _read(self, table: str, visit_id: str) -> bytes | None:
        found = self._safe.rows(f"SELECT person_id, sealed FROM {table} WHERE visit_id = ?", visit_id)
        key = self._safe.key(found[0][0]) if found else None
        return None if key is None else open_under(key, found[0][1], f"{BY_VISIT[table]}:{visit_id}")

    def _keep(
        self, connection: sqlite3.Connection, table: str, visit_id: str, person_id: str, plain: bytes, stored: datetime
    ) -> None:
        key = self._safe.key(person_id)
        if key is not None:
            sealed = seal_under(key, plain, f"{BY_VISIT[table]}:{visit_id}")
            connection.execute(
                f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?)", (visit_id, person_id, to_us(stored), sealed)
            )
