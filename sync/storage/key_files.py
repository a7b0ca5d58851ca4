"""central.pub: the keys that a node pins, in the file that central hands out."""

from pathlib import Path

from sync import SyncError
from sync.format.messages import BadMessage, CentralKeys
from sync.storage.files import read_text

CENTRAL_FILE = "central.pub"


def read_central_file(path: Path) -> CentralKeys:
    """Read a central.pub, held to the root key it names; raises SyncError naming the file."""
    try:
        return CentralKeys.parse_text(read_text(path, "central key file"))
    except BadMessage as error:
        raise SyncError(f"{path}: {error}") from error
