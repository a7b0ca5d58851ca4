"""What central takes, what it refuses, and what it answers; with a real store and real signatures."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync.central.enrol import enrol
from sync.central.ingest import MOST_EPOCHS_SKIPPED, Answer, Arrived, Greeting, Ingest
from sync.central.keys import load_public, load_serving_keys
from sync.central.notices import order
from sync.central.store.batch import Batch
from sync.central.store.sqlite import FILE_NAME, SqliteDatabase
from sync.central.store.store import Store
from sync.format.canonical import Fields
from sync.format.messages import Ack, BadMessage, Nack, Notice, Status
from sync.format.notices import KeyRevoked
from sync.format.records import Record, seal
from sync.format.signing import Signer, create_key_file, digest
from sync.format.wire import MAX_FRAME_BYTES, SignedBody, encode_frame
from sync.node.append import Transaction
from sync.node.ledger import Ledger
from sync.storage.arrivals import altered_lists
from sync.storage.database import DatabaseError
from sync.verify.verify import verify
from tests.sync.postgres_server import PostgresServer
from tests.sync.uplink_site import Central, Node

NOW_US = 1_760_000_000_000_000


@dataclass
class Bench:
    """A central without a broker, and a node enrolled there."""

    central: Central
    node: Node
    store: Store
    now_us: int = NOW_US
    ingest: Ingest = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Another ingest on the same store; pauses count by the bench's own time."""
        self.ingest = Ingest(self.store, load_serving_keys(self.central.directory), monotonic=self.now_s)

    def now_s(self) -> float:
        return self.now_us / 1e6

    def records(self, count: int) -> list[Record]:
        """Append `count` records to the node's ledger and return the whole chain."""
        if count:
            self.node.record(count)
        ledger = self.node.ledger()
        try:
            return list(ledger.records(["camera.up", "visit.first", "notice.applied", "node.alive", "visit.seen"]))
        finally:
            ledger.close()

    def take(self, *records: Record, topic_of: str = "n1") -> list[Ack | Nack]:
        """Hand the records over as one frame and return the answers, read as the node reads them."""
        return self.take_bytes(frame_of(*records), topic_of)

    def take_bytes(self, payload: bytes, topic_of: str = "n1") -> list[Ack | Nack]:
        """The same of a frame's bytes; each time two seconds later."""
        answers = self.ingest.take(self.ingest.read([Arrived(topic_of, payload)]), self.now_us)
        self.now_us += 2_000_000
        return [self.read(answer) for answer in answers]

    def read(self, answer: Answer) -> Ack | Nack:
        """An answer as the node reads it; of a nack without its time."""
        key = load_public(self.central.directory).keys["ack"]
        try:
            return Ack.parse(answer.payload, key)
        except BadMessage:
            return replace(Nack.parse(answer.payload, key), central_time_us=0)

    def held(self) -> list[int]:
        return [row.seq for row in self.store.records("n1")]

    def refused(self) -> dict[str, int]:
        return {refusal.reason: refusal.count for refusal in self.store.refusals()}

    @property
    def connection(self) -> sqlite3.Connection:
        """The ingest's own, to look over its shoulder."""
        assert isinstance(self.store.database, SqliteDatabase)
        return self.store.database.connection

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """What somebody else finds in the store."""
        with self.central.store() as store:
            return store.database.query(sql)


def frame_of(*records: Record) -> bytes:
    return encode_frame([SignedBody(record.body, record.signature) for record in records])


def forge(base: Record, signer: Signer, **changes: object) -> Record:
    """A record like `base` with some fields changed, well signed by `signer`."""
    fields: Fields = {**base.fields, **changes, "key": signer.public.key_id}
    return seal(fields, signer)


def _bench(folder: Path, store_url: str | None) -> Iterator[Bench]:
    central, node = Central(folder / "central", store_url=store_url), Node(folder / "home")
    enrol(central.directory, node.home / "node.pub")
    with central.store() as store:
        yield Bench(central, node, store)


@pytest.fixture
def bench(tmp_path: Path, store_url: str | None) -> Iterator[Bench]:
    yield from _bench(tmp_path, store_url)


@pytest.fixture
def sqlite_bench(tmp_path: Path) -> Iterator[Bench]:
    """For tests that look over SQLite's shoulder."""
    yield from _bench(tmp_path, None)


def test_records_in_order_are_stored_as_signed_and_acknowledged_cumulatively(bench: Bench) -> None:
    chain = bench.records(5)
    (ack,) = bench.take(*chain)
    assert isinstance(ack, Ack)
    assert (ack.node_id, ack.epoch, ack.upto_seq, ack.head_hash) == ("n1", 1, 5, chain[-1].hash)
    stored = list(bench.store.records("n1"))
    assert [(row.body, row.hash, row.signature) for row in stored] == [(r.body, r.hash, r.signature) for r in chain]
    assert stored[0].received_us == NOW_US


def test_several_frames_of_several_polls_share_one_ack_a_node(bench: Bench) -> None:
    chain = bench.records(6)
    frames = [Arrived("n1", frame_of(*chain[at : at + 2])) for at in (0, 2, 4)]
    (answer,) = bench.ingest.take(bench.ingest.read(frames), NOW_US)
    ack = bench.read(answer)
    assert isinstance(ack, Ack)
    assert ack.upto_seq == 6


