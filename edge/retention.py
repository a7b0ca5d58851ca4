"""Forgetting: people whose time is up, and people who asked."""

import secrets
from dataclasses import dataclass
from datetime import datetime

from edge import EdgeError
from edge.vault import Vault
from sync.canonical import Fields
from sync.ledger import Ledger
from sync.records import Record
from sync.signing import commitment

PEOPLE_PER_RECORD = 100  # keeps retention.run far under a body's 8 KiB
REASONS = ("request", "consent_withdrawn", "child", "error", "staff", "legal")


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure did.

    complete: no key is left in keys.db or its write-ahead log. salt: 32 bytes that open the note's commitment.
    """

    record: Record
    complete: bool
    salt: bytes | None


def expire(ledger: Ledger, vault: Vault, now: datetime) -> int:
    """Forget everybody whose time is up, and record it as `retention.run`; returns how many.

    The keys go first: a crash between the two leaves ciphertext that nothing opens, and the next run finishes.
    """
    due = vault.expired(round(now.timestamp() * 1e6))
    for start in range(0, len(due), PEOPLE_PER_RECORD):
        people = due[start : start + PEOPLE_PER_RECORD]
        vault.destroy_keys(people)
        with ledger.transaction() as transaction:
            for person_id in people:
                vault.forget(transaction.connection, person_id)
            transaction.append("retention.run", {"expired": people, "basis": "unconsented"})
    if due:
        vault.scrub()
    return len(due)


def erase(ledger: Ledger, vault: Vault, person_id: str, reason: str, note: str | None) -> Erasure:
    """Forget one person and record it as `person.erased` under the desk key.

    The note is free text, so the record carries only a commitment to it. Asked again for somebody erased before, it
    finishes what was pending and returns the record of then. Raises EdgeError for an unknown person or reason.
    """
    if reason not in REASONS:
        raise EdgeError(f"reason {reason!r}: one of {', '.join(REASONS)}")
    if person_id not in {person.person_id for person in vault.people()}:
        for erased in ledger.records(("person.erased",)):
            if erased.fields["person"] == person_id:
                return Erasure(erased, vault.scrub(), None)
        raise EdgeError(f"person {person_id!r}: not remembered here (firstvisit people lists who is)")
    salt = secrets.token_bytes(32) if note else None
    vault.destroy_keys([person_id])
    fields: Fields = {"person": person_id, "reason": reason}
    if note and salt:
        fields["note"] = commitment(salt, note.encode()).hex()
    with ledger.transaction() as transaction:
        vault.forget(transaction.connection, person_id)
        record = transaction.append("person.erased", fields)
    return Erasure(record, vault.scrub(), salt)
