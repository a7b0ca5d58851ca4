"""Forgetting: people whose time is up, and people who asked."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from edge import EdgeError
from edge.consent import CapturePolicy
from edge.minted import new_salt
from edge.people import restricted
from edge.people.forgetting import forget, reached_fields
from edge.people.vault import Vault
from edge.rights.claims import disputed, written
from sync.format.canonical import Fields
from sync.format.notices import ERASURE_REASONS
from sync.format.records import Record
from sync.format.signing import commitment
from sync.format.stamp import to_us
from sync.node import orders
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

    Whoever was stored last before the horizon is forgotten with their key; of others only what is older goes. Whoever
    has consented is kept until their consent is as old as the policy lets it become. Phones go by their own time.
    Returns how many people were forgotten. The keys go first: a crash between the two leaves ciphertext that nothing
    opens, and the next run finishes.
    """
    cutoff_us = to_us(now - policy.kept)
    due = vault.outlived.people(cutoff_us)
    _forget(ledger, vault, due, "unconsented")
    lapsed = vault.outlived.consents(to_us(now - policy.consented))
    _forget(ledger, vault, lapsed, "consented")
    phones = _phones_due(ledger, vault.outlived.contacts(to_us(now - policy.phones)), to_us(now))
    _forget(ledger, vault, phones, "phone")
    older = vault.outlived.templates(cutoff_us)
    if older:
        with ledger.transaction() as transaction:
            vault.outlived.drop(transaction.connection, cutoff_us)
            transaction.append("retention.run", {"expired": [], "basis": "unconsented", "dropped": older})
    if due or lapsed or older or phones:
        vault.scrub()
    return len(due) + len(lapsed)


def _phones_due(ledger: Ledger, outlived: list[str], now_us: int) -> list[str]:
    """Whose phone goes now: of those outlived, a disputed one is restricted instead, until its claim is closed.

    One that somebody has asked to be erased is the privacy officer's to erase, with a receipt.
    """
    connection = ledger.connection
    if contested := [one for one in outlived if disputed(connection, one)]:
        with ledger.transaction() as transaction:
            for contact_id in contested:
                restricted.restrict(transaction.connection, contact_id, now_us)
    asked = {row[0] for row in connection.execute("SELECT contact_id FROM phone_requests WHERE done_us IS NULL")}
    kept = [one.contact_id for one in restricted.all_restricted(connection)]
    settled = [one for one in kept if one not in asked and not disputed(connection, one)]
    return [one for one in outlived if one not in contested] + settled


def finish_erasures(ledger: Ledger, vault: Vault) -> None:
    """Forget the rest of whoever's key is gone: an erasure that a crash cut short; recorded as `retention.run`."""
    _forget(ledger, vault, vault.keyless(), "key_gone")


def erase_ordered(ledger: Ledger, vault: Vault, ordered: Iterable[orders.Erasure], now: datetime) -> int:
    """Forget whom central wants forgotten, and record each as `retention.run`; returns how many were known here.

    An order is done when no key is left in keys.db, its write-ahead log or a copy; until then it comes again. Whoever
    is not known here is recorded as reached: central waits to hear it. A phone whose visit is disputed is restricted
    until the claim is closed, and its order stays open. Whoever has consented here after they took the consent back
    elsewhere is kept, and recorded as that.
    """
    forgotten = 0
    for order in ordered:
        if disputed(ledger.connection, order.person_id):
            with ledger.transaction() as transaction:
                restricted.restrict(transaction.connection, order.person_id, to_us(now))
            continue
        theirs = vault.standing(order.person_id)  # central may know them by an id that has been merged
        known = vault.remembers(theirs)
        if known and _consented_since(vault, theirs, order):
            with ledger.transaction() as transaction:
                orders.erased(transaction.connection, order.nseq, to_us(now))
                kept: Fields = {"expired": [], "basis": "central", "reason": order.reason, "notice": order.nseq}
                transaction.append("retention.run", {**kept, "kept": sorted({theirs, order.person_id})})
            continue
        complete = vault.destroy_keys(sorted({theirs, order.person_id}))
        with ledger.transaction() as transaction:
            fields: Fields = {"expired": [], "basis": "central", "reason": order.reason, "notice": order.nseq}
            if known:
                forget(vault, transaction, theirs)
                fields["expired"] = [theirs]
            if complete:
                fields["reached"] = sorted({theirs, order.person_id})
                orders.erased(transaction.connection, order.nseq, to_us(now))
            if known or complete:
                transaction.append("retention.run", fields)
        forgotten += known
    if forgotten:
        vault.scrub()
    return forgotten