def test_the_same_frame_again_is_acknowledged_again_and_stored_once(bench: Bench) -> None:
    chain = bench.records(3)
    bench.take(*chain)
    (ack,) = bench.take(*chain[:2])
    assert isinstance(ack, Ack)
    assert ack.upto_seq == 3
    frames = [Arrived("n1", frame_of(*bench.records(2)[3:]))] * 2  # twice within one commit
    bench.ingest.take(bench.ingest.read(frames), NOW_US)
    assert bench.held() == [1, 2, 3, 4, 5]


def _turn(bench: Bench, seq: int, column: str) -> None:
    """What a bad sector does to a stored row."""
    with bench.central.store() as store, store.database.transaction():
        store.database.execute(f"UPDATE records SET {column} = ? WHERE node_id = 'n1' AND seq = ?", (b"{}", seq))


@pytest.mark.parametrize("column", ["body", "hash"])
def test_a_damaged_head_is_neither_acknowledged_nor_continued_from(bench: Bench, column: str) -> None:
    chain = bench.records(3)
    bench.take(*chain)
    _turn(bench, 3, column)
    bench.restart()
    assert bench.take(*bench.records(2)[3:]) == []
    assert bench.take(*chain) == []
    status = Status("n1", online=True, epoch=1, seq=5, acked=3)
    assert bench.ingest.take([], bench.now_us, [Greeting(status)]) == []
    assert bench.refused() == {"damaged": 3}


def test_a_wall_clock_that_jumps_ends_no_pause(bench: Bench) -> None:
    chain = bench.records(3)
    bench.ingest = Ingest(bench.store, load_serving_keys(bench.central.directory), monotonic=lambda: 5.0)
    assert len(bench.take(*chain)) == 1
    bench.now_us += 3_600_000_000
    assert bench.take(*chain) == [], "no second has passed"
    bench.now_us -= 7_200_000_000
    assert bench.take(*chain) == []


def test_a_damaged_record_is_not_acknowledged_again_nor_called_a_fork(bench: Bench) -> None:
    chain = bench.records(3)
    bench.take(*chain)
    _turn(bench, 2, "body")
    assert bench.take(*chain[1:2]) == []
    assert bench.refused() == {"damaged": 1}
    (ack,) = bench.take(*bench.records(1)[3:])
    assert isinstance(ack, Ack), "the chain goes on behind a sound head; the night names the record"


def _damage(bench: Bench, what: str) -> None:
    """Turn bits in what is held of n1, which has a record and a revoked key."""
    database, hurt = bench.store.database, b"{}"
    with database.transaction():
        if what == "no text":  # only SQLite lets a text be none
            database.execute("UPDATE nodes SET enrolment = CAST(x'ff' AS TEXT) || enrolment WHERE node_id = 'n1'")
        elif what == "rotation":
            database.execute("INSERT INTO rotations VALUES ('n1', 1, 1)")
            database.execute("UPDATE records SET body = ? WHERE node_id = 'n1' AND seq = 1", (hurt,))
        elif what == "revocation":
            database.execute("UPDATE notices SET data = ? WHERE kind = 'key.revoked'", (bytes(64) + hurt,))
        else:
            database.execute(f"UPDATE nodes SET {what} = replace({what}, 'o', 'u') WHERE node_id = 'n1'")


@pytest.mark.parametrize("what", ["enrolment", "state", "rotation", "revocation", "no text"])
def test_damage_to_what_is_held_of_one_node_costs_nobody_else(
    bench: Bench, store_url: str | None, tmp_path: Path, what: str
) -> None:
    if what == "no text" and store_url:
        pytest.skip("PostgreSQL checks its texts")
    other = Node(tmp_path / "other", "n2")
    enrol(bench.central.directory, other.home / "node.pub")
    chain, (fine, *_) = bench.records(2), _records_of(other)
    bench.take(*chain)
    order(bench.central.directory, "n1", KeyRevoked(bench.node.desk.public.key_id, 1, 2, "lost"))
    bench.store.write(Batch(statuses=[(Status("n1", True, 1, 2, 2), NOW_US)]))
    _damage(bench, what)
    (more,) = bench.records(1)[2:]
    with bench.central.store() as store:
        ingest = Ingest(store, load_serving_keys(bench.central.directory))
        readings = ingest.read([Arrived("n1", frame_of(more)), Arrived("n2", frame_of(fine))])
        assert [answer.node_id for answer in ingest.take(readings, bench.now_us)] == ["n2"]
        assert bench.refused() == {"damaged": 1}
        assert {answer.node_id for answer in ingest.look(lambda _: True)} <= {"n1"}
    assert bench.held() == [1, 2]


@pytest.mark.parametrize("between", [False, True], ids=["before", "while it is judged"])
def test_what_a_revoked_key_signs_behind_its_place_is_refused_from_the_commit_of_its_notice_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, between: bool
) -> None:
    chain = bench.records(4)
    bench.take(*chain[:3])
    said = [KeyRevoked(bench.node.key.public.key_id, 1, 3, "lost")]
    write = Store.write

    def revoke_first(store: Store, batch: Batch, standing: int | None = None) -> None:
        while said:
            order(bench.central.directory, "n1", said.pop())
        write(store, batch, standing)

    if between:
        monkeypatch.setattr(Store, "write", revoke_first)
    else:
        order(bench.central.directory, "n1", said.pop())
    assert bench.take(*chain[3:])[-1] == Nack("n1", "REVOKED", 1, 4, chain[3].hash, 0)
    assert bench.held() == [1, 2, 3]
    assert bench.refused() == {"REVOKED": 1}
    assert verify(bench.central.directory).ok


