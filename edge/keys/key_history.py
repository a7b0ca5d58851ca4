"""The keys a node has had, as whoever holds its enrolment would find them in its chain."""

from dataclasses import dataclass

from edge.home import Home
from sync.audit.origin import enrolments_of
from sync.format.keyring import KeyRing, Tenure, ring
from sync.format.notices import KeyRevoked
from sync.format.public_keys import Enrolment
from sync.node.ledger import Ledger


@dataclass(frozen=True, slots=True)
class PastKey:
    """A key's time in its role, and central's word against it where there is one."""

    tenure: Tenure
    revoked: KeyRevoked | None


def key_history(home: Home) -> list[PastKey]:
    """Every key ever in force, by its first record; raises SyncError where a rotation does not hold."""
    ledger = home.open_ledger()
    try:
        return [PastKey(tenure, ledger.revocation(tenure.key)) for tenure in chain_keys(home, ledger).tenures()]
    finally:
        ledger.close()


def chain_keys(home: Home, ledger: Ledger) -> KeyRing:
    """The keys of HOME's enrolments and of the rotations in its chain; raises SyncError where one does not hold."""
    keys = ring((one.epoch, one.keys) for one in map(Enrolment.parse_text, enrolments_of(home.path)))
    for record in ledger.records(("key.rotated",)):
        keys.check(record)
        keys.follow(record)
    return keys
