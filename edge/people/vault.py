"""Faces at rest: templates and crops, each encrypted under its person's own key.

The ciphertexts lie in firstvisit.db beside the ledger, so that a person and the record that names them are written
together; the keys lie in keys.db, so that destroying one 32-byte row there erases the person from every copy of the
other.
"""

import hmac
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.people.person_keys import PersonKeys, VaultError, open_under, seal_under
from edge.people.template_choice import MOST_TEMPLATES, redundant
from sync.format.signing import commitment
from sync.format.stamp import to_us
from sync.storage.database import LEDGER_FORMAT, Patience, give_up, named, open_checked

_FACES_SALT = b"firstvisit/v1/enrolled-faces"
_PAGE = 2048  # templates read at a time
_UNCONSENTED = (
    "person_id NOT IN (SELECT person_id FROM people WHERE searchable IN (2, 4))"
    " AND person_id NOT IN (SELECT person_id FROM consents)"
)
_BY_VISIT = {"crops": "crop", "explanations": "explanation", "signatures": "signature"}
"""Tables of what is kept of a visit, and what is sealed there."""
_CONSENTED = "person_id IN (SELECT person_id FROM consents)"
_CHANGES_KEPT = 10_000  # revisions; a gallery further behind reads everybody anew

Role: TypeAlias = Literal["staff", "agent"]
PROVISIONAL, VISITORS, ROSTER, CONTACT, PENDING = 0, 1, 2, 3, 4
"""Which gallery finds a person, as people.searchable holds it: none, the visitors', or that of staff and agents.

A contact has no face at all: it owns a phone (contacts.py). Whoever is pending is of the roster once it is approved.
"""


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


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Somebody on the roster; visitor_id: the person they were as a visitor before, None where they were none.

    packs: those that have a template of theirs; the others do not know them.
    """

    person_id: str
    role: Role
    enrolled_us: int
    visitor_id: str | None
    packs: frozenset[str]


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


class Vault:
    """The people of one HOME, opened by one thread.

    Methods that take a `connection` write inside that connection's transaction: the ledger's.
    """

    def __init__(self, database: Path, keys_database: Path, patience: Patience = give_up) -> None:
        """Open the two databases of a HOME; raises DatabaseError (one is missing, damaged) or NewerFormat.

        patience: whether to wait on while somebody else holds the write lock of keys.db.
        """
        self._path = database
        self._keys = PersonKeys(database, keys_database, patience)
        try:
            self._database = open_checked(database, LEDGER_FORMAT)
        except BaseException:
            self._keys.close()
            raise

    def close(self) -> None:
        self._database.close()
        self._keys.close()

    # -- reading -----------------------------------------------------------------------------------------------

    def revision(self) -> int:
        """A number that changes whenever the templates that can be searched do."""
        ((value,),) = self._rows("SELECT revision FROM gallery_revision")
        return int(value)

    def people(self) -> list[Person]:
        """Everybody remembered, oldest first."""
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
            for person_id, created_us, stored_us, searchable, templates in self._rows(
                "SELECT person_id, created_us, max(stored_us), searchable, count(*)"
                " FROM people JOIN templates USING (person_id) GROUP BY person_id ORDER BY created_us, person_id"
            )
        ]

    def count(self) -> int:
        """How many people are remembered, contacts not counted: of those there is no face."""
        ((count,),) = self._rows("SELECT count(*) FROM people WHERE searchable <> ?", CONTACT)
        return int(count)

    def remembers(self, person_id: str) -> bool:
        """Whether this person is in the database."""
        return bool(self._rows("SELECT 1 FROM people WHERE person_id = ?", person_id))

    def standing(self, person_id: str) -> str:
        """Who an id stands for: itself, or the person that the desk has merged it into."""
        while found := self._rows("SELECT person_id FROM person_aliases WHERE alias = ?", person_id):
            person_id = found[0][0]
        return person_id

    def known_as(self, person_id: str) -> list[str]:
        """The ids that stand for a person since they were merged."""
        direct = [row[0] for row in self._rows("SELECT alias FROM person_aliases WHERE person_id = ?", person_id)]
        return [*direct, *(alias for one in direct for alias in self.known_as(one))]

    def lookalikes(self) -> dict[str, frozenset[str]]:
        """Of everybody whom the desk has marked as one of a pair that looks alike, the others."""
        pairs: dict[str, frozenset[str]] = {}
        for pair in self._rows("SELECT one, other FROM lookalikes"):
            one, other = map(self.standing, pair)
            if one != other:
                pairs[one] = pairs.get(one, frozenset()) | {other}
                pairs[other] = pairs.get(other, frozenset()) | {one}
        return pairs

    def known_since_us(self, person_id: str) -> int | None:
        """Since when this person is known, None where they are not (any more)."""
        found = self._rows("SELECT created_us FROM people WHERE person_id = ?", person_id)
        return int(found[0][0]) if found else None

    def changed_between(self, after: int, revision: int) -> list[str] | None:
        """Whose searchable templates changed after one revision and up to another, None where that is forgotten."""
        followed = self._rows(
            "SELECT revision, person_id FROM gallery_changes WHERE revision > ? AND revision <= ?", after, revision
        )
        if len({row[0] for row in followed}) != revision - after:
            return None
        return sorted({row[1] for row in followed})

    def sealed_templates(
        self, pack: str, person_id: str | None = None, gallery: int = VISITORS
    ) -> Iterator[SealedTemplate]:
        """Every template of a pack that a gallery searches and whose key is there, oldest first, or one person's.

        Read in pages, for whoever erases waits for a long reader of either database.
        """
        after = -1
        while True:
            page = self._rows(
                "SELECT template_id, person_id, created_us, sealed FROM templates JOIN people USING (person_id)"
                f" WHERE pack = ? AND searchable = ? AND template_id > ? {'AND person_id = ? ' if person_id else ''}"
                "ORDER BY template_id LIMIT ?",
                *((pack, gallery, after, person_id, _PAGE) if person_id else (pack, gallery, after, _PAGE)),
            )
            keys = self._keys.of_all({row[1] for row in page})
            for template_id, owner, created_us, sealed in page:
                if owner in keys:
                    yield SealedTemplate(template_id, owner, created_us, pack, sealed, keys[owner])
            if len(page) < _PAGE:
                return
            after = page[-1][0]

    def template(self, template_id: int) -> StoredTemplate | None:
        """A template, decrypted, or None where it is gone."""
        found = self._rows(
            "SELECT person_id, created_us, pack, sealed FROM templates JOIN people USING (person_id)"
            " WHERE template_id = ?",
            template_id,
        )
        key = self._key(found[0][0]) if found else None
        if key is None:
            return None
        person_id, created_us, pack, sealed = found[0]
        return SealedTemplate(template_id, person_id, created_us, pack, sealed, key).opened()

    def templates_of(self, person_id: str, pack: str) -> list[StoredTemplate]:
        """One person's templates of a pack, searchable or not; none once they are erased."""
        found = self._rows(
            "SELECT template_id FROM templates WHERE person_id = ? AND pack = ? ORDER BY template_id", person_id, pack
        )
        return [stored for row in found if (stored := self.template(row[0])) is not None]

    def roster(self) -> list[Enrolled]:
        """Staff and agents, the longest enrolled first."""
        found = self._rows(
            "SELECT person_id, role, created_us, visitor_id, group_concat(DISTINCT pack) FROM roster"
            f" JOIN people USING (person_id) LEFT JOIN templates USING (person_id) WHERE searchable = {ROSTER}"
            " GROUP BY person_id ORDER BY created_us, person_id"
        )
        return [
            Enrolled(person_id, role, enrolled_us, visitor_id, frozenset((packs or "").split(",")))
            for person_id, role, enrolled_us, visitor_id, packs in found
        ]

    def label(self, person_id: str) -> bytes | None:
        """What was kept with somebody on the roster, None where there is nothing (any more)."""
        found = self._rows("SELECT sealed FROM roster WHERE person_id = ? AND sealed IS NOT NULL", person_id)
        key = self._key(person_id) if found else None
        return None if key is None else open_under(key, found[0][0], f"label:{person_id}")

    def commitment(self, person_id: str, vectors: Iterable[NDArray[np.float32]]) -> str | None:
        """Commit to somebody's faces in any order, 64 hex; None once their key is destroyed.

        The salt comes out of their key, so that it is erased with it: what is left in a record says nothing then.
        """
        key = self._key(person_id)
        if key is None:
            return None
        salt = hmac.digest(key, _FACES_SALT, "sha256")
        return commitment(salt, b"".join(sorted(vector.tobytes() for vector in vectors))).hex()

    def crop(self, visit_id: str) -> bytes | None:
        """The visit's face as JPEG, decrypted in memory, or None where there is none (any more)."""
        return self._of_visit("crops", visit_id)

    def explanation(self, visit_id: str) -> bytes | None:
        """Why a visit was decided as it was, as `add_explanation` took it, or None where there is none (any more)."""
        return self._of_visit("explanations", visit_id)

    def signature(self, visit_id: str) -> bytes | None:
        """What a visitor signed at a visit, as `add_signature` took it, or None where there is none (any more)."""
        return self._of_visit("signatures", visit_id)

    def _of_visit(self, table: str, visit_id: str) -> bytes | None:
        found = self._rows(f"SELECT person_id, sealed FROM {table} WHERE visit_id = ?", visit_id)
        key = self._key(found[0][0]) if found else None
        return None if key is None else open_under(key, found[0][1], f"{_BY_VISIT[table]}:{visit_id}")

    def pepper(self) -> bytes:
        """The key of the phones' HMACs, 32 bytes."""
        return self._keys.pepper()

    def seal(self, person_id: str, plain: bytes, purpose: str) -> bytes:
        """Encrypt under a person's key; raises VaultError where there is none."""
        key = self._key(person_id)
        if key is None:
            raise VaultError(f"person {person_id}: no key")
        return seal_under(key, plain, purpose)

    def unseal(self, person_id: str, sealed: bytes, purpose: str) -> bytes | None:
        """Decrypt what `seal` gave, None once the key is destroyed; raises VaultError where it does not open."""
        key = self._key(person_id)
        return None if key is None else open_under(key, sealed, purpose)

    def outlived_contacts(self, cutoff_us: int) -> list[str]:
        """The contacts whose last visit arrived before the cutoff, or who have none left."""
        return [
            row[0]
            for row in self._rows(
                "SELECT contacts.person_id FROM contacts LEFT JOIN contact_visits USING (person_id)"
                " GROUP BY contacts.person_id HAVING ifnull(max(arrived_us), 0) <= ? ORDER BY contacts.person_id",
                cutoff_us,
            )
        ]

    def contacts_of(self, person_id: str) -> list[str]:
        """The contacts who gave their phone at visits of this person."""
        return [
            row[0]
            for row in self._rows(
                "SELECT DISTINCT person_id FROM contact_visits WHERE visitor_id = ? ORDER BY person_id", person_id
            )
        ]

    def gallery_since_us(self, pack: str) -> int | None:
        """When the first person was remembered under this pack."""
        found = self._rows("SELECT since_us FROM galleries WHERE pack = ?", pack)
        return int(found[0][0]) if found else None

    def outlived(self, cutoff_us: int) -> list[str]:
        """Everybody of whom nothing was stored after the cutoff, but the roster, contacts and whoever has consented."""
        return [
            row[0]
            for row in self._rows(
                f"SELECT person_id FROM people WHERE searchable < ? AND NOT {_CONSENTED} AND NOT EXISTS"
                " (SELECT 1 FROM templates WHERE templates.person_id = people.person_id AND stored_us > ?)",
                ROSTER,
                cutoff_us,
            )
        ]

    def outlived_consents(self, cutoff_us: int) -> list[str]:
        """Everybody who last consented before the cutoff."""
        return [row[0] for row in self._rows("SELECT person_id FROM consents WHERE given_us <= ?", cutoff_us)]

    def consented_us(self, person_id: str) -> int | None:
        """When this person last consented to be recognised, None where they have not, or are forgotten."""
        found = self._rows("SELECT given_us FROM consents WHERE person_id = ?", person_id)
        return int(found[0][0]) if found else None

    def keyless(self) -> list[str]:
        """Everybody whose key has been destroyed while the rest of them is still in the database."""
        held = self._keys.owners()
        return [row[0] for row in self._rows("SELECT person_id FROM people") if row[0] not in held]

    def outlived_templates(self, cutoff_us: int) -> int:
        """How many templates and crops were stored before the cutoff, of whomever that has not consented to more."""
        ((count,),) = self._rows(
            f"SELECT (SELECT count(*) FROM templates WHERE stored_us <= ? AND {_UNCONSENTED})"
            f" + (SELECT count(*) FROM crops WHERE stored_us <= ? AND {_UNCONSENTED})",
            cutoff_us,
            cutoff_us,
        )
        return int(count)

    # -- writing -----------------------------------------------------------------------------------------------

    def create_key(self, person_id: str) -> None:
        """Make a person's key, durably, before anything is encrypted under it.

        A crash before the person is written leaves a key that opens nothing; `sweep_keys` removes it.
        """
        self._keys.create(person_id)

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
        return self._add_template(connection, person_id, pack, vector, created_us, searchable)

    def enrol(
        self,
        connection: sqlite3.Connection,
        person_id: str,
        role: Role,
        pack: str,
        vectors: NDArray[np.float32],
        now: datetime,
        *,
        visitor_id: str | None,
        label: bytes | None,
        pending: bool = False,
    ) -> None:
        """Put a new person on the roster by one template a row of `vectors`, in the ledger's transaction.

        pending: nobody finds them there until `admit`.
        """
        now_us, key = to_us(now), self._key(person_id)
        sealed = None if label is None or key is None else seal_under(key, label, f"label:{person_id}")
        connection.execute("INSERT INTO people VALUES (?, ?, ?)", (person_id, now_us, PENDING if pending else ROSTER))
        connection.execute("INSERT INTO roster VALUES (?, ?, ?, ?)", (person_id, role, visitor_id, sealed))
        for vector in vectors:
            self._add_template(connection, person_id, pack, vector, now_us, not pending)

    def admit(self, connection: sqlite3.Connection, person_id: str, visitor_id: str | None) -> None:
        """Let the roster's gallery find somebody who was pending; visitor_id: as whom they have come, as known now."""
        changed = "UPDATE people SET searchable = ? WHERE person_id = ? AND searchable = ?"
        connection.execute(changed, (ROSTER, person_id, PENDING))
        connection.execute("UPDATE roster SET visitor_id = ? WHERE person_id = ?", (visitor_id, person_id))
        _revise(connection, [person_id])

    def add_template(
        self, connection: sqlite3.Connection, person_id: str, pack: str, vector: NDArray[np.float32], stored: datetime
    ) -> int | None:
        """Remember a returning person by this visit's template too; returns its id, None for somebody erased meanwhile.

        Each template lives for its own visit's horizon: a return does not lengthen the life of an older one. Beyond
        MOST_TEMPLATES one is dropped that tells the least.
        """
        known = connection.execute("SELECT 1 FROM people WHERE person_id = ?", (person_id,)).fetchone()
        if known is None or self._key(person_id) is None:
            return None
        template_id = self._add_template(connection, person_id, pack, vector, to_us(stored), True)
        self._thin(connection, person_id)
        return template_id

    def replace_template(
        self, connection: sqlite3.Connection, template_id: int, vector: NDArray[np.float32]
    ) -> int | None:
        """Put a better template in the place of one, for as long as that would have lived; returns its id.

        In the ledger's transaction; None where the template is gone by now.
        """
        found = connection.execute(
            "SELECT person_id, pack, stored_us, searchable FROM templates JOIN people USING (person_id)"
            " WHERE template_id = ?",
            (template_id,),
        ).fetchone()
        if found is None or self._key(found[0]) is None:
            return None
        person_id, pack, stored_us, searchable = found
        better = self._add_template(connection, person_id, pack, vector, stored_us, bool(searchable))
        # afterwards: SQLite gives the number of a deleted last row out again, and galleries follow numbers
        connection.execute("DELETE FROM templates WHERE template_id = ?", (template_id,))
        return better

    def _thin(self, connection: sqlite3.Connection, person_id: str) -> None:
        """Drop what of a person's templates, pack by pack, is redundant."""
        by_pack: dict[str, list[StoredTemplate]] = {}
        found = connection.execute(
            "SELECT template_id, created_us, pack, sealed FROM templates JOIN people USING (person_id)"
            " WHERE person_id = ? ORDER BY stored_us, template_id",
            (person_id,),
        ).fetchall()
        if len(found) <= MOST_TEMPLATES:
            return
        key = self._key(person_id)
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
            _revise(connection, [person_id])

    def _add_template(
        self,
        connection: sqlite3.Connection,
        person_id: str,
        pack: str,
        vector: NDArray[np.float32],
        stored_us: int,
        searchable: bool,
    ) -> int:
        key = self._key(person_id)
        if key is None:
            raise VaultError(f"person {person_id}: no key")
        cursor = connection.execute(
            "INSERT INTO templates (person_id, pack, stored_us, sealed) VALUES (?, ?, ?, ?)",
            (person_id, pack, stored_us, seal_under(key, vector.tobytes(), f"template:{person_id}:{pack}")),
        )
        if searchable:
            _revise(connection, [person_id])
        return int(cursor.lastrowid or 0)

    def add_crop(
        self, connection: sqlite3.Connection, visit_id: str, person_id: str, jpeg: bytes, stored: datetime
    ) -> None:
        """Keep a visit's face under its person's key; a person erased meanwhile keeps none."""
        self._add_of_visit(connection, "crops", visit_id, person_id, jpeg, stored)

    def add_explanation(
        self, connection: sqlite3.Connection, visit_id: str, person_id: str, explanation: bytes, stored: datetime
    ) -> None:
        """Keep why a visit was decided as it was under its person's key, as long as its face."""
        self._add_of_visit(connection, "explanations", visit_id, person_id, explanation, stored)

    def add_signature(
        self, connection: sqlite3.Connection, visit_id: str, person_id: str, signed: bytes, stored: datetime
    ) -> None:
        """Keep what a visitor signed at a visit under their key, as long as their consent."""
        self._add_of_visit(connection, "signatures", visit_id, person_id, signed, stored)

    def expect(self, connection: sqlite3.Connection, person_id: str, now_us: int) -> None:
        """Take in somebody who has consented and of whom no face is here yet, in the ledger's transaction."""
        connection.execute("INSERT INTO people VALUES (?, ?, ?)", (person_id, now_us, PROVISIONAL))

    def expects(self, connection: sqlite3.Connection, person_id: str) -> bool:
        """Whether such a person is still waited for: not withdrawn, and not erased."""
        found = connection.execute("SELECT 1 FROM people WHERE person_id = ?", (person_id,)).fetchone()
        return found is not None and self._key(person_id) is not None

    def keep_consent(self, connection: sqlite3.Connection, person_id: str, version: str, given_us: int) -> None:
        """A person of the database has agreed to the text of this version, in the ledger's transaction."""
        connection.execute("INSERT OR REPLACE INTO consents VALUES (?, ?, ?)", (person_id, version, given_us))

    def _add_of_visit(
        self, connection: sqlite3.Connection, table: str, visit_id: str, person_id: str, plain: bytes, stored: datetime
    ) -> None:
        key = self._key(person_id)
        if key is not None:
            sealed = seal_under(key, plain, f"{_BY_VISIT[table]}:{visit_id}")
            connection.execute(
                f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?)", (visit_id, person_id, to_us(stored), sealed)
            )

    def make_searchable(self, connection: sqlite3.Connection, person_id: str) -> None:
        """The desk has answered that a provisional person is somebody new."""
        connection.execute("UPDATE people SET searchable = 1 WHERE person_id = ?", (person_id,))
        _revise(connection, [person_id])

    def absorb(self, connection: sqlite3.Connection, provisional_id: str, person_id: str) -> None:
        """The desk has answered that a provisional person is `person_id`: reseal what is theirs under that key.

        Raises VaultError where either is no longer remembered.
        """
        for who in (provisional_id, person_id):
            if self._key(who) is None:
                raise VaultError(f"person {who} is no longer remembered")
        for table, row_id in self.rows_of(connection, provisional_id):
            self.hand_over(connection, table, row_id, provisional_id, person_id)
        connection.execute("UPDATE contact_visits SET visitor_id = ? WHERE visitor_id = ?", (person_id, provisional_id))
        consent = connection.execute(
            "DELETE FROM consents WHERE person_id = ? RETURNING version, given_us", (provisional_id,)
        )
        for version, given_us in consent.fetchall():
            self.keep_consent(connection, person_id, version, given_us)
        connection.execute("DELETE FROM people WHERE person_id = ?", (provisional_id,))
        _revise(connection, [provisional_id, person_id])
        self._thin(connection, person_id)

    def rows_of(self, connection: sqlite3.Connection, person_id: str) -> list[tuple[str, str]]:
        """What is sealed under a person's key of their face: tables, and the row's id as text."""
        columns = {"templates": "template_id", **dict.fromkeys(_BY_VISIT, "visit_id")}
        return [
            (table, str(row[0]))
            for table, column in columns.items()
            for row in connection.execute(f"SELECT {column} FROM {table} WHERE person_id = ?", (person_id,)).fetchall()
        ]

    def forget_visit(self, connection: sqlite3.Connection, person_id: str, visit_id: str) -> None:
        """Drop what was taken of a person at one visit, in the ledger's transaction; the rest of them stays.

        A template is stored at the very moment of its visit's picture (`Visits._keep`). Nothing is left in free pages
        (secure_delete), and in the log until the next `scrub`.
        """
        connection.execute(
            "DELETE FROM templates WHERE person_id = ? AND stored_us IN"
            " (SELECT stored_us FROM crops WHERE visit_id = ? AND person_id = ?)",
            (person_id, visit_id, person_id),
        )
        for table in _BY_VISIT:
            connection.execute(f"DELETE FROM {table} WHERE visit_id = ? AND person_id = ?", (visit_id, person_id))
        _revise(connection, [person_id])

    def hand_over(self, connection: sqlite3.Connection, table: str, row_id: str, person_id: str, heir_id: str) -> None:
        """Seal a row of one person's under another's key, in the ledger's transaction; nothing where it is gone.

        table, row_id: of `rows_of`. Raises VaultError where it does not open, or one of the two has no key.
        """
        column, what = ("template_id", "pack") if table == "templates" else ("visit_id", "visit_id")
        found = connection.execute(
            f"SELECT {what}, sealed FROM {table} WHERE {column} = ? AND person_id = ?", (row_id, person_id)
        ).fetchone()
        if found is None:
            return
        purpose = "template:{}:" if table == "templates" else f"{_BY_VISIT[table]}:"
        plain = self.unseal(person_id, found[1], purpose.format(person_id) + found[0])
        if plain is None:
            raise VaultError(f"person {person_id} is no longer remembered")
        sealed = self.seal(heir_id, plain, purpose.format(heir_id) + found[0])
        connection.execute(
            f"UPDATE {table} SET person_id = ?, sealed = ? WHERE {column} = ?", (heir_id, sealed, row_id)
        )

    def changed(self, connection: sqlite3.Connection, person_ids: list[str]) -> None:
        """Galleries must look at these people anew."""
        _revise(connection, person_ids)

    def forget(self, connection: sqlite3.Connection, person_id: str) -> None:
        """Drop what the database holds of a person, in the ledger's transaction; `destroy_keys` comes first."""
        for table in (
            "agent_phones",
            "roster",
            "consents",
            "templates",
            *_BY_VISIT,
            "contact_visits",
            "contacts",
            "people",
        ):
            connection.execute(f"DELETE FROM {table} WHERE person_id = ?", (person_id,))
        _revise(connection, [person_id])

    def drop_outlived(self, connection: sqlite3.Connection, cutoff_us: int) -> None:
        """Drop the templates and crops stored before the cutoff, in the ledger's transaction; their people stay.

        Those of the roster and of whoever has consented stay too: their consent does not end with a day.
        """
        found = connection.execute(
            f"SELECT DISTINCT person_id FROM templates WHERE stored_us <= ? AND {_UNCONSENTED}", (cutoff_us,)
        )
        owners = [row[0] for row in found]
        for table in ("templates", *_BY_VISIT):
            connection.execute(f"DELETE FROM {table} WHERE stored_us <= ? AND {_UNCONSENTED}", (cutoff_us,))
        if owners:
            _revise(connection, owners)

    def destroy_keys(self, person_ids: list[str]) -> bool:
        """Destroy people's keys, in keys.db, its WAL and every copy of the keys; returns whether all were reached.

        False: `unreached` tries again and says what is left. Raises VaultError where a key is there afterwards.
        """
        self._keys.destroy(person_ids)
        return not self.unreached()

    def unreached(self) -> list[str]:
        """Go where destroyed keys may lie still; returns what could not be reached: a log that is read, copies away."""
        log = [] if self.scrub() else [f"{self._keys.path}-wal: somebody is reading it"]
        return log + self.reach_copies()

    def reach_copies(self) -> list[str]:
        """The same of the copies only: the folders that are still behind."""
        return [f"{folder}: out of reach" for folder in self._keys.reach_copies()]

    def restore_keys(self, keys: dict[str, bytes]) -> None:
        """Take in keys of people who are in the database; the others' open nothing here."""
        known = {row[0] for row in self._rows("SELECT person_id FROM people")}
        self._keys.restore({person_id: key for person_id, key in keys.items() if person_id in known})

    def restart_galleries(self, connection: sqlite3.Connection, since_us: int) -> None:
        """Nobody who came between the backup and now is known here: "first" reaches back to now and no further."""
        connection.execute("UPDATE galleries SET since_us = ?", (since_us,))

    def scrub(self) -> bool:
        """Empty both write-ahead logs into their databases; returns whether keys.db's is empty."""
        self._rows("PRAGMA wal_checkpoint(TRUNCATE)")
        return self._keys.scrub()

    def sweep_keys(self) -> int:
        """Destroy keys that belong to nobody; returns how many."""
        known = {row[0] for row in self._rows("SELECT person_id FROM people")}
        orphans = sorted(self._keys.owners() - known)
        if orphans:
            self.destroy_keys(orphans)
        return len(orphans)

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with named(self._path):
            return self._database.execute(query, values).fetchall()

    def _key(self, person_id: str) -> bytes | None:
        return self._keys.of(person_id)


@contextmanager
def opened(database: Path, keys_database: Path) -> Iterator[Vault]:
    """A vault for the length of a block."""
    vault = Vault(database, keys_database)
    try:
        yield vault
    finally:
        vault.close()


def _revise(connection: sqlite3.Connection, person_ids: list[str]) -> None:
    """The searchable templates of these people may be others from here on."""
    connection.execute("UPDATE gallery_revision SET revision = revision + 1")
    ((revision,),) = connection.execute("SELECT revision FROM gallery_revision").fetchall()
    connection.executemany(
        "INSERT OR IGNORE INTO gallery_changes VALUES (?, ?)", [(revision, person_id) for person_id in person_ids]
    )
    connection.execute("DELETE FROM gallery_changes WHERE revision <= ?", (revision - _CHANGES_KEPT,))
