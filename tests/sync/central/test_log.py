"""Central's log over real records, and the two ends that watch each other through it."""

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sync.central.enrol import enrol
from sync.central.ingest import Arrived, Ingest
from sync.central.keys import key_path, load_public, load_role, load_serving_keys
from sync.central.log import enrolled, state_unstated
from sync.central.store.location import migrate_store, open_store
from sync.central.store.store import Store
from sync.format.checkpoint import Checkpoint, origin_of
from sync.format.log_proof import LogHead
from sync.format.merkle import leaf_hash, verify_consistency, verify_inclusion
from sync.format.messages import Ack, BadMessage, Notice, Statement
from sync.format.public_keys import Enrolment
from sync.format.signing import load_key_file
from sync.format.wire import SignedBody, encode_frame
from sync.node.ledger import Ledger
from sync.node.trust import DATABASE_FILE
from sync.node.witness import LogFork
from sync.storage.database import DatabaseError
from sync.verify.verify import verify
from tests.sync.format.test_merkle import naive_root
from tests.sync.uplink_site import Node
from tests.sync.witnessed_site import NOW_US, PAUSE_US, Two, make_two


@pytest.fixture
def two(tmp_path: Path, store_url: str | None) -> Iterator[Two]:
    made = make_two(tmp_path, store_url)
    yield made
    made.store.close()


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Two]:
    """In SQLite, whose file can be opened by hand."""
    made = make_two(tmp_path)
    yield made
    made.store.close()


def test_the_log_holds_what_was_taken_in_that_order_statements_among_it(two: Two, tmp_path: Path) -> None:
    two.send(two.node, count=3)
    two.send(two.other, count=2)
    third = Node(tmp_path / "n3", "n3")
    enrol(two.central.directory, third.home / "node.pub")  # another process appends to the same log
    two.send(two.node, count=300)
    assert two.store.log_size() == 2 + 5 + 1 + 300
    assert [leaf for leaf, _ in two.store.statements()] == [0, 1, 7]
    checkpoint, note = two.log().checkpoint()
    assert checkpoint.root == naive_root([leaf_hash(one) for one in two.hashes()])
    public = load_public(two.central.directory)
    assert Checkpoint.parse(note, origin_of(public.central_id), public.keys["checkpoint"]) == checkpoint


def test_an_enrolment_is_stated_once_with_the_nodes_keys(two: Two) -> None:
    enrol(two.central.directory, two.node.home / "node.pub")
    (leaf, data), *_ = two.store.statements("n1")
    stated = Statement.parse(data, two.notice_key)
    assert (leaf, stated.kind, stated.central_id) == (0, "node.enrolled", "c1")
    keys = {"node": str(two.node.key.public), "desk": str(two.node.desk.public)}
    assert stated.fields == {"node": "n1", "site": "site-1", "epoch": 1, "keys": keys}
    assert len(two.store.statements()) == 2


def test_every_record_is_proven_to_lie_where_the_store_says(two: Two) -> None:
    for count in (1, 5, 100, 120):
        two.send(two.node, count=count)
        two.send(two.other, count=2)
    log = two.log()
    checkpoint, _ = log.checkpoint()
    for row in two.store.records():
        leaf = two.store.leaf_of(row.node_id, row.epoch, row.seq)
        assert leaf is not None
        proof = log.inclusion(leaf, checkpoint.size)
        assert verify_inclusion(leaf_hash(row.hash), leaf, checkpoint.size, proof, checkpoint.root)
    assert two.store.leaf_of("n1", 1, 227) is None
    assert two.store.leaf_of("n1", 2, 1) is None
    assert two.store.leaf_of("n9", 1, 1) is None


