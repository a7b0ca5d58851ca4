"""Central's word to its nodes: sealed, chained a node, and kept until they answer; `central run` sends it."""

import time
from pathlib import Path
from typing import Literal

from sync import SyncError
from sync.central.keys import load_key, load_public, load_root, replace_key, replace_sealing_key
from sync.central.lock import none_running
from sync.central.log import revoked
from sync.central.shard import WHOLE
from sync.central.store.location import migrate_store, open_store
from sync.central.store.store import Store
from sync.format.messages import Notice
from sync.format.notices import KeyRevoked, Order, read_order
from sync.format.public_keys import CentralKeys, CentralRole
from sync.format.signing import Signer


def order(directory: Path, node_id: str, said: Order) -> Notice:
    """Write the next notice to a node of the central in DIR, running or not; returns it, durable.

    Raises SyncError for a node that is not enrolled, BadBody for an order that no node would understand.
    """
    read_order(said.KIND, said.fields())
    public = load_public(directory)
    key = load_key(directory, "notice", public)
    migrate_store(directory)
    with open_store(directory) as store:
        now_us = time.time_ns() // 1000
        return store.append_notice(
            node_id,
            lambda nseq, prev_hash: Notice.seal(node_id, nseq, prev_hash, said.KIND, said.fields(), key),
            now_us,
            revoked(public.central_id, node_id, said, now_us, key) if isinstance(said, KeyRevoked) else None,
        )


def append(store: Store, node_id: str, said: Order, key: Signer) -> Notice:
    """Write the next notice to a node where the store is open; key: central's notice key. Raises as `order` does."""
    return store.append_notice(
        node_id,
        lambda nseq, prev_hash: Notice.seal(node_id, nseq, prev_hash, said.KIND, said.fields(), key),
        time.time_ns() // 1000,
    )


def rotate(directory: Path, role: CentralRole | Literal["seal"], root_key: Path) -> tuple[CentralKeys, int]:
    """Give a role of a central that is not running a new key, and tell every node; returns the keys and how many.

    root_key: the file of the root key, wherever it lies. Raises SyncError where central is running: it would go on
    signing with the old key, which nodes believe no more once they have heard.
    """
    migrate_store(directory)
    with none_running(directory), open_store(directory) as store:
        store.hold(WHOLE)  # a worker of the same store may run on another machine
        root = load_root(root_key, load_public(directory))
        public = replace_sealing_key(directory, root) if role == "seal" else replace_key(directory, role, root)
        return public, _announce(store, public, root)


def announce(directory: Path, root_key: Path) -> int:
    """Tell central's keys to every node that was told others last; returns how many. After a rotation cut short."""
    public = load_public(directory)
    root = load_root(root_key, public)
    migrate_store(directory)
    with open_store(directory) as store:
        return _announce(store, public, root)


def _announce(store: Store, public: CentralKeys, root: Signer) -> int:
    told = 0
    for node in store.nodes():
        last = store.newest_of_kind(node.node_id, "keys")
        if last is None or last.body != public.fields():
            _tell_keys(store, node.node_id, public, root)
            told += 1
    return told


def _tell_keys(store: Store, node_id: str, public: CentralKeys, root: Signer) -> None:
    store.append_notice(
        node_id,
        lambda nseq, prev_hash: Notice.seal(node_id, nseq, prev_hash, "keys", public.fields(), root),
        time.time_ns() // 1000,
    )


def place_of(text: str) -> tuple[int, int]:
    """Read EPOCH:SEQ; raises SyncError."""
    epoch, colon, seq = text.partition(":")
    if not colon or not (epoch.isascii() and epoch.isdigit() and seq.isascii() and seq.isdigit()):
        raise SyncError(f"{text!r}: a place is written EPOCH:SEQ, such as 1:1200")
    return int(epoch), int(seq)