def _records_of(node: Node) -> list[Record]:
    node.record(1)
    ledger = node.ledger()
    try:
        return list(ledger.records(["camera.up"]))
    finally:
        ledger.close()


def test_a_gap_stores_nothing_and_names_the_record_missing(bench: Bench) -> None:
    chain = bench.records(6)
    bench.take(*chain[:2])
    answers = bench.take(*chain[3:])
    assert Nack("n1", "GAP", 1, 3, bytes(32), 0) in answers
    assert bench.held() == [1, 2]
    bench.take(*chain[2:])
    assert bench.held() == [1, 2, 3, 4, 5, 6]


def test_a_gap_that_the_same_batch_closes_is_not_told_as_if_records_were_lost(bench: Bench) -> None:
    chain = bench.records(6)
    frames = [Arrived("n1", frame_of(*part)) for part in (chain[4:], chain[:4])]  # after a broker has lost the first
    answers = [bench.read(answer) for answer in bench.ingest.take(bench.ingest.read(frames), bench.now_us)]
    ack, gap = (next(one for one in answers if isinstance(one, kind)) for kind in (Ack, Nack))
    assert (ack.upto_seq, gap) == (4, Nack("n1", "GAP", 1, 5, bytes(32), 0))
    assert bench.held() == [1, 2, 3, 4]


def test_two_records_for_one_place_are_a_fork_and_both_are_kept_apart(bench: Bench) -> None:
    chain = bench.records(3)
    bench.take(*chain)
    other = forge(chain[1], bench.node.key, camera="back")
    assert Nack("n1", "FORK", 1, 2, other.hash, 0) in bench.take(other)
    assert bench.store.nodes()[0].chain == "fork"
    assert {row[0] for row in bench.query("SELECT hash FROM quarantine")} == {chain[1].hash, other.hash}
    more = bench.records(1)
    assert any(isinstance(answer, Nack) and answer.code == "FORK" for answer in bench.take(more[-1]))
    assert bench.held() == [1, 2, 3]


def test_a_record_that_follows_another_than_the_last_held_is_a_fork(bench: Bench) -> None:
    chain = bench.records(3)
    bench.take(*chain[:2])
    other = forge(chain[2], bench.node.key, prev="ab" * 32)
    assert Nack("n1", "FORK", 1, 3, other.hash, 0) in bench.take(other)
    assert {row[0] for row in bench.query("SELECT hash FROM quarantine")} == {chain[1].hash, other.hash}


def test_a_contradiction_by_a_key_that_is_revoked_freezes_nobody(bench: Bench) -> None:
    chain = bench.records(3)
    bench.take(*chain)
    order(bench.central.directory, "n1", KeyRevoked(bench.node.key.public.key_id, 1, 9, "compromised"))
    others = [forge(chain[1], bench.node.key, camera=camera) for camera in ("gate", "yard")]
    for other in others:
        assert bench.take(other)[-1] == Nack("n1", "REVOKED", 1, 2, other.hash, 0)
    node = bench.store.node("n1")
    assert node is not None
    assert node.chain == "ok"
    kept = {row[0] for row in bench.query("SELECT hash FROM quarantine")}
    assert kept == {chain[1].hash, others[0].hash}, "of one place, the first is enough"
    beside = forge(chain[2], bench.node.key, seq=4)  # a next one that follows no record held
    assert bench.take(beside)[-1] == Nack("n1", "REVOKED", 1, 4, beside.hash, 0)
    assert isinstance(bench.take(*bench.records(1)[3:])[-1], Ack), "the chain goes on"
    assert bench.refused() == {"REVOKED": 3}


def test_a_fork_needs_the_nodes_own_signature(bench: Bench) -> None:
    chain = bench.records(2)
    bench.take(*chain)
    stranger = create_key_file(bench.node.home / "stranger.key")
    forged = forge(chain[1], stranger, camera="back")
    assert bench.take(forged) == []
    assert bench.refused() == {"not-signed": 1}
    assert bench.store.nodes()[0].chain == "ok"
    assert bench.query("SELECT * FROM quarantine") == []


def test_a_bad_signature_is_refused_and_what_came_before_it_stays(bench: Bench) -> None:
    chain = bench.records(3)
    broken = SignedBody(chain[1].body, bytes(64))
    payload = encode_frame([SignedBody(chain[0].body, chain[0].signature), broken])
    (ack,) = bench.take_bytes(payload)
    assert isinstance(ack, Ack)
    assert ack.upto_seq == 1
    assert bench.held() == [1]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_whoever_may_publish_cannot_have_a_nodes_records_called_bad(bench: Bench, at: int) -> None:
    """A nack that names a record's true hash would silence its node: only what the node signed draws one."""
    chain = bench.records(3)
    bench.take(chain[0])
    wrong_role = forge(chain[1], bench.node.key, kind="visit.corrected")
    for body in (chain[at].body, wrong_role.body, chain[1].body + b" ", b"{}"):
        answers = bench.take_bytes(encode_frame([SignedBody(body, bytes(64))]))
        assert [answer for answer in answers if isinstance(answer, Nack)] == []
    assert bench.store.nodes()[0].chain == "ok"
    (ack,) = bench.take(*chain[1:])
    assert isinstance(ack, Ack)
    assert ack.upto_seq == 3


