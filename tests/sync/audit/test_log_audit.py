"""What verify finds where one end has rewritten its history, and the other has not."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sync import SyncError, verify_standalone
from sync.central.ingest import Arrived
from sync.central.keys import load_role
from sync.format.messages import Ack, Nack, Statement
from sync.format.public_keys import Enrolment
from sync.format.signing import load_key_file
from sync.format.wire import SignedBody, encode_frame
from sync.node.ledger import Ledger
from sync.node.trust import DATABASE_FILE
from sync.verify.verify import verify
from sync.verify.verify_both import verify_both
from tests.sync.a_log import ALog
from tests.sync.postgres_server import PostgresServer
from tests.sync.witnessed_site import Two, make_two


@pytest.fixture(scope="module")
def _lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nodes that have sent, heard and signed back for a while."""
    folder = tmp_path_factory.mktemp("lived")
    two = make_two(folder)
    for _ in range(3):
        for node in (two.node, two.other):
            (ack,) = two.send(node, count=90)
            two.hear(node, ack)
            two.alive(node)
    two.store.close()
    return folder


@pytest.fixture
def lived(_lived: Path, tmp_path: Path) -> Iterator[Two]:
    """A copy, to tamper with."""
    folder = shutil.copytree(_lived, tmp_path / "lived")
    for name in ("n1", "n2"):
        Ledger(folder / name / DATABASE_FILE).close()  # its log goes into the file
    made = make_two(tmp_path / "made")
    made.store.close()
    made.central.directory = folder / "central"
    for node in (made.node, made.other):
        node.home = folder / node.node_id
        node.writer = replace(node.writer, signer=load_key_file(node.home / "node.key"))
    made.reopen()
    yield made
    made.store.close()


def sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def central(two: Two, *statements: str) -> None:
    sql(two.central.directory / "central.db", *statements)


def line(lines: tuple[str, ...], start: str) -> str:
    (found,) = (one for one in lines if one.startswith(start))
    return found


def test_a_home_says_how_far_it_has_witnessed_centrals_log(lived: Two) -> None:
    verdict = verify(lived.node.home)
    assert verdict.ok, verdict.lines
    root = lived.log().checkpoint()  # now, some records later
    said = line(verdict.lines, "central's log: ")
    assert "witnessed up to size 456, root " in said
    assert "3 checkpoints, the last in the ack of seq 272; size 456 signed back" in said
    assert root[0].size == 548


def test_a_home_that_central_told_nothing_of_its_log_says_so(home) -> None:
    home.ledger().append("epoch.started", {"reason": "init", "site": "s1"})
    assert line(verify(home.path).lines, "central's log: ") == (
        "central's log: not witnessed, no ack here carries a checkpoint"
    )


def test_central_says_how_far_its_log_is_vouched_for(lived: Two) -> None:
    verdict = verify(lived.central.directory)
    assert verdict.ok, verdict.lines
    assert f"log: 548 leaves, root {lived.log().checkpoint()[0].root.hex()}" in verdict.lines
    assert line(verdict.lines, "log: 6 heads") == (
        "log: 6 heads signed back by 2 nodes, all of it up to size 547;"
        " what lies behind that, central alone vouches for"
    )


