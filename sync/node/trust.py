"""What a node believes of central: the pinned root, the keys under it, the notices applied, and what looked wrong."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlite_utils
from sqlite_utils.migrations import Migrations

from sync import SyncError
from sync.format.messages import FIRST_PREV_HASH, BadMessage, Notice
from sync.format.notices import (
    AccountSet,
    AccountWord,
    BadBody,
    CodeRevoked,
    KeyRevoked,
    Order,
    Policy,
    ReportKnown,
    read_order,
)
from sync.format.public_keys import CentralKeys
from sync.format.records import Record, place
from sync.node import orders
from sync.node.alarms import Alarm, Alarms, count_alarm
from sync.node.append import Transaction
from sync.node.in_force import KeyNotInForce
from sync.node.ledger import Ledger
from sync.node.sidecars import MIGRATIONS as SIDECARS
from sync.storage.database import LEDGER_FORMAT, migrate, named, open_checked
from sync.storage.files import read_text, write_durably
from sync.storage.key_files import CENTRAL_FILE, read_central_file
from sync.web.tables import MIGRATIONS as WEB

DATABASE_FILE = "firstvisit.db"

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


@MIGRATIONS()
def standing_orders(db: sqlite_utils.Database) -> None:
    """What the notices applied have left standing, and those held back because they were not understood."""
    orders.create_tables(db)
    db.table("held_notices").create(
        {"nseq": int, "hash": bytes, "kind": str, "data": bytes, "received_us": int},
        pk="nseq",
        not_null={"hash", "kind", "data", "received_us"},
    )


@MIGRATIONS()
def settled_alarms(db: sqlite_utils.Database) -> None:
    """Alarms that somebody has looked into, and which have not happened since."""
    db.table("settled_alarms").create({"code": str, "settled_us": int}, pk="code", not_null={"settled_us"})


@MIGRATIONS()
def uses_of_reports(db: sqlite_utils.Database) -> None:
    """Where else the code of a known report was shown."""
    orders.add_uses(db)


@MIGRATIONS()
def confirmed_erasures(db: sqlite_utils.Database) -> None:
    """Whom central and all other nodes have forgotten too."""
    orders.create_confirmations(db)


@MIGRATIONS()
def passed_on_withdrawals(db: sqlite_utils.Database) -> None:
    """When a consent was withdrawn elsewhere that an erasure passes on."""
    orders.add_withdrawals(db)


class NoticeRefused(SyncError):
    """A notice that central signed and this node will not apply; the text says why."""


class NoticeGap(NoticeRefused):
    """A notice whose predecessor has not arrived: central sends both again."""


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

    def every_keys(self) -> list[CentralKeys]:
        """Every list of central's keys that this node has been told of, those in force first."""
        with self._open() as connection:
            rows = connection.execute("SELECT data FROM notices WHERE kind = 'keys' ORDER BY nseq DESC").fetchall()
        return [*(CentralKeys.of(Notice.unverified(data).body) for (data,) in rows), self._pinned]

    def apply(self, data: bytes, ledger: Ledger, node_id: str, now_us: int) -> Record | None:
        """Apply a notice and append its `notice.applied`, both or neither.

        ledger: opened by the node's writer, on this HOME. Returns the record, or None for a replay, and while the key
        that would have to sign the answer is revoked, by this very notice perhaps: that is an alarm, and the answer is
        given when the notice comes again and there are new keys. Raises BadMessage where the notice is not central's or
        not this node's, NoticeGap, or NoticeRefused where its place is taken by another, it does not follow the one
        before, or it is not understood: then it is held back, and those behind it may come.
        """
        if Notice.unverified(data).nseq <= self.last_nseq():
            notice = self._read_arrived(data)
        else:
            notice = Notice.parse(data, self._pinned.root, self.keys().keys["notice"])
        if notice.node_id != node_id:
            raise BadMessage(f"notice: for node {notice.node_id}")
        with ledger.transaction() as transaction:
            last, last_hash = _last(transaction.connection)
            if notice.nseq <= last:
                if not _arrived(transaction.connection, notice):
                    raise NoticeRefused(f"notice {notice.nseq} is another than the one that came before")
                return _answer_late(notice, ledger, transaction, now_us)
            if notice.nseq != last + 1:
                raise NoticeGap(f"notice {notice.nseq} arrived, {last + 1} is missing")
            if notice.prev_hash != last_hash:
                raise NoticeRefused(f"notice {notice.nseq} does not follow the notice {last} held here")
            try:
                return self._carry_out(notice, ledger, transaction, now_us)
            except BadBody as error:
                why = str(error)
            transaction.connection.execute(
                "INSERT INTO held_notices (nseq, hash, kind, data, received_us) VALUES (?, ?, ?, ?, ?)",
                (notice.nseq, notice.hash, notice.kind, notice.data, now_us),
            )
        raise NoticeRefused(f"notice {notice.nseq}: {why}")

    def apply_held(self, ledger: Ledger, now_us: int) -> list[str]:
        """Apply the notices held back that this version understands; returns what it still says of each of the rest."""
        with self._open() as connection:
            rows = connection.execute("SELECT nseq, data FROM held_notices ORDER BY nseq").fetchall()
        refused = []
        for nseq, data in rows:
            try:
                notice = self._read_arrived(data)
                with ledger.transaction() as transaction:
                    self._carry_out(notice, ledger, transaction, now_us)
                    transaction.connection.execute("DELETE FROM held_notices WHERE nseq = ?", (nseq,))
            except (BadMessage, BadBody, KeyNotInForce) as error:
                refused.append(f"notice {nseq}: {error}")
        return refused

    def last_nseq(self) -> int:
        """The number of the last notice that arrived, applied or held back; 0 before the first."""
        with self._open() as connection:
            return _last(connection)[0]

    # -- what the notices applied have left standing -------------------------------------------------------------

    def revoked_keys(self) -> list[KeyRevoked]:
        """Every key of this node that central has revoked, from the earliest place named."""
        with self._open() as connection:
            return orders.revoked_keys(connection)

    def policy(self) -> tuple[int, Policy]:
        """What central asks beside the configuration, and the nseq of the notice; (0, nothing) before the first."""
        with self._open() as connection:
            found = connection.execute(
                "SELECT nseq, data FROM notices WHERE kind = 'policy' ORDER BY nseq DESC LIMIT 1"
            ).fetchone()
        return (found[0], Policy.of(Notice.unverified(found[1]).body)) if found else (0, Policy())

    def erasures(self) -> list[orders.Erasure]:
        """Whom central wants forgotten and who is not yet."""
        with self._open() as connection:
            return orders.erasures(connection)

    def code_revoked(self, code_hash: str) -> CodeRevoked | None:
        """The revocation of an agent's code, or None; code_hash: 64 hex."""
        with self._open() as connection:
            return orders.code_revoked(connection, code_hash)

    def known_report(self, report_id: str) -> ReportKnown | None:
        """What central has said of a report, None where it has not been heard of here."""
        with self._open() as connection:
            return orders.known_report(connection, report_id)

    def known_reports(self, subject: str, now_us: int) -> list[ReportKnown]:
        """The reports of a customer that protect their agents now, the earliest first; subject: 64 hex."""
        with self._open() as connection:
            return orders.known_reports(connection, subject, now_us)

    # -- alarms ------------------------------------------------------------------------------------------------

    def raise_alarm(self, code: str, detail: str, now_us: int, count: int = 1) -> None:
        """Count an alarm, for `doctor` to show."""
        Alarms(self._database).raise_alarm(code, detail, now_us, count)

    def forget_alarms(self, *codes: str) -> None:
        """Drop alarms whose cause is mended."""
        Alarms(self._database).forget(*codes)

    def alarms(self) -> list[Alarm]:
        """Every alarm, the newest first."""
        return Alarms(self._database).all()

    # -- inside ------------------------------------------------------------------------------------------------

    def _carry_out(self, notice: Notice, ledger: Ledger, transaction: Transaction, now_us: int) -> Record | None:
        """Let a notice that is next take effect and answer it; raises BadBody, having changed nothing."""
        order = self._understood(notice)
        if order is not None:
            orders.carry_out(transaction.connection, notice.nseq, order)
        transaction.connection.execute(
            "INSERT INTO notices (nseq, hash, kind, data, applied_us) VALUES (?, ?, ?, ?, ?)",
            (notice.nseq, notice.hash, notice.kind, notice.data, now_us),
        )
        return _answer(notice, ledger, transaction, now_us)

    def _understood(self, notice: Notice) -> Order | None:
        """What the notice orders, None of `keys`, which replace all but the root and the name; raises BadBody."""
        if notice.kind != "keys":
            return read_order(notice.kind, notice.body)
        try:
            keys = CentralKeys.of(notice.body)
        except BadMessage as error:
            raise BadBody(str(error)) from error
        if keys.root != self._pinned.root or keys.central_id != self._pinned.central_id:
            raise BadBody("keys of another central")
        return None

    def _read_arrived(self, data: bytes) -> Notice:
        """Read a notice under any notice key that central has had: it was sealed when that one was in force."""
        fault = BadMessage("notice: not signed by a key of central's")
        for keys in self.every_keys():
            try:
                return Notice.parse(data, self._pinned.root, keys.keys["notice"])
            except BadMessage as error:
                fault = error
        raise fault

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(open_checked(self._database, LEDGER_FORMAT)) as connection, named(self._database):
            yield connection


