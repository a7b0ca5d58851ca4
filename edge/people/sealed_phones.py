"""Phones given at the desk, sealed to central: made by the running node, which can read both chain and vault."""

import logging
import sqlite3
from collections.abc import Sequence

from edge.people.contacts import opening
from edge.people.vault import Vault
from sync.format.records import Record
from sync.format.sealing import SealingKey
from sync.format.sidecar import Opened, Sidecar
from sync.format.signing import commitment
from sync.node import sidecars
from sync.node.ledger import Ledger

log = logging.getLogger(__name__)

_AT_ONCE = 20


def seal_waiting(ledger: Ledger, vault: Vault, key: SealingKey) -> int:
    """Seal the phones of visits that have not been, a few at a time; returns how many.

    Only one that opens the commitment in its check-in's record is sealed: any other could never be shown at central.
    """
    rows = ledger.connection.execute(
        "SELECT visit_id, contact_visits.person_id, number_hmac FROM contact_visits JOIN contacts USING (person_id)"
        " WHERE visit_id NOT IN (SELECT visit_id FROM sealed_visits) ORDER BY arrived_us LIMIT ?",
        (_AT_ONCE,),
    ).fetchall()
    sealed = 0
    for visit_id, contact_id, number_hmac in rows:
        made = _sidecar(ledger, vault, key, visit_id, contact_id, number_hmac)
        with ledger.transaction() as transaction:
            still = transaction.connection.execute(
                "SELECT 1 FROM contact_visits WHERE visit_id = ? AND person_id = ?", (visit_id, contact_id)
            ).fetchone()
            if still is None:  # erased or restricted meanwhile
                continue
            if made is not None:
                sidecars.add(transaction.connection, made)
                sealed += 1
            transaction.connection.execute("INSERT OR IGNORE INTO sealed_visits VALUES (?)", (visit_id,))
    return sealed


def unseal(connection: sqlite3.Connection, visit_id: str, records: Sequence[bytes]) -> None:
    """A registration is taken back: what was sealed for it goes, and what the visit is given later is sealed anew.

    records: the hashes of its check-ins. In the caller's transaction; central drops its own by the record that undoes.
    """
    sidecars.withdraw(connection, records)
    connection.execute("DELETE FROM sealed_visits WHERE visit_id = ?", (visit_id,))


def _sidecar(
    ledger: Ledger, vault: Vault, key: SealingKey, visit_id: str, contact_id: str, number_hmac: bytes
) -> Sidecar | None:
    found = opening(ledger.connection, vault, visit_id)
    if found is None:
        return None
    salt, number = found
    promised = commitment(salt, number).hex()
    record = next((one for one in _check_ins(ledger, visit_id) if one.fields.get("phone") == promised), None)
    if record is None:
        log.warning("phone not sealed, no record commits to it visit=%s", visit_id)
        return None
    sealed = Opened(number.decode(), salt).seal(key)
    return Sidecar(record.epoch, record.seq, record.hash, contact_id, number_hmac, sealed, key.key_id)


def _check_ins(ledger: Ledger, visit_id: str) -> list[Record]:
    return ledger.about(visit_id, ("visit.checkin",))[::-1]