def test_a_kind_under_the_wrong_role_is_refused(bench: Bench) -> None:
    (first,) = bench.records(1)
    wrong = forge(first, bench.node.key, kind="visit.corrected")
    assert bench.take(wrong) == [Nack("n1", "BAD_SIG", 1, 1, wrong.hash, 0)]
    assert bench.held() == []


def test_kinds_and_fields_of_a_later_version_are_stored_as_they_are(bench: Bench) -> None:
    (first,) = bench.records(1)
    later = forge(first, bench.node.key, kind="visit.teleported", how=[{"by": "beam"}])
    (ack,) = bench.take(later)
    assert isinstance(ack, Ack)
    assert next(bench.store.records()).body == later.body


def test_bytes_that_are_not_canonical_are_refused_under_their_own_hash(bench: Bench) -> None:
    (first,) = bench.records(1)
    loose = first.body.replace(b'"kind":', b'"kind": ')
    payload = encode_frame([SignedBody(loose, bench.node.key.sign("record-sig", loose))])
    assert bench.take_bytes(payload) == [Nack("n1", "BAD_SIG", 1, 1, digest("record-hash", loose), 0)]


def test_a_record_of_another_node_on_this_nodes_topic_is_refused(bench: Bench, tmp_path: Path) -> None:
    other = Node(tmp_path / "other", "n2")
    enrol(bench.central.directory, other.home / "node.pub")
    chain = bench.records(2)
    assert bench.take(*chain, topic_of="n2") == []
    assert bench.held() == []
    own = forge(chain[0], other.key)  # n2's own key says that it is n1
    assert bench.take(own, topic_of="n2") == [Nack("n2", "BAD_SIG", 1, 1, own.hash, 0)]
    assert bench.held() == []


def test_a_node_not_enrolled_gets_no_answer_and_is_counted(bench: Bench) -> None:
    chain = bench.records(1)
    assert bench.take(*chain, topic_of="stranger") == []
    assert bench.take(*chain, topic_of="stranger") == []
    assert bench.refused() == {"unknown-node": 2}


def test_a_node_is_known_as_soon_as_it_is_enrolled_beside_a_running_ingest(bench: Bench, tmp_path: Path) -> None:
    late = Node(tmp_path / "late", "n2")
    late.record(1)
    ledger = late.ledger()
    (record,) = ledger.records(["camera.up"])
    ledger.close()
    assert bench.take(record, topic_of="n2") == []
    enrol(bench.central.directory, late.home / "node.pub")
    (ack,) = bench.take(record, topic_of="n2")
    assert isinstance(ack, Ack)


def test_a_frame_that_is_too_big_or_none_at_all_is_refused(bench: Bench) -> None:
    bench.records(1)
    assert bench.take_bytes(b"FV1F" + bytes(MAX_FRAME_BYTES)) == [Nack("n1", "TOO_BIG", 0, 0, bytes(32), 0)]
    assert bench.take_bytes(b"hello") == []
    assert bench.refused() == {"TOO_BIG": 1, "bad-frame": 1}


def test_nothing_is_acknowledged_that_was_not_committed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = bench.records(2)

    def full(_store: Store, _batch: Batch, _standing: int) -> None:
        raise DatabaseError("central.db: database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", full)
        with pytest.raises(DatabaseError, match="full"):
            bench.take(*chain)
    assert bench.held() == []
    (ack,) = bench.take(*chain)  # and it has forgotten what it had staged
    assert isinstance(ack, Ack)
    assert bench.held() == [1, 2]


@pytest.mark.parametrize(("kind", "why"), [("", "it holds the trigger 'swallow'"), ("TEMP", "kept 0 of 2 records")])
def test_records_that_a_trigger_swallows_are_never_acknowledged(sqlite_bench: Bench, kind: str, why: str) -> None:
    chain = sqlite_bench.records(2)
    trigger = f"CREATE {kind} TRIGGER swallow BEFORE INSERT ON records BEGIN SELECT RAISE(IGNORE); END"
    if kind:
        sqlite_bench.connection.execute(trigger)
    else:
        with closing(sqlite3.connect(sqlite_bench.central.directory / FILE_NAME)) as other:
            other.execute(trigger)
    with pytest.raises(DatabaseError, match=why):
        sqlite_bench.take(*chain)
    assert sqlite_bench.held() == []


