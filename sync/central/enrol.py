"""Enrolment: central learns a node's keys, and has its first word ready."""

import time
from pathlib import Path

from sync import SyncError
from sync.central.keys import key_path, load_public, load_role, load_root
from sync.central.log import enrolled, epoch_opened
from sync.central.store.location import migrate_store, open_store
from sync.central.store.store import Store
from sync.format.messages import FIRST_PREV_HASH, Notice
from sync.format.public_keys import Enrolment
from sync.storage.files import read_text


def enrol(directory: Path, node_pub: Path, rekey: bool = False) -> tuple[Enrolment, bool]:
    """Enrol the node of a node.pub at the central in DIR, with notice 1: central's keys, signed by its root.

    rekey: let the keys count from their epoch on for a node that is known by others. Returns the enrolment and whether
    it is new. Raises SyncError where the file is no enrolment, or where the node is known by other keys.
    """
    return enrol_text(directory, read_text(node_pub, "node key file"), str(node_pub), rekey)


def enrol_text(directory: Path, text: str, named: str, rekey: bool = False) -> tuple[Enrolment, bool]:
    """Enrol the node of a node.pub's text, as `enrol` does; named: what errors call it."""
    try:
        enrolment = Enrolment.parse_text(text)
    except SyncError as error:
        raise SyncError(f"{named}: {error}") from error
    migrate_store(directory)
    with open_store(directory) as store:
        held = store.enrolment(enrolment.node_id)
        public = load_public(directory)
        if held is not None:
            if enrolment in map(Enrolment.parse_text, store.enrolments(enrolment.node_id)):
                return enrolment, False
            if not rekey:
                raise SyncError(
                    f"{named}: node {enrolment.node_id} is enrolled with other keys or another site"
                    " (--rekey where its keys were made anew)"
                )
            _hold_rekeying(store, enrolment, named)
            now_us = time.time_ns() // 1000
            stated = enrolled(public.central_id, enrolment, now_us, load_role(directory, "notice"))
            store.re_enrol(enrolment, text, stated, now_us)
            return enrolment, True
        if enrolment.epoch > 1:
            raise SyncError(
                f"{named}: keys of epoch {enrolment.epoch}: enrol the node's first ones, node-1.pub, before"
            )
        root = load_root(key_path(directory, "root"), public)
        first = Notice.seal(enrolment.node_id, 1, FIRST_PREV_HASH, "keys", public.fields(), root)
        now_us = time.time_ns() // 1000
        stated = enrolled(public.central_id, enrolment, now_us, load_role(directory, "notice"))
        store.enrol(enrolment, text, first, stated, now_us)
    return enrolment, True


def readmit(directory: Path, node_id: str) -> int:
    """Take a node's records again after a fork, from a new epoch on, and return the number it must have.

    That epoch may begin behind any record, also one that central refused; the log says that it was opened. Raises
    SyncError where the node is not enrolled, or no fork is held against it.
    """
    migrate_store(directory)
    with open_store(directory) as store:
        held = store.enrolment(node_id)
        if held is None:
            raise SyncError(f"node {node_id} is not enrolled here")
        if held[1] != "fork":
            raise SyncError(f"node {node_id} is {held[1]}, not forked: there is nothing to lift")
        head = store.head(node_id)
        epoch = max(head.epoch if head else 1, *store.opened(node_id), 1) + 1
        now_us = time.time_ns() // 1000
        opened = epoch_opened(load_public(directory).central_id, node_id, epoch, now_us, load_role(directory, "notice"))
        store.readmit(node_id, epoch, opened, now_us)
    return epoch


def _hold_rekeying(store: Store, enrolment: Enrolment, name: str) -> None:
    """Raise SyncError unless the keys begin with an epoch that nobody has begun, at the same site."""
    head = store.head(enrolment.node_id)
    begun = max(head.epoch if head else 1, *store.opened(enrolment.node_id), 1)
    if enrolment.epoch <= begun:
        raise SyncError(
            f"{name}: its keys count from epoch {enrolment.epoch} on, but epoch {begun} has begun:"
            f" firstvisit keys new-epoch --reason rekey --epoch {begun + 1} on the node"
        )
    first = Enrolment.parse_text(store.enrolments(enrolment.node_id)[0])
    if first.site_id != enrolment.site_id:
        raise SyncError(f"{name}: of site {enrolment.site_id}, the node is enrolled at {first.site_id}")