def _consented_since(vault: Vault, person_id: str, order: orders.Erasure) -> bool:
    given_us = vault.consented_us(person_id)
    return order.withdrawn_us is not None and given_us is not None and given_us > order.withdrawn_us


def _forget(ledger: Ledger, vault: Vault, due: list[str], basis: str) -> None:
    for start in range(0, len(due), PEOPLE_PER_RECORD):
        people = due[start : start + PEOPLE_PER_RECORD]
        vault.destroy_keys(people)
        with ledger.transaction() as transaction:
            for person_id in people:
                forget(vault, transaction, person_id)
            transaction.append("retention.run", {"expired": people, "basis": basis})


def erase(
    ledger: Ledger,
    vault: Vault,
    person_id: str,
    reason: str,
    note: str | None,
    *,
    account_id: str | None = None,
    request: str | None = None,
    proof: str | None = None,
) -> Erasure:
    """Forget one face, or with a contact's id (c-…) one phone; recorded as `person.erased` under the desk key.

    The phones given at somebody's visits are not theirs alone and stay: each is erased by its own id. The note is free
    text, so the record carries only a commitment to it. proof: how a code came to this phone and back; only with it
    central lets faces at other nodes go. Asked again for somebody erased before, or by the same form (`request`), it
    finishes what was pending and returns the record of then. An id that was merged means the person it stands for.
    Raises EdgeError for an unknown person or reason, and for a phone whose visit is disputed.
    """
    person_id = vault.standing(person_id)
    if reason not in REASONS:
        raise EdgeError(f"reason {reason!r}: one of {', '.join(REASONS)}")
    if disputed(ledger.connection, person_id):
        raise EdgeError(f"phone {person_id}: a visit it was given at is disputed; it is erased when that is settled")
    if request and (same := written(ledger, request, ("person.erased",))):
        return Erasure(same, tuple(vault.unreached()), None)
    if not vault.remembers(person_id):
        for erased in ledger.records(("person.erased",)):
            if erased.fields["person"] == person_id:
                return Erasure(erased, tuple(vault.unreached()), None)
        raise EdgeError(f"person {person_id!r}: not remembered here (firstvisit people lists who is)")
    salt = new_salt() if note else None
    reached = vault.destroy_keys([person_id])
    fields: Fields = {"person": person_id, "reason": reason}
    if note and salt:
        fields["note"] = commitment(salt, note.encode()).hex()
    if account_id:
        fields["account"] = account_id
    if request:
        fields["request"] = request
    if proof:
        fields["proof"] = proof
    with ledger.transaction() as transaction:
        forget(vault, transaction, person_id)
        record = transaction.append("person.erased", fields | reached_fields(transaction, person_id, reached))
    if reached:
        vault.scrub()
    return Erasure(record, () if reached else tuple(vault.unreached()), salt)


def confirm_reached(ledger: Ledger, vault: Vault) -> int:
    """Go where keys of people erased may lie still, and record of whom none is left; returns of how many.

    ledger: under the node key. A copy of the keys that was away may be back: those are gone to in any case.
    """
    waiting = [row[0] for row in ledger.connection.execute("SELECT person_id FROM unreached_erasures LIMIT 100")]
    if not waiting:
        vault.reach_copies()
        return 0
    if vault.unreached():
        return 0
    with ledger.transaction() as transaction:
        transaction.append("retention.run", {"expired": [], "basis": "reached", "reached": waiting})
        transaction.connection.executemany(
            "DELETE FROM unreached_erasures WHERE person_id = ?", [(one,) for one in waiting]
        )
    return len(waiting)