def _answer(notice: Notice, ledger: Ledger, transaction: Transaction, now_us: int) -> Record | None:
    """Say in the chain that a notice is applied, unless what is said there now is void: then raise the alarm."""
    if (revoked := ledger.revocation(transaction.key)) is not None:
        why = f"central has revoked the node key after {place(revoked.epoch, revoked.seq)} ({revoked.reason})"
        count_alarm(transaction.connection, "KEY_NOT_IN_FORCE", f"{why}: what it signs since is void", now_us)
        return None
    order = read_order(notice.kind, notice.body) if notice.kind == AccountSet.KIND else None
    told = order.answered() if isinstance(order, AccountSet | AccountWord) else {}
    return transaction.append("notice.applied", {"nseq": notice.nseq, "hash": notice.hash.hex(), **told})


def _answer_late(notice: Notice, ledger: Ledger, transaction: Transaction, now_us: int) -> Record | None:
    """Answer a notice that was applied without one, for want of a key that might sign it."""
    applied = transaction.connection.execute(
        "SELECT 1 FROM notices WHERE nseq = ? AND hash = ?", (notice.nseq, notice.hash)
    ).fetchone()
    answered = transaction.connection.execute(
        "SELECT 1 FROM ledger WHERE kind = 'notice.applied' AND instr(body, ?)", (f'"{notice.hash.hex()}"'.encode(),)
    ).fetchone()
    if not applied or answered:
        return None
    return _answer(notice, ledger, transaction, now_us)


