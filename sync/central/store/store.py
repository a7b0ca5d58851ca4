"""The store: all of central's tables on one database, whatever that is."""

from sync.central.shard import Shard
from sync.central.store import accounts, codes, corrections, evidence, log, nodes, notices, sidecars, standing, visits
from sync.central.store.accounts import NodeAccounts
from sync.central.store.batch import Batch
from sync.central.store.codes import Codes
from sync.central.store.corrections import Corrections
from sync.central.store.database import Database, migrate
from sync.central.store.log import Log
from sync.central.store.nodes import Nodes
from sync.central.store.notices import Seal
from sync.central.store.sidecars import Sidecars
from sync.central.store.standing import Standing, StandingChanged
from sync.central.store.visits import Visits
from sync.format.messages import Notice, Statement
from sync.format.notices import KeyRevoked
from sync.format.public_keys import Enrolment

# in the order in which they are made
MIGRATIONS = (
    *evidence.MIGRATIONS,
    *nodes.MIGRATIONS,
    *notices.MIGRATIONS,
    *visits.MIGRATIONS,
    *log.MIGRATIONS,
    *standing.MIGRATIONS,
    *codes.MIGRATIONS,
    *sidecars.MIGRATIONS,
    *accounts.MIGRATIONS,
    *corrections.MIGRATIONS,
)


class Store(Corrections, Nodes, Sidecars, Visits, Log, Standing, Codes, NodeAccounts):
    """Opened by one thread; open another for another thread. Every call raises DatabaseError where it fails."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.database = database

    def migrate(self) -> None:
        """Make the tables, or bring existing ones up to this version; raises NewerFormat where a later one has been."""
        migrate(self.database, MIGRATIONS)

    def close(self) -> None:
        self.database.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hold(self, shard: Shard) -> None:
        """Be the only writer for a shard's nodes until closed; raises DatabaseError where somebody else is."""
        self.database.hold(shard.slots)

    def data_version(self) -> int:
        """A number that changes when somebody else has written to the database; asking reads no table."""
        return self.database.data_version()

    def enrol(self, enrolment: Enrolment, text: str, first: Notice, enrolled: Statement, now_us: int) -> None:
        """Add a node with its first notice and central's statement of it, all or nothing."""
        with self.database.transaction():
            self._add_node(enrolment, text, now_us)
            self._add_notice(first, now_us)
            edge = self._append_statements([(enrolment.node_id, enrolled)])
        self._edge = edge

    def re_enrol(self, enrolment: Enrolment, text: str, enrolled: Statement, now_us: int) -> None:
        """Let a known node's new keys count from their epoch on, whatever its chain was in, and say so in the log."""
        with self.database.transaction():
            self._add_enrolment(enrolment, text, now_us)
            edge = self._append_statements([(enrolment.node_id, enrolled)])
        self._edge = edge

    def readmit(self, node_id: str, epoch: int, opened: Statement, now_us: int) -> None:
        """Take a node's records again, of an epoch that may begin behind any record, and say so in the log."""
        with self.database.transaction():
            self._open_epoch(node_id, epoch, now_us)
            edge = self._append_statements([(node_id, opened)])
        self._edge = edge

    def append_notice(self, node_id: str, seal: Seal, now_us: int, statement: Statement | None = None) -> Notice:
        """Add the next notice of a node, sealed under the lock that keeps two writers from taking one place.

        statement: what the log says of it, entered with it or not at all. Raises SyncError for a node not enrolled.
        """
        with self.database.transaction():
            notice = self._append_notice(node_id, seal, now_us)
            if notice.kind == KeyRevoked.KIND:
                self._change_standing()
            edge = self._append_statements([(node_id, statement)] if statement else [])
        self._edge = edge
        return notice

    def write(self, batch: Batch, standing: int | None = None) -> None:
        """Commit a batch durably or change nothing.

        standing: by which the batch was judged, None where nothing was. Raises StandingChanged where it is another by
        now: no record enters the log behind the statement that forbids it.
        """
        with self.database.transaction():
            self._write_evidence(batch)
            self._write_visits(batch)
            self._write_rotations(batch)
            self._write_code_uses(batch)
            self._write_account_changes(batch)
            self._write_corrections_asked(batch)
            self._write_nodes(batch)
            self._write_answers(batch)
            self._write_erasures(batch)
            edge = self._append_records(batch)  # until the commit, nobody else can append
            if standing is not None and standing != self.standing():  # asked last: what is entered before us is seen
                raise StandingChanged(f"{self.database.name}: who may sign has changed")
        self._edge = edge
        self.scrub()
