"""Sealed phones on their way in, erasures on their way to other nodes, and the one way to read a phone at central."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from sync import SyncError
from sync.central.keys import ServingKeys, load_public, load_role, load_unsealing
from sync.central.rings import newest_key, ring_of
from sync.central.store.location import migrate_store, open_store
from sync.central.store.sidecars import Held
from sync.central.store.store import Store
from sync.format.messages import UNMASKED, BadMessage, Notice, Statement
from sync.format.notices import Erase
from sync.format.records import parse
from sync.format.sidecar import Opened, Sidecar, open_sidecars, seal_taken
from sync.format.signing import commitment
from sync.format.visit_fields import text_of

log = logging.getLogger(__name__)

UNMASK_REASONS = ("dispute", "access", "erasure", "legal")


class SidecarDesk:
    """Takes what nodes send beside their records; the ingest's thread asks it, on the same store."""

    def __init__(self, store: Store, keys: ServingKeys) -> None:
        self._store, self._keys = store, keys
        self._logged: set[tuple[str, str]] = set()

    def take(self, node_id: str, payload: bytes, now_us: int) -> bytes | None:
        """Keep a node's sidecars and return the answer; None where it is not the node's: that gets none.

        Of a record that is not held here nothing is kept or answered: the node sends it again. Raises DatabaseError.
        """
        if self._store.enrolment(node_id) is None:
            self._refuse(node_id, "not enrolled")
            return None
        key = newest_key(ring_of(self._store, node_id), "node")
        if key is None:
            self._refuse(node_id, "its node key is revoked")
            return None
        try:
            sidecars = open_sidecars(node_id, payload, key)
        except BadMessage as error:
            self._refuse(node_id, str(error))
            return None
        kept = [(one, *of) for one in sidecars if (of := self._record_of(node_id, one)) is not None]
        if not kept:
            self._refuse(node_id, "of no check-in that is held here")
            return None
        self._store.keep_sidecars(node_id, kept, now_us)
        return seal_taken(node_id, [one.record for one, _, _ in kept], self._keys.ack)

    def tell(self, now_us: int) -> None:
        """Write the notices that erasures call for, and scrub what could not be before."""
        self._store.scrub()
        if self._store.erasures_to_order():
            said = self._store.order_erasures(self._seal, now_us)
            log.info("erasures passed on notices=%d", said)

    def _seal(self, node_id: str, nseq: int, prev_hash: bytes, said: Erase) -> Notice:
        return Notice.seal(node_id, nseq, prev_hash, said.KIND, said.fields(), self._keys.notice)

    def _record_of(self, node_id: str, sidecar: Sidecar) -> tuple[str, str] | None:
        """Visit and person of the check-in that a sidecar belongs to, None where there is none with a phone here."""
        held = self._store.held(node_id, sidecar.epoch, sidecar.seq)
        if held is None or held[0] != sidecar.record:
            return None
        fields = parse(held[1], held[2]).fields
        visit = text_of(fields, "visit")
        if fields.get("kind") != "visit.checkin" or visit is None or "phone" not in fields:
            return None
        return visit, text_of(fields, "person") or ""

    def _refuse(self, node_id: str, why: str) -> None:
        if (node_id, why) not in self._logged and len(self._logged) < 1000:
            self._logged.add((node_id, why))
            log.warning("sidecar not taken node=%s reason=%s", node_id, why)


@dataclass(frozen=True, slots=True)
class Unmasked:
    """A phone read at central; leaf: where the log says that it was."""

    e164: str
    held: Held
    leaf: int


def unmask(directory: Path, node_id: str, visit: str, reason: str) -> Unmasked:
    """Read the phone given at a visit, and say so in central's log before anybody sees it.

    It is held to the commitment in the node's own signed record. Raises SyncError for an unknown reason, where nothing
    is held (any more), where the sealing key is not in DIR/keys, or where the box does not open that commitment.
    """
    if reason not in UNMASK_REASONS:
        raise SyncError(f"reason {reason!r}: one of {', '.join(UNMASK_REASONS)}")
    migrate_store(directory)
    with open_store(directory) as store:
        held = next(reversed(store.sidecars_of(node_id, visit)), None)
        if held is None:
            raise SyncError(f"visit {visit} of node {node_id}: no phone is held for it here, or it is erased")
        opened = Opened.open(held.sealed, load_unsealing(directory, held.seal_key))
        kept = store.held(node_id, held.epoch, held.seq)
        promised = None if kept is None else parse(kept[1], kept[2]).fields.get("phone")
        if promised != commitment(opened.salt, opened.e164.encode()).hex():
            raise SyncError(f"visit {visit}: sealed is not what the node's record commits to: nothing is shown")
        central_id, now_us = load_public(directory).central_id, time.time_ns() // 1000
        said = Statement.seal(
            central_id,
            UNMASKED,
            now_us,
            {"node": node_id, "visit": visit, "record": held.record.hex(), "reason": reason},
            load_role(directory, "notice"),
        )
        store.state([(node_id, said)])
        leaf = next(leaf for leaf, data in reversed(store.statements(node_id)) if data == said.data)
        return Unmasked(opened.e164, held, leaf)
