"""A central without a broker and two nodes that have joined it, whose acks and heads pass by hand."""

from dataclasses import dataclass, field
from pathlib import Path

from sync.central.enrol import enrol
from sync.central.ingest import CHECKPOINT_PAUSE_S, Arrived, Ingest
from sync.central.keys import load_public, load_serving_keys
from sync.central.log import CentralLog
from sync.central.store.location import open_store
from sync.central.store.store import Store
from sync.format.log_proof import LogHead
from sync.format.merkle import Edge, leaf_hash
from sync.format.messages import Ack, Statement
from sync.format.records import Record
from sync.format.signing import PublicKey
from sync.format.wire import SignedBody, encode_frame
from sync.node.trust import join
from sync.node.witness import log_fields, witness
from tests.sync.uplink_site import Central, Node

NOW_US = 1_760_000_000_000_000
PAUSE_US = round(CHECKPOINT_PAUSE_S * 1e6)


@dataclass
class Two:
    """A central without a broker, and two nodes that have joined it; n1 is asked about."""

    central: Central
    node: Node
    other: Node
    store: Store
    now_us: int = NOW_US
    ingest: Ingest = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def send(self, node: Node, kind: str = "camera.up", count: int = 1, **fields: object) -> list[Ack]:
        """Record, send and hear the acks, a minute later each time."""
        ledger = node.ledger()
        try:
            sent = [ledger.append(kind, fields or {"camera": "door"}) for _ in range(count)]
        finally:
            ledger.close()
        return self.deliver(node, sent)

    def deliver(self, node: Node, records: list[Record]) -> list[Ack]:
        acks = []
        for at in range(0, len(records), 100):
            frame = encode_frame([SignedBody(one.body, one.signature) for one in records[at : at + 100]])
            self.now_us += PAUSE_US
            for answer in self.ingest.take(self.ingest.read([Arrived(node.node_id, frame)]), self.now_us):
                acks.append(Ack.parse(answer.payload, load_public(self.central.directory).keys["ack"]))
        return acks

    def hear(self, node: Node, ack: Ack) -> LogHead | None:
        ledger = node.ledger()
        try:
            assert ledger.accept_ack(ack)
            return witness(ack, ledger.connection, load_public(self.central.directory))
        finally:
            ledger.close()

    def alive(self, node: Node) -> list[Ack]:
        ledger = node.ledger()
        try:
            fields = log_fields(ledger)
        finally:
            ledger.close()
        return self.send(node, "node.alive", people=0, **fields)

    @property
    def notice_key(self) -> PublicKey:
        return load_public(self.central.directory).keys["notice"]

    def refused(self) -> dict[tuple[str, str], int]:
        return {(one.node_id, one.reason): one.count for one in self.store.refusals()}

    def log(self) -> CentralLog:
        return CentralLog(self.store, load_serving_keys(self.central.directory))

    def restart(self) -> None:
        keys = load_serving_keys(self.central.directory)
        self.ingest = Ingest(self.store, keys, monotonic=lambda: self.now_us / 1e6)

    def reopen(self) -> None:
        """What a central is after a restart."""
        self.store.close()
        self.store = open_store(self.central.directory)
        self.restart()

    def hashes(self) -> list[bytes]:
        """What the leaves stand for, as the records and statements held call for, in the order of acceptance."""
        statements = {leaf: Statement.parse(data, self.notice_key).hash for leaf, data in self.store.statements()}
        records = iter(self.store.database.query("SELECT hash FROM records ORDER BY received_us, seq"))
        return [statements.get(leaf) or bytes(next(records)[0]) for leaf in range(self.store.log_size())]

    def rebuild(self, entries: list[bytes]) -> None:
        """What a central that holds its real keys can do: make its tree anew, over these entries."""
        edge, tiles = Edge().grown([leaf_hash(one) for one in entries])
        with self.store.database.transaction():
            self.store.database.execute("DELETE FROM log_tiles")
            self.store.database.many(
                "INSERT INTO log_tiles VALUES (?, ?, ?)", [(one.level, one.number, one.data) for one in tiles]
            )
            self.store.database.execute("UPDATE log SET size = ?", (edge.size,))
        self.reopen()


def make_two(folder: Path, store_url: str | None = None) -> Two:
    """Make them in a folder, the store elsewhere where it has a URL; the store is open, and the caller's to close."""
    central = Central(folder / "central", store_url=store_url)
    nodes = [Node(folder / name, name) for name in ("n1", "n2")]
    for node in nodes:
        join(node.home, central.public)
        enrol(central.directory, node.home / "node.pub")
    store = central.store()
    return Two(central, *nodes, store)
