"""What counts as head office's word along a chain: of whom central has confirmed the account, and its own.

The desk's key signs whatever the kiosk says, and accounts are made at the node. So an account speaks for head office
only where a notice of central's says so of the account as it stood at a record: whatever is recorded of it later ends
that. A word that central gives itself, in a notice that names the proposal, needs no account at the node.
"""

from collections.abc import Iterable
from typing import Literal, TypeAlias

from sync.format.accounts import changes_of
from sync.format.messages import Notice
from sync.format.notices import AccountSet, AccountWord, BadBody, read_order
from sync.format.records import Record
from sync.format.visit_fields import text_of

APPLIED = "notice.applied"
Basis: TypeAlias = Literal["central", "desk", "desk_as_held"]
"""What a word on a proposal rests on: central's signature under that very word, or the desk's key, under the name of an
account that central had confirmed then; `desk_as_held`: as far as chosen records say, between which others are missing
(certificate/words.py)."""
Place: TypeAlias = tuple[int, int]


class HeadOffice:
    """Follows a chain, or the records of it that tell of accounts, in its order."""

    def __init__(self, notices: Iterable[Notice]) -> None:
        """notices: central's, verified; what is no order of kind `account`, or not understood, says nothing here."""
        self._orders: dict[tuple[str, str], tuple[int, AccountSet | AccountWord]] = {}
        self._confirmed: dict[str, tuple[int, AccountSet]] = {}
        self._changed: dict[str, Place] = {}
        for notice in notices:
            try:
                order = read_order(notice.kind, notice.body)
            except BadBody:
                continue
            if isinstance(order, AccountSet | AccountWord):
                self._orders[notice.node_id, notice.hash.hex()] = notice.nseq, order

    def follow(self, record: Record) -> None:
        """Take over what the next record says."""
        for change in changes_of(record.kind, record.fields):
            self._changed[change.account_id] = record.epoch, record.seq
        nseq, order = self._answered(record)
        if isinstance(order, AccountSet) and nseq > self._confirmed.get(order.account_id, (0, order))[0]:
            self._confirmed[order.account_id] = nseq, order

    def confirms(self, account_id: str | None, role: str, office: str | None) -> bool:
        """Whether central has confirmed the account in this role and office, and nothing has changed of it since."""
        _, said = self._confirmed.get(account_id or "", (0, None))
        return (
            said is not None
            and (said.role, said.office) == (role, office)
            and said.at == self._changed.get(said.account_id)
        )

    def basis(self, record: Record) -> Basis | None:
        """What a record that answers a proposal rests on; None where it is no word of head office's."""
        fields = record.fields
        if record.kind != APPLIED:
            said = text_of(fields, "account"), "auditor", text_of(fields, "office")
            return "desk" if self.confirms(*said) else None
        _, order = self._answered(record)
        word = isinstance(order, AccountWord) and order.answered().items() <= fields.items()
        return "central" if word else None

    def _answered(self, record: Record) -> tuple[int, AccountSet | AccountWord | None]:
        named = text_of(record.fields, "hash") or "" if record.kind == APPLIED else ""
        return self._orders.get((record.node_id, named), (0, None))


def bases(records: Iterable[Record], notices: Iterable[Notice]) -> dict[bytes, Basis]:
    """By their hashes, the words on proposals that count, and what each rests on.

    records: in the order of the chain, those that tell of accounts among them.
    """
    head_office = HeadOffice(notices)
    found: dict[bytes, Basis] = {}
    for record in records:
        head_office.follow(record)
        if "proposal" in record.fields and (basis := head_office.basis(record)) is not None:
            found[record.hash] = basis
    return found
