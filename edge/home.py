"""A HOME: the folder that is one node, made once by `init`."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from edge import EdgeError
from edge.access_log import MIGRATIONS as ACCESS_LOG
from edge.account_records import MIGRATIONS as ACCOUNT_RECORDS
from edge.cameras.camera_views import MIGRATIONS as CAMERA_VIEWS
from edge.clock import Clock
from edge.consent import CapturePolicy
from edge.desk.codes import CODES
from edge.desk.desk_secrets import SECRETS
from edge.desk.notes import MIGRATIONS as NOTES
from edge.desk.rota import ROTA
from edge.desk.visitor_forms import FORM_KEYS, FORMS
from edge.keys.custody import Custody, KeyFolder
from edge.keys.key_copies import MIGRATIONS as KEY_COPIES
from edge.keys.machine import MIGRATIONS as MACHINE
from edge.nightly import MIGRATIONS as NIGHTLY
from edge.people.aliases import ALIASES
from edge.people.contacts import CONTACTS, PEPPER
from edge.people.person_keys import KEYS_FORMAT, PERSON_KEYS
from edge.people.tables import PEOPLE
from edge.place.attestation import MIGRATIONS as ATTESTATION
from edge.place.geofence import place_fields
from edge.reserve import MIB, Reserve
from edge.rights.tables import RIGHTS
from edge.settings import Settings, load_settings, parse_settings
from sync import SyncError
from sync.format.canonical import Fields
from sync.format.public_keys import Enrolment
from sync.format.records import Role
from sync.format.signing import Signer
from sync.node.append import Writer
from sync.node.ledger import Ledger
from sync.node.sidecars import MIGRATIONS as SIDECARS
from sync.node.trust import MIGRATIONS as TRUST
from sync.node.trust import Trust
from sync.storage.database import LEDGER_FORMAT, Patience, create, give_up, migrate
from sync.storage.files import close_to_others, sync_tree, write_durably
from sync.storage.ledger_tables import MIGRATIONS as LEDGER
from sync.web.tables import MIGRATIONS as WEB

FENCE_FILE = "fence.geojson"


class HomeError(EdgeError):
    """A HOME that is missing, taken or already there; the text names it."""


class Home:
    """Where everything of one node lies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "firstvisit.toml"
        self.database = path / "firstvisit.db"
        self.keys_database = path / "keys.db"
        self.node_pub = path / "node.pub"
        self.central_pub = path / "central.pub"
        self.run_lock = path / "run.lock"

    def settings(self) -> Settings:
        """Read the configuration; raises HomeError where this is no HOME, SettingsError where it is a bad one."""
        if not self.path.is_dir():
            raise HomeError(f"{self.path}: no such HOME (firstvisit init makes one)")
        return load_settings(self.config)

    @property
    def joined(self) -> bool:
        """Whether this node trusts a central server and sends to it."""
        return self.central_pub.is_file()

    def policy(self, settings: Settings) -> CapturePolicy:
        """Return the capture policy in force: as configured, or as central's notices have narrowed it."""
        configured = CapturePolicy.of(settings)
        if not self.joined:
            return configured
        nseq, asked = Trust(self.path).policy()
        return configured.narrowed(asked, nseq)

    def ledger_days(self, settings: Settings) -> int:
        """Return how long acknowledged records stay here: as configured, or longer where central asks for it."""
        asked = Trust(self.path).policy()[1].ledger_days if self.joined else None
        return max(settings.retention.ledger_days, asked or 0)

    def place(self, settings: Settings) -> Fields | None:
        """Return a record's `place` as configured; raises FenceError."""
        return place_fields(settings.place, self.path / settings.place.fence if settings.place.fence else None)

    def reserve(self, settings: Settings) -> Reserve:
        """The room kept on the databases' disk; they may lie elsewhere, with links to them in HOME."""
        return Reserve(self.database.resolve().parent / "reserve", settings.storage.reserve_mb * MIB)

    @property
    def keys(self) -> KeyFolder:
        """The node's private keys."""
        return KeyFolder(self.path / "keys")

    def signer(self, role: Role) -> Signer:
        """The role's key in force: a rotation that was cut off may have left two, and the chain says which counts."""
        try:
            return self._signer(role)
        except (SyncError, EdgeError):
            return self._signer(role)  # a rotation that ends between two looks moves the file away

    def _signer(self, role: Role) -> Signer:
        waiting = f"{role}.next"
        if self.keys.custody(waiting) is None:
            return self.keys.load(role)
        ledger = self.open_ledger()
        try:
            in_force = ledger.key_in_force(role)
        finally:
            ledger.close()
        if self.keys.custody(role) is not None and (held := self.keys.load(role)).public == (in_force or held.public):
            return held  # the one in waiting may not be readable to this process yet
        return self.keys.load(waiting)

    def writer(self, role: Role, clock: Clock, patience: Patience = give_up) -> Writer:
        renew = partial(self.signer, role)
        return Writer(self.settings().node.id, role, self.signer(role), clock.stamp, patience, renew)

    def open_ledger(self, role: Role | None = None, clock: Clock | None = None) -> Ledger:
        """Open the ledger, for the calling thread: for reading without a role, for appending with one."""
        return Ledger(self.database, self.writer(role, clock or Clock()) if role else None)

    def migrate(self) -> None:
        """Bring the databases up to this version, for a command that goes on to write; raises DatabaseError.

        Nobody else does it: who only reads finds a HOME as it is.
        """
        people = (PEOPLE, ALIASES, CONTACTS, CODES, FORMS, ROTA, WEB, ACCESS_LOG, ACCOUNT_RECORDS, NOTES, RIGHTS)
        at_rest = (LEDGER, TRUST, *people, MACHINE, NIGHTLY, KEY_COPIES, ATTESTATION, CAMERA_VIEWS)
        migrate(self.database, LEDGER_FORMAT, *at_rest, SIDECARS)
        migrate(self.keys_database, KEYS_FORMAT, PERSON_KEYS, PEPPER, SECRETS, FORM_KEYS)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Hold run.lock; raises HomeError where another `run` has this HOME."""
        try:
            handle = os.open(self.run_lock, os.O_RDWR | os.O_CREAT, 0o660)
        except OSError as error:
            raise HomeError(f"{self.run_lock}: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.truncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        except OSError as error:
            os.close(handle)
            if isinstance(error, BlockingIOError):
                holder = self.run_lock.read_text().strip() or "unknown"
                raise HomeError(f"{self.path}: already running (process {holder})") from error
            raise HomeError(f"{self.run_lock}: {error.strerror}") from error
        try:
            yield
        finally:
            os.close(handle)


def create_home(path: Path, config: str, fence: Path | None, custody: Custody = "file") -> Home:
    """Make a HOME from the text of its firstvisit.toml: keys, databases, node.pub and the first two records.

    fence: the GeoJSON file that becomes the HOME's fence.geojson. custody: where both keys are to lie. Raises HomeError
    where something is already there, SettingsError or FenceError where the configuration is bad; nothing is made then.
    """
    home = Home(path)
    settings = parse_settings(config, str(home.config))
    place_fields(settings.place, fence)
    if path.exists() and not path.is_dir():
        raise HomeError(f"{path}: is a file")
    if path.exists() and any(path.iterdir()):
        raise HomeError(f"{path}: not empty; a HOME is made once")
    with all_or_nothing(path):
        _fill(home, settings, config, fence, custody)
    return home


def _fill(home: Home, settings: Settings, config: str, fence: Path | None, custody: Custody) -> None:
    keys = home.path / "keys"
    keys.mkdir(mode=0o750)
    if fence is not None:
        (home.path / FENCE_FILE).touch(mode=0o644)
        shutil.copyfile(fence, home.path / FENCE_FILE)
    home.config.touch(mode=0o640)  # cameras' passwords will be in it
    home.config.write_text(config)
    node, desk = home.keys.create("node", custody), home.keys.create("desk", custody)
    enrolment = Enrolment(settings.node.id, settings.site.id, node.public, desk.public)
    write_durably(home.node_pub, enrolment.text(node))
    Ledger.create(home.database)
    create(home.keys_database, KEYS_FORMAT, PERSON_KEYS, mode=0o600)  # the installer lets the kiosk's user in
    home.migrate()
    ledger = home.open_ledger("node")
    with ledger.transaction() as transaction:
        transaction.append(
            "epoch.started",
            {
                "reason": "init",
                "site": settings.site.id,
                "keys": {"node": str(node.public), "desk": str(desk.public)},
            },
        )
        transaction.append("policy.changed", CapturePolicy.of(settings).fields())
    ledger.close()


@contextmanager
def all_or_nothing(path: Path) -> Iterator[None]:
    """Make the folder for the block, closed to others, durable at its end, and leave it empty where the block fails."""
    made = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o750)
        close_to_others(path)
        yield
        sync_tree(path)
    except BaseException as error:
        if made:
            shutil.rmtree(path, ignore_errors=True)
        else:
            for child in path.iterdir():
                shutil.rmtree(child) if child.is_dir() else child.unlink()
        if isinstance(error, OSError):
            raise HomeError(f"{path}: {error.strerror}") from error
        raise
