"""The keys of a node as central's own store bears them out."""

import logging

from sync.central.store.store import Store
from sync.format.keyring import KeyRing, ring
from sync.format.public_keys import Enrolment
from sync.format.records import BadRecord, Role, parse
from sync.format.signing import PublicKey

log = logging.getLogger(__name__)

_NEVER_REACHED = (2**53 - 1, 1)


def ring_of(store: Store, node_id: str) -> KeyRing:
    """The keys of an enrolled node: its enrolments, what was revoked, and the rotations in its chain."""
    enrolments = map(Enrolment.parse_text, store.enrolments(node_id))
    keys = ring(((one.epoch, one.keys) for one in enrolments), store.revocations(node_id))
    for body, signature in store.rotations(node_id):
        record = parse(body, signature)
        try:
            keys.check(record)
            keys.follow(record)
        except BadRecord as error:  # its key was revoked at a place before it: what it handed on counts no more
            log.warning("rotation void node=%s seq=%d reason=%s", node_id, record.seq, error)
    return keys


def newest_key(keys: KeyRing, role: Role) -> PublicKey | None:
    """The key in force at the end of the chain; None where it is revoked."""
    return keys.in_force(role, _NEVER_REACHED)