def test_records_that_a_trigger_of_postgres_swallows_are_never_acknowledged(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    for bench in _bench(tmp_path, postgres.fresh()):
        chain = bench.records(2)
        bench.query("CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
        bench.query("CREATE TRIGGER t BEFORE INSERT ON records FOR EACH ROW EXECUTE FUNCTION swallow()")
        with pytest.raises(DatabaseError, match="kept 0 of 2 records"):
            bench.take(*chain)
        assert bench.held() == []


def test_a_commit_that_fails_half_way_leaves_nothing(bench: Bench) -> None:
    chain = bench.records(2)
    rows = [(r.node_id, r.epoch, r.seq, r.kind, r.body, r.hash, r.prev_hash, r.signature, NOW_US) for r in chain]
    with pytest.raises(DatabaseError, match=r"(?i)unique"):
        bench.store.write(Batch(evidence=[*rows, rows[0]]))
    assert bench.held() == []


def test_what_brings_nothing_new_draws_one_ack_a_second(bench: Bench) -> None:
    chain = bench.records(3)

    def take(*records: Record, at_us: int, greetings: Sequence[Greeting] = ()) -> list[Answer]:
        bench.now_us = NOW_US + at_us
        frames = [Arrived("n1", frame_of(*records))] if records else []
        return bench.ingest.take(bench.ingest.read(frames), bench.now_us, greetings)

    take(*chain[:2], at_us=0)
    online = [Greeting(Status("n1", True, 1, 2, 2))]
    for later_us in range(100_000, 1_000_000, 100_000):
        answers = take(chain[0], at_us=later_us, greetings=online)
        assert [answer for answer in answers if answer.channel == "ack"] == []
    (due,) = take(at_us=1_000_000)
    assert bench.read(due).central_time_us == NOW_US + 1_000_000
    assert take(at_us=5_000_000) == []
    assert len(take(chain[2], at_us=1_000_001)) == 1


def test_garbage_draws_no_answer_and_makes_nobody_look_alive(bench: Bench) -> None:
    chain = bench.records(2)
    (before,) = bench.take(chain[0])
    assert isinstance(before, Ack)
    (row,) = bench.store.nodes()
    for payload in (b"hello", encode_frame([SignedBody(chain[1].body, bytes(64))])):
        assert bench.take_bytes(payload) == []
    assert bench.store.nodes()[0].last_seen_us == row.last_seen_us == NOW_US


def test_every_answer_is_of_a_later_time_than_the_one_before(bench: Bench) -> None:
    chain = bench.records(6)
    bench.ingest.take(bench.ingest.read([Arrived("n1", frame_of(*chain[:2]))]), NOW_US)
    gap = Arrived("n1", frame_of(*chain[4:]))
    answers = bench.ingest.take(bench.ingest.read([Arrived("n1", frame_of(chain[2])), gap, gap]), NOW_US)
    key = load_public(bench.central.directory).keys["ack"]
    times = [Ack.parse(answers[0].payload, key).central_time_us]
    times += [Nack.parse(answer.payload, key).central_time_us for answer in answers[1:]]
    assert times == [NOW_US + 1, NOW_US + 2, NOW_US + 3]
    (back,) = bench.ingest.take(bench.ingest.read([Arrived("n1", frame_of(chain[3]))]), NOW_US - 3_600_000_000)
    assert Ack.parse(back.payload, key).central_time_us == NOW_US - 3_600_000_000


@pytest.mark.parametrize("nseq", ["9999999999999999999999", "1", [1], "\uff11"])
@pytest.mark.parametrize("hash_", ["00" * 32, "00 " * 32, 7])
def test_a_notice_answered_in_odd_terms_is_held_and_answers_nothing(bench: Bench, nseq: object, hash_: object) -> None:
    ledger = bench.node.ledger()
    odd = ledger.append("notice.applied", {"nseq": nseq, "hash": hash_})
    ledger.close()
    (ack,) = bench.take(odd)
    assert isinstance(ack, Ack)
    assert len(bench.store.open_notices("n1", 9)) == 1


def test_a_node_that_trips_the_ingest_is_refused_and_the_others_are_served(
    bench: Bench,
    store_url: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = Node(tmp_path / "other", "n2")
    enrol(bench.central.directory, other.home / "node.pub")
    other.record(1)
    ledger = other.ledger()
    (fine,) = ledger.records(["camera.up"])
    ledger.close()
    (poisoned,) = bench.records(1)
    poison = 10**200_000 if store_url else 2**64

    def project(record: Record, batch: Batch, now_us: int) -> None:
        if record.node_id == "n1":
            batch.applied.append((now_us, "n1", poison, b""))  # what no database can hold

    monkeypatch.setattr("sync.central.ingest._project", project)
    frames = [Arrived("n1", frame_of(poisoned)), Arrived("n2", frame_of(fine))]
    (answer,) = bench.ingest.take(bench.ingest.read(frames), NOW_US)
    assert answer.node_id == "n2"
    assert bench.held() == []
    assert bench.refused() == {"unexpected": 1}
    assert ("DataError" if store_url else "OverflowError") in caplog.text


def test_the_next_epoch_continues_from_the_head_and_no_other_record(bench: Bench) -> None:
    chain = bench.records(2)
    bench.take(*chain)
    genesis = forge(chain[0], bench.node.key, epoch=2, seq=1, prev=chain[1].hash.hex(), kind="epoch.started")
    second = forge(chain[1], bench.node.key, epoch=2, seq=2, prev=genesis.hash.hex())
    (ack,) = bench.take(genesis, second)
    assert isinstance(ack, Ack)
    assert (ack.epoch, ack.upto_seq) == (2, 2)
    (again,) = bench.take(*chain)
    assert isinstance(again, Ack)
    assert (again.epoch, again.upto_seq) == (2, 2)
    late = forge(chain[1], bench.node.key, seq=3, prev=chain[1].hash.hex())
    assert any(isinstance(answer, Nack) and answer.code == "FORK" for answer in bench.take(late))


def test_an_epoch_behind_which_no_readmission_could_follow_is_refused_unless_somebody_has_opened_it(
    bench: Bench,
) -> None:
    chain = bench.records(2)
    bench.take(*chain)

    def opening(epoch: int) -> Record:
        return forge(chain[0], bench.node.key, epoch=epoch, seq=1, prev=chain[1].hash.hex(), kind="epoch.started")

    answers = bench.take(opening(2**53 - 1))
    assert [one.code for one in answers if isinstance(one, Nack)] == ["BAD_SIG"]
    assert [one.epoch for one in answers if isinstance(one, Ack)] in ([], [1])
    acks = [one for one in bench.take(opening(1 + MOST_EPOCHS_SKIPPED)) if isinstance(one, Ack)]
    assert acks[-1].epoch == 1 + MOST_EPOCHS_SKIPPED


def test_an_online_node_is_told_where_central_stands_and_what_it_has_not_answered(bench: Bench) -> None:
    chain = bench.records(2)
    bench.take(*chain)
    notice, ack = bench.ingest.take([], bench.now_us, [Greeting(Status("n1", True, 1, 7, 2))])
    assert isinstance(bench.read(ack), Ack)
    public = load_public(bench.central.directory)
    told = Notice.parse(notice.payload, public.root, public.keys["notice"])
    assert (notice.channel, told.nseq, told.kind, told.body) == ("down", 1, "keys", public.fields())
    (row,) = bench.store.nodes()
    assert (row.online, row.lag, row.pending_notices) == (True, 5, 1)


def test_what_nodes_say_and_what_they_send_share_one_commit(sqlite_bench: Bench) -> None:
    chain = sqlite_bench.records(2)
    frame = Arrived("n1", encode_frame([SignedBody(record.body, record.signature) for record in chain]))
    before = sqlite_bench.connection.total_changes
    commits: list[str] = []
    sqlite_bench.connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    greetings = [Greeting(Status("n1", True, 1, 7, 2)), Greeting(Status("nobody", True, 1, 1, 0))]
    sqlite_bench.ingest.take(sqlite_bench.ingest.read([frame]), NOW_US, greetings)
    sqlite_bench.connection.set_trace_callback(None)
    assert commits == ["COMMIT"]
    assert sqlite_bench.connection.total_changes > before
    node = sqlite_bench.store.node("n1")
    assert node is not None
    assert (node.online, node.seq, node.lag, node.fingerprint) == (True, 2, 5, sqlite_bench.node.key.public.fingerprint)
    assert sqlite_bench.store.node("nobody") is None


def test_a_notice_is_done_when_its_answer_arrives_in_the_chain(bench: Bench) -> None:
    (told,) = bench.store.open_notices("n1", 9)
    public = load_public(bench.central.directory)
    notice = Notice.parse(told.data, public.root, public.keys["notice"])
    ledger = bench.node.ledger()
    wrong = ledger.append("notice.applied", {"nseq": 1, "hash": "00" * 32})
    right = ledger.append("notice.applied", {"nseq": 1, "hash": notice.hash.hex()})
    ledger.close()
    bench.take(wrong)
    assert len(bench.store.open_notices("n1", 9)) == 1
    bench.take(right)
    assert bench.store.open_notices("n1", 9) == []


def test_a_last_will_takes_the_node_offline_and_leaves_what_it_claimed(bench: Bench) -> None:
    bench.ingest.take([], NOW_US, [Greeting(Status("n1", True, 1, 7, 2))])
    assert bench.ingest.take([], NOW_US + 5, [Greeting(Status("n1", False, 1, 3, 0))]) == []
    (row,) = bench.store.nodes()
    assert (row.online, row.lag, row.last_seen_us) == (False, 7, NOW_US)


def test_a_central_that_lost_everything_asks_a_node_for_its_first_record(bench: Bench) -> None:
    _notice, gap = bench.ingest.take([], NOW_US, [Greeting(Status("n1", True, 1, 7, 2))])
    assert bench.read(gap) == Nack("n1", "GAP", 1, 1, bytes(32), 0)


def test_a_node_whose_status_the_broker_had_kept_is_asked_for_what_was_lost(bench: Bench) -> None:
    bench.take(*bench.records(2))
    answers = bench.ingest.take([], bench.now_us, [Greeting(Status("n1", True, 1, 7, 2), kept=True)])
    assert [bench.read(answer) for answer in answers[2:3]] == [Nack("n1", "GAP", 1, 3, bytes(32), 0)]


VALUES = st.recursive(
    st.one_of(st.text(max_size=5), st.integers(-(2**53) + 1, 2**53 - 1)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text("ab.$", max_size=3), inner, max_size=2)
    ),
    max_leaves=3,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["visit.first", "visit.corrected", "node.alive", "notice.applied", "later.kind"]),
    fields=st.dictionaries(
        st.sampled_from(["arrived_us", "visit", "pack", "cameras", "nseq", "hash", "decision", "person", "grade"]),
        VALUES,
    ),
)
def test_whatever_a_body_holds_it_is_stored_shown_and_acknowledged(bench: Bench, kind: str, fields: Fields) -> None:
    head = bench.store.head("n1")
    first = bench.records(0)[0] if head else bench.records(1)[0]
    signer = bench.node.desk if kind == "visit.corrected" else bench.node.key
    place = {"seq": head.seq + 1, "prev": head.hash.hex()} if head else {}
    (ack,) = bench.take(forge(first, signer, kind=kind, **place, **fields))
    assert isinstance(ack, Ack)
    assert ack.upto_seq == (head.seq + 1 if head else 1)
    assert bench.store.nodes()[0].seq == ack.upto_seq
    bench.store.visits(limit=1000)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_frame_never_stores_a_record_that_the_node_did_not_sign(bench: Bench, data: st.DataObject) -> None:
    chain = bench.records(0) or bench.records(3)
    payload = bytearray(frame_of(*chain))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(payload) - 1))
        payload[at] ^= data.draw(st.integers(1, 255))
    bench.take_bytes(bytes(payload[: data.draw(st.integers(0, len(payload)))]))
    signed = {record.body for record in chain}
    assert all(row.body in signed for row in bench.store.records())
    assert bench.store.nodes()[0].chain == "ok"


