"""The accounts and tablets of a HOME, whose every change is a record of the desk's."""

from edge.account_records import AccountRecords
from edge.clock import Clock
from edge.desk.desk_secrets import desk_secret
from edge.home import Home
from sync.web.accounts import Accounts
from sync.web.tablets import Tablets


def records_of(home: Home) -> AccountRecords:
    """What tells of changes in the chain."""
    clock = Clock()
    return AccountRecords(lambda: home.open_ledger("desk", clock))


def accounts_of(home: Home) -> Accounts:
    """Who may sign in; raises EdgeError or DatabaseError."""
    secret = desk_secret(home.keys_database, "pin")
    return Accounts(home.database, pin_secret=secret, changing=records_of(home).changing)


def tablets_of(home: Home) -> Tablets:
    """The devices on which a PIN is enough."""
    return Tablets(home.database, changing=records_of(home).changing)
