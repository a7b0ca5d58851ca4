"""central.pub, the keys that a node pins, and beside it what central's log says of the node."""

from collections.abc import Iterable
from pathlib import Path

from sync import SyncError
from sync.format.canonical import hex_bytes
from sync.format.messages import BadMessage
from sync.format.public_keys import CentralKeys
from sync.storage.files import read_text

CENTRAL_FILE = "central.pub"
STATEMENTS_FILE = "central.statements"  # a line of hex each


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
