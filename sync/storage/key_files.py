"""central.pub, the keys that a node pins, and beside it what central's log says of the node."""

import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from sync import SyncError
from sync.format.canonical import hex_bytes
from sync.format.messages import BadMessage
from sync.format.public_keys import CentralKeys
from sync.storage.files import read_text

CENTRAL_FILE = "central.pub"
STATEMENTS_FILE = "central.statements"  # a line of hex each
_SUBJECT_HEADER = "firstvisit-subject-v1 "


def read_central_file(path: Path) -> CentralKeys:
    """Read a central.pub, held to the root key it names; raises SyncError naming the file."""
    try:
        return CentralKeys.parse_text(read_text(path, "central key file"))
    except BadMessage as error:
        raise SyncError(f"{path}: {error}") from error


def statements_text(statements: Iterable[bytes]) -> str:
    """The text of central.statements: signed statements, a line of hex each."""
    return "".join(f"{data.hex()}\n" for data in statements)


def read_statements(home: Path) -> tuple[bytes, ...]:
    """Read HOME/central.statements, nothing about it verified; none where it is not there. Raises SyncError."""
    path = home / STATEMENTS_FILE
    if not path.exists():
        return ()
    try:
        return tuple(map(hex_bytes, read_text(path, "file of central's statements").splitlines()))
    except SyncError as error:
        raise SyncError(f"{path}: {error}") from error


def write_subject_key(path: Path) -> None:
    """Make the key by which notices name a customer (`codes.subject_of`); raises SyncError where one is there."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(f"{_SUBJECT_HEADER}{secrets.token_hex(32)}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise SyncError(f"{path}: {error.strerror}") from error


def read_subject_key(path: Path) -> bytes:
    """Read such a file, 32 bytes; raises SyncError naming it."""
    text = read_text(path, "subject key")
    if not re.fullmatch(f"{_SUBJECT_HEADER}[0-9a-f]{{64}}\n", text):
        raise SyncError(f"{path}: not a subject key of central's")
    return bytes.fromhex(text.removeprefix(_SUBJECT_HEADER).strip())
