"""Forgetting: people whose time is up, and people who asked."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from edge import EdgeError
from edge.consent import CapturePolicy
from edge.vault import Vault
from sync.format.canonical import Fields
from sync.format.notices import ERASURE_REASONS
from sync.format.records import Record
from sync.format.signing import commitment
from sync.format.stamp import to_us
from sync.node import orders
from sync.node.append import Transaction
from sync.node.ledger import Ledger

PEOPLE_PER_RECORD = 100  # keeps retention.run far under a body's 8 KiB
REASONS = ERASURE_REASONS


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure did.

    pending: where the person's key may lie still, for people: the log of keys.db, copies of the keys that are out of
    reach. salt: 32 bytes that open the note's commitment.
    """

    record: Record
    pending: tuple[str, ...]
    salt: bytes | None

    @property
    def complete(self) -> bool:
        """Whether no key of this person is left anywhere that is known of."""
        return not self.pending


def expire(ledger: Ledger, vault: Vault, policy: CapturePolicy, now: datetime) -> int:
    """Forget what the policy in force no longer lets the node keep, and record it as `retention.run`.

    Whoever was stored last before the horizon is forgotten with their key; of others only what is older goes. Phones
    go by their own time. Returns how many people were forgotten. The keys go first: a crash between the two leaves
    ciphertext that nothing opens, and the next run finishes.
    """
    cutoff_us = to_us(now - policy.kept)
    due = vault.outlived(cutoff_us)
    _forget(ledger, vault, due, "unconsented")
    phones = vault.outlived_contacts(to_us(now - policy.phones))
    _forget(ledger, vault, phones, "phone")
    older = vault.outlived_templates(cutoff_us)
    if older:
        with ledger.transaction() as transaction:
            vault.drop_outlived(transaction.connection, cutoff_us)
            transaction.append("retention.run", {"expired": [], "basis": "unconsented", "dropped": older})
    if due or older or phones:
        vault.scrub()
    return len(due)


def finish_erasures(ledger: Ledger, vault: Vault) -> None:
    """Forget the rest of whoever's key is gone: an erasure that a crash cut short; recorded as `retention.run`."""
    _forget(ledger, vault, vault.keyless(), "key_gone")


def erase_ordered(ledger: Ledger, vault: Vault, ordered: Iterable[orders.Erasure], now: datetime) -> int:
    """Forget whom central wants forgotten, and record each as `retention.run`; returns how many were known here.

    An order is done when no key is left in keys.db, its write-ahead log or a copy; until then it comes again. Whoever
    is not known here is nothing to record: `notice.applied` has said that the order was heard.
    """
    forgotten = 0
    for order in ordered:
        known = vault.remembers(order.person_id) or bool(vault.contacts_of(order.person_id))
        theirs = [order.person_id, *vault.contacts_only_of(order.person_id)]
        complete = vault.destroy_keys(theirs)
        with ledger.transaction() as transaction:
            if known:
                _forget_with_phones(vault, transaction, theirs)
                fields: Fields = {"expired": [order.person_id], "basis": "central"}
                transaction.append("retention.run", {**fields, "reason": order.reason, "notice": order.nseq})
            if complete:
                orders.erased(transaction.connection, order.nseq, to_us(now))
        forgotten += known
    if forgotten:
        vault.scrub()
    return forgotten


def _forget(ledger: Ledger, vault: Vault, due: list[str], basis: str) -> None:
    for start in range(0, len(due), PEOPLE_PER_RECORD):
        people = due[start : start + PEOPLE_PER_RECORD]
        vault.destroy_keys(people)
        with ledger.transaction() as transaction:
            for person_id in people:
                vault.forget(transaction.connection, person_id)
            transaction.append("retention.run", {"expired": people, "basis": basis})


def erase(ledger: Ledger, vault: Vault, person_id: str, reason: str, note: str | None) -> Erasure:
    """Forget one person and the phones given at their visits only; recorded as `person.erased` under the desk key.

    The note is free text, so the record carries only a commitment to it. Asked again for somebody erased before, it
    finishes what was pending and returns the record of then. Raises EdgeError for an unknown person or reason.
    """
    if reason not in REASONS:
        raise EdgeError(f"reason {reason!r}: one of {', '.join(REASONS)}")
    if not vault.remembers(person_id) and not vault.contacts_of(person_id):
        for erased in ledger.records(("person.erased",)):
            if erased.fields["person"] == person_id:
                return Erasure(erased, tuple(vault.unreached()), None)
        raise EdgeError(f"person {person_id!r}: not remembered here (firstvisit people lists who is)")
    salt = secrets.token_bytes(32) if note else None
    theirs = [person_id, *vault.contacts_only_of(person_id)]
    vault.destroy_keys(theirs)
    fields: Fields = {"person": person_id, "reason": reason}
    if note and salt:
        fields["note"] = commitment(salt, note.encode()).hex()
    with ledger.transaction() as transaction:
        _forget_with_phones(vault, transaction, theirs)
        record = transaction.append("person.erased", fields)
    return Erasure(record, tuple(vault.unreached()), salt)


def _forget_with_phones(vault: Vault, transaction: Transaction, person_ids: list[str]) -> None:
    for person_id in person_ids:
        vault.unbind(transaction.connection, person_id)
        vault.forget(transaction.connection, person_id)
