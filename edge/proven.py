"""Records that count: signed by a key in force, whoever wrote their rows into the database."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from sync import SyncError
from sync.audit.origin import enrolments_of
from sync.format.keyring import KeyRing, ring
from sync.format.public_keys import Enrolment
from sync.format.records import BadRecord, Record
from sync.node.ledger import Ledger


def proven(folder: Path, ledger: Ledger, found: Iterable[Record]) -> list[Record]:
    """Those that a key of HOME's own signed while it was in force, in the role their kind asks for.

    folder: HOME, where the enrolments of its keys lie. The database is no proof: the desk's account may write there.
    A rotation that does not hold hands nothing on; none counts where an enrolment is damaged.
    """
    asked = list(found)
    if not asked:
        return []
    try:
        keys = _keys(folder, ledger)
    except SyncError:
        return []
    return [record for record in asked if _holds(keys, record)]


def _keys(folder: Path, ledger: Ledger) -> KeyRing:
    enrolments = map(Enrolment.parse_text, enrolments_of(folder))
    keys = ring(((one.epoch, one.keys) for one in enrolments), ledger.revoked())
    for record in ledger.records(("key.rotated",)):
        if _holds(keys, record):
            with suppress(BadRecord):  # signed, but proven to be no rotation: it hands nothing on
                keys.follow(record)
    return keys


def _holds(keys: KeyRing, record: Record) -> bool:
    try:
        keys.check(record)
    except BadRecord:
        return False
    return True
