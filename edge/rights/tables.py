"""What the rights of people leave in the database, beside the records that say the same."""

import sqlite_utils
from sqlite_utils.migrations import Migrations

RIGHTS = Migrations("rights")


@RIGHTS()
def claims(db: sqlite_utils.Database) -> None:
    """Visits somebody disputes; closed_us: none while the claim is open."""
    db.table("claims").create(
        {"visit_id": str, "reason": str, "account_id": str, "opened_us": int, "closed_us": int},
        pk="visit_id",
        not_null={"reason", "account_id", "opened_us"},
    )


@RIGHTS()
def restricted(db: sqlite_utils.Database) -> None:
    """Phones that may only be stored, with the visits they were given at: without the HMACs that would find them."""
    db.table("restricted_contacts").create(
        {"person_id": str, "sealed": bytes, "restricted_us": int}, pk="person_id", not_null={"sealed", "restricted_us"}
    )
    db.table("restricted_visits").create(
        {
            "visit_id": str,
            "person_id": str,
            "visitor_id": str,
            "account_id": str,
            "arrived_us": int,
            "sealed_salt": bytes,
        },
        pk="visit_id",
        not_null={"person_id", "account_id", "arrived_us", "sealed_salt"},
    )
    db.table("restricted_visits").create_index(["person_id"])


@RIGHTS()
def phone_requests(db: sqlite_utils.Database) -> None:
    """Whose phone the privacy officer has been asked to erase. code: six digits, sealed under the contact's own key."""
    db.table("phone_requests").create(
        {
            "contact_id": str,
            "reason": str,
            "account_id": str,
            "asked_us": int,
            "code": bytes,
            "code_us": int,
            "tries": int,
            "proven_us": int,
            "done_us": int,
            "epoch": int,
            "seq": int,
        },
        pk="contact_id",
        not_null={"reason", "account_id", "asked_us", "tries"},
    )


@RIGHTS()
def codes_of_a_day(db: sqlite_utils.Database) -> None:
    """codes: sent since codes_since_us; `tries` counts over all of them."""
    db.table("phone_requests").add_column("codes", int, not_null_default=0)
    db.table("phone_requests").add_column("codes_since_us", int, not_null_default=0)


@RIGHTS()
def unreached_erasures(db: sqlite_utils.Database) -> None:
    """People erased whose keys may lie somewhere still: the node goes there again each minute."""
    db.table("unreached_erasures").create({"person_id": str}, pk="person_id")


@RIGHTS()
def sealed_visits(db: sqlite_utils.Database) -> None:
    """Visits whose phone has been sealed to central."""
    db.table("sealed_visits").create({"visit_id": str}, pk="visit_id")


@RIGHTS()
def codes_that_failed(db: sqlite_utils.Database) -> None:
    """failed: of the day that began at codes_since_us, those that the operator's command says it has not sent."""
    db.table("phone_requests").add_column("failed", int, not_null_default=0)
