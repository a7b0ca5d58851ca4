"""The key of the phones' HMACs, one for a legal entity: its nodes must share it, or nobody can tell that two of them
know the same number, and an erasure at one reaches no other."""

import os
from contextlib import closing
from pathlib import Path

from edge import EdgeError
from edge.people.contacts import hash_anew
from edge.people.person_keys import KEYS_FORMAT
from edge.people.vault import Vault
from sync import SyncError
from sync.format.canonical import hex_bytes
from sync.node import sidecars
from sync.node.ledger import Ledger
from sync.storage.database import immediate, named, open_checked
from sync.storage.files import read_text

_HEADER = "firstvisit-phone-pepper-v1 "
_BYTES = 32


def write_pepper(vault: Vault, out: Path) -> None:
    """Write this node's pepper to a new file, mode 0600: a secret; raises EdgeError."""
    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise EdgeError(f"{out}: already there") from error
    except OSError as error:
        raise EdgeError(f"{out}: {error.strerror}") from error
    with os.fdopen(handle, "w") as file:
        file.write(f"{_HEADER}{vault.pepper().hex()}\n")


def take_pepper(ledger: Ledger, vault: Vault, keys_database: Path, file: Path) -> None:
    """Make another node's pepper this one's, and every HMAC here anew under it, those held by central too.

    ledger: under either key; no record is made, for none names an HMAC. Cut short, it is to be done again, and what
    is done twice is as done once. Raises EdgeError where the file is no pepper or others may read it.
    """
    pepper = _read(file)
    with named(keys_database), closing(open_checked(keys_database, KEYS_FORMAT)) as keys, immediate(keys):
        keys.execute("UPDATE phone_pepper SET pepper = ?", (pepper,))
    with ledger.transaction() as transaction:
        hash_anew(transaction.connection, vault)
        for contact_id, number_hmac in transaction.connection.execute("SELECT person_id, number_hmac FROM contacts"):
            sidecars.rehash(transaction.connection, contact_id, number_hmac)
    vault.scrub()


def _read(file: Path) -> bytes:
    try:
        text = read_text(file, "phone pepper")
        if file.stat().st_mode & 0o007:
            raise EdgeError(f"{file}: a secret that everyone may read; chmod 600 it")
        pepper = hex_bytes(text.removeprefix(_HEADER).strip())
    except SyncError as error:
        raise EdgeError(f"{file}: not a phone pepper of FirstVisit") from error
    if not text.startswith(_HEADER) or len(pepper) != _BYTES:
        raise EdgeError(f"{file}: not a phone pepper of FirstVisit")
    return pepper
