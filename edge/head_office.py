"""Who speaks for head office at this desk, by central's notices: whom the pages let answer, and which words count."""

from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from edge.home import Home
from edge.proven import proven
from sync.format.accounts import KIND, Account
from sync.format.head_office import APPLIED, Basis, HeadOffice, bases
from sync.format.records import Record
from sync.format.visit_fields import text_of
from sync.node.ledger import Ledger
from sync.node.trust import account_notices

_TOLD = (KIND, APPLIED)


def confirmed(folder: Path, ledger: Ledger, account: Account) -> bool:
    """Whether central has confirmed the account as it is; folder: HOME, where the enrolments of its keys lie.

    The database says nothing here: records do, and of the notices in it those that the node's own key has answered.
    """
    head_office = HeadOffice(account_notices(ledger.connection))
    for record in proven(folder, ledger, ledger.naming(account.account_id, _TOLD)):
        head_office.follow(record)
    return head_office.confirms(account.account_id, account.role, account.office)


def basis(home: Home, word: Record) -> Basis | None:
    """What one word rests on; None where it is not head office's."""
    with closing(home.open_ledger()) as ledger:
        return counted(home.path, ledger, (word,)).get(word.hash)


def counted(folder: Path, ledger: Ledger, words: Iterable[Record]) -> Mapping[bytes, Basis]:
    """Of words on what an office asks for, those that are head office's, by their hashes."""
    given = list(words)
    if not given:
        return {}
    accounts = {account for word in given if (account := text_of(word.fields, "account"))}
    told = [record for account in sorted(accounts) for record in ledger.naming(account, _TOLD)]
    every = {(one.epoch, one.seq): one for one in (*told, *given)}
    return bases(proven(folder, ledger, [every[at] for at in sorted(every)]), account_notices(ledger.connection))
