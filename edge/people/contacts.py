"""Phones at rest: each sealed under a key of its own in keys.db, bound to visits, and nowhere in the chain.

A phone's owner is a *contact*: a random id that keys.db knows like a person's, so that destroying its key erases the
number from every copy of the database. It outlives the face: who refused that is found again by the phone.
"""

import secrets
import sqlite3
from dataclasses import dataclass

import sqlite_utils
from sqlite_utils.migrations import Migrations

from edge.minted import SALT_BYTES, new_id
from edge.people.phones import Phone, number_hmac, parse_phone, reported_hmac
from edge.people.tables import CONTACT
from edge.people.vault import Vault

CONTACTS = Migrations("contacts")
PEPPER = Migrations("phone_pepper")


@CONTACTS()
def contacts(db: sqlite_utils.Database) -> None:
    """Phones and the visits they were given at; visitor_id: whose face the visit was of, where anybody's."""
    db.table("contacts").create(
        {"person_id": str, "number_hmac": bytes, "reported_hmac": bytes, "sealed": bytes},
        pk="person_id",
        foreign_keys=[("person_id", "people", "person_id")],
        not_null={"number_hmac", "reported_hmac", "sealed"},
    )
    db.table("contacts").create_index(["number_hmac"], unique=True)
    db.table("contacts").create_index(["reported_hmac"])
    db.table("contact_visits").create(
        {
            "visit_id": str,
            "person_id": str,
            "visitor_id": str,
            "account_id": str,
            "arrived_us": int,
            "sealed_salt": bytes,
        },
        pk="visit_id",
        foreign_keys=[("person_id", "people", "person_id")],
        not_null={"person_id", "account_id", "arrived_us", "sealed_salt"},
    )
    db.table("contact_visits").create_index(["person_id", "arrived_us"])
    db.table("contact_visits").create_index(["visitor_id"])


@CONTACTS()
def agent_phones(db: sqlite_utils.Database) -> None:
    """The phones of enrolled agents, sealed under the key of their person on the roster."""
    db.table("agent_phones").create(
        {"person_id": str, "number_hmac": bytes, "sealed": bytes},
        pk="person_id",
        foreign_keys=[("person_id", "people", "person_id")],
        not_null={"number_hmac", "sealed"},
    )
    db.table("agent_phones").create_index(["number_hmac"])


@PEPPER()
def phone_pepper(db: sqlite_utils.Database) -> None:
    """The key of the phones' HMACs: beside the person keys, so that no backup of the other database carries it."""
    db.table("phone_pepper").create({"id": int, "pepper": bytes}, pk="id", not_null={"pepper"})
    db.table("phone_pepper").insert({"id": 1, "pepper": secrets.token_bytes(32)})


@dataclass(frozen=True, slots=True)
class EarlierVisit:
    """The first visit at which a phone was given here. account_id: who registered it."""

    visit_id: str
    arrived_us: int
    account_id: str


@dataclass(frozen=True, slots=True)
class Bound:
    """Whose phone a visit's is; earlier: the first visit it was given at, None where that is this one."""

    contact_id: str
    earlier: EarlierVisit | None


@dataclass(frozen=True, slots=True)
class Contact:
    """The phone of a visit, masked; earlier: the first visit with it, None where this is that one."""

    contact_id: str
    masked: str
    earlier: EarlierVisit | None


def bind(
    connection: sqlite3.Connection,
    vault: Vault,
    phone: Phone,
    salt: bytes,
    *,
    visit_id: str,
    visitor_id: str | None,
    arrived_us: int,
    account_id: str,
    now_us: int,
) -> Bound:
    """Keep a visit's phone in the ledger's transaction; returns whose it is, and since when.

    salt: 32 bytes, of the commitment in the record.
    """
    digest = number_hmac(vault.pepper(), phone)
    found = connection.execute("SELECT person_id FROM contacts WHERE number_hmac = ?", (digest,)).fetchone()
    contact_id = found[0] if found else new_id("c")
    earlier = _first_visit(connection, contact_id, arrived_us)
    if not found:
        vault.create_key(contact_id)
        reported = reported_hmac(vault.pepper(), phone.reported)
        sealed = vault.seal(contact_id, phone.e164.encode(), f"phone:{contact_id}")
        connection.execute("INSERT INTO people VALUES (?, ?, ?)", (contact_id, now_us, CONTACT))
        connection.execute("INSERT INTO contacts VALUES (?, ?, ?, ?)", (contact_id, digest, reported, sealed))
    sealed_salt = vault.seal(contact_id, salt, f"phone-salt:{visit_id}")
    connection.execute(
        "INSERT INTO contact_visits VALUES (?, ?, ?, ?, ?, ?)",
        (visit_id, contact_id, visitor_id, account_id, arrived_us, sealed_salt),
    )
    return Bound(contact_id, earlier)


def unbind_visit(connection: sqlite3.Connection, vault: Vault, visit_id: str) -> str | None:
    """Take a visit's phone back, in the ledger's transaction; returns the contact that no visit has any more.

    Of that one the rows are gone; its key is for the caller to destroy once this is committed.
    """
    found = connection.execute("SELECT person_id FROM contact_visits WHERE visit_id = ?", (visit_id,)).fetchone()
    connection.execute("DELETE FROM contact_visits WHERE visit_id = ?", (visit_id,))
    if (
        found is None
        or connection.execute("SELECT 1 FROM contact_visits WHERE person_id = ? LIMIT 1", found).fetchone()
    ):
        return None
    vault.forget(connection, found[0])
    return str(found[0])


