"""What a node believes of central: the pinned root, the keys under it, the notices applied, and what looked wrong."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlite_utils
from sqlite_utils.migrations import Migrations

from sync import SyncError
from sync.alarms import Alarm, Alarms
from sync.database import LEDGER_FORMAT, migrate, named, open_checked
from sync.files import read_text, write_durably
from sync.ledger import Ledger
from sync.messages import BadMessage, CentralKeys, Notice
from sync.records import Record

CENTRAL_FILE = "central.pub"
DATABASE_FILE = "firstvisit.db"
FIRST_PREV_HASH = bytes(32)  # what notice 1 follows

MIGRATIONS = Migrations("trust")


@MIGRATIONS()
def notices_and_alarms(db: sqlite_utils.Database) -> None:
    """Every notice applied, as signed; and what central or somebody posing as central did wrong, counted."""
    db.table("notices").create(
        {"nseq": int, "hash": bytes, "kind": str, "data": bytes, "applied_us": int},
        pk="nseq",
        not_null={"hash", "kind", "data", "applied_us"},
    )
    db.table("alarms").create(
        {"code": str, "detail": str, "count": int, "first_us": int, "last_us": int},
        pk="code",
        not_null={"detail", "count", "first_us", "last_us"},
    )


@MIGRATIONS()
def log_head(db: sqlite_utils.Database) -> None:
    """One row: the newest head of central's log verified here, and the ack that brought it."""
    db.table("log_head").create(
        {"one": int, "size": int, "root": bytes, "epoch": int, "upto_seq": int, "ack_hash": bytes},
        pk="one",
        not_null={"size", "root", "epoch", "upto_seq", "ack_hash"},
    )


class NoticeRefused(SyncError):
    """A notice that central signed and this node will not apply; the text says why."""


class Trust:
    """The trust of one HOME. It holds no connection, so any thread may ask it."""

    def __init__(self, home: Path) -> None:
        """Read HOME/central.pub; raises SyncError where the node has not joined or the file is damaged."""
        self._database = home / DATABASE_FILE
        self._pinned = read_central_file(home / CENTRAL_FILE)

    @property
    def root(self) -> str:
        """The fingerprint of the pinned root key."""
        return self._pinned.root.fingerprint

    def keys(self) -> CentralKeys:
        """Central's keys in force: those of the newest `keys` notice applied, else of central.pub."""
        with self._open() as connection:
            found = connection.execute("SELECT data FROM notices WHERE kind = 'keys' ORDER BY nseq DESC").fetchone()
        if found is None:
            return self._pinned
        return CentralKeys.of(Notice.parse(found[0], self._pinned.root, self._pinned.keys["notice"]).body)

    def apply(self, data: bytes, ledger: Ledger, node_id: str, now_us: int) -> Record | None:
        """Apply a notice and append its `notice.applied`, both or neither.

        ledger: opened by the node's writer, on this HOME. Returns the record, or None for a replay. Raises BadMessage
        where the notice is not central's or not this node's, NoticeRefused for a gap or a kind not understood.
        """
        notice = Notice.parse(data, self._pinned.root, self.keys().keys["notice"])
        if notice.node_id != node_id:
            raise BadMessage(f"notice: for node {notice.node_id}")
        with ledger.transaction() as transaction:
            last, last_hash = transaction.connection.execute(
                "SELECT nseq, hash FROM notices ORDER BY nseq DESC LIMIT 1"
            ).fetchone() or (0, FIRST_PREV_HASH)
            if notice.nseq <= last:
                return None
            if notice.nseq != last + 1:
                raise NoticeRefused(f"notice {notice.nseq} arrived, {last + 1} is missing")
            if notice.prev_hash != last_hash:
                raise NoticeRefused(f"notice {notice.nseq} does not follow the notice {last} applied here")
            self._check(notice)
            transaction.connection.execute(
                "INSERT INTO notices (nseq, hash, kind, data, applied_us) VALUES (?, ?, ?, ?, ?)",
                (notice.nseq, notice.hash, notice.kind, notice.data, now_us),
            )
            return transaction.append("notice.applied", {"nseq": notice.nseq, "hash": notice.hash.hex()})

    def _check(self, notice: Notice) -> None:
        """Raise unless this version understands the notice; `keys` replaces all but the root and the name."""
        if notice.kind != "keys":
            raise NoticeRefused(f"notice {notice.nseq}: kind {notice.kind!r} is not understood by this version")
        keys = CentralKeys.of(notice.body)
        if keys.root != self._pinned.root or keys.central_id != self._pinned.central_id:
            raise NoticeRefused(f"notice {notice.nseq}: keys of another central")

    def raise_alarm(self, code: str, detail: str, now_us: int, count: int = 1) -> None:
        """Count an alarm, for `doctor` to show."""
        Alarms(self._database).raise_alarm(code, detail, now_us, count)

    def alarms(self) -> list[Alarm]:
        """Every alarm, the newest first."""
        return Alarms(self._database).all()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(open_checked(self._database, LEDGER_FORMAT)) as connection, named(self._database):
            yield connection


def key_notices(connection: sqlite3.Connection) -> list[bytes]:
    """The signed bytes of every `keys` notice that a HOME has applied, oldest first."""
    return [row[0] for row in connection.execute("SELECT data FROM notices WHERE kind = 'keys' ORDER BY nseq")]


def join(home: Path, central_pub: Path) -> CentralKeys:
    """Pin the central of the file `central_pub` in HOME; joining the same one again changes nothing.

    Raises SyncError where HOME has no ledger, the file is not a central's, or another central is pinned.
    """
    if not (home / DATABASE_FILE).is_file():
        raise SyncError(f"{home}: not a FirstVisit HOME; `firstvisit init` makes one")
    keys = read_central_file(central_pub)
    migrate(home / DATABASE_FILE, LEDGER_FORMAT, MIGRATIONS)
    pinned = home / CENTRAL_FILE
    if pinned.exists():
        held = read_central_file(pinned)
        if held.root != keys.root:
            raise SyncError(
                f"{central_pub}: root key {keys.root.fingerprint}, but {home} has joined the central of root key"
                f" {held.root.fingerprint}"
            )
    else:
        write_durably(pinned, central_pub.read_text(encoding="utf-8"))
    return Trust(home).keys()


def read_central_file(path: Path) -> CentralKeys:
    """Read a central.pub, held to the root key it names; raises SyncError naming the file."""
    try:
        return CentralKeys.parse_text(read_text(path, "central key file"))
    except BadMessage as error:
        raise SyncError(f"{path}: {error}") from error