def _last(connection: sqlite3.Connection) -> tuple[int, bytes]:
    """nseq and hash of the last notice that arrived."""
    found = connection.execute(
        "SELECT nseq, hash FROM notices UNION ALL SELECT nseq, hash FROM held_notices ORDER BY nseq DESC LIMIT 1"
    ).fetchone()
    return (found[0], found[1]) if found else (0, FIRST_PREV_HASH)


def _arrived(connection: sqlite3.Connection, notice: Notice) -> bool:
    """Whether this very notice has arrived before."""
    found = connection.execute(
        "SELECT 1 FROM notices WHERE nseq = ? AND hash = ? UNION ALL"
        " SELECT 1 FROM held_notices WHERE nseq = ? AND hash = ?",
        (notice.nseq, notice.hash) * 2,
    )
    return found.fetchone() is not None


def standing_notices(connection: sqlite3.Connection) -> list[bytes]:
    """The signed bytes of the notices applied by which records are judged: about keys and accounts, oldest first."""
    rows = connection.execute("SELECT data FROM notices WHERE kind IN ('keys', 'key.revoked', 'account') ORDER BY nseq")
    return [row[0] for row in rows]


def account_notices(connection: sqlite3.Connection) -> list[Notice]:
    """The notices applied about accounts, oldest first; a `notice.applied` of the node's proves each by its hash."""
    rows = connection.execute("SELECT data FROM notices WHERE kind = 'account' ORDER BY nseq")
    return [Notice.unverified(data) for (data,) in rows]


def join(home: Path, central_pub: Path) -> CentralKeys:
    """Pin the central of the file `central_pub` in HOME; joining the same one again changes nothing.

    Raises SyncError where HOME has no ledger, the file is not a central's, or another central is pinned.
    """
    return join_text(home, read_text(central_pub, "central key file"), str(central_pub))


def join_text(home: Path, text: str, named: str) -> CentralKeys:
    """Pin the central of a central.pub's text, as `join` does; named: what errors call it."""
    if not (home / DATABASE_FILE).is_file():
        raise SyncError(f"{home}: not a FirstVisit HOME; `firstvisit init` makes one")
    try:
        keys = CentralKeys.parse_text(text)
    except BadMessage as error:
        raise SyncError(f"{named}: {error}") from error
    migrate(home / DATABASE_FILE, LEDGER_FORMAT, MIGRATIONS, SIDECARS, WEB)  # WEB: accounts, for `account` notices
    pinned = home / CENTRAL_FILE
    if pinned.exists():
        held = read_central_file(pinned)
        if held.root != keys.root:
            raise SyncError(
                f"{named}: root key {keys.root.fingerprint}, but {home} has joined the central of root key"
                f" {held.root.fingerprint}"
            )
    else:
        write_durably(pinned, text)
    return Trust(home).keys()
