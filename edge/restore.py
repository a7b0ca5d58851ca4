"""A backup becomes a HOME again: only in an empty place, verified before it is used, in a new epoch of its chain."""

import re
import shutil
import tarfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edge import EdgeError
from edge.account_records import forget_records
from edge.backup import DATABASE, FILES, MANIFEST, Manifest
from edge.clock import Clock
from edge.home import Home, all_or_nothing
from edge.keys.epochs import rekey, start_epoch
from edge.keys.key_copies import KeyCopies, read_keys
from edge.keys.sealed import SealError, Secret, unsealing
from edge.people.contacts import hash_anew
from edge.people.forgetting import forget
from edge.people.person_keys import KEYS_FORMAT, PERSON_KEYS
from edge.people.vault import Vault, opened
from edge.rights.retention import PEOPLE_PER_RECORD
from sync import SyncError
from sync.format.records import Record
from sync.node.append import Transaction
from sync.storage.database import create
from sync.storage.key_files import STATEMENTS_FILE
from sync.verify.ledgers import verify_after
from sync.verify.verify import verify

_PUBLIC = ("node.pub", "central.pub", STATEMENTS_FILE, "fence.geojson")
_MODES = {"firstvisit.toml": 0o640, DATABASE: 0o660, **dict.fromkeys(_PUBLIC, 0o644)}
_ENROLMENT = re.compile(r"node-[1-9][0-9]{0,15}\.pub")
_MAX_SMALL_BYTES = 1024**2  # of every member but the database


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back. began: the first record of the new epoch. people: who is remembered; forgotten: how many not."""

    manifest: Manifest
    began: Record
    people: int
    forgotten: int
    rekeyed: bool


def restore(file: Path, path: Path, secret: Secret, keys: Path | None, clock: Clock) -> Restored:
    """Make a HOME at `path`, an empty place, out of a backup and a copy of the person keys, if there is one.

    Everything is verified before it is used. The chain goes on in a new epoch: the machine it was copied from, should
    it come back, has forked. Whose key is not in the copy is forgotten, and the chain says so; PINs are given anew.
    Raises EdgeError or SyncError; the place is empty then as it was.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise EdgeError(f"{path}: not empty; a backup is restored into an empty place")
    with all_or_nothing(path):
        manifest = _unpack(file, path, secret)
        home = Home(path)
        settings = home.settings()
        _verify(file, path, manifest, settings.node.id)
        person_keys = read_keys(keys, settings.node.id, secret) if keys is not None else {}
        create(home.keys_database, KEYS_FORMAT, PERSON_KEYS, mode=0o600)
        home.migrate()
        with opened(home.database, home.keys_database) as vault:
            vault.restore_keys(person_keys)
            forgotten = vault.keyless()
            rekeyed = home.keys.custody("node") is None or home.keys.custody("desk") is None
            if rekeyed:  # they lay in the old machine's TPM, or were sealed to it
                rekey(home, clock, None, None)
            with closing(home.open_ledger("node", clock)) as ledger, ledger.transaction() as transaction:
                began = start_epoch(home, ledger, transaction, "restore")
                _forget(vault, transaction, forgotten)
                hash_anew(transaction.connection, vault)
                transaction.connection.execute("UPDATE accounts SET pin_hash = ''")  # keyed with the old HOME's secret
                forget_records(transaction.connection)
                vault.restart_galleries(transaction.connection, began.stamp.wall_us)
            people = vault.count()
        if keys is not None:
            KeyCopies(home.database, home.keys_database).adopt(keys, began.stamp.wall_us)
        verdict = verify_after(path, manifest.epoch, manifest.seq, manifest.head)
        if not verdict.ok:
            raise SyncError(f"{file}: what it became does not verify: {verdict.why}")
    return Restored(manifest, began, people, len(forgotten), rekeyed)


def _unpack(file: Path, path: Path, secret: Secret) -> Manifest:
    """Write the backup's members, and no other names, under `path`."""
    manifest = None
    with unsealing(file, secret) as tar:
        for member in tar:
            if manifest is None:
                if member.name != MANIFEST or member.size > _MAX_SMALL_BYTES:
                    raise SealError(f"{file}: not a FirstVisit backup: it begins with {member.name[:64]!r}")
                manifest = Manifest.parse(_read(tar, member))
                continue
            known = member.name in (*FILES, DATABASE) or _ENROLMENT.fullmatch(member.name)
            if not known or not member.isfile() or (member.name != DATABASE and member.size > _MAX_SMALL_BYTES):
                raise SealError(f"{file}: not a FirstVisit backup: it holds {member.name[:64]!r}")
            place = path / member.name
            if place.exists():
                raise SealError(f"{file}: holds {member.name} twice")
            place.parent.mkdir(mode=0o750, exist_ok=True)
            place.touch(mode=_MODES.get(member.name, 0o644 if member.name.endswith(".pub") else 0o600))
            source = tar.extractfile(member)
            assert source is not None
            with place.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
    if manifest is None:
        raise SealError(f"{file}: an empty backup")
    (path / "keys").mkdir(mode=0o750, exist_ok=True)
    return manifest


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    source = tar.extractfile(member)
    return source.read() if source is not None else b""


def _verify(file: Path, path: Path, manifest: Manifest, node_id: str) -> None:
    verdict = verify(path)
    if verdict.end is None:
        at = "" if verdict.first_bad is None else f"seq {verdict.first_bad}: "
        raise SyncError(f"{file}: its chain is damaged: {at}{verdict.why}")
    if verdict.end != (manifest.epoch, manifest.seq, manifest.head) or node_id != manifest.node:
        raise SyncError(f"{file}: holds another chain than its {MANIFEST} says")


def _forget(vault: Vault, transaction: Transaction, people: list[str]) -> None:
    for start in range(0, len(people), PEOPLE_PER_RECORD):
        some = people[start : start + PEOPLE_PER_RECORD]
        for person_id in some:
            forget(vault, transaction, person_id)
        transaction.append("retention.run", {"expired": some, "basis": "restore"})
