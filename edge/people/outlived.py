"""What a policy no longer lets the vault keep: people, consents, phones and single templates past a moment."""

import sqlite3

from edge.people.of_visits import BY_VISIT
from edge.people.safe import Safe
from edge.people.tables import ROSTER
from edge.people.templates import revise

_UNCONSENTED = (
    "person_id NOT IN (SELECT person_id FROM people WHERE searchable IN (2, 4))"
    " AND person_id NOT IN (SELECT person_id FROM consents)"
)
_CONSENTED = "person_id IN (SELECT person_id FROM consents)"

_DATED = {"templates": "stored_us", **dict.fromkeys(BY_VISIT, "stored_us"), "consents": "given_us"}


class Outlived:
    """Who and what was stored before a cutoff, in microseconds of the wall clock."""

    def __init__(self, safe: Safe) -> None:
        self._safe = safe

    def people(self, cutoff_us: int) -> list[str]:
        """Everybody of whom nothing was stored after the cutoff, but the roster, contacts and whoever has consented."""
        return self._safe.ids(
            f"SELECT person_id FROM people WHERE searchable < ? AND NOT {_CONSENTED} AND NOT EXISTS"
            " (SELECT 1 FROM templates WHERE templates.person_id = people.person_id AND stored_us > ?)",
            ROSTER,
            cutoff_us,
        )

    def consents(self, cutoff_us: int) -> list[str]:
        """Everybody who last consented before the cutoff."""
        return self._safe.ids("SELECT person_id FROM consents WHERE given_us <= ?", cutoff_us)

    def contacts(self, cutoff_us: int) -> list[str]:
        """The contacts whose last visit arrived before the cutoff, or who have none left."""
        return self._safe.ids(
            "SELECT contacts.person_id FROM contacts LEFT JOIN contact_visits USING (person_id)"
            " GROUP BY contacts.person_id HAVING ifnull(max(arrived_us), 0) <= ? ORDER BY contacts.person_id",
            cutoff_us,
        )

    def templates(self, cutoff_us: int) -> int:
        """How many templates and crops were stored before the cutoff, of whomever that has not consented to more."""
        ((count,),) = self._safe.rows(
            f"SELECT (SELECT count(*) FROM templates WHERE stored_us <= ? AND {_UNCONSENTED})"
            f" + (SELECT count(*) FROM crops WHERE stored_us <= ? AND {_UNCONSENTED})",
            cutoff_us,
            cutoff_us,
        )
        return int(count)

    def drop(self, connection: sqlite3.Connection, cutoff_us: int) -> None:
        """Drop the templates and crops stored before the cutoff, in the ledger's transaction; their people stay.

        Those of the roster and of whoever has consented stay too: their consent does not end with a day.
        """
        found = connection.execute(
            f"SELECT DISTINCT person_id FROM templates WHERE stored_us <= ? AND {_UNCONSENTED}", (cutoff_us,)
        )
        owners = [row[0] for row in found]
        for table in ("templates", *BY_VISIT):
            connection.execute(f"DELETE FROM {table} WHERE stored_us <= ? AND {_UNCONSENTED}", (cutoff_us,))
        if owners:
            revise(connection, owners)

    def stored_after(self, moment_us: int) -> bool:
        """Whether anything is said to be stored, or consented to, after a moment."""
        return any(
            self._safe.rows(f"SELECT 1 FROM {table} WHERE {column} > ? LIMIT 1", moment_us)
            for table, column in _DATED.items()
        )

    def date_back(self, connection: sqlite3.Connection, moment_us: int, to: int) -> None:
        """Count what is said to be stored after a moment as stored at another, in the ledger's transaction."""
        for table, column in _DATED.items():
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} > ?", (to, moment_us))
