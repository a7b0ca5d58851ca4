"""Keys that systemd keeps encrypted under the machine's own secret, and opens for the one service that needs them.

`systemd-creds encrypt` seals the text of a key file to this machine (its TPM, where there is one, and a secret of its
own); the unit's `LoadCredentialEncrypted=` opens it for the service, in memory. A copied disk does not carry the key.
"""

import os
import secrets
import subprocess
from pathlib import Path

from nacl.signing import SigningKey

from edge import EdgeError
from sync.format.signing import Ed25519Signer, KeyFileError, key_file_text, parse_key_file
from sync.storage.files import read_text, write_durably

_TIMEOUT_S = 20.0


class CredentialError(EdgeError):
    """A credential that is not open to this process, or that systemd-creds does not open; one line."""


def credential_name(path: Path) -> str:
    """What the credential of a key file is called: `firstvisit.node.key`."""
    return f"firstvisit.{path.stem.removesuffix('.next')}.key"


def create_credential(path: Path) -> Ed25519Signer:
    """Make a key and seal it to this machine (durable); raises CredentialError or SyncError."""
    key = SigningKey(secrets.token_bytes(32))
    sealed = _systemd_creds(path, "encrypt", key_file_text(key).encode())
    write_durably(path, sealed.decode("ascii"), 0o600)
    return Ed25519Signer(key)


def load_credential(path: Path) -> Ed25519Signer:
    """Read a key as systemd has opened it for this service, or open it as root; raises CredentialError naming it.

    A key in waiting has the name of the one it replaces: it is what the service gets at its next start.
    """
    folder, name = os.environ.get("CREDENTIALS_DIRECTORY"), credential_name(path)
    if folder is not None and (opened := Path(folder) / name).is_file():
        text = read_text(opened, "credential")
    elif os.geteuid() == 0:
        try:
            sealed = path.read_bytes()
        except OSError as error:
            raise CredentialError(f"{path}: cannot be read: {error.strerror}") from error
        text = _systemd_creds(path, "decrypt", sealed).decode(errors="replace")
    else:
        raise CredentialError(f"{path}: not open to this process: the unit wants LoadCredentialEncrypted={name}:{path}")
    try:
        return parse_key_file(text, path)
    except KeyFileError as error:
        raise CredentialError(str(error)) from error


def _systemd_creds(path: Path, what: str, data: bytes) -> bytes:
    command = ["systemd-creds", what, f"--name={credential_name(path)}", "-", "-"]
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        raise CredentialError(f"{path}: systemd-creds is not installed (systemd 250 or newer)") from error
    except subprocess.TimeoutExpired as error:
        raise CredentialError(f"{path}: systemd-creds gave no answer in {_TIMEOUT_S:.0f} s") from error
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip().splitlines() or ["it gave no reason"]
        raise CredentialError(f"{path}: systemd-creds {what}: {told[-1]}")
    return done.stdout
