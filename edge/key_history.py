"""The keys a node has had, as whoever holds its enrolment would find them in its chain."""

from edge.home import Home
from sync.keyring import Tenure, ring
from sync.messages import Enrolment
from sync.origin import enrolments_of


def key_history(home: Home) -> list[Tenure]:
    """Every key ever in force, by its first record; raises SyncError where a rotation does not hold."""
    keys = ring((one.epoch, one.keys) for one in map(Enrolment.parse_text, enrolments_of(home.path)))
    ledger = home.open_ledger()
    try:
        for record in ledger.records(("key.rotated",)):
            keys.check(record)
            keys.follow(record)
    finally:
        ledger.close()
    return keys.tenures()
