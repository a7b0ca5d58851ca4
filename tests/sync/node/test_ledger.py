import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sync import SyncError
from sync.format.keyring import KeyRing
from sync.format.messages import Ack
from sync.format.public_keys import CentralKeys
from sync.format.records import GENESIS_PREV, BadRecord
from sync.format.rotation import Rotation
from sync.format.signing import Signer
from sync.format.stamp import Stamp
from sync.format.wire import MAX_FRAME_BYTES, MAX_FRAME_RECORDS, encode_frame
from sync.node.append import EpochReason, Transaction, Writer
from sync.node.in_force import KeyNotInForce
from sync.node.ledger import Ledger
from sync.storage.database import LEDGER_FORMAT, DatabaseError, DiskFull, NewerFormat
from tests.sync.conftest import BuiltHome, key, tick

GetSigner = Callable[[str], Signer]

# Appends for ever, printing each seq once it is durable; argv: database, role, seed letter.
_APPENDER = """
import sys
from pathlib import Path
from nacl.signing import SigningKey
from sync.node.append import Writer
from sync.node.ledger import Ledger
from sync.format.signing import Ed25519Signer
from sync.format.stamp import Stamp
stamp = lambda before: Stamp(1_760_000_000_000_000, 1, "0" * 32, 500, "synced", 0)
signer = Ed25519Signer(SigningKey(sys.argv[3].encode() * 32))
ledger = Ledger(Path(sys.argv[1]), Writer("gate-1", sys.argv[2], signer, stamp))
count = int(sys.argv[4])
kind = {"node": "node.alive", "desk": "visit.corrected"}[sys.argv[2]]
while count:
    print(ledger.append(kind, {"frames": 1}).seq, flush=True)
    count -= 1
"""


def _appender(database: Path, role: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _APPENDER, str(database), role, role[0], str(count)], stdout=subprocess.PIPE, text=True
    )


def _check_chain(ledger: Ledger, signer: GetSigner) -> int:
    """Walk the chain as stored, with plain comparisons of its own, and return its length."""
    keys = KeyRing({"node": signer("node").public, "desk": signer("desk").public})
    prev, count = bytes.fromhex(GENESIS_PREV), 0
    for row in ledger.rows():
        count += 1
        record = ledger.record(row.epoch, row.seq)
        assert record is not None
        keys.check(record)
        assert (row.epoch, row.seq) == (record.epoch, record.seq) == (1, count)
        assert row.prev_hash == record.prev_hash == prev
        assert row.hash == record.hash
        prev = row.hash
    return count


def _append_without_end(ledger: Ledger, size: int) -> None:
    for _ in range(1000):
        ledger.append("node.alive", {"padding": "x" * size})


def test_records_form_one_chain_from_genesis(filled_home, signer: GetSigner) -> None:
    ledger = filled_home.ledger()
    assert _check_chain(ledger, signer) == 40
    head = ledger.head()
    assert head is not None
    assert (head.epoch, head.seq) == (1, 40)


def test_every_record_carries_the_newest_ack_as_its_anchor(filled_home) -> None:
    ledger = filled_home.ledger()
    key = CentralKeys.parse_text(filled_home.central_pub.read_text()).keys["ack"]
    acks = [Ack.parse(data, key) for data in ledger.acks()]
    assert [ack.upto_seq for ack in acks] == [9, 20, 30]
    anchored = {seq: ledger.record(1, seq).fields.get("anchor") for seq in (9, 10, 20, 21, 40)}
    assert anchored[9] is None
    assert anchored[10] == anchored[20] == _anchor(acks[0])
    assert anchored[21] == _anchor(acks[1])
    assert anchored[40] == _anchor(acks[2])


