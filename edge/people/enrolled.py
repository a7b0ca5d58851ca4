"""Staff and agents at rest: who is on the roster, by which faces, and what was kept with them."""

import hmac
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.people.person_keys import open_under, seal_under
from edge.people.safe import Safe
from edge.people.tables import PENDING, ROSTER
from edge.people.templates import Templates, revise
from sync.format.signing import commitment
from sync.format.stamp import to_us

_FACES_SALT = b"firstvisit/v1/enrolled-faces"

Role: TypeAlias = Literal["staff", "agent"]


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


class EnrolledPeople:
    """The roster's rows; methods that take a `connection` write inside the ledger's transaction."""

    def __init__(self, safe: Safe, templates: Templates) -> None:
        self._safe = safe
        self._templates = templates

    def all(self) -> list[Enrolled]:
        """Staff and agents, the longest enrolled first."""
        found = self._safe.rows(
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
        found = self._safe.rows("SELECT sealed FROM roster WHERE person_id = ? AND sealed IS NOT NULL", person_id)
        key = self._safe.key(person_id) if found else None
        return None if key is None else open_under(key, found[0][0], f"label:{person_id}")

    def commitment(self, person_id: str, vectors: Iterable[NDArray[np.float32]]) -> str | None:
        """Commit to somebody's faces in any order, 64 hex; None once their key is destroyed.

        The salt comes out of their key, so that it is erased with it: what is left in a record says nothing then.
        """
        key = self._safe.key(person_id)
        if key is None:
            return None
        salt = hmac.digest(key, _FACES_SALT, "sha256")
        return commitment(salt, b"".join(sorted(vector.tobytes() for vector in vectors))).hex()

    def add(
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
        now_us, key = to_us(now), self._safe.key(person_id)
        sealed = None if label is None or key is None else seal_under(key, label, f"label:{person_id}")
        connection.execute("INSERT INTO people VALUES (?, ?, ?)", (person_id, now_us, PENDING if pending else ROSTER))
        connection.execute("INSERT INTO roster VALUES (?, ?, ?, ?)", (person_id, role, visitor_id, sealed))
        for vector in vectors:
            self._templates.insert(connection, person_id, pack, vector, now_us, not pending)

    def admit(self, connection: sqlite3.Connection, person_id: str, visitor_id: str | None) -> None:
        """Let the roster's gallery find somebody who was pending; visitor_id: as whom they have come, as known now."""
        changed = "UPDATE people SET searchable = ? WHERE person_id = ? AND searchable = ?"
        connection.execute(changed, (ROSTER, person_id, PENDING))
        connection.execute("UPDATE roster SET visitor_id = ? WHERE person_id = ?", (visitor_id, person_id))
        revise(connection, [person_id])