def visit(transaction: Transaction, kind: str, visit_id: str, **fields: object) -> Record:
    body: Fields = {"visit": visit_id, "camera": "door", "source": "rtsp", "arrived_us": NOW_US, **fields}
    return transaction.append(kind, body)


def test_the_store_shows_nodes_and_visits_with_corrections(bench: Bench) -> None:
    ledger = bench.node.ledger()
    with ledger.transaction() as transaction:
        first = visit(transaction, "visit.first", "v1", person="p1", grade="B", pack="mobilefacenet@0011", gallery_n=3)
        unsure = visit(transaction, "visit.unsure", "v2", person="p2", arrived_us=NOW_US + 9, source="file")
        late = visit(transaction, "visit.seen", "v3", party=2, arrived_us=NOW_US - 9)
        camera = {"camera": "door", "frames": 100, "longest_gap_us": 5, "luma_e6": 400_000, "sharpness_e6": 7}
        alive = transaction.append("node.alive", {"cameras": [camera]})
    ledger.close()
    desk = Ledger(bench.node.home / "firstvisit.db", bench.node.desk_writer)
    corrected = desk.append(
        "visit.corrected", {"visit": "v2", "decision": "return", "person": "p1", "reason": "same_person"}
    )
    split = desk.append("visit.corrected", {"visit": "v2", "party_id": "g-2", "reason": "party_split"})
    desk.close()
    bench.take(first, unsure, late, alive, corrected, split)

    rows = bench.store.visits()
    assert [row.visit_id for row in rows] == ["v2", "v1", "v3"]
    assert (rows[0].decision, rows[0].original_decision, rows[0].person_id) == ("return", "unsure", "p1")
    assert rows[0].corrected
    assert rows[0].test
    assert (rows[1].decision, rows[1].corrected, rows[1].grade, rows[1].gallery_n) == ("first", False, "B", 3)
    assert (rows[2].decision, rows[2].person_id, rows[2].party) == ("seen", None, 2)
    assert [row.visit_id for row in bench.store.visits(limit=2, before=rows[0].cursor)] == ["v1", "v3"]
    assert bench.store.visits(node_id="n2") == []

    (node,) = bench.store.nodes()
    assert (node.epoch, node.seq, node.chain) == (1, 6, "ok")
    assert (node.clock_source, node.clock_maxerror_us, node.pack) == ("synced", 1500, "mobilefacenet@0011")
    assert (node.cameras[0].camera_id, node.cameras[0].frames, node.cameras[0].dropped) == ("door", 100, None)
    assert node.alive_us == alive.stamp.wall_us