def test_a_central_whose_clock_ran_ahead_once_does_not_anchor_every_later_record(home, signer: GetSigner) -> None:
    ledger = home.ledger()
    first = ledger.append("node.boot", {})
    ahead = Ack.seal("gate-1", 1, 1, first.hash, 9_000_000_000_000_000, 8, signer("ack"))
    right = Ack.seal("gate-1", 1, 1, first.hash, 1_760_000_000_000_000, 8, signer("ack"))
    assert ledger.accept_ack(ahead)
    assert ledger.accept_ack(right)
    assert ledger.accept_ack(ahead)  # a replay is no news
    assert ledger.append("node.alive", {}).fields["anchor"] == _anchor(right)


def test_only_the_head_of_this_chain_is_acknowledged(filled_home, signer: GetSigner) -> None:
    ledger = filled_home.ledger()
    forged = Ack.seal("gate-1", 1, 35, b"h" * 32, 1, 8, signer("ack"))
    beyond = Ack.seal("gate-1", 1, 41, b"h" * 32, 1, 8, signer("ack"))
    assert not ledger.accept_ack(forged)
    assert not ledger.accept_ack(beyond)
    assert ledger.acked_upto() == (1, 30)
    assert ledger.backlog() == 10
    assert len(list(ledger.acks())) == 3


def test_an_older_ack_takes_no_mark_away(filled_home) -> None:
    ledger = filled_home.ledger()
    filled_home.ack(ledger, upto=12)
    assert ledger.acked_upto() == (1, 30)
    assert sum(row.acked for row in ledger.rows()) == 30
    assert ledger.backlog() == 28  # central holds no more by its newest word: the rest is sent again


def test_a_kind_of_the_other_role_is_refused_and_leaves_no_trace(filled_home) -> None:
    for role, kind in (("node", "visit.corrected"), ("desk", "visit.first"), ("node", "visit.unheard_of")):
        ledger = filled_home.ledger(role)
        with pytest.raises(SyncError, match=f"{kind} is not for the {role} key"):
            ledger.append(kind, {})
        assert ledger.head().seq == 40


@pytest.mark.parametrize("name", ["v", "node", "epoch", "seq", "prev", "kind", "key", "at", "anchor"])
def test_a_caller_cannot_write_into_the_envelope(home, name: str) -> None:
    with pytest.raises(SyncError, match=f"{name} belongs to the envelope"):
        home.ledger().append("node.boot", {name: 1})


def test_a_node_that_was_renamed_cannot_continue_the_chain(filled_home, signer: GetSigner) -> None:
    renamed = Ledger(
        filled_home.database,
        Writer("gate-2", "node", signer("node"), lambda _: Stamp(1, 1, "0" * 32, 1, "synced", 0)),
    )
    with pytest.raises(SyncError, match="node gate-1's, gate-2 cannot continue it"):
        renamed.append("node.alive", {})
    assert renamed.head().seq == 40


def test_a_record_too_large_to_verify_is_never_written(home) -> None:
    ledger = home.ledger()
    with pytest.raises(BadRecord, match="at most 8192"):
        ledger.append("node.alive", {"padding": "x" * 9000})
    assert ledger.head() is None


