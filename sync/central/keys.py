"""Central's private keys, one a role, in DIR/keys."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from sync import SyncError
from sync.files import write_durably
from sync.messages import CentralKeys, CentralRole
from sync.signing import Ed25519Signer, Signer, create_key_file, load_key_file
from sync.trust import CENTRAL_FILE, read_central_file

KeyName: TypeAlias = Literal["root", "ack", "notice", "checkpoint", "code"]


@dataclass(frozen=True, slots=True)
class ServingKeys:
    """What `central run` signs with. The root key is not among them: it may lie elsewhere."""

    central_id: str
    ack: Signer
    notice: Signer
    checkpoint: Ed25519Signer


def key_path(directory: Path, name: KeyName) -> Path:
    return directory / "keys" / f"{name}.key"


def create_keys(directory: Path, central_id: str) -> CentralKeys:
    """Make every key of a new central and write central.pub, which nodes pin; raises KeyFileError where one exists."""
    folder = directory / "keys"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    root = create_key_file(key_path(directory, "root"))
    keys = {role: create_key_file(key_path(directory, role)).public for role in get_args(CentralRole)}
    public = CentralKeys(central_id, root.public, keys)
    write_durably(directory / CENTRAL_FILE, public.text(root))
    return public


def load_serving_keys(directory: Path) -> ServingKeys:
    """Read the keys `central run` needs and hold them to central.pub; raises SyncError naming the file."""
    public = load_public(directory)
    signers = (_load_listed(directory, public, role) for role in ("ack", "notice", "checkpoint"))
    return ServingKeys(public.central_id, *signers)


def load_role(directory: Path, role: CentralRole) -> Ed25519Signer:
    """Read one of central's keys and hold it to central.pub; raises SyncError naming the file."""
    return _load_listed(directory, load_public(directory), role)


def load_public(directory: Path) -> CentralKeys:
    """Read DIR/central.pub; raises SyncError naming the file."""
    return read_central_file(directory / CENTRAL_FILE)


def _load_listed(directory: Path, public: CentralKeys, role: CentralRole) -> Ed25519Signer:
    path = key_path(directory, role)
    signer = load_key_file(path)
    if signer.public != public.keys[role]:
        raise SyncError(f"{path}: not the {role} key that {directory / CENTRAL_FILE} lists")
    return signer
