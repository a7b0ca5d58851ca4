"""Which of a node's accounts speak for head office: central says so by a notice, of the account as its chain has it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from sync import SyncError
from sync.central.notices import order
from sync.central.store.accounts import NodeAccount
from sync.central.store.location import migrate_store, open_store
from sync.central.store.rows import NoticeRow
from sync.central.store.store import Store
from sync.format.messages import BadMessage, Notice
from sync.format.notices import HEAD_OFFICE_ROLES, AccountSet, BadBody, read_order

State: TypeAlias = Literal["none", "waiting", "confirmed", "ended", "withdrawn", "disabled", "removed"]
"""As far as head office goes. none: central has said nothing of it; waiting: the node has not answered yet; ended: the
account was changed since it was confirmed."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An account of a node's, and what central has said of it. since_us: when that was answered; None where not."""

    account: NodeAccount
    state: State
    since_us: int | None = None

    @property
    def head_office(self) -> bool:
        """Whether its role is one that speaks for head office where central has confirmed it."""
        return self.account.role in HEAD_OFFICE_ROLES


def standings(store: Store, node_id: str) -> list[Standing]:
    """Every account that a node's records tell of, by role and then the oldest first."""
    newest = _newest(store, node_id)
    return [
        _standing(account, *newest.get(account.account_id, (None, None))) for account in store.node_accounts(node_id)
    ]


def confirm(directory: Path, node_id: str, account_id: str, role: str, office: str) -> Notice:
    """Say that an account speaks for head office, as its newest record here has it; returns the notice, durable.

    role, office: as whoever confirms knows them, held to what the node has recorded. Raises SyncError where they
    differ, the node has told of no such account or has removed it, central has disabled it, or it is of the node's own
    site.
    """
    migrate_store(directory)
    with open_store(directory) as store:
        node = store.node(node_id)
        if node is None:
            raise SyncError(f"node {node_id}: not enrolled here")
        found = next((one for one in store.node_accounts(node_id) if one.account_id == account_id), None)
        _hold_to_enabled(store, node_id, account_id)
    if found is None:
        raise SyncError(f"{account_id}: node {node_id} has told of no such account (its records may not be here yet)")
    if found.act == "removed":
        raise SyncError(f"{account_id}: was removed at node {node_id}")
    if role not in HEAD_OFFICE_ROLES:
        raise SyncError(f"role {role!r}: head office confirms {' and '.join(HEAD_OFFICE_ROLES)} only")
    if (found.role, found.office) != (role, office):
        raise SyncError(f"{account_id}: node {node_id} has it as {found.role} of {found.office or 'no office'}")
    if office == node.site_id:
        raise SyncError(f"{account_id}: is of the site itself, {office}: nobody of it speaks for head office")
    return order(directory, node_id, AccountSet(account_id, True, role, office, (found.epoch, found.seq)))


def withdraw(directory: Path, node_id: str, account_id: str) -> Notice:
    """Say that an account speaks for head office no more; it may sign in all the same.

    Raises SyncError where central has disabled it: a notice says both, and this one would let it in again.
    """
    migrate_store(directory)
    with open_store(directory) as store:
        _hold_to_enabled(store, node_id, account_id)
    return order(directory, node_id, AccountSet(account_id, True))


def _newest(store: Store, node_id: str) -> dict[str, tuple[NoticeRow, AccountSet]]:
    """Central's newest word on each account of a node's."""
    newest: dict[str, tuple[NoticeRow, AccountSet]] = {}
    for row in store.notices_of_kind(node_id, AccountSet.KIND):
        try:
            said = read_order(row.kind, row.body)
        except (BadBody, BadMessage):
            continue
        if isinstance(said, AccountSet):
            newest[said.account_id] = row, said
    return newest


def _hold_to_enabled(store: Store, node_id: str, account_id: str) -> None:
    _, said = _newest(store, node_id).get(account_id, (None, None))
    if said is not None and not said.enabled:
        raise SyncError(f"{account_id}: is disabled at node {node_id} (disable-account --enable lets it in again)")


def _standing(account: NodeAccount, row: NoticeRow | None, said: AccountSet | None) -> Standing:
    if account.act == "removed":
        return Standing(account, "removed")
    if row is None or said is None:
        return Standing(account, "none")
    if not said.enabled:
        return Standing(account, "disabled", row.applied_us)
    if said.at is None:
        return Standing(account, "withdrawn", row.applied_us)
    if said.at != (account.epoch, account.seq) or (said.role, said.office) != (account.role, account.office):
        return Standing(account, "ended", account.changed_us)
    return Standing(account, "waiting" if row.applied_us is None else "confirmed", row.applied_us)