def test_a_transaction_that_raises_leaves_nothing_behind(home) -> None:
    ledger = home.ledger()
    ledger.append("node.boot", {})
    ledger.connection.execute("CREATE TABLE beside (x INTEGER)")

    def fail_in_the_middle() -> None:
        with ledger.transaction() as transaction:
            transaction.append("node.alive", {})
            transaction.connection.execute("INSERT INTO beside VALUES (1)")
            transaction.append("node.alive", {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_middle()
    assert ledger.head().seq == 1
    assert ledger.connection.execute("SELECT count(*) FROM beside").fetchone() == (0,)
    assert ledger.append("node.alive", {}).seq == 2


def test_the_stamp_before_is_handed_to_the_clock(home, signer: GetSigner) -> None:
    seen: list[Stamp | None] = []

    def clock(before: Stamp | None) -> Stamp:
        seen.append(before)
        return Stamp(len(seen), 1, "0" * 32, 1, "synced", 0)

    ledger = Ledger(home.database, Writer("gate-1", "node", signer("node"), clock))
    stamps = [ledger.append("node.alive", {}).stamp for _ in range(3)]
    assert seen == [None, stamps[0], stamps[1]]


def test_a_reader_cannot_append(filled_home) -> None:
    with pytest.raises(SyncError, match="opened for reading"):
        Ledger(filled_home.database).append("node.alive", {})


def test_append_after_a_crash_continues_the_chain(home, signer: GetSigner) -> None:
    durable = 0
    for crash in range(8):
        process = _appender(home.database, "node", -1)
        assert process.stdout is not None
        for _ in range(1 + 3 * crash):
            durable = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split("\n")[:-1]
        durable = max([durable, *map(int, rest)])
        process.wait()
        assert _check_chain(home.ledger(), signer) >= durable
    assert durable >= 8
    assert home.ledger().append("node.alive", {}).seq > durable


def test_two_processes_that_append_at_once_never_fork(home, signer: GetSigner) -> None:
    processes = [_appender(home.database, role, 60) for role in ("node", "desk")]
    seqs = [[int(line) for line in process.communicate(timeout=60)[0].split()] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(seqs[0] + seqs[1]) == list(range(1, 121))
    assert _check_chain(home.ledger(), signer) == 120


def test_the_database_itself_forbids_a_fork(filled_home) -> None:
    connection = filled_home.ledger().connection
    for epoch, seq in ((1, 17), (1, 99)):
        with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
            connection.execute(
                "INSERT INTO ledger SELECT ?, ?, kind, body, hash, prev_hash, signature, 0 FROM ledger WHERE seq = 17",
                (epoch, seq),
            )


def test_a_snapshot_does_not_see_what_is_appended_meanwhile(filled_home) -> None:
    reader, writer = filled_home.ledger(), filled_home.ledger()
    with reader.snapshot():
        assert len(list(reader.acks())) == 3
        filled_home.ack(writer)
        writer.append("node.alive", {})
        assert reader.head().seq == 40
        assert len(list(reader.acks())) == 3
    assert reader.head().seq == 41


def test_a_writer_waits_for_another_and_then_continues(home) -> None:
    first, second = home.ledger(), home.ledger("desk")
    inside, results = threading.Event(), []

    def hold() -> None:
        ledger = home.ledger()
        with ledger.transaction() as transaction:
            transaction.append("node.alive", {})
            inside.set()
            time.sleep(0.3)  # the other writer is waiting for the lock by now, or will not have to

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(10)
    results.append(second.append("visit.corrected", {}).seq)
    thread.join()
    assert results == [2]
    assert first.head().seq == 2


@pytest.mark.parametrize("size", [100, 3000, 7000])
def test_a_full_database_refuses_the_record_and_keeps_the_chain(filled_home, signer: GetSigner, size: int) -> None:
    ledger = filled_home.ledger()
    (pages,) = ledger.connection.execute("PRAGMA page_count").fetchone()
    ledger.connection.execute(f"PRAGMA max_page_count = {pages + 8}")
    with pytest.raises(DiskFull, match=r"firstvisit\.db: no room"):
        _append_without_end(ledger, size)
    held = ledger.head().seq
    assert _check_chain(ledger, signer) == held
    ledger.connection.execute("PRAGMA max_page_count = 1000000")
    assert ledger.append("node.alive", {}).seq == held + 1
    assert _check_chain(ledger, signer) == held + 1


def test_asking_what_is_acknowledged_walks_through_no_ledger(home) -> None:
    ledger = home.ledger()
    with ledger.transaction() as transaction:
        for _ in range(1000):
            transaction.append("node.alive", {})
    steps: list[None] = []
    ledger.connection.set_progress_handler(lambda: steps.append(None), 10)  # every 10 instructions
    assert ledger.acked_upto() == (0, 0)
    assert len(steps) < 10
    home.ack(ledger, upto=7)
    steps.clear()
    assert ledger.acked_upto() == (1, 7)
    assert len(steps) < 10
    assert ledger.backlog() == 993


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", path], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def test_a_full_disk_refuses_the_record_and_room_again_continues_the_chain(small_disk: Path, signer: GetSigner) -> None:
    database = small_disk / "firstvisit.db"
    Ledger.create(database)
    clock = Stamp(1, 1, "0" * 32, 1, "synced", 0)
    ledger = Ledger(database, Writer("gate-1", "node", signer("node"), lambda _: clock))
    filler = small_disk / "filler"
    filler.write_bytes(bytes(80_000))
    with pytest.raises(DiskFull, match=r"firstvisit\.db: no room"):
        _append_without_end(ledger, 3000)
    held = ledger.head().seq
    assert _check_chain(ledger, signer) == held > 1
    filler.unlink()
    assert ledger.append("node.alive", {}).seq == held + 1
    assert _check_chain(ledger, signer) == held + 1
    ledger.close()


def test_a_ledger_on_a_disk_without_room_to_open_it_says_so(small_disk: Path) -> None:
    database = small_disk / "firstvisit.db"
    Ledger.create(database)
    with pytest.raises(OSError, match="No space"):
        (small_disk / "filler").write_bytes(bytes(500_000))
    with pytest.raises(DiskFull, match=r"firstvisit\.db: no room"):
        Ledger(database)


SWALLOW = "TRIGGER swallow BEFORE INSERT ON ledger WHEN NEW.kind = 'visit.first' BEGIN SELECT RAISE(IGNORE); END"


def test_a_trigger_that_swallows_records_is_refused_and_never_acknowledged(filled_home) -> None:
    ledger = filled_home.ledger()
    with sqlite3.connect(filled_home.database) as connection:
        connection.execute(f"CREATE {SWALLOW}")
    connection.close()
    for kind in ("visit.first", "node.alive"):
        with pytest.raises(DatabaseError, match=r"firstvisit\.db: it holds the trigger 'swallow'"):
            ledger.append(kind, {})
    with pytest.raises(DatabaseError, match="swallow"):
        filled_home.ledger()


def test_a_record_that_the_database_did_not_keep_is_not_returned(filled_home) -> None:
    ledger = filled_home.ledger()
    ledger.connection.execute(f"CREATE TEMP {SWALLOW}")  # of this connection alone: nobody finds it in the file
    with pytest.raises(SyncError, match=r"did not keep visit\.first at epoch 1 seq 41"):
        ledger.append("visit.first", {})
    assert ledger.append("node.alive", {}).seq == 41


def test_a_ledger_of_a_newer_version_is_refused_untouched(filled_home) -> None:
    connection = filled_home.ledger().connection
    connection.execute(f"PRAGMA user_version = {LEDGER_FORMAT.version + 1}")
    connection.close()
    with pytest.raises(
        NewerFormat, match=rf"firstvisit\.db: written by a newer FirstVisit \(format {LEDGER_FORMAT.version + 1}"
    ):
        filled_home.ledger()


@pytest.mark.parametrize("content", [None, b"", b"not a database, but long enough to look like one" * 40])
def test_what_is_no_ledger_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "firstvisit.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatabaseError, match=r"firstvisit\.db: "):
        Ledger(path)


def test_a_ledger_is_never_created_over_something(filled_home, tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="already there"):
        Ledger.create(filled_home.database)
    with pytest.raises(DatabaseError, match=r"nowhere/firstvisit\.db: "):
        Ledger.create(tmp_path / "nowhere" / "firstvisit.db")


def test_a_damaged_file_is_a_ledger_error_not_a_traceback(filled_home) -> None:
    data = bytearray(filled_home.database.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    filled_home.database.write_bytes(data)
    with pytest.raises(DatabaseError, match=r"firstvisit\.db: "):
        list(filled_home.ledger().rows())


def test_a_record_is_found_by_kind_and_place(filled_home) -> None:
    ledger = filled_home.ledger()
    assert [record.seq for record in ledger.records(["visit.corrected"])] == [10, 20, 30, 40]
    assert [record.seq for record in ledger.records(["visit.corrected"], after=(1, 20))] == [30, 40]
    assert ledger.last_of("visit.corrected").seq == 40
    assert ledger.last_of("node.stopped") is None
    assert ledger.record(1, 41) is None
    assert [row.seq for row in ledger.rows(from_seq=39)] == [39, 40]


def test_frames_take_the_chain_in_order_and_fit_the_wire(home) -> None:
    ledger = home.ledger()
    with ledger.transaction() as transaction:
        for seq in range(1, 251):
            transaction.append("node.alive", {"padding": "x" * (7000 if seq > 150 else 10)})
    after, sizes, bodies = (0, 0), [], []
    while (found := ledger.next_frame(after)) is not None:
        after, frame = found
        assert len(encode_frame(frame)) <= MAX_FRAME_BYTES
        sizes.append(len(frame))
        bodies += [signed.body for signed in frame]
    assert after == (1, 250)
    assert bodies == [row.body for row in ledger.rows()]
    assert sizes[0] == MAX_FRAME_RECORDS
    assert min(sizes[1:-1]) > 30


def _anchor(ack: Ack) -> dict[str, object]:
    return {"central_time_us": ack.central_time_us, "ack_hash": ack.ack_hash.hex()}


def test_records_are_found_by_an_id_they_name(home) -> None:
    node = home.ledger()
    node.append("visit.unsure", {"visit": "v-1", "person": "p-1", "candidates": [{"person": "p-2"}]})
    node.append("visit.first", {"visit": "v-2", "person": "p-22"})
    node.append("retention.run", {"expired": ["p-2", "p-3"]})
    kinds = ("visit.unsure", "visit.first", "retention.run")
    assert [record.kind for record in node.naming("p-2", kinds)] == ["visit.unsure", "retention.run"]
    assert [record.kind for record in node.naming("p-2", kinds, after=(1, 1))] == ["retention.run"]
    assert node.naming("p-2", ("visit.first",)) == []
    assert [record.kind for record in node.about("v-2", kinds)] == ["visit.first"]
    assert node.about("p-2", kinds, key="person") == [], "named as a candidate, and not what a record is about"


def test_the_data_version_changes_with_what_others_write_only(home) -> None:
    reader, writer = home.ledger(), home.ledger()
    before = reader.data_version()
    assert reader.data_version() == before
    writer.append("node.alive", {})
    assert reader.data_version() != before


# -- epochs and keys -------------------------------------------------------------------------------------------

_STARTED = {"site": "s1", "keys": {}}


def test_a_new_epoch_begins_behind_the_last_record_and_is_continued(filled_home) -> None:
    ledger = filled_home.ledger()
    last = ledger.head()
    with ledger.transaction() as transaction:
        first = transaction.begin_epoch("restore", _STARTED)
    assert (first.epoch, first.seq, first.prev_hash, first.fields["reason"]) == (2, 1, last.hash, "restore")
    desk = filled_home.ledger("desk").append("day.closed", {})
    assert (desk.epoch, desk.seq, desk.prev_hash) == (2, 2, first.hash)


def test_an_epoch_may_pass_over_numbers_that_a_clone_has_taken_but_never_go_back(filled_home) -> None:
    ledger = filled_home.ledger()
    with ledger.transaction() as transaction:
        assert transaction.begin_epoch("fork", _STARTED, 4).epoch == 4
    for taken in (1, 4):
        with pytest.raises(SyncError, match=f"epoch {taken} cannot follow epoch 4"), ledger.transaction() as again:
            again.begin_epoch("fork", _STARTED, taken)


def test_an_empty_chain_has_no_epoch_to_begin_behind(home) -> None:
    with pytest.raises(SyncError, match="empty chain"), home.ledger().transaction() as transaction:
        transaction.begin_epoch("restore", _STARTED)


def test_an_ack_of_an_epoch_covers_every_epoch_before(filled_home, signer: GetSigner) -> None:
    ledger = filled_home.ledger()
    with ledger.transaction() as transaction:
        transaction.begin_epoch("restore", _STARTED)
        head = transaction.append("node.alive", {})
    assert ledger.accept_ack(Ack.seal("gate-1", 2, 2, head.hash, 1, 8, signer("ack")))
    assert ledger.backlog() == 0
    assert ledger.acked_upto() == (2, 2)


def test_what_central_will_never_take_is_told_by_the_epochs_behind_it(filled_home, signer: GetSigner) -> None:
    ledger = filled_home.ledger()

    def begin(reason: EpochReason) -> tuple[int, int]:
        with ledger.transaction() as transaction:
            transaction.begin_epoch(reason, {})
            transaction.append("node.alive", {})
        return ledger.given_up()

    assert begin("restore") == (0, 0)
    assert begin("rekey") == (0, 0)  # what was signed before it is still to be sent
    assert begin("rekey") == (3, 2)  # central was never told of the keys of epoch 3
    head = ledger.head()
    assert ledger.accept_ack(Ack.seal("gate-1", head.epoch, head.seq, head.hash, 1, 8, signer("ack")))
    assert begin("rekey") == (0, 0)
    assert begin("fork") == (5, 2)
    assert begin("clone") == (5, 2)


def test_a_retired_key_appends_nothing_until_its_successor_is_read(home, signer: GetSigner) -> None:
    keys = {"node": str(signer("node").public), "desk": str(signer("desk").public)}
    ledger = home.ledger()
    ledger.append("epoch.started", {"reason": "init", "site": "s1", "keys": keys})
    old, new = signer("node"), signer("stranger")
    with ledger.transaction() as transaction:
        _rotate(transaction, old, new)
    assert ledger.key_in_force("node") == new.public
    with pytest.raises(KeyNotInForce, match="is retired"):
        ledger.append("node.alive", {})
    assert ledger.head().seq == 2
    renewed = Ledger(home.database, Writer("gate-1", "node", old, tick, renew=lambda: new))
    assert renewed.append("node.alive", {}).key_id == new.public.key_id
    assert home.ledger("desk").append("day.closed", {}).key_id == signer("desk").public.key_id


def test_a_rotation_that_was_rolled_back_retires_nothing(home, signer: GetSigner) -> None:
    ledger = home.ledger()
    keys = {"node": str(signer("node").public), "desk": str(signer("desk").public)}
    ledger.append("epoch.started", {"reason": "init", "site": "s1", "keys": keys})
    old, new = signer("node"), signer("stranger")
    with pytest.raises(SyncError, match="belongs to the envelope"), ledger.transaction() as transaction:
        _rotate_and_fail(transaction, old, new)
    assert ledger.append("node.alive", {}).seq == 2


def _rotate_and_fail(transaction: Transaction, old: Signer, new: Signer) -> None:
    _rotate(transaction, old, new)
    transaction.append("node.alive", {"seq": 5})


def _rotate(transaction: Transaction, old: Signer, new: Signer) -> None:
    transaction.append_placed(
        "key.rotated",
        lambda epoch, seq: Rotation("gate-1", epoch, seq, "node", old.public.key_id, new.public).fields(
            new, old, "file"
        ),
    )


def test_nothing_follows_a_damaged_head_and_no_ack_is_taken_for_one(filled_home: BuiltHome) -> None:
    ledger = filled_home.ledger()
    head = ledger.head()
    assert head
    ledger.connection.execute("UPDATE ledger SET body = CAST(replace(body, 'v40', 'v41') AS BLOB) WHERE seq = 40")
    with pytest.raises(SyncError, match="the last record of the chain is damaged"):
        ledger.append("camera.up", {"camera": "door"})
    ack = Ack.seal("gate-1", 1, 40, head.hash, 1_760_000_100_000_000, 8, key("ack"))
    assert not ledger.accept_ack(ack)
    assert ledger.backlog() == 10
