"""A backup of a HOME, taken while it is in use: one sealed file, and the person keys apart from it."""

import io
import json
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from edge.home import FENCE_FILE, Home
from edge.keys.key_copies import KeyCopies
from edge.keys.sealed import Lock, SealError, sealing
from sync import SyncError
from sync.storage.database import LEDGER_FORMAT, named, open_checked
from sync.storage.key_files import STATEMENTS_FILE
from sync.verify.verdict import Verdict
from sync.verify.verify import verify

FORMAT, VERSION = "firstvisit-backup", 1
MANIFEST, DATABASE = "manifest.json", "firstvisit.db"
_TLS = ("tls/ca.crt", "tls/client.crt", "tls/client.key")
_SIGNING = ("keys/node.key", "keys/desk.key")
FILES = ("firstvisit.toml", "node.pub", "central.pub", STATEMENTS_FILE, FENCE_FILE, *_TLS, *_SIGNING)
"""What a backup holds beside the database and the enrolments of earlier epochs (node-N.pub), where it is there.

Of the signing keys only those of custody `file`: another leaves its machine in no form that could be used elsewhere.
"""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself, its first member. epoch, seq, head: the last record, head its hash in hex."""

    format: str
    v: int
    made_us: int
    by: str
    node: str
    site: str
    epoch: int
    seq: int
    head: str
    records: int

    def encode(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def parse(cls, data: bytes) -> "Manifest":
        """Read `encode()` back; raises SealError."""
        try:
            found = cls(**json.loads(data))
        except (ValueError, TypeError) as error:
            raise SealError(f"the backup's {MANIFEST} is damaged: {error}") from error
        if (found.format, found.v) != (FORMAT, VERSION):
            raise SealError(
                f"a backup of format {found.format!r} version {found.v!r}, which this version does not read"
            )
        return found


@dataclass(frozen=True, slots=True)
class Backup:
    """What was written. keys: how many person keys the copy holds, None where none was asked for."""

    manifest: Manifest
    size_bytes: int
    keys: int | None
    without: tuple[str, ...]


def back_up(home: Home, out: Path, lock: Lock, keys: Path | None, now_us: int) -> Backup:
    """Write everything of HOME but the person keys to a new sealed file, and those to the folder `keys`, if given.

    HOME may be in use: the database is copied as of one moment, and verified before it goes. Raises EdgeError or
    SyncError where it does not verify or something cannot be written; there is no file then.
    """
    settings = home.settings()
    home.migrate()
    with _snapshot(home) as snapshot:
        verdict = _verified(home, snapshot)
        assert verdict.end is not None  # init has written two records
        epoch, seq, head = verdict.end
        by = f"firstvisit {version('firstvisit')}"
        node, site = settings.node.id, settings.site.id
        manifest = Manifest(FORMAT, VERSION, now_us, by, node, site, epoch, seq, head, verdict.checked)
        with sealing(out, lock) as tar:
            _add(tar, MANIFEST, manifest.encode())
            for name in (*FILES, *sorted(path.name for path in home.path.glob("node-*.pub"))):
                if (path := home.path / name).is_file():
                    _add(tar, name, path.read_bytes())
            tar.add(snapshot, DATABASE, filter=_nobody)
    copied = None
    if keys is not None:
        copied = KeyCopies(home.database, home.keys_database).write(keys, node, lock, now_us)
    without = tuple(name for name in _SIGNING if not (home.path / name).is_file())
    return Backup(manifest, out.stat().st_size, copied, without)


@contextmanager
def _snapshot(home: Home) -> Iterator[Path]:
    """The database as of one moment, beside the original: what is plain must not go where the backup goes."""
    folder = home.database.resolve().parent
    try:
        with tempfile.TemporaryDirectory(prefix=".backup-", dir=folder) as made:
            snapshot = Path(made) / DATABASE
            with (
                closing(open_checked(home.database, LEDGER_FORMAT)) as source,
                closing(sqlite3.connect(snapshot, isolation_level=None)) as target,
                named(home.database),
            ):
                source.backup(target)
                target.execute("PRAGMA secure_delete = ON")
                target.execute("DELETE FROM web_sessions")  # whoever is signed in now need not be so ever after
                target.execute("PRAGMA journal_mode = DELETE")
            yield snapshot
    except OSError as error:
        raise SealError(f"{error.filename or folder}: {error.strerror}") from error


def _verified(home: Home, snapshot: Path) -> Verdict:
    """Hold the copy against the keys in HOME; raises SyncError where it is not good."""
    for path in home.path.glob("*.pub"):
        snapshot.with_name(path.name).symlink_to(path.absolute())
    verdict = verify(snapshot.parent)
    if verdict.end is None:  # a central that contradicts itself is no reason not to keep what shows it
        at = "" if verdict.first_bad is None else f"seq {verdict.first_bad}: "
        raise SyncError(f"{home.database}: {at}{verdict.why}: a damaged chain is not backed up (firstvisit verify)")
    return verdict


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o600
    tar.addfile(info, io.BytesIO(data))


def _nobody(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o600
    return info
