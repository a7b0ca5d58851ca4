"""What is sealed of one person's face made another's: a provisional id answered, two ids merged, a merge taken back."""

import sqlite3

from edge.people.of_visits import BY_VISIT
from edge.people.person_keys import VaultError
from edge.people.templates import revise
from edge.people.vault import Vault


def absorb(connection: sqlite3.Connection, vault: Vault, provisional_id: str, person_id: str) -> None:
    """The desk has answered that a provisional person is `person_id`: reseal what is theirs under that key.

    Raises VaultError where either is no longer remembered.
    """
    for who in (provisional_id, person_id):
        if not vault.has_key(who):
            raise VaultError(f"person {who} is no longer remembered")
    for table, row_id in rows_of(connection, provisional_id):
        hand_over(connection, vault, table, row_id, provisional_id, person_id)
    connection.execute("UPDATE contact_visits SET visitor_id = ? WHERE visitor_id = ?", (person_id, provisional_id))
    consent = connection.execute(
        "DELETE FROM consents WHERE person_id = ? RETURNING version, given_us", (provisional_id,)
    )
    for version, given_us in consent.fetchall():
        vault.keep_consent(connection, person_id, version, given_us)
    connection.execute("DELETE FROM people WHERE person_id = ?", (provisional_id,))
    revise(connection, [provisional_id, person_id])
    vault.templates.thin(connection, person_id)


def rows_of(connection: sqlite3.Connection, person_id: str) -> list[tuple[str, str]]:
    """What is sealed under a person's key of their face: tables, and the row's id as text."""
    columns = {"templates": "template_id", **dict.fromkeys(BY_VISIT, "visit_id")}
    return [
        (table, str(row[0]))
        for table, column in columns.items()
        for row in connection.execute(f"SELECT {column} FROM {table} WHERE person_id = ?", (person_id,)).fetchall()
    ]


def hand_over(
    connection: sqlite3.Connection, vault: Vault, table: str, row_id: str, person_id: str, heir_id: str
) -> None:
    """Seal a row of one person's under another's key, in the ledger's transaction; nothing where it is gone.

    table, row_id: of `rows_of`. Raises VaultError where it does not open, or one of the two has no key.
    """
    column, what = ("template_id", "pack") if table == "templates" else ("visit_id", "visit_id")
    found = connection.execute(
        f"SELECT {what}, sealed FROM {table} WHERE {column} = ? AND person_id = ?", (row_id, person_id)
    ).fetchone()
    if found is None:
        return
    purpose = "template:{}:" if table == "templates" else f"{BY_VISIT[table]}:"
    plain = vault.unseal(person_id, found[1], purpose.format(person_id) + found[0])
    if plain is None:
        raise VaultError(f"person {person_id} is no longer remembered")
    sealed = vault.seal(heir_id, plain, purpose.format(heir_id) + found[0])
    connection.execute(f"UPDATE {table} SET person_id = ?, sealed = ? WHERE {column} = ?", (heir_id, sealed, row_id))
