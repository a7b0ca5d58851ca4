"""Enrolment: central learns a node's keys, and has its first word ready."""

import time
from pathlib import Path

from sync import SyncError
from sync.central.keys import key_path, load_public, load_role
from sync.central.log import enrolled
from sync.central.store.location import migrate_store, open_store
from sync.files import read_text
from sync.messages import Enrolment, Notice
from sync.signing import load_key_file
from sync.trust import FIRST_PREV_HASH


def enrol(directory: Path, node_pub: Path) -> tuple[Enrolment, bool]:
    """Enrol the node of a node.pub at the central in DIR, with notice 1: central's keys, signed by its root.

    Returns the enrolment and whether it is new. Raises SyncError where the file is no enrolment, or where the node
    is known by other keys.
    """
    return enrol_text(directory, read_text(node_pub, "node key file"), str(node_pub))


def enrol_text(directory: Path, text: str, named: str) -> tuple[Enrolment, bool]:
    """Enrol the node of a node.pub's text, as `enrol` does; named: what errors call it."""
    try:
        enrolment = Enrolment.parse_text(text)
    except SyncError as error:
        raise SyncError(f"{named}: {error}") from error
    migrate_store(directory)
    with open_store(directory) as store:
        held = store.enrolment(enrolment.node_id)
        if held is not None:
            if Enrolment.parse_text(held[0]) != enrolment:
                raise SyncError(f"{named}: node {enrolment.node_id} is enrolled with other keys or another site")
            return enrolment, False
        public = load_public(directory)
        root = load_key_file(key_path(directory, "root"))
        if root.public != public.root:
            raise SyncError(f"{key_path(directory, 'root')}: not the root key that central.pub names")
        first = Notice.seal(enrolment.node_id, 1, FIRST_PREV_HASH, "keys", public.fields(), root)
        now_us = time.time_ns() // 1000
        stated = enrolled(public.central_id, enrolment, now_us, load_role(directory, "notice"))
        store.enrol(enrolment, text, first, stated, now_us)
    return enrolment, True
