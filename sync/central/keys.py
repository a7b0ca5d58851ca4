"""Central's private keys, one a role, in DIR/keys."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from sync import SyncError
from sync.format.public_keys import CentralKeys, CentralRole
from sync.format.sealing import UnsealingKey, create_sealing_key, load_sealing_key, sealing_key_path
from sync.format.signing import Ed25519Signer, Signer, create_key_file, load_key_file
from sync.storage.files import write_durably
from sync.storage.key_files import CENTRAL_FILE, read_central_file

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
    public = CentralKeys(central_id, root.public, keys, create_sealing_key(folder).public)
    write_durably(directory / CENTRAL_FILE, public.text(root))
    return public


def load_serving_keys(directory: Path) -> ServingKeys:
    """Read the keys `central run` needs and hold them to central.pub; raises SyncError naming the file."""
    public = load_public(directory)
    signers = (load_key(directory, role, public) for role in ("ack", "notice", "checkpoint"))
    return ServingKeys(public.central_id, *signers)


def load_role(directory: Path, role: CentralRole) -> Ed25519Signer:
    """Read one of central's keys and hold it to central.pub; raises SyncError naming the file."""
    return load_key(directory, role, load_public(directory))


def load_key(directory: Path, role: CentralRole, public: CentralKeys) -> Ed25519Signer:
    """The same, held to `public`, which is DIR's central.pub.

    Where a rotation was cut short behind its central.pub, the key still lies where it was made.
    """
    made = _next_path(directory, role)
    if made.exists() and (signer := load_key_file(made)).public == public.keys[role]:
        return signer
    path = key_path(directory, role)
    signer = load_key_file(path)
    if signer.public != public.keys[role]:
        raise SyncError(f"{path}: not the {role} key that {directory / CENTRAL_FILE} lists")
    return signer


def load_root(path: Path, public: CentralKeys) -> Signer:
    """Read the root key and hold it to `public`; raises SyncError naming the file."""
    root = load_key_file(path)
    if root.public != public.root:
        raise SyncError(f"{path}: not the root key that central.pub names")
    return root


def replace_key(directory: Path, role: CentralRole, root: Signer) -> CentralKeys:
    """Give a role a new key and write the central.pub that lists it; returns that.

    central.pub is the moment: cut short before it, nothing was changed; behind it, `load_key` finds the new key. The
    old private key is deleted: what it signed is verified by its public key, and it is to sign nothing more.
    """
    before = load_public(directory)
    path, made = key_path(directory, role), _next_path(directory, role)
    if made.exists():  # a rotation was cut short
        if load_key_file(made).public == before.keys[role]:
            _install(made, path)
        else:
            made.unlink()
    key = create_key_file(made)
    public = replace(before, keys={**before.keys, role: key.public})
    write_durably(directory / CENTRAL_FILE, public.text(root))
    _install(made, path)
    return public


def replace_sealing_key(directory: Path, root: Signer) -> CentralKeys:
    """Give central a new sealing key, or its first, and write the central.pub that lists it; returns that.

    The private halves of earlier ones stay: what was sealed to them is read by them.
    """
    public = replace(load_public(directory), seal=create_sealing_key(directory / "keys").public)
    write_durably(directory / CENTRAL_FILE, public.text(root))
    return public


def load_unsealing(directory: Path, key_id: str) -> UnsealingKey:
    """Read the private half of a sealing key, in force or earlier; raises SyncError naming the file.

    Nothing that serves needs it: it may lie elsewhere until a phone has to be read.
    """
    path = sealing_key_path(directory / "keys", key_id)
    key = load_sealing_key(path)
    if key.public.key_id != key_id:
        raise SyncError(f"{path}: holds another key than its name says")
    return key


def _install(made: Path, path: Path) -> None:
    made.replace(path)


def _next_path(directory: Path, role: CentralRole) -> Path:
    return directory / "keys" / f"{role}.next.key"


def load_public(directory: Path) -> CentralKeys:
    """Read DIR/central.pub; raises SyncError naming the file."""
    return read_central_file(directory / CENTRAL_FILE)
