"""Two ids that are one person, and people who only look like one: what the desk has said of them, as the vault has it.

A merge seals everything of the newer id under the older one's key. Which rows came from whom is kept beside it, so that
a merge can be taken back, with a new key for whoever gets their id again.
"""

import sqlite3

import sqlite_utils
from sqlite_utils.migrations import Migrations

from edge.people.handing_over import absorb, hand_over, rows_of
from edge.people.person_keys import VaultError
from edge.people.tables import VISITORS
from edge.people.templates import revise
from edge.people.vault import Vault

ALIASES = Migrations("aliases")


@ALIASES()
def aliases(db: sqlite_utils.Database) -> None:
    """Who an id stands for now, what was stored under it, and pairs that the desk alone tells apart."""
    db.table("person_aliases").create(
        {"alias": str, "person_id": str, "created_us": int}, pk="alias", not_null={"person_id", "created_us"}
    )
    db.table("person_aliases").create_index(["person_id"])
    db.table("merged_rows").create(
        {"alias": str, "table_name": str, "row_id": str}, pk=("alias", "table_name", "row_id")
    )
    db.table("lookalikes").create({"one": str, "other": str}, pk=("one", "other"))


def merge(connection: sqlite3.Connection, vault: Vault, person_id: str, alias: str) -> None:
    """One person from here on, by the older id, in the ledger's transaction.

    The alias's key opens nothing then, and is the caller's to destroy. Raises VaultError where either is no longer
    remembered, or something of theirs does not open.
    """
    for table, row_id in rows_of(connection, alias):
        connection.execute("INSERT OR REPLACE INTO merged_rows VALUES (?, ?, ?)", (alias, table, row_id))
    for (visit_id,) in connection.execute(
        "SELECT visit_id FROM contact_visits WHERE visitor_id = ?", (alias,)
    ).fetchall():
        connection.execute("INSERT OR REPLACE INTO merged_rows VALUES (?, 'contact_visits', ?)", (alias, visit_id))
    for consent in connection.execute(
        "SELECT * FROM consents WHERE person_id IN (?, ?)", (alias, person_id)
    ).fetchall():
        row_id = " ".join(map(str, consent))
        connection.execute("INSERT OR REPLACE INTO merged_rows VALUES (?, 'consents', ?)", (alias, row_id))
    created_us = vault.known_since_us(alias)
    absorb(connection, vault, alias, person_id)
    connection.execute("INSERT OR REPLACE INTO person_aliases VALUES (?, ?, ?)", (alias, person_id, created_us or 0))


def split(connection: sqlite3.Connection, vault: Vault, alias: str) -> None:
    """Take a merge back, in the ledger's transaction; the alias has a key again, made before it.

    What the vault has dropped since stays dropped; what was stored since the merge stays the older id's.
    """
    person_id = vault.standing(alias)
    (created_us,) = connection.execute("SELECT created_us FROM person_aliases WHERE alias = ?", (alias,)).fetchone()
    connection.execute("INSERT INTO people VALUES (?, ?, ?)", (alias, created_us, VISITORS))
    rows = connection.execute(
        # the alias's own consent first: that it is what the other's was overwritten by is how one knows
        "SELECT table_name, row_id FROM merged_rows WHERE alias = ? ORDER BY table_name, row_id LIKE ? DESC",
        (alias, f"{alias} %"),
    ).fetchall()
    for table, row_id in rows:
        if table == "contact_visits":
            connection.execute(
                "UPDATE contact_visits SET visitor_id = ? WHERE visit_id = ? AND visitor_id = ?",
                (alias, row_id, person_id),
            )
        elif table == "consents":
            _give_back(connection, vault, person_id, alias, *row_id.split(" "))
        else:
            hand_over(connection, vault, table, row_id, person_id, alias)
    connection.execute("DELETE FROM merged_rows WHERE alias = ?", (alias,))
    connection.execute("DELETE FROM person_aliases WHERE alias = ?", (alias,))
    revise(connection, [person_id, alias])


def take_out(connection: sqlite3.Connection, vault: Vault, visit_id: str, person_id: str, heir_id: str) -> int:
    """One visit was somebody else's: what it left goes to an id of their own, in the ledger's transaction.

    heir_id: has a key already, made before it. Returns how many templates went along: those stored with the visit's
    picture, by which they are known. Consents are the caller's to settle. Raises VaultError where the visit has left no
    picture of this person that opens.
    """
    found = connection.execute(
        "SELECT stored_us FROM crops WHERE visit_id = ? AND person_id = ?", (visit_id, person_id)
    ).fetchone()
    if found is None:
        raise VaultError(f"visit {visit_id}: no picture of {person_id} is kept")
    connection.execute("INSERT INTO people VALUES (?, ?, ?)", (heir_id, found[0], VISITORS))
    templates = connection.execute(
        "SELECT template_id FROM templates WHERE person_id = ? AND stored_us = ?", (person_id, found[0])
    ).fetchall()
    for (template_id,) in templates:
        hand_over(connection, vault, "templates", str(template_id), person_id, heir_id)
    for table, row_id in rows_of(connection, person_id):
        if table != "templates" and row_id == visit_id:
            hand_over(connection, vault, table, row_id, person_id, heir_id)
    connection.execute(
        "UPDATE contact_visits SET visitor_id = ? WHERE visit_id = ? AND visitor_id = ?", (heir_id, visit_id, person_id)
    )
    revise(connection, [person_id, heir_id])
    return len(templates)


def mark_lookalikes(connection: sqlite3.Connection, one: str, other: str) -> None:
    """Two people whom no similarity may tell apart from here on, in the ledger's transaction."""
    connection.execute("INSERT OR IGNORE INTO lookalikes VALUES (?, ?)", (min(one, other), max(one, other)))
    revise(connection, [one, other])


def _give_back(
    connection: sqlite3.Connection, vault: Vault, person_id: str, alias: str, who: str, version: str, given_us: str
) -> None:
    """A consent of before the merge is its giver's again; one that was given since stays the older id's."""
    if who == alias:
        connection.execute("DELETE FROM consents WHERE person_id = ? AND given_us = ?", (person_id, int(given_us)))
        vault.keep_consent(connection, alias, version, int(given_us))
    elif not connection.execute("SELECT 1 FROM consents WHERE person_id = ?", (person_id,)).fetchone():
        vault.keep_consent(connection, person_id, version, int(given_us))