def test_records_and_leaves_are_committed_together_or_not_at_all(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    two.send(two.node, count=3)
    grown = type(two.store)._append_records

    def fail(store: Store, batch: object) -> object:
        grown(store, batch)  # type: ignore[arg-type]
        raise DatabaseError("the disk is gone")

    with monkeypatch.context() as broken:
        broken.setattr(type(two.store), "_append_records", fail)
        with pytest.raises(DatabaseError, match="the disk is gone"):
            two.send(two.node)
    assert two.central.held() == [1, 2, 3]
    assert two.store.log_size() == 5
    ledger = two.node.ledger()
    two.deliver(two.node, list(ledger.records(["camera.up"])))
    ledger.close()
    assert two.store.log_size() == 6
    assert two.log().checkpoint()[0].root == naive_root([leaf_hash(one) for one in two.hashes()])


def test_what_arrives_twice_stands_in_the_log_once(two: Two) -> None:
    two.send(two.node, count=3)
    ledger = two.node.ledger()
    two.deliver(two.node, list(ledger.records(["camera.up"])))
    ledger.close()
    assert two.store.log_size() == 5


def test_the_first_ack_to_a_node_carries_a_checkpoint_and_then_one_a_minute(two: Two) -> None:
    (first,) = two.send(two.node)
    two.now_us -= PAUSE_US - 1_000_000
    (soon,) = two.send(two.node)
    (others,) = two.send(two.other)
    (later,) = two.send(two.node)
    assert [one.checkpoint is not None for one in (first, soon, others, later)] == [True, False, True, True]
    two.restart()
    two.now_us -= PAUSE_US - 1_000_000
    (again,) = two.send(two.node)
    assert again.checkpoint is not None


def test_a_node_follows_the_log_from_head_to_head(two: Two) -> None:
    for round_ in range(3):
        (ack,) = two.send(two.node, count=20)
        assert ack.checkpoint
        assert ack.checkpoint.from_size == (None if round_ == 0 else two.store.signed_back("n1")[0].head.size)
        assert two.hear(two.node, ack) == LogHead(two.store.log_size(), two.log().checkpoint()[0].root)
        two.send(two.other, count=7)
        (alive,) = two.alive(two.node)
        assert two.hear(two.node, alive)
    (back,) = two.store.signed_back()
    assert (back.node_id, back.matches) == ("n1", True)
    assert two.refused() == {}


def test_a_restarted_central_still_knows_what_was_signed_back(two: Two) -> None:
    (ack,) = two.send(two.node)
    two.hear(two.node, ack)
    two.alive(two.node)
    two.restart()
    (next_ack,) = two.send(two.node)
    assert next_ack.checkpoint
    assert next_ack.checkpoint.from_size == ack_size(ack)
    two.hear(two.node, next_ack)


def ack_size(ack: Ack) -> int:
    assert ack.checkpoint
    return int(ack.checkpoint.note.split("\n")[1])


@pytest.mark.parametrize(
    "head", [LogHead(3, b"x" * 32), LogHead(10_000, b"x" * 32), LogHead(2**53 - 1, b"x" * 32)], ids=str
)
def test_a_head_that_is_not_of_this_log_is_counted_and_the_record_kept(two: Two, head: LogHead) -> None:
    two.send(two.node, count=3)
    (ack,) = two.send(two.node, "node.alive", people=0, log=head.fields())
    assert ack.upto_seq == 4
    assert ack.checkpoint
    assert ack.checkpoint.from_size is None  # there is nothing to prove: the node will see that too
    assert two.refused() == {("n1", "LOG_MISMATCH"): 1}
    (back,) = two.store.signed_back("n1")
    assert (back.head, back.matches) == (head, False)


def test_a_node_that_signs_head_upon_head_is_held_to_one_a_second(two: Two) -> None:
    two.send(two.node, count=9)
    for size, step_us, counted in ((3, PAUSE_US, 1), (4, 1, 1), (3, 1, 2), (5, 1_000_000, 3), (10**6, 1, 3)):
        two.now_us += step_us - PAUSE_US
        head = LogHead(size, b"x" * 32)
        two.send(two.node, "node.alive", people=0, log=head.fields())
        assert two.refused() == {("n1", "LOG_MISMATCH"): counted}, f"size {size}: known roots cost nothing"
    (ack,) = two.send(two.node)
    assert ack.checkpoint
    assert ack.checkpoint.from_size is None


@pytest.mark.parametrize("log", [7, {}, {"size": 0, "root": "ab" * 32}, {"size": 3}, {"size": 3, "root": "AB" * 32}])
def test_what_is_no_head_is_stored_as_any_unknown_field(two: Two, log: object) -> None:
    (ack,) = two.send(two.node, "node.alive", people=0, log=log)
    assert ack.upto_seq == 1
    assert two.refused() == {}
    assert two.store.signed_back() == []


def test_an_older_store_gets_its_log_in_the_order_of_acceptance(lite: Two) -> None:
    lite.send(lite.node, count=120)
    lite.send(lite.other, count=3)
    lite.send(lite.node, count=200)
    lite.store.close()
    with closing(sqlite3.connect(lite.central.directory / "central.db")) as old, old:
        for table in ("log", "log_tiles", "log_runs", "log_statements", "log_heads"):
            old.execute(f"DROP TABLE {table}")
        old.execute("DELETE FROM migrations WHERE name = 'log'")
    migrate_store(lite.central.directory)
    lite.store = open_store(lite.central.directory)
    assert lite.store.log_size() == 323
    assert lite.log().checkpoint()[0].root == naive_root([leaf_hash(one) for one in lite.hashes()])
    assert [lite.store.leaf_of(*one) for one in (("n1", 1, 120), ("n2", 1, 1), ("n1", 1, 121))] == [119, 120, 123]
    for _again in range(2):
        state_unstated(lite.store, "c1", 5, load_role(lite.central.directory, "notice"))
    assert [leaf for leaf, _ in lite.store.statements()] == [323, 324]
    assert lite.store.statements("n2")[0][0] == 324
    lite.restart()
    lite.send(lite.node)
    assert lite.log().checkpoint()[0].root == naive_root([leaf_hash(one) for one in lite.hashes()])


def test_workers_that_commit_at_once_append_in_one_order(two: Two) -> None:
    """Each with a store of its own, as the workers of PostgreSQL have; SQLite lets one in after the other."""
    failures, rounds = list[BaseException](), 25
    records = {}
    for node in (two.node, two.other):
        node.record(4 * rounds)
        ledger = node.ledger()
        records[node.node_id] = list(ledger.records(["camera.up"]))
        ledger.close()

    def work(node_id: str) -> None:
        try:
            with open_store(two.central.directory) as store:
                ingest = Ingest(store, load_serving_keys(two.central.directory))
                for at in range(0, 4 * rounds, 4):
                    frame = [SignedBody(one.body, one.signature) for one in records[node_id][at : at + 4]]
                    ingest.take(ingest.read([Arrived(node_id, encode_frame(frame))]), NOW_US + at)
        except BaseException as error:  # noqa: BLE001  # the test's thread shall see it
            failures.append(error)

    workers = [threading.Thread(target=work, args=(node_id,)) for node_id in records]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    leaves = {two.store.leaf_of(row.node_id, row.epoch, row.seq): row.hash for row in two.store.records()}
    leaves |= {leaf: Statement.parse(data, two.notice_key).hash for leaf, data in two.store.statements()}
    assert sorted(leaves) == list(range(2 + 8 * rounds))
    in_order = [leaf_hash(bytes(leaves[leaf])) for leaf in sorted(leaves)]
    assert two.log().checkpoint()[0].root == naive_root(in_order)


def test_no_checkpoint_goes_to_a_node_that_has_not_heard_of_its_key(two: Two) -> None:
    public, root = load_public(two.central.directory), load_key_file(key_path(two.central.directory, "root"))
    two.store.append_notice("n1", lambda nseq, prev: Notice.seal("n1", nseq, prev, "keys", public.fields(), root), 5)
    (ack,) = two.send(two.node)
    (other,) = two.send(two.other)
    assert (ack.checkpoint, other.checkpoint is not None) == (None, True)
    ((digest,),) = two.store.database.query("SELECT hash FROM notices WHERE node_id = 'n1' AND nseq = 2")
    two.send(two.node, "notice.applied", nseq=2, hash=bytes(digest).hex())
    (ack,) = two.send(two.node)
    assert ack.checkpoint is not None


def test_a_restored_node_follows_the_log_from_its_new_epoch_on(two: Two, tmp_path: Path) -> None:
    """Central holds heads signed back in an end of the chain that the restored machine has lost."""
    (ack,) = two.send(two.node, count=3)
    two.hear(two.node, ack)
    two.alive(two.node)
    Ledger(two.node.home / DATABASE_FILE).close()
    backup = shutil.copytree(two.node.home, tmp_path / "backup")
    (ack,) = two.send(two.node, count=3)
    two.hear(two.node, ack)
    two.alive(two.node)
    two.node.home = backup
    ledger = two.node.ledger()
    with ledger.transaction() as transaction:
        opened = transaction.begin_epoch("restore", {"site": "site-1", "keys": {}})
    ledger.close()
    (ack,) = two.deliver(two.node, [opened])
    assert ack.checkpoint
    assert ack.checkpoint.from_size is None
    assert two.hear(two.node, ack)
    two.restart()
    (ack,) = two.send(two.node)
    assert two.hear(two.node, ack)
    two.alive(two.node)
    (ack,) = two.send(two.node)
    assert ack.checkpoint
    assert ack.checkpoint.from_size
    assert two.hear(two.node, ack)
    assert two.refused() == {}
    assert verify(two.node.home).ok


def test_a_record_that_the_log_has_lost_keeps_no_ack_from_anybody(two: Two) -> None:
    two.send(two.node, count=2)
    two.send(two.other)
    two.store.database.execute("DELETE FROM log_runs WHERE node_id = 'n1'")
    two.restart()
    ledger = two.node.ledger()
    repeated = list(ledger.records(["camera.up"]))
    ledger.close()
    (ack,) = two.deliver(two.node, repeated)
    assert (ack.upto_seq, ack.checkpoint) == (2, None)
    (ack,) = two.send(two.other)
    assert ack.upto_seq == 2
    assert ack.checkpoint
    assert two.refused() == {("n1", "LOG_DAMAGED"): 1}


def test_a_head_that_a_damaged_log_cannot_be_held_against_costs_no_record(two: Two) -> None:
    two.send(two.node, count=3)
    two.send(two.node, count=300)
    two.store.database.execute("UPDATE log_tiles SET data = substr(data, 1, 32) WHERE level = 0 AND number = 0")
    two.restart()
    head = LogHead(100, b"x" * 32)
    (ack,) = two.send(two.node, "node.alive", people=0, log=head.fields())
    assert ack.upto_seq == 304
    assert two.refused()["n1", "LOG_DAMAGED"] >= 1
    assert two.store.signed_back("n1") == []
    (ack,) = two.send(two.other)
    assert ack.upto_seq == 1


def test_a_log_with_a_damaged_edge_takes_nothing_more(two: Two) -> None:
    two.send(two.node, count=3)
    two.store.database.execute("UPDATE log_tiles SET data = substr(data, 33)")
    two.reopen()
    with pytest.raises(DatabaseError, match="the log is damaged: tile 0 of level 0 has fewer than"):
        two.send(two.node)
    assert two.central.held() == [1, 2, 3]


# -- a history rewritten at one end ----------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["another record", "two exchanged", "one removed"])
def test_a_central_that_rewrites_its_log_is_exposed_by_what_nodes_signed_back(two: Two, change: str) -> None:
    two.send(two.other, count=3)
    (ack,) = two.send(two.node, count=3)
    two.hear(two.node, ack)
    two.alive(two.node)
    two.send(two.node, count=2)
    held = two.hashes()
    match change:
        case "another record":
            held[3] = bytes(32)
        case "two exchanged":
            held[2], held[3] = held[3], held[2]
        case "one removed":
            del held[3]
            two.store.database.execute("UPDATE log_runs SET leaf = leaf - 1 WHERE leaf > 3")
    two.rebuild(held)
    (next_ack,) = two.send(two.node)
    with pytest.raises(LogFork):
        two.hear(two.node, next_ack)
    two.alive(two.node)
    assert two.refused() == {("n1", "LOG_MISMATCH"): 1}


def test_a_central_that_lost_its_end_is_exposed_by_the_first_checkpoint(lite: Two, tmp_path: Path) -> None:
    lite.send(lite.node, count=3)
    lite.store.close()
    lite.central.copy_store(tmp_path / "aside.db")
    lite.store = open_store(lite.central.directory)
    lite.restart()
    (ack,) = lite.send(lite.node, count=10)
    lite.hear(lite.node, ack)
    lite.store.close()
    lite.central.restore_store(tmp_path / "aside.db")
    lite.store = open_store(lite.central.directory)
    lite.restart()
    ledger = lite.node.ledger()
    chain = list(ledger.records(["camera.up"]))
    ledger.close()
    (shorter,) = lite.deliver(lite.node, chain[:3])
    with pytest.raises(LogFork, match="had 15 leaves, now 5"):
        lite.hear(lite.node, shorter)


def test_a_statement_under_another_key_is_not_centrals(two: Two) -> None:
    made = enrolled("c1", Enrolment.parse_text((two.node.home / "node.pub").read_text()), 1, two.node.key)
    with pytest.raises(BadMessage, match="not signed"):
        Statement.parse(made.data, two.notice_key)


def test_consistency_holds_between_any_two_checkpoints(two: Two) -> None:
    log, seen = two.log(), list[Checkpoint]()
    for count in (1, 2, 50, 210):
        two.send(two.node, count=count)
        seen.append(log.checkpoint()[0])
    for first in seen:
        for second in seen[seen.index(first) :]:
            proof = log.consistency(first.size, second.size)
            assert verify_consistency(first.size, second.size, proof, first.root, second.root)
