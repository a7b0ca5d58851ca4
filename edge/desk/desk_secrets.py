"""What the desk keeps secret: 32 random bytes a purpose, in keys.db, so that no backup of the records has them."""

import secrets
from contextlib import closing
from pathlib import Path
from typing import Literal, TypeAlias

import sqlite_utils
from sqlite_utils.migrations import Migrations

from edge import EdgeError
from edge.people.person_keys import KEYS_FORMAT
from sync.storage.database import named, open_checked

SECRETS = Migrations("desk_secrets")

Purpose: TypeAlias = Literal["pin", "note", "foreign_code", "subject", "visitor_code"]


@SECRETS()
def desk_secrets(db: sqlite_utils.Database) -> None:
    """pin: the key of the HMACs under PINs. note: what notes to the auditor are sealed under."""
    db.table("desk_secrets").create({"purpose": str, "secret": bytes}, pk="purpose", not_null={"secret"})
    db.table("desk_secrets").insert_all(
        {"purpose": purpose, "secret": secrets.token_bytes(32)} for purpose in ("pin", "note")
    )


@SECRETS()
def foreign_codes(db: sqlite_utils.Database) -> None:
    """foreign_code: the salt of what records say of a code that another system made."""
    db.table("desk_secrets").insert({"purpose": "foreign_code", "secret": secrets.token_bytes(32)})


@SECRETS()
def visitor_codes(db: sqlite_utils.Database) -> None:
    """visitor_code: what the rotating code at the desk, and the forms it opens, are made of."""
    db.table("desk_secrets").insert({"purpose": "visitor_code", "secret": secrets.token_bytes(32)})


def desk_secret(keys_database: Path, purpose: Purpose) -> bytes:
    """Raises EdgeError or DatabaseError where this HOME has none (yet)."""
    found = kept_secret(keys_database, purpose)
    if found is None:
        raise EdgeError(f"{keys_database}: no secret for {purpose}")
    return found


def kept_secret(keys_database: Path, purpose: Purpose) -> bytes | None:
    """The same, None where this HOME has none: `subject` (reports.py) is somebody's to bring."""
    with named(keys_database), closing(open_checked(keys_database, KEYS_FORMAT)) as connection:
        found = connection.execute("SELECT secret FROM desk_secrets WHERE purpose = ?", (purpose,)).fetchone()
    return None if found is None else bytes(found[0])