def test_somebody_seen_who_consents_later_is_one_visit_in_the_list(bench: Bench) -> None:
    ledger = bench.node.ledger()
    with ledger.transaction() as transaction:
        arrival = visit(transaction, "visit.seen", "v1", party=2)
        other = visit(transaction, "visit.seen", "v2", arrived_us=NOW_US + 9)
        decision = visit(transaction, "visit.unsure", "v1", person="p1", gallery_n=3, seen=arrival.hash.hex())
    ledger.close()
    bench.take(arrival, other, decision)
    rows = bench.store.visits()
    assert [(row.visit_id, row.decision, row.person_id) for row in rows] == [
        ("v2", "seen", None),
        ("v1", "unsure", "p1"),
    ]
    assert (rows[1].seq, rows[1].hash, rows[1].gallery_n) == (decision.seq, decision.hash, 3)
    desk = Ledger(bench.node.home / "firstvisit.db", bench.node.desk_writer)
    corrected = desk.append("visit.corrected", {"visit": "v1", "decision": "first", "person": "p1"})
    desk.close()
    bench.take(corrected)
    row = bench.store.visits()[1]
    assert (row.decision, row.original_decision, row.corrected, row.gallery_n) == ("first", "unsure", True, 3)
    assert bench.store.visits(limit=2, before=bench.store.visits()[0].cursor) == [row]


