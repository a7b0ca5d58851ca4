"""What goes with a person or contact, in the transaction whose record says so; their key goes before."""

from edge.people import restricted
from edge.people.vault import Vault
from sync.format.canonical import Fields
from sync.node import sidecars
from sync.node.append import Transaction


def forget(vault: Vault, transaction: Transaction, person_id: str) -> None:
    """Drop all that the database holds of a person or contact, in the transaction that records it."""
    restricted.forget(transaction.connection, person_id)
    sidecars.forget(transaction.connection, [person_id])
    vault.forget(transaction.connection, person_id)


def reached_fields(transaction: Transaction, person_id: str, reached: bool) -> Fields:
    """What the record of an erasure says of where the key may lie still: nowhere; else the node is left to go there.

    reached: as `Vault.destroy_keys` said.
    """
    if reached:
        return {"reached": [person_id]}
    transaction.connection.execute("INSERT OR IGNORE INTO unreached_erasures VALUES (?)", (person_id,))
    return {}
