"""Faces at rest: templates and crops, each encrypted under its person's own key.

The ciphertexts lie in firstvisit.db beside the ledger, so that a person and the record that names them are written
together; the keys lie in keys.db, so that destroying one 32-byte row there erases the person from every copy of the
other.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.people.enrolled import EnrolledPeople
from edge.people.of_visits import BY_VISIT, OfVisits
from edge.people.outlived import Outlived
from edge.people.safe import Safe
from edge.people.tables import CONTACT, PENDING, PROVISIONAL, ROSTER, VISITORS
from edge.people.templates import Templates, revise
from sync.format.stamp import to_us
from sync.storage.database import Patience, give_up


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody the node remembers, by the templates of their visits; stored_us: when the newest of them was stored.

    enrolled: on the roster, and remembered until they are taken off it. pending: the same, once that is approved.
    """

    person_id: str
    created_us: int
    stored_us: int
    searchable: bool
    templates: int
    enrolled: bool
    pending: bool


class Vault:
    """The people of one HOME, opened by one thread.

    What is kept of them lies in its parts: `templates`, `of_visits`, `enrolled`; `outlived` says what may stay no
    longer. Methods that take a `connection` write inside that connection's transaction: the ledger's.
    """

    def __init__(self, database: Path, keys_database: Path, patience: Patience = give_up) -> None:
        """Open the two databases of a HOME; raises DatabaseError (one is missing, damaged) or NewerFormat.

        patience: whether to wait on while somebody else holds the write lock of keys.db.
        """
        self._safe = Safe(database, keys_database, patience)
        self.templates = Templates(self._safe)
        self.of_visits = OfVisits(self._safe)
        self.enrolled = EnrolledPeople(self._safe, self.templates)
        self.outlived = Outlived(self._safe)

    def close(self) -> None:
        self._safe.close()

    def people(self) -> list[Person]:
        """Everybody remembered by a face, and whoever is on the roster or proposed for it without one, oldest first."""
        return [
            Person(
                person_id,
                created_us,
                stored_us,
                searchable in (VISITORS, ROSTER),
                templates,
                searchable == ROSTER,
                searchable == PENDING,
            )
            for person_id, created_us, stored_us, searchable, templates in self._safe.rows(
                "SELECT person_id, created_us, coalesce(max(stored_us), created_us), searchable, count(stored_us)"
                " FROM people LEFT JOIN templates USING (person_id)"
                f" WHERE stored_us IS NOT NULL OR searchable IN ({ROSTER}, {PENDING})"
                " GROUP BY person_id ORDER BY created_us, person_id"
            )
        ]

    def count(self) -> int:
        """How many people are remembered, contacts not counted: of those there is no face."""
        ((count,),) = self._safe.rows("SELECT count(*) FROM people WHERE searchable <> ?", CONTACT)
        return int(count)

    def remembers(self, person_id: str) -> bool:
        """Whether this person is in the database."""
        return bool(self._safe.rows("SELECT 1 FROM people WHERE person_id = ?", person_id))

    def known_since_us(self, person_id: str) -> int | None:
        """Since when this person is known, None where they are not (any more)."""
        found = self._safe.rows("SELECT created_us FROM people WHERE person_id = ?", person_id)
        return int(found[0][0]) if found else None

    def standing(self, person_id: str) -> str:
        """Who an id stands for: itself, or the person that the desk has merged it into."""
        while found := self._safe.rows("SELECT person_id FROM person_aliases WHERE alias = ?", person_id):
            person_id = found[0][0]
        return person_id

    def known_as(self, person_id: str) -> list[str]:
        """The ids that stand for a person since they were merged."""
        direct = self._safe.ids("SELECT alias FROM person_aliases WHERE person_id = ?", person_id)
        return [*direct, *(alias for one in direct for alias in self.known_as(one))]

    def lookalikes(self) -> dict[str, frozenset[str]]:
        """Of everybody whom the desk has marked as one of a pair that looks alike, the others."""
        pairs: dict[str, frozenset[str]] = {}
        for pair in self._safe.rows("SELECT one, other FROM lookalikes"):
            one, other = map(self.standing, pair)
            if one != other:
                pairs[one] = pairs.get(one, frozenset()) | {other}
                pairs[other] = pairs.get(other, frozenset()) | {one}
        return pairs

    def contacts_of(self, person_id: str) -> list[str]:
        """The contacts who gave their phone at visits of this person."""
        query = "SELECT DISTINCT person_id FROM contact_visits WHERE visitor_id = ? ORDER BY person_id"
        return self._safe.ids(query, person_id)

    def consented_us(self, person_id: str) -> int | None:
        """When this person last consented to be recognised, None where they have not, or are forgotten."""
        found = self._safe.rows("SELECT given_us FROM consents WHERE person_id = ?", person_id)
        return int(found[0][0]) if found else None

    def pepper(self) -> bytes:
        """The key of the phones' HMACs, 32 bytes."""
        return self._safe.keys.pepper()

    def seal(self, person_id: str, plain: bytes, purpose: str) -> bytes:
        """Encrypt under a person's key; raises VaultError where there is none."""
        return self._safe.seal(person_id, plain, purpose)

    def unseal(self, person_id: str, sealed: bytes, purpose: str) -> bytes | None:
        """Decrypt what `seal` gave, None once the key is destroyed; raises VaultError where it does not open."""
        return self._safe.unseal(person_id, sealed, purpose)

    def has_key(self, person_id: str) -> bool:
        """Whether a person's key is there (still)."""
        return self._safe.key(person_id) is not None

    def expects(self, connection: sqlite3.Connection, person_id: str) -> bool:
        """Whether somebody of `expect` is still waited for: not withdrawn, and not erased."""
        found = connection.execute("SELECT 1 FROM people WHERE person_id = ?", (person_id,)).fetchone()
        return found is not None and self._safe.key(person_id) is not None

    def create_key(self, person_id: str) -> None:
        """Make a person's key, durably, before anything is encrypted under it.

        A crash before the person is written leaves a key that opens nothing; `sweep_keys` removes it.
        """
        self._safe.keys.create(person_id)

    def add_person(
        self,
        connection: sqlite3.Connection,
        person_id: str,
        pack: str,
        vector: NDArray[np.float32],
        created: datetime,
        searchable: bool,
    ) -> int:
        """Remember a new person by one template, in the ledger's transaction; returns the template's id.

        One who is expected becomes that person.
        """
        created_us = to_us(created)
        connection.execute(
            "INSERT INTO people VALUES (?, ?, ?)"
            " ON CONFLICT (person_id) DO UPDATE SET searchable = excluded.searchable",
            (person_id, created_us, int(searchable)),
        )
        connection.execute("INSERT OR IGNORE INTO galleries VALUES (?, ?)", (pack, created_us))
        return self.templates.insert(connection, person_id, pack, vector, created_us, searchable)

    def expect(self, connection: sqlite3.Connection, person_id: str, now_us: int) -> None:
        """Take in somebody who has consented and of whom no face is here yet, in the ledger's transaction."""
        connection.execute("INSERT INTO people VALUES (?, ?, ?)", (person_id, now_us, PROVISIONAL))

    def make_searchable(self, connection: sqlite3.Connection, person_id: str) -> None:
        """The desk has answered that a provisional person is somebody new."""
        connection.execute("UPDATE people SET searchable = 1 WHERE person_id = ?", (person_id,))
        revise(connection, [person_id])

    def keep_consent(self, connection: sqlite3.Connection, person_id: str, version: str, given_us: int) -> None:
        """A person of the database has agreed to the text of this version, in the ledger's transaction."""
        connection.execute("INSERT OR REPLACE INTO consents VALUES (?, ?, ?)", (person_id, version, given_us))

    def forget(self, connection: sqlite3.Connection, person_id: str) -> None:
        """Drop what the database holds of a person, in the ledger's transaction; `destroy_keys` comes first."""
        for table in (
            "agent_phones",
            "roster",
            "consents",
            "templates",
            *BY_VISIT,
            "contact_visits",
            "contacts",
            "people",
        ):
            connection.execute(f"DELETE FROM {table} WHERE person_id = ?", (person_id,))
        revise(connection, [person_id])

    def forget_visit(self, connection: sqlite3.Connection, person_id: str, visit_id: str) -> None:
        """Drop what was taken of a person at one visit, in the ledger's transaction; the rest of them stays.

        A template is stored at the very moment of its visit's picture (`Traces.keep`). Nothing is left in free pages
        (secure_delete), and in the log until the next `scrub`.
        """
        connection.execute(
            "DELETE FROM templates WHERE person_id = ? AND stored_us IN"
            " (SELECT stored_us FROM crops WHERE visit_id = ? AND person_id = ?)",
            (person_id, visit_id, person_id),
        )
        for table in BY_VISIT:
            connection.execute(f"DELETE FROM {table} WHERE visit_id = ? AND person_id = ?", (visit_id, person_id))
        revise(connection, [person_id])

    def keyless(self) -> list[str]:
        """Everybody whose key has been destroyed while the rest of them is still in the database."""
        held = self._safe.keys.owners()
        return [one for one in self._safe.ids("SELECT person_id FROM people") if one not in held]

    def destroy_keys(self, person_ids: list[str]) -> bool:
        """Destroy people's keys, in keys.db, its WAL and every copy of the keys; returns whether all were reached.

        False: `unreached` tries again and says what is left. Raises VaultError where a key is there afterwards.
        """
        self._safe.keys.destroy(person_ids)
        return not self.unreached()

    def unreached(self) -> list[str]:
        """Go where destroyed keys may lie still; returns what could not be reached: a log that is read, copies away."""
        log = [] if self.scrub() else [f"{self._safe.keys.path}-wal: somebody is reading it"]
        return log + self.reach_copies()

    def reach_copies(self) -> list[str]:
        """The same of the copies only: the folders that are still behind."""
        return [f"{folder}: out of reach" for folder in self._safe.keys.reach_copies()]

    def restore_keys(self, keys: dict[str, bytes]) -> None:
        """Take in keys of people who are in the database; the others' open nothing here."""
        known = set(self._safe.ids("SELECT person_id FROM people"))
        self._safe.keys.restore({person_id: key for person_id, key in keys.items() if person_id in known})

    def restart_galleries(self, connection: sqlite3.Connection, since_us: int) -> None:
        """Nobody who came between the backup and now is known here: "first" reaches back to now and no further."""
        connection.execute("UPDATE galleries SET since_us = ?", (since_us,))

    def scrub(self) -> bool:
        """Empty both write-ahead logs into their databases; returns whether keys.db's is empty."""
        self._safe.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        return self._safe.keys.scrub()

    def sweep_keys(self) -> int:
        """Destroy keys that belong to nobody; returns how many."""
        known = set(self._safe.ids("SELECT person_id FROM people"))
        orphans = sorted(self._safe.keys.owners() - known)
        if orphans:
            self.destroy_keys(orphans)
        return len(orphans)


@contextmanager
def opened(database: Path, keys_database: Path) -> Iterator[Vault]:
    """A vault for the length of a block."""
    vault = Vault(database, keys_database)
    try:
        yield vault
    finally:
        vault.close()