@pytest.mark.parametrize(
    ("statements", "why"),
    [
        (["UPDATE log_tiles SET data = zeroblob(8192) WHERE level = 0 AND number = 1"], "tile 1 of level 0"),
        (["UPDATE log_tiles SET data = zeroblob(64) WHERE level = 1"], "tile 0 of level 1"),
        (["DELETE FROM log_tiles WHERE level = 0 AND number = 2"], "tile 2 of level 0"),
        (["INSERT INTO log_tiles VALUES (3, 0, zeroblob(32))"], "5 tiles, a tree of 548 leaves has 4"),
        (["UPDATE log SET size = 549"], "says that it has 549 leaves, 548 are accounted for"),
        (["DELETE FROM log"], "says that it has None leaves"),
        (["DELETE FROM log_runs WHERE leaf = 2"], "leaf 2 is missing"),
        (["DELETE FROM log_statements WHERE leaf = 1"], "leaf 1 is missing"),
        (["UPDATE log_runs SET leaves = leaves + 1 WHERE leaf = 2"], "leaf 92 stands for two"),
        (["UPDATE log_runs SET leaves = 0 WHERE leaf = 2"], "nothing lies at leaf 2"),
        (["UPDATE log_runs SET seq = 400 WHERE leaf = 2"], "leaf 2 is not the next record of node n1"),
        (["UPDATE log_runs SET node_id = 'n3' WHERE leaf = 2"], "a record is missing between leaf 2 and 92"),
        (["UPDATE log_statements SET node_id = 'n2' WHERE leaf = 0"], "the statement at leaf 0 is listed under"),
        (["UPDATE log_statements SET data = zeroblob(80) WHERE leaf = 0"], "the statement at leaf 0"),
        (["DROP INDEX log_runs_of_node"], "index log_runs_of_node"),
        (["ALTER TABLE log_runs ADD COLUMN note TEXT"], "table log_runs: not as FirstVisit makes it"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_log_that_does_not_fit_its_records_is_bad(lived: Two, statements: list[str], why: str) -> None:
    central(lived, *statements)
    verdict = verify(lived.central.directory)
    assert not verdict.ok
    assert why in (verdict.why or ""), verdict.lines


def _removed(two: Two, held: list[bytes]) -> None:
    """Take node 2's last record out of every table, as if it had never been."""
    ((seq,),) = two.store.database.query("SELECT max(seq) FROM records WHERE node_id = 'n2'")
    leaf = two.store.leaf_of("n2", 1, seq)
    assert leaf is not None
    del held[leaf]
    two.store.database.execute("DELETE FROM records WHERE node_id = 'n2' AND seq = ?", (seq,))
    two.store.database.execute("DELETE FROM log_runs WHERE leaf = ?", (leaf,))


def _exchanged(two: Two, held: list[bytes]) -> None:
    """Let the second node's first records have been there before the first node's."""
    first, second = two.store.database.query("SELECT leaf, leaves FROM log_runs ORDER BY leaf LIMIT 3")[::2]
    assert first[1] == second[1]
    held[first[0] : first[0] + 90], held[second[0] : second[0] + 90] = (
        held[second[0] : second[0] + 90],
        held[first[0] : first[0] + 90],
    )
    two.store.database.execute("UPDATE log_runs SET leaf = -1 WHERE leaf = ?", first[:1])
    two.store.database.execute("UPDATE log_runs SET leaf = ? WHERE leaf = ?", (first[0], second[0]))
    two.store.database.execute("UPDATE log_runs SET leaf = ? WHERE leaf = -1", second[:1])


def _stated_anew(two: Two, held: list[bytes]) -> None:
    """Say, with the real notice key, that another site's node was enrolled."""
    text = (two.node.home / "node.pub").read_text()
    enrolment = Enrolment.parse_text(text)
    keys = {"node": str(enrolment.node), "desk": str(enrolment.desk)}
    fields = {"node": "n1", "site": "another", "keys": keys, "epoch": 1}
    made = Statement.seal("c1", "node.enrolled", 7, fields, load_role(two.central.directory, "notice"))
    held[0] = made.hash
    two.store.database.execute("UPDATE log_statements SET data = ? WHERE leaf = 0", (made.data,))


@pytest.mark.parametrize("change", [_exchanged, _stated_anew])
def test_a_central_that_rebuilds_its_log_with_its_real_keys_meets_what_nodes_signed_back(
    lived: Two, change: Callable[[Two, list[bytes]], None]
) -> None:
    held = lived.hashes()
    change(lived, held)
    lived.rebuild(held)
    verdict = verify(lived.central.directory)
    assert not verdict.ok
    assert "central's log: not the one of which node n" in (verdict.why or ""), verdict.lines


def test_what_no_node_has_signed_back_yet_a_central_can_still_take_away_from_itself(lived: Two) -> None:
    held = lived.hashes()
    _removed(lived, held)
    lived.rebuild(held)
    verdict = verify(lived.central.directory)
    assert verdict.ok, verdict.lines  # and says so: up to size 547, behind that it alone vouches


def test_a_central_that_loses_what_was_signed_back_is_bad(lived: Two) -> None:
    held = lived.hashes()
    for _ in range(2):
        _removed(lived, held)
    lived.store.database.execute(
        "UPDATE log_runs SET leaves = leaves - 1 WHERE leaf = (SELECT max(leaf) FROM log_runs WHERE node_id = 'n2')"
    )
    lived.store.close()
    verdict = verify(lived.central.directory)
    assert not verdict.ok


# -- at the node -----------------------------------------------------------------------------------------------


def forked(two: Two, change: Callable[[list[bytes]], None]) -> Ack:
    """The next ack to node 1, of a log that central has rewritten with its real keys."""
    held = two.hashes()
    ledger = two.node.ledger()
    try:
        head = ledger.head()
        assert head
        change(held)
        held.append(head.hash)
        log = ALog(load_role(two.central.directory, "checkpoint"), held, "c1")
        back = next(one for one in two.store.signed_back("n1"))
        ack = Ack.seal(
            "n1", head.epoch, head.seq, head.hash, two.now_us * 2, 8, load_role(two.central.directory, "ack"),
            log.proof(head.hash, back.head),
        )  # fmt: skip
        assert ledger.accept_ack(ack)
    finally:
        ledger.close()
    return ack


def _rewrite(held: list[bytes]) -> None:
    held[5] = bytes(32)


def _lose(held: list[bytes]) -> None:
    del held[456:]


@pytest.mark.parametrize(
    ("change", "why"), [(_rewrite, "does not continue the log of size 456"), (lambda _held: None, "")]
)
def test_a_home_keeps_the_contradiction_and_verify_shows_it(
    lived: Two, change: Callable[[list[bytes]], None], why: str
) -> None:
    forked(lived, change)
    verdict = verify(lived.node.home)
    if not why:
        assert verdict.ok, verdict.lines
        return
    assert not verdict.ok
    assert verdict.first_bad is None
    assert "central's log contradicts what central signed before: the ack of seq 273: checkpoint: " in verdict.why
    assert why in verdict.why
    assert verdict.checked == 273  # the node's own records are good


def test_an_exported_ledger_carries_the_contradiction(lived: Two, tmp_path: Path) -> None:
    from sync.audit.export import write_export

    forked(lived, _rewrite)
    ledger = lived.node.ledger()
    write_export(
        ledger, (lived.node.home / "node.pub").read_text(), (lived.node.home / "central.pub").read_text(),
        tmp_path / "out.jsonl",
    )  # fmt: skip
    ledger.close()
    verdict = verify(tmp_path / "out.jsonl")
    assert not verdict.ok
    assert "does not continue the log of size 456" in (verdict.why or "")
    with pytest.raises(verify_standalone.Bad, match="does not continue that of size 456"):
        verify_standalone.verify(tmp_path / "out.jsonl", verify_standalone.Given(None))


# -- both against each other -----------------------------------------------------------------------------------


def test_a_home_and_its_central_agree(lived: Two) -> None:
    verdict = verify_both(lived.node.home, lived.central.directory)
    assert verdict.ok, verdict.lines
    assert verdict.lines[-1] == (
        "both: 273 records are the same, 3 checkpoints kept here are roots of that central's log"
    )


def test_a_home_that_keeps_one_checkpoint_tells_of_one(tmp_path: Path) -> None:
    two = make_two(tmp_path)
    (ack,) = two.send(two.node, count=3)
    two.hear(two.node, ack)
    two.store.close()
    verdict = verify_both(two.node.home, two.central.directory)
    assert verdict.ok, verdict.lines
    assert verdict.lines[-1].endswith("1 checkpoint kept here is a root of that central's log")


def test_what_this_home_witnessed_no_rebuilt_central_can_deny(lived: Two) -> None:
    """Even where every head signed back has left central together with the records that carry it."""
    kept = lived.hashes()[: 2 + 60]
    for table in ("records", "visits", "corrections"):
        lived.store.database.execute(f"DELETE FROM {table} WHERE seq > 60 OR node_id = 'n2'")
    lived.store.database.execute("DELETE FROM log_runs WHERE leaf > 2")
    lived.store.database.execute("UPDATE log_runs SET leaves = 60")
    lived.rebuild(kept)
    lived.store.close()
    assert verify(lived.central.directory).ok
    assert verify(lived.node.home).ok
    verdict = verify_both(lived.node.home, lived.central.directory)
    assert not verdict.ok
    assert "the checkpoint of size 92 that central signed is not of the log it has now" in (verdict.why or "")


def rewritten(two: Two, behind: int) -> None:
    """What a node that holds its real key can do: write its history anew, and forget the acks of what it changed."""
    database = two.node.home / DATABASE_FILE
    sql(
        database,
        f"DELETE FROM ledger WHERE seq > {behind}",
        f"DELETE FROM acks WHERE upto_seq > {behind}",
        "UPDATE ledger SET acked = seq <= (SELECT max(upto_seq) FROM acks)",
        "DELETE FROM log_head",
    )
    ledger = two.node.ledger()
    for _ in range(40):
        ledger.append("camera.up", {"camera": "another door"})
    ledger.close()


def test_a_node_that_rewrites_what_was_acknowledged_is_exposed_by_central(lived: Two) -> None:
    rewritten(lived, behind=100)
    assert verify(lived.node.home).ok  # alone, it says so: unanchored from 91 on
    verdict = verify_both(lived.node.home, lived.central.directory)
    assert not verdict.ok
    assert (verdict.first_bad, verdict.why) == (101, "central has another record there")
    ledger = lived.node.ledger()
    frame = list(ledger.records(["camera.up"], after=(1, 100)))
    ledger.close()
    arrived = Arrived("n1", encode_frame([SignedBody(one.body, one.signature) for one in frame]))
    answers = lived.ingest.take(lived.ingest.read([arrived]), lived.now_us)
    (nack,) = (Nack.parse(one.payload, load_role(lived.central.directory, "ack").public) for one in answers[-1:])
    assert nack.code == "FORK"


def test_a_home_that_lost_its_end_with_the_acks_of_it_is_exposed_by_central(lived: Two) -> None:
    database = lived.node.home / DATABASE_FILE
    sql(
        database,
        "DELETE FROM ledger WHERE seq > 91",
        "DELETE FROM acks WHERE upto_seq > 91",
        "UPDATE ledger SET acked = seq <= 90",
    )
    assert verify(lived.node.home).ok
    verdict = verify_both(lived.node.home, lived.central.directory)
    assert (verdict.first_bad, verdict.why) == (92, "central holds it, and the HOME ends with seq 91")


def test_a_home_of_another_central_is_not_held_against_this_one(lived: Two, tmp_path: Path) -> None:
    other = make_two(tmp_path / "other")
    other.store.close()
    verdict = verify_both(lived.node.home, other.central.directory)
    assert (verdict.ok, verdict.why) == (False, "this node has joined a central of another root key")


def test_only_a_home_can_be_held_against_a_central(lived: Two) -> None:
    with pytest.raises(SyncError, match="not a HOME"):
        verify_both(lived.central.directory, lived.central.directory)
    with pytest.raises(SyncError, match="not a central store"):
        verify_both(lived.node.home, lived.node.home)


@pytest.fixture
def far(tmp_path: Path, postgres: PostgresServer) -> Iterator[Two]:
    """A central whose store is a PostgreSQL."""
    made = make_two(tmp_path / "far", postgres.fresh())
    (ack,) = made.send(made.node, count=40)
    made.hear(made.node, ack)
    made.alive(made.node)
    yield made
    made.store.close()


def test_a_central_on_postgres_is_verified_to_the_last_leaf(far: Two) -> None:
    verdict = verify(far.central.directory)
    assert verdict.ok, verdict.lines
    assert f"log: 43 leaves, root {far.log().checkpoint()[0].root.hex()}" in verdict.lines
    assert line(verdict.lines, "log: 1 head signed back by 1 node,")
    both = verify_both(far.node.home, far.central.directory)
    assert both.ok, both.lines


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE records SET body = decode('7b7d', 'hex') WHERE seq = 7", "hash does not match the body"),
        ("DELETE FROM records WHERE seq = 7", "missing"),
        ("UPDATE log_tiles SET data = substr(data, 1, 32)", "central's log: tile 0 of level 0"),
        ("UPDATE log SET size = 99", "says that it has 99 leaves"),
        ("DELETE FROM log_statements WHERE leaf = 1", "leaf 1 is missing"),
        ("UPDATE visits SET order_us = 1", ""),
    ],
)
def test_what_is_altered_in_postgres_is_found(far: Two, statement: str, why: str) -> None:
    far.send(far.node, "visit.first", visit="v-1", camera="door", arrived_us=5)
    far.store.database.execute(statement)
    verdict = verify(far.central.directory)
    assert not verdict.ok
    assert why in (verdict.why or ""), verdict.lines


def test_a_postgres_out_of_reach_is_named_without_its_password(tmp_path: Path) -> None:
    (tmp_path / "central.toml").write_text('id = "c1"\n[store]\nurl = "postgresql://u:secret@127.0.0.1:9/db"\n')
    with pytest.raises(SyncError, match=r"postgresql://127\.0\.0\.1:9/db") as told:
        verify(tmp_path)
    assert "secret" not in str(told.value)