def test_the_verifier_misses_a_decision_made_after_consent_that_the_lists_lack(sqlite_bench: Bench) -> None:
    ledger = sqlite_bench.node.ledger()
    with ledger.transaction() as transaction:
        arrival = visit(transaction, "visit.seen", "v1")
        decision = visit(transaction, "visit.first", "v1", person="p1", seen=arrival.hash.hex())
    ledger.close()
    sqlite_bench.take(arrival, decision)
    with closing(sqlite3.connect(sqlite_bench.central.directory / FILE_NAME)) as other:
        other.text_factory = bytes
        assert altered_lists(other) is None
        other.execute("DELETE FROM corrections")
        assert "table corrections: lacks node n1 epoch 1 seq 2" in (altered_lists(other) or "")


def test_a_body_with_fields_of_the_wrong_kind_is_held_and_shown_without_them(bench: Bench) -> None:
    ledger = bench.node.ledger()
    with ledger.transaction() as transaction:
        odd = visit(transaction, "visit.first", "v1", grade=7, similarity_e6="high", arrived_us="noon", person=[1])
        alive = transaction.append("node.alive", {"cameras": "all well"})
        applied = transaction.append("notice.applied", {"nseq": "one"})
    ledger.close()
    bench.take(odd, alive, applied)
    (row,) = bench.store.visits()
    assert (row.grade, row.similarity_e6, row.person_id, row.arrived_us) == (None, None, None, odd.stamp.wall_us)
    assert bench.store.nodes()[0].cameras == ()


@pytest.mark.parametrize("arrived_us", ["zzzz", 2**53 - 1, [1], {"a": 1}, -(2**53) + 1])
def test_no_node_pushes_the_visits_of_others_off_the_page(bench: Bench, tmp_path: Path, arrived_us: object) -> None:
    evil = Node(tmp_path / "evil", "n2")
    enrol(bench.central.directory, evil.home / "node.pub")
    ledger = evil.ledger()
    with ledger.transaction() as transaction:
        odd = [visit(transaction, "visit.first", f"e{i}", arrived_us=arrived_us) for i in range(6)]
    ledger.close()
    bench.take(*odd, topic_of="n2")
    ledger = bench.node.ledger()
    with ledger.transaction() as transaction:
        fine = [visit(transaction, "visit.first", f"g{i}", arrived_us=NOW_US + 1_000_000 + i) for i in range(4)]
    ledger.close()
    bench.take(*fine)
    page = bench.store.visits(5)
    assert [row.visit_id for row in page[:4]] == ["g3", "g2", "g1", "g0"]
    seen = [row.visit_id for row in page]
    while page:
        page = bench.store.visits(3, before=page[-1].cursor)
        seen += [row.visit_id for row in page]
    assert sorted(seen) == ["e0", "e1", "e2", "e3", "e4", "e5", "g0", "g1", "g2", "g3"]
    orders = [row.cursor for row in bench.store.visits(50)]
    assert orders == sorted(orders, reverse=True)
    assert all(row.cursor[0] <= row.received_us for row in bench.store.visits(50))


def test_visits_are_read_by_index_whatever_is_asked(sqlite_bench: Bench) -> None:
    ledger = sqlite_bench.node.ledger()
    with ledger.transaction() as transaction:
        one = visit(transaction, "visit.first", "v1")
    ledger.close()
    sqlite_bench.take(one)
    asked: list[str] = []
    sqlite_bench.connection.set_trace_callback(asked.append)
    (row,) = sqlite_bench.store.visits(5)
    sqlite_bench.store.visits(5, before=(row.cursor[0] + 1, 1), node_id="n1")
    sqlite_bench.connection.set_trace_callback(None)
    assert len(asked) == 6
    for sql in asked:
        plan = str(sqlite_bench.query(f"EXPLAIN QUERY PLAN {sql}"))
        assert "SCAN" not in plan.replace("SCAN visits USING INDEX visits_arrivals", ""), sql
        assert "TEMP B-TREE" not in plan or "visit.corrected" in sql, sql


def test_frames_read_ahead_are_judged_in_their_turn(bench: Bench) -> None:
    chain = bench.records(60)
    turns = [bench.ingest.read([Arrived("n1", frame_of(*chain[at : at + 20]))]) for at in (0, 20, 40)]
    (ahead_of_its_turn,) = bench.ingest.take(turns[1], bench.now_us)
    assert bench.read(ahead_of_its_turn) == Nack("n1", "GAP", 1, 1, bytes(32), 0)
    assert bench.held() == []
    for number, turn in enumerate(turns, 1):
        (answer,) = bench.ingest.take(turn, bench.now_us + number * 2_000_000)
        ack = bench.read(answer)
        assert isinstance(ack, Ack)
        assert ack.upto_seq == 20 * number


def test_a_forged_signature_among_many_is_refused_however_it_was_read(bench: Bench) -> None:
    chain = bench.records(60)
    forged = replace(chain[40], signature=chain[39].signature)
    (ack,) = bench.take(*chain[:40], forged, *chain[41:])
    assert isinstance(ack, Ack)
    assert ack.upto_seq == 40
    assert bench.refused() == {"not-signed": 1}
