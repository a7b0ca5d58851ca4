"""Templates at rest: each under its person's key, few of a person, followed by galleries from revision to revision."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from edge.people.person_keys import VaultError, open_under, seal_under
from edge.people.safe import Safe
from edge.people.tables import VISITORS
from edge.people.template_choice import MOST_TEMPLATES, redundant
from sync.format.stamp import to_us

_PAGE = 2048  # templates read at a time
_CHANGES_KEPT = 10_000  # revisions; a gallery further behind reads everybody anew


@dataclass(frozen=True, slots=True)
class StoredTemplate:
    """A decrypted template and its person, known since created_us; vector: (D,) float32, L2 norm 1."""

    template_id: int
    person_id: str
    created_us: int
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SealedTemplate:
    """A template as it lies at rest, and the key that opens it."""

    template_id: int
    person_id: str
    created_us: int
    pack: str
    sealed: bytes
    key: bytes

    def opened(self) -> StoredTemplate:
        """Decrypt it; raises VaultError where it does not open."""
        plain = open_under(self.key, self.sealed, f"template:{self.person_id}:{self.pack}")
        return StoredTemplate(self.template_id, self.person_id, self.created_us, np.frombuffer(plain, np.float32))


class Templates:
    """The templates of one HOME's people; methods that take a `connection` write inside the ledger's transaction."""

    def __init__(self, safe: Safe) -> None:
        self._safe = safe

    def revision(self) -> int:
        """A number that changes whenever the templates that can be searched do."""
        ((value,),) = self._safe.rows("SELECT revision FROM gallery_revision")
        return int(value)

    def changed_between(self, after: int, revision: int) -> list[str] | None:
        """Whose searchable templates changed after one revision and up to another, None where that is forgotten."""
        followed = self._safe.rows(
            "SELECT revision, person_id FROM gallery_changes WHERE revision > ? AND revision <= ?", after, revision
        )
        if len({row[0] for row in followed}) != revision - after:
            return None
        return sorted({row[1] for row in followed})

    def sealed(self, pack: str, person_id: str | None = None, gallery: int = VISITORS) -> Iterator[SealedTemplate]:
        """Every template of a pack that a gallery searches and whose key is there, oldest first, or one person's.

        Read in pages, for whoever erases waits for a long reader of either database.
        """
        after = -1
        while True:
            page = self._safe.rows(
                "SELECT template_id, person_id, created_us, sealed FROM templates JOIN people USING (person_id)"
                f" WHERE pack = ? AND searchable = ? AND template_id > ? {'AND person_id = ? ' if person_id else ''}"
                "ORDER BY template_id LIMIT ?",
                *((pack, gallery, after, person_id, _PAGE) if person_id else (pack, gallery, after, _PAGE)),
            )
            keys = self._safe.keys.of_all({row[1] for row in page})
            for template_id, owner, created_us, sealed in page:
                if owner in keys:
                    yield SealedTemplate(template_id, owner, created_us, pack, sealed, keys[owner])
            if len(page) < _PAGE:
                return
            after = page[-1][0]

    def one(self, template_id: int) -> StoredTemplate | None:
        """A template, decrypted, or None where it is gone."""
        found = self._safe.rows(
            "SELECT person_id, created_us, pack, sealed FROM templates JOIN people USING (person_id)"
            " WHERE template_id = ?",
            template_id,
        )
        key = self._safe.key(found[0][0]) if found else None
        if key is None:
            return None
        person_id, created_us, pack, sealed = found[0]
        return SealedTemplate(template_id, person_id, created_us, pack, sealed, key).opened()

    def of(self, person_id: str, pack: str) -> list[StoredTemplate]:
        """One person's templates of a pack, searchable or not; none once they are erased."""
        found = self._safe.rows(
            "SELECT template_id FROM templates WHERE person_id = ? AND pack = ? ORDER BY template_id", person_id, pack
        )
        return [stored for row in found if (stored := self.one(row[0])) is not None]

    def since_us(self, pack: str) -> int | None:
        """When the first person was remembered under this pack."""
        found = self._safe.rows("SELECT since_us FROM galleries WHERE pack = ?", pack)
        return int(found[0][0]) if found else None

    def add(
        self, connection: sqlite3.Connection, person_id: str, pack: str, vector: NDArray[np.float32], stored: datetime
    ) -> int | None:
        """Remember a returning person by this visit's template too; returns its id, None for somebody erased meanwhile.

        Each template lives for its own visit's horizon: a return does not lengthen the life of an older one. Beyond
        MOST_TEMPLATES one is dropped that tells the least.
        """
        known = connection.execute("SELECT 1 FROM people WHERE person_id = ?", (person_id,)).fetchone()
        if known is None or self._safe.key(person_id) is None:
            return None
        template_id = self.insert(connection, person_id, pack, vector, to_us(stored), True)
        self.thin(connection, person_id)
        return template_id

    def replace(self, connection: sqlite3.Connection, template_id: int, vector: NDArray[np.float32]) -> int | None:
        """Put a better template in the place of one, for as long as that would have lived; returns its id.

        In the ledger's transaction; None where the template is gone by now.
        """
        found = connection.execute(
            "SELECT person_id, pack, stored_us, searchable FROM templates JOIN people USING (person_id)"
            " WHERE template_id = ?",
            (template_id,),
        ).fetchone()
        if found is None or self._safe.key(found[0]) is None:
            return None
        person_id, pack, stored_us, searchable = found
        better = self.insert(connection, person_id, pack, vector, stored_us, bool(searchable))
        # afterwards: SQLite gives the number of a deleted last row out again, and galleries follow numbers
        connection.execute("DELETE FROM templates WHERE template_id = ?", (template_id,))
        return better

    def insert(
        self,
        connection: sqlite3.Connection,
        person_id: str,
        pack: str,
        vector: NDArray[np.float32],
        stored_us: int,
        searchable: bool,
    ) -> int:
        """Keep a template of somebody who is in the database, whoever they are; returns its id."""
        key = self._safe.key(person_id)
        if key is None:
            raise VaultError(f"person {person_id}: no key")
        cursor = connection.execute(
            "INSERT INTO templates (person_id, pack, stored_us, sealed) VALUES (?, ?, ?, ?)",
            (person_id, pack, stored_us, seal_under(key, vector.tobytes(), f"template:{person_id}:{pack}")),
        )
        if searchable:
            revise(connection, [person_id])
        return int(cursor.lastrowid or 0)

    def thin(self, connection: sqlite3.Connection, person_id: str) -> None:
        """Drop what of a person's templates, pack by pack, is redundant."""
        by_pack: dict[str, list[StoredTemplate]] = {}
        found = connection.execute(
            "SELECT template_id, created_us, pack, sealed FROM templates JOIN people USING (person_id)"
            " WHERE person_id = ? ORDER BY stored_us, template_id",
            (person_id,),
        ).fetchall()
        if len(found) <= MOST_TEMPLATES:
            return
        key = self._safe.key(person_id)
        if key is None:
            raise VaultError(f"person {person_id}: no key")
        for template_id, created_us, pack, sealed in found:
            try:
                opened = SealedTemplate(template_id, person_id, created_us, pack, sealed, key).opened()
            except VaultError:
                continue  # the gallery names it; a damaged old face must not keep a new visit from being recorded
            by_pack.setdefault(pack, []).append(opened)
        dropped = [
            (held[row].template_id,)
            for held in by_pack.values()
            for row in redundant(np.stack([template.vector for template in held]))
        ]
        if dropped:
            connection.executemany("DELETE FROM templates WHERE template_id = ?", dropped)
            revise(connection, [person_id])


def revise(connection: sqlite3.Connection, person_ids: list[str]) -> None:
    """The searchable templates of these people may be others from here on."""
    connection.execute("UPDATE gallery_revision SET revision = revision + 1")
    ((revision,),) = connection.execute("SELECT revision FROM gallery_revision").fetchall()
    connection.executemany(
        "INSERT OR IGNORE INTO gallery_changes VALUES (?, ?)", [(revision, person_id) for person_id in person_ids]
    )
    connection.execute("DELETE FROM gallery_changes WHERE revision <= ?", (revision - _CHANGES_KEPT,))
