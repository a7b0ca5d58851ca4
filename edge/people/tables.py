"""The vault's tables in firstvisit.db: people, and what is sealed of them; the keys lie in keys.db (person_keys.py)."""

import sqlite_utils
from sqlite_utils.migrations import Migrations

PEOPLE = Migrations("people")

PROVISIONAL, VISITORS, ROSTER, CONTACT, PENDING = 0, 1, 2, 3, 4
"""Which gallery finds a person, as people.searchable holds it: none, the visitors', or that of staff and agents.

A contact has no face at all: it owns a phone (contacts.py). Whoever is pending is of the roster once it is approved.
"""


@PEOPLE()
def people(db: sqlite_utils.Database) -> None:
    """People, their encrypted templates and crops, and since when each pack has a gallery."""
    db.table("people").create(
        {"person_id": str, "created_us": int, "searchable": int},
        pk="person_id",
        not_null={"created_us", "searchable"},
    )
    db.table("templates").create(
        {"template_id": int, "person_id": str, "pack": str, "stored_us": int, "sealed": bytes},
        pk="template_id",
        foreign_keys=[("person_id", "people", "person_id")],
        not_null={"person_id", "pack", "stored_us", "sealed"},
    )
    db.table("templates").create_index(["person_id", "stored_us"])
    db.table("templates").create_index(["stored_us"])
    db.table("crops").create(
        {"visit_id": str, "person_id": str, "stored_us": int, "sealed": bytes},
        pk="visit_id",
        foreign_keys=[("person_id", "people", "person_id")],
        not_null={"person_id", "stored_us", "sealed"},
    )
    db.table("crops").create_index(["person_id"])
    db.table("crops").create_index(["stored_us"])
    db.table("galleries").create({"pack": str, "since_us": int}, pk="pack", not_null={"since_us"})
    db.table("gallery_revision").create({"id": int, "revision": int}, pk="id", not_null={"revision"})
    db.table("gallery_revision").insert({"id": 1, "revision": 0})


@PEOPLE()
def gallery_changes(db: sqlite_utils.Database) -> None:
    """Whose searchable templates each revision changed, for galleries in memory to follow at the cost of the change."""
    db.table("gallery_changes").create(
        {"revision": int, "person_id": str}, pk=("revision", "person_id"), not_null={"revision", "person_id"}
    )


@PEOPLE()
def roster(db: sqlite_utils.Database) -> None:
    """Staff and agents who have agreed to be known; visitor_id: as whom they came before; sealed: their label."""
    db.table("roster").create(
        {"person_id": str, "role": str, "visitor_id": str, "sealed": bytes},
        pk="person_id",
        foreign_keys=[("person_id", "people", "person_id")],
        not_null={"role"},
    )


@PEOPLE()
def explanations(db: sqlite_utils.Database) -> None:
    """Why each visit was decided as it was, kept as long as its crop."""
    db.table("explanations").create(
        {"visit_id": str, "person_id": str, "stored_us": int, "sealed": bytes},
        pk="visit_id",
        foreign_keys=[("person_id", "people", "person_id")],
        not_null={"person_id", "stored_us", "sealed"},
    )
    db.table("explanations").create_index(["person_id"])
    db.table("explanations").create_index(["stored_us"])


@PEOPLE()
def consents(db: sqlite_utils.Database) -> None:
    """Visitors who have consented to be recognised, since when, and what they signed."""
    db.table("consents").create(
        {"person_id": str, "version": str, "given_us": int},
        pk="person_id",
        foreign_keys=[("person_id", "people", "person_id")],
        not_null={"version", "given_us"},
    )
    db.table("signatures").create(
        {"visit_id": str, "person_id": str, "stored_us": int, "sealed": bytes},
        pk="visit_id",
        foreign_keys=[("person_id", "people", "person_id")],
        not_null={"person_id", "stored_us", "sealed"},
    )
    db.table("signatures").create_index(["person_id"])
