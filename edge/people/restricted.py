"""A phone that must stay while its visit is disputed and may be used for nothing else.

Restricting moves its rows to tables of their own and drops the HMACs: whoever looks a number up, or shows a visit's
phone, reads `contacts` and does not find it. (PIPL 47: where erasing must wait, only storing is left.)
"""

import sqlite3
from dataclasses import dataclass

from edge.people.vault import Vault


@dataclass(frozen=True, slots=True)
class Restricted:
    """A phone under restriction, and the visits it was given at."""

    contact_id: str
    restricted_us: int
    visit_ids: tuple[str, ...]


def restrict(connection: sqlite3.Connection, contact_id: str, now_us: int) -> None:
    """Move a contact out of reach, in the caller's transaction; one that is there already stays."""
    connection.execute(
        "INSERT OR IGNORE INTO restricted_contacts SELECT person_id, sealed, ? FROM contacts WHERE person_id = ?",
        (now_us, contact_id),
    )
    connection.execute(
        "INSERT OR IGNORE INTO restricted_visits (visit_id, person_id, visitor_id, account_id, arrived_us, sealed_salt)"
        " SELECT visit_id, person_id, visitor_id, account_id, arrived_us, sealed_salt FROM contact_visits"
        " WHERE person_id = ?",
        (contact_id,),
    )
    connection.execute("DELETE FROM contact_visits WHERE person_id = ?", (contact_id,))
    connection.execute("DELETE FROM contacts WHERE person_id = ?", (contact_id,))


def forget(connection: sqlite3.Connection, contact_id: str) -> None:
    """Drop what is kept of a contact here, in the transaction that erases them."""
    connection.execute("DELETE FROM restricted_visits WHERE person_id = ?", (contact_id,))
    connection.execute("DELETE FROM restricted_contacts WHERE person_id = ?", (contact_id,))


def visits_of(connection: sqlite3.Connection, contact_id: str) -> list[str]:
    """The visits at which a contact's phone was given, restricted or not, the earliest first."""
    rows = connection.execute(
        "SELECT visit_id FROM (SELECT visit_id, arrived_us FROM contact_visits WHERE person_id = ?"
        " UNION ALL SELECT visit_id, arrived_us FROM restricted_visits WHERE person_id = ?) ORDER BY arrived_us",
        (contact_id, contact_id),
    )
    return [row[0] for row in rows]


def contact_at(connection: sqlite3.Connection, visit_id: str) -> str | None:
    """Whose phone was given at a visit, restricted or not."""
    found = connection.execute(
        "SELECT person_id FROM contact_visits WHERE visit_id = ? UNION ALL"
        " SELECT person_id FROM restricted_visits WHERE visit_id = ?",
        (visit_id, visit_id),
    ).fetchone()
    return found[0] if found else None


def number_of(connection: sqlite3.Connection, vault: Vault, contact_id: str) -> str | None:
    """A contact's number in E.164, restricted or not; None where there is none (any more)."""
    found = connection.execute(
        "SELECT sealed FROM contacts WHERE person_id = ? UNION ALL SELECT sealed FROM restricted_contacts"
        " WHERE person_id = ?",
        (contact_id, contact_id),
    ).fetchone()
    number = vault.unseal(contact_id, found[0], f"phone:{contact_id}") if found else None
    return number.decode() if number is not None else None


def all_restricted(connection: sqlite3.Connection) -> list[Restricted]:
    """Every phone under restriction, the longest first."""
    rows = connection.execute("SELECT person_id, restricted_us FROM restricted_contacts ORDER BY restricted_us")
    return [Restricted(one, since_us, tuple(visits_of(connection, one))) for one, since_us in rows.fetchall()]