def contact_of(connection: sqlite3.Connection, vault: Vault, visit_id: str) -> Contact | None:
    """The phone given at a visit, None where there is none (any more)."""
    found = connection.execute(
        "SELECT person_id, arrived_us, sealed FROM contact_visits JOIN contacts USING (person_id) WHERE visit_id = ?",
        (visit_id,),
    ).fetchone()
    if found is None:
        return None
    contact_id, arrived_us, sealed = found
    number = vault.unseal(contact_id, sealed, f"phone:{contact_id}")
    if number is None:
        return None
    earlier = _first_visit(connection, contact_id, arrived_us)
    return Contact(contact_id, parse_phone(number.decode()).masked, earlier)


def opening(connection: sqlite3.Connection, vault: Vault, visit_id: str) -> tuple[bytes, bytes] | None:
    """Salt and number that open the commitment in a visit's record, None once they are erased."""
    found = connection.execute(
        "SELECT person_id, sealed_salt, sealed FROM contact_visits JOIN contacts USING (person_id) WHERE visit_id = ?",
        (visit_id,),
    ).fetchone()
    if found is None:
        return None
    salt = vault.unseal(found[0], found[1], f"phone-salt:{visit_id}")
    number = vault.unseal(found[0], found[2], f"phone:{found[0]}")
    return None if salt is None or number is None else (salt, number)


def keep_agents_phone(connection: sqlite3.Connection, vault: Vault, person_id: str, phone: Phone, salt: bytes) -> None:
    """Keep an enrolled agent's own phone, in the ledger's transaction; salt: 32 bytes, of the commitment to it."""
    sealed = vault.seal(person_id, salt + phone.e164.encode(), f"agent-phone:{person_id}")
    digest = number_hmac(vault.pepper(), phone)
    connection.execute("INSERT INTO agent_phones VALUES (?, ?, ?)", (person_id, digest, sealed))


def agent_of_phone(connection: sqlite3.Connection, contact_id: str) -> str | None:
    """The enrolled agent whose own phone a contact's number is."""
    found = connection.execute(
        "SELECT agent_phones.person_id FROM agent_phones JOIN contacts USING (number_hmac)"
        " WHERE contacts.person_id = ?",
        (contact_id,),
    ).fetchone()
    return found[0] if found else None


def other_phones_of(
    connection: sqlite3.Connection, visitor_id: str, contact_id: str, visit_id: str
) -> tuple[str, int] | None:
    """The first other visit, and its arrival, at which this face gave another phone."""
    return _first_other(connection, "visitor_id = ? AND person_id <> ?", (visitor_id, contact_id, visit_id))


def other_faces_of(
    connection: sqlite3.Connection, contact_id: str, visitor_id: str, visit_id: str
) -> tuple[str, int] | None:
    """The first other visit, and its arrival, at which this phone was given by another face."""
    return _first_other(connection, "person_id = ? AND visitor_id <> ?", (contact_id, visitor_id, visit_id))


def given_by(connection: sqlite3.Connection, vault: Vault, phone: Phone, visitor_id: str) -> bool:
    """Whether this number was given at an earlier visit of this face, and never at another's."""
    faces = connection.execute(
        "SELECT DISTINCT visitor_id FROM contact_visits JOIN contacts USING (person_id) WHERE number_hmac = ?",
        (number_hmac(vault.pepper(), phone),),
    ).fetchall()
    return faces == [(visitor_id,)]


def _first_other(connection: sqlite3.Connection, whose: str, values: tuple[str, str, str]) -> tuple[str, int] | None:
    found = connection.execute(
        f"SELECT visit_id, arrived_us FROM contact_visits WHERE {whose} AND visit_id <> ? ORDER BY arrived_us LIMIT 1",
        values,
    ).fetchone()
    return (found[0], found[1]) if found else None


def hash_anew(connection: sqlite3.Connection, vault: Vault) -> None:
    """Make every HMAC again under this keys.db's pepper: a restored HOME has another than the one before."""
    pepper = vault.pepper()
    for contact_id, sealed in connection.execute("SELECT person_id, sealed FROM contacts").fetchall():
        number = vault.unseal(contact_id, sealed, f"phone:{contact_id}")
        if number is not None:
            phone = parse_phone(number.decode())
            connection.execute(
                "UPDATE contacts SET number_hmac = ?, reported_hmac = ? WHERE person_id = ?",
                (number_hmac(pepper, phone), reported_hmac(pepper, phone.reported), contact_id),
            )
    for person_id, sealed in connection.execute("SELECT person_id, sealed FROM agent_phones").fetchall():
        number = vault.unseal(person_id, sealed, f"agent-phone:{person_id}")
        if number is not None:
            digest = number_hmac(pepper, parse_phone(number[SALT_BYTES:].decode()))
            connection.execute("UPDATE agent_phones SET number_hmac = ? WHERE person_id = ?", (digest, person_id))


def first_given(connection: sqlite3.Connection, contact_id: str) -> EarlierVisit | None:
    """The first visit of all at which this phone was given."""
    return _first_visit(connection, contact_id, 2**62)


def _first_visit(connection: sqlite3.Connection, contact_id: str, before_us: int) -> EarlierVisit | None:
    found = connection.execute(
        "SELECT visit_id, arrived_us, account_id FROM contact_visits WHERE person_id = ? AND arrived_us < ?"
        " ORDER BY arrived_us LIMIT 1",
        (contact_id, before_us),
    ).fetchone()
    return EarlierVisit(*found) if found else None
