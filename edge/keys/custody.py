"""Where a node's private keys lie: a file, a credential that systemd opens, or a TPM that never lets them out."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from edge import EdgeError
from edge.keys.credentials import create_credential, load_credential
from edge.keys.tpm import create_tpm_key, load_tpm_key, retire_tpm_key
from sync.format.signing import Signer, create_key_file, load_key_file
from sync.storage.files import sync_folder

Custody: TypeAlias = Literal["file", "systemd-creds", "tpm2"]


class NoKey(EdgeError):
    """A key that is not there, or twice; the text names it."""


@dataclass(frozen=True, slots=True)
class _Grade:
    """How keys of one grade are made, read and ended.

    suffix: of the file that stands for the key in HOME/keys. retire: called while the file is there, gives what
    destroys the rest of the key once it is gone.
    """

    suffix: str
    create: Callable[[Path], Signer]
    load: Callable[[Path], Signer]
    retire: Callable[[Path], Callable[[], None]]


def _nothing_more(_path: Path) -> Callable[[], None]:
    return lambda: None


_GRADES: dict[Custody, _Grade] = {
    "file": _Grade(".key", create_key_file, load_key_file, _nothing_more),
    "systemd-creds": _Grade(".cred", create_credential, load_credential, _nothing_more),
    "tpm2": _Grade(".tpm", create_tpm_key, load_tpm_key, retire_tpm_key),
}


class KeyFolder:
    """HOME/keys: one file a key, whose suffix says its custody. A key in waiting is called `ROLE.next`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def custody(self, name: str) -> Custody | None:
        """Where the key of this name lies, None where there is none; raises NoKey where there are two."""
        found: list[Custody] = [custody for custody in get_args(Custody) if self._file(name, custody).exists()]
        if len(found) > 1:
            raise NoKey(f"{self._path}: key {name} lies there twice, as {' and '.join(found)}")
        return found[0] if found else None

    def load(self, name: str) -> Signer:
        """Raises SyncError or EdgeError naming the file where the key is missing, damaged or out of reach."""
        custody = self.custody(name) or "file"
        return _GRADES[custody].load(self._file(name, custody))

    def create(self, name: str, custody: Custody) -> Signer:
        """Make a key, durable when this returns; raises SyncError or EdgeError where it cannot be made there."""
        if self.custody(name) is not None:
            raise NoKey(f"{self._path}: a key {name} is already there")
        signer = _GRADES[custody].create(self._file(name, custody))
        sync_folder(self._path)
        return signer

    def hand_over(self, name: str, like: str) -> None:
        """Give the key's file the owner and mode of another's; raises NoKey."""
        held, model = self._held(name), self._held(like).stat()
        try:
            if (held.stat().st_uid, held.stat().st_gid) != (model.st_uid, model.st_gid):
                os.chown(held, model.st_uid, model.st_gid)
            held.chmod(model.st_mode & 0o777)
        except OSError as error:
            raise NoKey(f"{held}: cannot be given to the user of {like}: {error.strerror}") from error

    def replace(self, name: str, by: str) -> None:
        """Let the key `by` take the place of `name`, which is gone then; raises NoKey.

        Of the same custody, one moment holds the old key and the next the new one: somebody may be reading it.
        """
        new, old = self._held(by), self.custody(name)
        target = self._path / f"{name}{new.suffix}"
        finish = None if old is None else _GRADES[old].retire(self._file(name, old))
        try:
            if old is not None and self._file(name, old) != target:
                self._file(name, old).unlink()
            new.rename(target)
            sync_folder(self._path)
        except OSError as error:
            raise NoKey(f"{new}: cannot take the place of {name}: {error.strerror}") from error
        if finish is not None:
            finish()

    def discard(self, name: str) -> None:
        """Destroy a key that was never used; raises NoKey."""
        held = self._held(name)
        finish = _GRADES[self.custody(name) or "file"].retire(held)
        held.unlink()
        sync_folder(self._path)
        finish()

    def _held(self, name: str) -> Path:
        custody = self.custody(name)
        if custody is None:
            raise NoKey(f"{self._path}: no key {name} there")
        return self._file(name, custody)

    def _file(self, name: str, custody: Custody) -> Path:
        return self._path / f"{name}{_GRADES[custody].suffix}"
