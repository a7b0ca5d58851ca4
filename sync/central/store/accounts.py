"""Who may sign in at each node, as its records say."""

from dataclasses import dataclass

from sync.central.store.batch import Batch
from sync.central.store.database import Migration, Tables

MIGRATIONS = (
    Migration(
        "accounts of nodes",
        (
            "CREATE TABLE account_changes (node_id TEXT NOT NULL, account_id TEXT NOT NULL, epoch INTEGER NOT NULL,"
            " seq INTEGER NOT NULL, act TEXT NOT NULL, role TEXT NOT NULL, office TEXT NOT NULL,"
            " received_us INTEGER NOT NULL, PRIMARY KEY (node_id, account_id, epoch, seq))",
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class NodeAccount:
    """An account of a node's as its newest record has it.

    since_us: when the first record of it came here. epoch, seq, act, changed_us: of the newest one.
    """

    account_id: str
    role: str
    office: str
    since_us: int
    epoch: int
    seq: int
    act: str
    changed_us: int


class NodeAccounts(Tables):
    def node_accounts(self, node_id: str) -> list[NodeAccount]:
        """Every account of a node's, removed ones too, by role and then the oldest first."""
        rows = self._db.query(
            "SELECT account_id, role, office, epoch, seq, act, received_us FROM account_changes WHERE node_id = ?"
            " ORDER BY account_id, epoch, seq",
            (node_id,),
        )
        since: dict[str, int] = {}
        newest: dict[str, NodeAccount] = {}
        for account_id, role, office, epoch, seq, act, received_us in rows:
            since_us = since.setdefault(account_id, received_us)
            newest[account_id] = NodeAccount(account_id, role, office, since_us, epoch, seq, act, received_us)
        return sorted(newest.values(), key=lambda one: (one.role, one.since_us, one.account_id))

    def _write_account_changes(self, batch: Batch) -> None:
        self._db.many(
            "INSERT INTO account_changes VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", batch.account_changes
        )
