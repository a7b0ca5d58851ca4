import os
import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sync import SyncError
from sync.audit.export import write_export
from sync.format import canonical
from sync.format.messages import Ack, Notice
from sync.format.public_keys import CentralKeys, Enrolment
from sync.format.records import seal
from sync.format.signing import Signer, digest
from sync.format.stamp import Stamp
from sync.node.append import Writer
from sync.node.ledger import Ledger
from sync.storage.database import LEDGER_FORMAT
from sync.verify.verdict import Verdict
from sync.verify.verify import verify
from sync.verify.verify_both import verify_both
from tests.sync.filled_central import central_of

GetSigner = Callable[[str], Signer]
_COLUMNS = ("epoch", "seq", "kind", "body", "hash", "prev_hash", "signature", "acked")


def _sql(database: Path, *statements: str) -> None:
    """Change a database as somebody with root would, then fold the WAL into the file."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _rows(database: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def _bad(verdict: Verdict, seq: int | None, why: str = "") -> None:
    assert not verdict.ok, verdict.lines
    assert verdict.first_bad == seq, verdict.lines
    assert why in (verdict.why or ""), verdict.lines
    assert any(line.startswith("bad: " if seq is None else f"bad: seq {seq}: ") for line in verdict.lines)


# -- what is good ----------------------------------------------------------------------------------------------


def test_an_untouched_home_is_good_and_says_what_is_not_proven(filled_home) -> None:
    verdict = verify(filled_home.path)
    assert verdict.ok
    assert (verdict.what, verdict.checked, verdict.first_bad, verdict.why) == ("home", 40, None, None)
    assert "consistent with the key found here, origin not proven" in verdict.lines
    assert "unanchored: seq 31..40" in verdict.lines
    assert any("cannot be detected" in line for line in verdict.lines)
    assert any(line.startswith("acks: 3 verified, the last covers seq 30") for line in verdict.lines)


def test_a_home_that_never_joined_is_unanchored_from_the_first_record(home) -> None:
    ledger = home.ledger()
    for _ in range(3):
        ledger.append("node.alive", {})
    home.central_pub.unlink()
    verdict = verify(home.path)
    assert verdict.ok
    assert "unanchored: seq 1..3" in verdict.lines
    assert "acks: none" in verdict.lines


def test_everything_acknowledged_leaves_nothing_unanchored(filled_home) -> None:
    filled_home.ack(filled_home.ledger())
    assert "unanchored: none" in verify(filled_home.path).lines


def test_the_verdict_is_json(filled_home) -> None:
    fields = verify(filled_home.path).fields()
    assert set(fields) == {"ok", "what", "lines", "first_bad", "why", "checked", "end", "void"}
    assert fields["ok"] is True


def test_a_given_node_key_proves_the_origin(filled_home, tmp_path: Path) -> None:
    elsewhere = tmp_path / "kept.pub"
    shutil.copy(filled_home.node_pub, elsewhere)
    assert any(line.startswith("origin proven against") for line in verify(filled_home.path, elsewhere).lines)
    filled_home.node_pub.unlink()
    assert verify(filled_home.path, elsewhere).ok


def test_a_given_central_key_proves_the_acks(filled_home, tmp_path: Path) -> None:
    elsewhere = tmp_path / "kept.pub"
    filled_home.central_pub.rename(elsewhere)
    verdict = verify(filled_home.path, elsewhere)
    assert verdict.ok
    assert any(line.startswith("acks proven against") for line in verdict.lines)


def test_another_nodes_key_is_a_mismatch(filled_home, tmp_path: Path, signer: GetSigner) -> None:
    other = tmp_path / "other.pub"
    other.write_text(
        Enrolment("gate-1", "s1", signer("stranger").public, signer("desk").public).text(signer("stranger"))
    )
    _bad(verify(filled_home.path, other), 1, "not enrolled")


def test_a_chain_good_under_the_given_key_beside_another_node_pub_is_a_mismatch(
    filled_home, tmp_path: Path, signer: GetSigner
) -> None:
    kept = tmp_path / "kept.pub"
    shutil.copy(filled_home.node_pub, kept)
    filled_home.node_pub.write_text(
        Enrolment("gate-1", "s1", signer("stranger").public, signer("desk").public).text(signer("stranger"))
    )
    _bad(verify(filled_home.path, kept), None, "node.pub here has key")


def test_another_centrals_key_is_a_mismatch(filled_home, tmp_path: Path, signer: GetSigner) -> None:
    keys = {role: signer("stranger").public for role in ("ack", "notice", "checkpoint", "code")}
    other = tmp_path / "other.pub"
    other.write_text(CentralKeys("hq", signer("stranger").public, keys).text(signer("stranger")))  # type: ignore[arg-type]
    assert not verify(filled_home.path, other).ok


def test_a_home_forged_whole_is_caught_by_the_given_key_alone(filled_home, tmp_path: Path, signer: GetSigner) -> None:
    kept = tmp_path / "kept.pub"
    shutil.copy(filled_home.node_pub, kept)
    stranger, desk = signer("stranger"), signer("root")
    _sql(filled_home.database, "DELETE FROM ledger", "DELETE FROM acks")
    filled_home.node_pub.write_text(Enrolment("gate-1", "s1", stranger.public, desk.public).text(stranger))
    clock = Stamp(1, 1, "0" * 32, 1, "synced", 0)
    Ledger(filled_home.database, Writer("gate-1", "node", stranger, lambda _: clock)).append("node.boot", {})
    assert verify(filled_home.path).ok  # consistent with itself: that is what "origin not proven" says
    _bad(verify(filled_home.path, kept), 1, "not enrolled")


def test_acks_under_a_later_key_list_are_good(filled_home, signer: GetSigner) -> None:
    ledger = filled_home.ledger()
    filled_home.ack(ledger, signer="stranger")
    _bad(verify(filled_home.path), 40, "not signed by key")
    keys = {"ack": signer("stranger").public} | {r: signer(r).public for r in ("notice", "checkpoint", "code")}
    listed = CentralKeys("hq", signer("root").public, keys)  # type: ignore[arg-type]
    for key, good in (("notice", False), ("root", True)):
        notice = Notice.seal("gate-1", 1, bytes(32), "keys", listed.fields(), signer(key))
        ledger.connection.execute("DELETE FROM notices")
        ledger.connection.execute("INSERT INTO notices VALUES (1, ?, 'keys', ?, 1)", (notice.hash, notice.data))
        assert verify(filled_home.path).ok is good


# -- records that were changed ---------------------------------------------------------------------------------


def _flip(database: Path, seq: int, column: str, at: int) -> None:
    """Change one byte of one column of one record, whatever its type."""
    ((value,),) = _rows(database, f"SELECT {column} FROM ledger WHERE seq = {seq}")
    if isinstance(value, int):
        changed: Any = value ^ (1 if column == "acked" else 1 << (at % 8 + 6))
    else:
        data = bytearray(value.encode() if isinstance(value, str) else value)
        data[at % len(data)] ^= 1
        changed = data.decode() if isinstance(value, str) else bytes(data)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(f"UPDATE ledger SET {column} = ? WHERE seq = ?", (changed, seq))


@pytest.mark.parametrize("at", [0, 7, -1])
@pytest.mark.parametrize("seq", [1, 17, 20, 30, 35, 40])
@pytest.mark.parametrize("column", _COLUMNS)
def test_one_changed_byte_in_any_column_of_any_record_is_named(filled_home, column: str, seq: int, at: int) -> None:
    _flip(filled_home.database, seq, column, at)
    _bad(verify(filled_home.path), seq)


@pytest.mark.parametrize("value", ["NULL", "'x'", "x'00'", "3.5", "-1", "0", "9223372036854775807"])
@pytest.mark.parametrize("column", _COLUMNS)
def test_a_column_of_another_type_is_named_and_never_crashes(filled_home, column: str, value: str) -> None:
    """STRICT is a promise of SQLite's, not of whoever writes the file; so the schema is loosened first."""
    with closing(sqlite3.connect(filled_home.database, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE copy AS SELECT * FROM ledger")
        connection.execute("DROP TABLE ledger")
        connection.execute("ALTER TABLE copy RENAME TO ledger")
        ((before,),) = connection.execute(f"SELECT {column} FROM ledger WHERE seq = 17")
        connection.execute(f"UPDATE ledger SET {column} = {value} WHERE seq = 17")
        ((after,),) = connection.execute(f"SELECT {column} FROM ledger WHERE rowid = 17")
    assert after != before
    _bad(verify(filled_home.path), 17)


def test_a_body_that_was_changed_with_its_hash_still_fails(filled_home) -> None:
    ((body,),) = _rows(filled_home.database, "SELECT body FROM ledger WHERE seq = 17")
    changed = body.replace(b"340017", b"990017")
    assert changed != body
    with closing(sqlite3.connect(filled_home.database)) as connection, connection:
        connection.execute(
            "UPDATE ledger SET body = ?, hash = ? WHERE seq = 17", (changed, digest("record-hash", changed))
        )
    _bad(verify(filled_home.path), 17, "signature does not verify")


def _replace(database: Path, seq: int, by: Signer, **changes: Any) -> None:
    """Put a record that is good in itself, newly signed, in the place of another."""
    ((body,),) = _rows(database, f"SELECT body FROM ledger WHERE seq = {seq}")
    record = seal({**canonical.decode(body), "key": by.public.key_id, **changes}, by)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "UPDATE ledger SET kind = ?, body = ?, hash = ?, prev_hash = ?, signature = ? WHERE seq = ?",
            (record.kind, record.body, record.hash, record.prev_hash, record.signature, seq),
        )


def test_a_record_under_the_wrong_key_role_is_named(filled_home, signer: GetSigner) -> None:
    _replace(filled_home.database, 35, signer("desk"))
    _bad(verify(filled_home.path), 35, "visit.first is signed by the desk key, only the node key may sign it")


def test_a_desk_record_signed_by_the_node_is_named(filled_home, signer: GetSigner) -> None:
    _replace(filled_home.database, 40, signer("node"))
    _bad(verify(filled_home.path), 40, "signed by the node key, only the desk key")


def test_a_record_of_a_key_nobody_enrolled_is_named(filled_home, signer: GetSigner) -> None:
    _replace(filled_home.database, 40, signer("stranger"), kind="visit.first")
    _bad(verify(filled_home.path), 40, "not enrolled")


def test_a_record_of_another_node_is_named(filled_home, signer: GetSigner) -> None:
    _replace(filled_home.database, 39, signer("node"), node="gate-2")
    _bad(verify(filled_home.path), 39, "of node gate-2")


def test_a_record_rewritten_by_who_holds_the_key_breaks_the_next_link(filled_home, signer: GetSigner) -> None:
    _replace(filled_home.database, 35, signer("node"), visit="another")
    _bad(verify(filled_home.path), 36, "prev is not the hash of the record before")


def test_an_acknowledged_head_rewritten_by_who_holds_the_key_is_named(filled_home, signer: GetSigner) -> None:
    _replace(filled_home.database, 30, signer("desk"), visit="another")
    _bad(verify(filled_home.path), 30, "not the record that central acknowledged")


@pytest.mark.parametrize("seq", [1, 2, 17, 30, 31, 39])
def test_a_removed_record_is_named(filled_home, seq: int) -> None:
    _sql(filled_home.database, f"DELETE FROM ledger WHERE seq = {seq}")
    _bad(verify(filled_home.path), seq, "missing")


@pytest.mark.parametrize("first", [1, 17, 30, 39])
def test_a_swapped_pair_is_named_by_its_first(filled_home, first: int) -> None:
    a, b = first, first + 1
    _sql(
        filled_home.database,
        f"UPDATE ledger SET seq = 999 WHERE seq = {a}",
        f"UPDATE ledger SET seq = {a} WHERE seq = {b}",
        f"UPDATE ledger SET seq = {b} WHERE seq = 999",
    )
    _bad(verify(filled_home.path), a)


def test_of_several_faults_the_first_is_named(filled_home) -> None:
    _sql(
        filled_home.database, "UPDATE ledger SET seq = -1 WHERE seq = 17", "UPDATE ledger SET acked = 1 WHERE seq = 33"
    )
    _bad(verify(filled_home.path), 17, "stored as epoch 1 seq -1")
    _sql(filled_home.database, "DELETE FROM ledger WHERE seq = 5")
    _bad(verify(filled_home.path), 5, "missing")


def test_a_record_stored_twice_is_named(filled_home) -> None:
    _sql(
        filled_home.database,
        "CREATE TABLE copy AS SELECT * FROM ledger",
        "DROP TABLE ledger",
        "ALTER TABLE copy RENAME TO ledger",
        "INSERT INTO ledger SELECT 1, 99, kind, body, hash, prev_hash, signature, acked FROM ledger WHERE seq = 17",
    )
    _bad(verify(filled_home.path), 17, "stored as epoch 1 seq 99")


def test_a_tail_lost_below_the_last_ack_is_bad_and_above_it_cannot_be_seen(filled_home) -> None:
    _sql(filled_home.database, "DELETE FROM ledger WHERE seq > 35")
    verdict = verify(filled_home.path)
    assert verdict.ok
    assert "unanchored: seq 31..35" in verdict.lines
    _sql(filled_home.database, "DELETE FROM ledger WHERE seq > 27")
    _bad(verify(filled_home.path), 28, "missing: central has acknowledged up to seq 30")


def test_a_ledger_emptied_wholly_is_bad(filled_home) -> None:
    _sql(filled_home.database, "DELETE FROM ledger")
    _bad(verify(filled_home.path), 1, "missing")
    _sql(filled_home.database, "DELETE FROM acks")
    _bad(verify(filled_home.path), 1, "missing")


@pytest.mark.parametrize("seq", [31, 40])
def test_a_mark_above_the_last_ack_is_noticed(filled_home, seq: int) -> None:
    _sql(filled_home.database, f"UPDATE ledger SET acked = 1 WHERE seq = {seq}")
    _bad(verify(filled_home.path), seq, "marked acked, but no stored ack covers it")


@pytest.fixture
def second_epoch(filled_home, signer: GetSigner):
    """The filled HOME, its chain continued by three records of epoch 2."""
    ledger = filled_home.ledger()
    last = ledger.record(1, 40)
    for seq in (1, 2, 3):
        envelope = {"v": 1, "node": "gate-1", "epoch": 2, "seq": seq, "prev": last.hash.hex(), "kind": "node.alive"}
        last = seal({**envelope, "key": signer("node").public.key_id, "at": last.stamp.fields()}, signer("node"))
        ledger.connection.execute(
            "INSERT INTO ledger (epoch, seq, kind, body, hash, prev_hash, signature) VALUES (2, ?, ?, ?, ?, ?, ?)",
            (seq, last.kind, last.body, last.hash, last.prev_hash, last.signature),
        )
    ledger.close()
    return filled_home


def test_a_second_epoch_continues_from_the_last_head_of_the_first(second_epoch) -> None:
    verdict = verify(second_epoch.path)
    assert verdict.ok
    assert verdict.checked == 43
    assert "unanchored: seq 31..40, epoch 2 seq 1..3" in verdict.lines


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        (
            "DELETE FROM ledger WHERE epoch = 1 AND seq = 40",
            "bad: epoch 2 seq 1: prev is not the hash of the record before",
        ),
        ("DELETE FROM ledger WHERE epoch = 2 AND seq = 1", "bad: epoch 2 seq 1: missing"),
        ("DELETE FROM ledger WHERE epoch = 2 AND seq = 2", "bad: epoch 2 seq 2: missing"),
        ("UPDATE ledger SET epoch = 3 WHERE epoch = 2", "bad: epoch 2 seq 1: stored as epoch 3 seq 1"),
        ("DELETE FROM ledger WHERE epoch = 1", "bad: seq 1: missing"),
    ],
)
def test_a_fault_about_a_second_epoch_is_named(second_epoch, statement: str, line: str) -> None:
    _sql(second_epoch.database, statement)
    assert line in verify(second_epoch.path).lines


# -- acks that were changed ------------------------------------------------------------------------------------


def test_a_removed_ack_is_missed_by_the_first_record_it_anchors(filled_home) -> None:
    _sql(filled_home.database, "DELETE FROM acks WHERE upto_seq = 20")
    _bad(verify(filled_home.path), 21, "anchor names an ack that is not stored here")


def test_a_tail_removed_with_its_ack_is_still_missed_where_a_mark_or_anchor_remains(filled_home) -> None:
    _sql(filled_home.database, "DELETE FROM acks WHERE upto_seq = 30")
    _bad(verify(filled_home.path), 21, "marked acked, but no stored ack covers it")


@pytest.mark.parametrize("column", ["ack_hash", "epoch", "upto_seq", "central_time_us", "data"])
def test_one_changed_byte_in_any_column_of_an_ack_is_named(filled_home, column: str) -> None:
    ((value,),) = _rows(filled_home.database, f"SELECT {column} FROM acks WHERE upto_seq = 20")
    changed = value + 1 if isinstance(value, int) else bytes([value[0] ^ 1]) + value[1:]
    with closing(sqlite3.connect(filled_home.database)) as connection, connection:
        connection.execute(f"UPDATE acks SET {column} = ? WHERE upto_seq = 20", (changed,))
    _bad(verify(filled_home.path), 20, "the ack stored for it")


def test_an_ack_signed_by_a_stranger_is_named(filled_home) -> None:
    filled_home.ack(filled_home.ledger(), signer="stranger")
    _bad(verify(filled_home.path), 40, "not signed by key")


def test_an_ack_meant_for_another_node_is_named(filled_home, signer: GetSigner) -> None:
    ledger = filled_home.ledger()
    head = ledger.head()
    assert ledger.accept_ack(Ack.seal("gate-2", 1, 40, head.hash, 1, 8, signer("ack")))
    _bad(verify(filled_home.path), 40, "node gate-2's")


def test_acks_without_any_central_key_are_bad(filled_home) -> None:
    filled_home.central_pub.unlink()
    _bad(verify(filled_home.path), 9, "no central.pub")


# -- bytes of the file -----------------------------------------------------------------------------------------


def _content(database: Path) -> list[tuple[Any, ...]] | None:
    """The evidence as the file holds it, read without any index; None where SQLite cannot."""
    with closing(sqlite3.connect(f"file:{database}?immutable=1", uri=True)) as connection:
        connection.text_factory = bytes
        try:
            ledger = connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM ledger NOT INDEXED ORDER BY rowid")
            acks = connection.execute("SELECT * FROM acks NOT INDEXED ORDER BY rowid")
            return ledger.fetchall() + acks.fetchall()
        except (sqlite3.Error, UnicodeDecodeError):
            return None


def _verdict_or_refusal(path: Path) -> Verdict | None:
    """The verdict, or None where the flip made the file one of another version, which is noticed as well."""
    try:
        return verify(path)
    except SyncError:
        return None


def test_a_byte_flipped_anywhere_in_the_file_never_changes_evidence_unnoticed(filled_home) -> None:
    _sql(filled_home.database)
    good, clean = filled_home.database.read_bytes(), _content(filled_home.database)
    rng = random.Random(20251009)
    noticed = named = 0
    for _ in range(400):
        data = bytearray(good)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        filled_home.database.write_bytes(data)
        verdict = _verdict_or_refusal(filled_home.path)
        if _content(filled_home.database) != clean:
            assert verdict is None or not verdict.ok, verdict.lines
        noticed += verdict is None or not verdict.ok
        named += verdict is not None and verdict.first_bad is not None
    assert noticed > 50  # most of the file is tables that are no evidence, and room
    assert named > 50


def test_a_number_changed_in_the_table_behind_its_index_is_named(filled_home) -> None:
    """SQLite answers epoch and seq from the index where it can; the table is what counts."""
    _sql(filled_home.database)
    data = bytearray(filled_home.database.read_bytes())
    kind = b"visit.first"
    ((body,),) = _rows(filled_home.database, "SELECT body FROM ledger WHERE seq = 17")
    filled_home.database.with_name("firstvisit.db-wal").unlink(missing_ok=True)
    filled_home.database.with_name("firstvisit.db-shm").unlink(missing_ok=True)
    at = data.index(body) - len(kind) - 1  # the row is: epoch (a constant, no byte), seq (one byte), kind, body
    assert data[at] == 17
    data[at] = 99
    filled_home.database.write_bytes(data)
    _bad(verify(filled_home.path), 17, "stored as epoch 1 seq 99")


@pytest.mark.parametrize("column", ["body", "hash", "prev_hash", "signature"])
def test_a_byte_changed_wherever_the_file_holds_a_record_names_it(filled_home, column: str) -> None:
    """A hash stands in the file more than once: in its row, in the next one's body, in an index."""
    _sql(filled_home.database)
    good = filled_home.database.read_bytes()
    ((value,),) = _rows(filled_home.database, f"SELECT {column} FROM ledger WHERE seq = 40")
    places = [at for at in range(len(good)) if good.startswith(value[:20], at)]
    assert places
    for at in places:
        data = bytearray(good)
        data[at + 3] ^= 1
        filled_home.database.write_bytes(data)
        verdict = verify(filled_home.path)
        assert not verdict.ok
        assert verdict.first_bad is not None, verdict.lines


def test_an_index_that_hides_a_record_is_noticed(filled_home) -> None:
    with closing(sqlite3.connect(filled_home.database, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        sql = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'ledger_kind'").fetchone()[0]
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'ledger_kind'", (sql + " WHERE seq <> 17",))
        connection.execute("PRAGMA writable_schema = RESET")
        connection.execute("REINDEX ledger_kind")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'ledger_kind'", (sql,))
    _bad(verify(filled_home.path), 17, "missing from index ledger_kind")


_COPIED = ("CREATE TABLE copy AS SELECT * FROM {t}", "DROP TABLE {t}", "ALTER TABLE copy RENAME TO {t}")
_FORGED = "INSERT INTO {t} SELECT {place}, '{kind}', '{{}}', x'00', x'00', x'00', {last} FROM {t} WHERE seq = 17"


@pytest.mark.parametrize("epoch", ["1", "NULL", "'x'", "-9223372036854775808"])
@pytest.mark.parametrize("seq", ["17", "NULL", "99", "-1"])
def test_a_row_that_no_chain_leads_to_is_noticed(filled_home, central: Path, epoch: str, seq: str) -> None:
    """A visit beside the signed one at the same place, or at none, would be listed as well."""
    for database, table, place, last in (
        (filled_home.database, "ledger", f"{epoch}, {seq}", "0"),
        (central / "central.db", "records", f"node_id, {epoch}, {seq}", "5"),
        (central / "central.db", "records", f"NULL, {epoch}, {seq}", "5"),
    ):
        before = database.read_bytes()
        statements = [*_COPIED, _FORGED]
        _sql(database, *(one.format(t=table, place=place, kind="visit.first", last=last) for one in statements))
        assert not verify(database.parent).ok
        for suffix in ("-wal", "-shm"):
            database.with_name(database.name + suffix).unlink(missing_ok=True)
        database.write_bytes(before)


def test_a_forged_visit_in_a_table_without_its_key_is_noticed(filled_home) -> None:
    """The table's columns as they should be, and its indexes: only what forbade a second row is gone."""
    ((table,), (kind,), (unacked,)) = (
        _rows(filled_home.database, f"SELECT sql FROM sqlite_master WHERE name = '{name}'")[0]
        for name in ("ledger", "ledger_kind", "ledger_unacked")
    )
    _sql(
        filled_home.database,
        "ALTER TABLE ledger RENAME TO kept",
        table.replace("PRIMARY KEY (epoch, seq),", "CHECK (1), ").replace("UNIQUE (epoch, prev_hash)", "CHECK (1)"),
        "INSERT INTO ledger SELECT * FROM kept",
        "INSERT INTO ledger SELECT epoch, seq, kind, x'7b7d', randomblob(32), prev_hash, zeroblob(64), acked"
        " FROM ledger WHERE seq = 17",
        "DROP TABLE kept",
        kind,
        unacked,
    )
    assert len(_rows(filled_home.database, "SELECT * FROM ledger")) == 41
    assert not verify(filled_home.path).ok


@pytest.mark.parametrize(
    ("statements", "why"),
    [
        (["CREATE TRIGGER t BEFORE INSERT ON ledger BEGIN SELECT RAISE(IGNORE); END"], "holds the trigger 't'"),
        (["CREATE TRIGGER t AFTER INSERT ON acks BEGIN DELETE FROM ledger; END"], "holds the trigger 't'"),
        (["CREATE VIEW v AS SELECT 1"], "holds the view 'v'"),
        (["ALTER TABLE ledger RENAME TO kept", "CREATE VIEW ledger AS SELECT rowid, * FROM kept"], "view 'ledger'"),
        (["DROP INDEX ledger_kind"], "index ledger_kind: missing"),
        (
            ["DROP INDEX ledger_kind", "CREATE INDEX ledger_kind ON ledger (kind, epoch, seq) WHERE seq <> 17"],
            "index ledger_kind: not as FirstVisit makes it",
        ),
        (["CREATE INDEX more ON ledger (seq)"], "index more: FirstVisit makes none of this name"),
        (["ALTER TABLE ledger ADD COLUMN note TEXT"], "table ledger: not as FirstVisit makes it"),
        (["ALTER TABLE acks ADD COLUMN note TEXT"], "table acks: not as FirstVisit makes it"),
    ],
)
def test_a_database_built_otherwise_is_bad(filled_home, statements: list[str], why: str) -> None:
    _sql(filled_home.database, *statements)
    _bad(verify(filled_home.path), None, why)


@pytest.mark.parametrize("keep", [0, 100, 4096, 9000])
def test_a_database_cut_short_is_bad_and_no_traceback(filled_home, keep: int) -> None:
    _sql(filled_home.database)
    os.truncate(filled_home.database, keep)
    if keep == 0:
        with pytest.raises(SyncError, match="not a FirstVisit ledger"):
            verify(filled_home.path)
    else:
        assert not verify(filled_home.path).ok


def test_a_file_that_is_no_database_any_more_is_bad(filled_home) -> None:
    _sql(filled_home.database)
    filled_home.database.write_bytes(b"\xff" * 8192)
    _bad(verify(filled_home.path), None, "firstvisit.db: file is not a database")


@pytest.mark.parametrize("name", ["node_pub", "central_pub"])
def test_a_damaged_key_file_is_bad(filled_home, name: str) -> None:
    path = getattr(filled_home, name)
    path.write_text(path.read_text().replace("a", "b", 1))
    assert not verify(filled_home.path).ok


# -- the HOME is only looked at --------------------------------------------------------------------------------


def _listing(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if not file.name.endswith("-shm")}


def test_a_home_in_use_is_verified_as_of_one_moment_and_left_as_it_was(filled_home) -> None:
    ledger = filled_home.ledger()
    ledger.append("node.alive", {})
    with ledger.transaction() as transaction:
        transaction.append("node.alive", {})
        before, names = _listing(filled_home.path), sorted(filled_home.path.iterdir())
        verdict = verify(filled_home.path)
        assert verdict.ok
        assert verdict.checked == 41
        assert _listing(filled_home.path) == before
        assert sorted(filled_home.path.iterdir()) == names
    assert verify(filled_home.path).checked == 42


@pytest.mark.parametrize("left", ["all", "no index", "database alone"])
def test_a_home_copied_by_hand_is_verified_and_no_file_appears(filled_home, tmp_path: Path, left: str) -> None:
    ledger = filled_home.ledger()
    ledger.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ledger.append("node.alive", {})  # this one is in the WAL only
    copy = tmp_path / "copy"
    shutil.copytree(filled_home.path, copy)
    for suffix in {"all": (), "no index": ("-shm",), "database alone": ("-shm", "-wal")}[left]:
        (copy / f"firstvisit.db{suffix}").unlink()
    before = _listing(copy)
    verdict = verify(copy)
    assert verdict.ok
    assert verdict.checked == (40 if left == "database alone" else 41)
    assert _listing(copy) == before
    assert (copy / "firstvisit.db-shm").exists() == (left == "all")


def test_a_closed_home_is_verified_and_no_file_appears(filled_home) -> None:
    filled_home.ledger().close()
    before = _listing(filled_home.path)
    assert "firstvisit.db-wal" not in before
    assert verify(filled_home.path).ok
    assert _listing(filled_home.path) == before


# -- central and exports ---------------------------------------------------------------------------------------


@pytest.fixture
def central(filled_home, tmp_path: Path) -> Path:
    """A central store that holds the filled HOME's chain and that of a second node without records."""
    return central_of(filled_home, tmp_path / "central")


def _bad_at_central(verdict: Verdict, seq: int, why: str = "") -> None:
    assert not verdict.ok, verdict.lines
    assert verdict.first_bad == seq, verdict.lines
    assert why in (verdict.why or "")
    assert any(line.startswith(f"bad: node gate-1: seq {seq}: ") for line in verdict.lines), verdict.lines


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('id = "hq"\n[stroe]\nurl = "postgresql://db/central"\n', "stroe: Extra inputs"),
        ('id = "hq"\n[store]\nurl = 5\n', "store.url: "),
        ('id = "hq"\n[store]\nurl = "mysql://db/central"\n', "store.url: "),
        ('[store]\nurl = "postgresql://db/central"\n', "id: Field required"),
    ],
)
def test_no_store_is_judged_beside_settings_that_may_name_another(
    central: Path, filled_home, text: str, why: str
) -> None:
    assert verify(central).ok
    (central / "central.toml").write_text(text)
    with pytest.raises(SyncError, match=rf"central\.toml: {re.escape(why)}"):
        verify(central)
    with pytest.raises(SyncError, match=r"central\.toml: "):
        verify_both(filled_home.path, central)


def test_a_central_store_is_good_and_ends_where_the_home_ends(central: Path, filled_home) -> None:
    verdict = verify(central)
    assert verdict.ok
    assert (verdict.what, verdict.checked) == ("central", 40)
    head = filled_home.ledger().head().hash.hex()
    assert f"node gate-1: 40 records verified, seq 1..40, head {head}" in verdict.lines
    assert any(head in line for line in verify(filled_home.path).lines)
    assert "node gate-2: no records yet" in verdict.lines


@pytest.mark.parametrize("column", [column for column in _COLUMNS if column != "acked"])
def test_one_changed_byte_at_central_is_named_with_its_node(central: Path, column: str) -> None:
    _sql(central / "central.db", "ALTER TABLE records RENAME TO ledger")
    _flip(central / "central.db", 17, column, 3)
    _sql(central / "central.db", "ALTER TABLE ledger RENAME TO records")
    _bad_at_central(verify(central), 17)


def test_a_record_removed_or_swapped_at_central_is_named(central: Path) -> None:
    database = central / "central.db"
    _sql(
        database,
        "UPDATE records SET seq = 999 WHERE seq = 20",
        "UPDATE records SET seq = 20 WHERE seq = 21",
        "UPDATE records SET seq = 21 WHERE seq = 999",
    )
    _bad_at_central(verify(central), 20)
    _sql(database, "DELETE FROM records WHERE seq = 17")
    _bad_at_central(verify(central), 17, "missing")


def test_records_of_a_node_that_is_not_enrolled_are_bad(central: Path) -> None:
    _sql(central / "central.db", "DELETE FROM nodes WHERE node_id = 'gate-1'")
    verdict = verify(central)
    assert not verdict.ok
    assert any("not enrolled" in line for line in verdict.lines)


@pytest.mark.parametrize(
    ("statements", "why"),
    [
        (["CREATE TRIGGER t BEFORE INSERT ON records BEGIN SELECT RAISE(IGNORE); END"], "holds the trigger 't'"),
        (["DROP INDEX visits_arrivals"], "index visits_arrivals: missing"),
        (["DELETE FROM visits WHERE seq = 17"], "table visits: does not list node gate-1 epoch 1 seq 17 as it is"),
        (["UPDATE visits SET order_us = 4 WHERE seq = 17"], "does not list node gate-1 epoch 1 seq 17 as it is"),
        (["INSERT INTO visits SELECT 9, 9, node_id, 1, 999, visit FROM visits LIMIT 1"], "36 rows, 35 of them of a"),
        (["DELETE FROM corrections WHERE seq = 20"], "table corrections: lacks node gate-1 epoch 1 seq 20"),
        (["UPDATE corrections SET visit = x'00' WHERE seq = 20"], "corrections: lacks node gate-1 epoch 1 seq 20"),
        (["INSERT INTO corrections VALUES ('gate-1', x'00', 1, 17)"], "table corrections: 5 rows, 4 of them of a"),
        (["ALTER TABLE records ADD COLUMN note TEXT"], "table records: not as FirstVisit makes it"),
    ],
)
def test_a_central_store_built_otherwise_is_bad(central: Path, statements: list[str], why: str) -> None:
    _sql(central / "central.db", *statements)
    _bad(verify(central), None, why)


def test_what_cannot_be_seen_at_central_is_said(central: Path) -> None:
    (said,) = (line for line in verify(central).lines if "cannot be detected" in line)
    assert "an altered time of receipt" in said
    assert "behind the last head of the log that a node signed back" in said
    _sql(central / "central.db", "UPDATE records SET received_us = 1 WHERE kind NOT LIKE 'visit.%'")
    assert verify(central).ok


def test_records_lost_from_the_end_of_a_chain_are_missed_by_the_log(central: Path) -> None:
    _sql(
        central / "central.db",
        *(f"DELETE FROM {table} WHERE seq > 30" for table in ("records", "visits", "corrections")),
    )
    _bad(verify(central), 1, "central's log: a record is missing between leaf 2 and 42")


def test_an_enrolment_exchanged_at_central_is_bad(central: Path) -> None:
    _sql(
        central / "central.db",
        "UPDATE nodes SET enrolment = (SELECT enrolment FROM nodes WHERE node_id = 'gate-2') WHERE node_id = 'gate-1'",
    )
    assert not verify(central).ok


def test_a_given_node_key_proves_that_nodes_chain_at_central(central: Path, filled_home) -> None:
    verdict = verify(central, filled_home.node_pub)
    assert verdict.ok
    assert any(line.startswith("origin of node gate-1 proven") for line in verdict.lines)
    _sql(central / "central.db", "DELETE FROM records", "DELETE FROM nodes WHERE node_id = 'gate-1'")
    assert not verify(central, filled_home.node_pub).ok


def test_a_given_central_key_must_be_the_stores_own(central: Path, filled_home) -> None:
    verdict = verify(central, filled_home.central_pub)
    assert verdict.ok
    assert any(line.startswith("central.pub is the given one") for line in verdict.lines)
    (central / "central.pub").unlink()
    _bad(verify(central, filled_home.central_pub), None, "central.pub here: missing")


def test_a_central_store_that_is_no_database_any_more_is_bad(central: Path) -> None:
    _sql(central / "central.db")
    (central / "central.db").write_bytes(b"\xff" * 8192)
    _bad(verify(central), None, "central.db: file is not a database")


def test_a_quarantined_record_is_reported(central: Path) -> None:
    _sql(central / "central.db", "INSERT INTO quarantine VALUES ('gate-1', 1, 17, x'00', x'00', x'00', 5, 'FORK')")
    verdict = verify(central)
    assert verdict.ok
    assert "quarantined: node gate-1 epoch 1 seq 17: FORK" in verdict.lines


def test_an_exported_ledger_is_good(filled_home, tmp_path: Path) -> None:
    out = tmp_path / "ledger.jsonl"
    write_export(filled_home.ledger(), filled_home.node_pub.read_text(), filled_home.central_pub.read_text(), out)
    verdict = verify(out, filled_home.node_pub)
    assert verdict.ok
    assert (verdict.what, verdict.checked) == ("export", 40)
    assert "unanchored: seq 31..40" in verdict.lines


def test_a_line_removed_or_swapped_in_an_export_is_named(filled_home, tmp_path: Path) -> None:
    out = tmp_path / "ledger.jsonl"
    write_export(filled_home.ledger(), filled_home.node_pub.read_text(), filled_home.central_pub.read_text(), out)
    lines = out.read_bytes().splitlines(keepends=True)  # line 0 is the header, so lines[seq] is seq
    out.write_bytes(b"".join(lines[:17] + lines[18:]))
    _bad(verify(out), 17)
    out.write_bytes(b"".join([*lines[:17], lines[18], lines[17], *lines[19:]]))
    _bad(verify(out), 17)
    out.write_bytes(b"".join(lines[:28]))
    _bad(verify(out), 28, "missing: central has acknowledged up to seq 30")


@pytest.mark.parametrize("part", ["body", "signature"])
def test_a_changed_byte_in_an_export_is_named(filled_home, tmp_path: Path, part: str) -> None:
    out = tmp_path / "ledger.jsonl"
    write_export(filled_home.ledger(), filled_home.node_pub.read_text(), filled_home.central_pub.read_text(), out)
    lines = out.read_bytes().splitlines(keepends=True)
    old = b"340017" if part == "body" else lines[17][-7:-3]
    new = b"340018" if part == "body" else bytes(b"0123456789abcdef"[(int(chr(c), 16) + 1) % 16] for c in old)
    lines[17] = lines[17].replace(old, new)
    out.write_bytes(b"".join(lines))
    _bad(verify(out), 17, "signature does not verify")


# -- what is not ours ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["nothing", "empty folder", "empty file", "text", "another database", "no node.pub"])
def test_what_is_not_ours_is_refused_by_name(filled_home, tmp_path: Path, what: str) -> None:
    path = tmp_path / "thing"
    match what:
        case "empty folder":
            path.mkdir()
        case "empty file":
            path.write_bytes(b"")
        case "text":
            path.write_text("hello\n")
        case "another database":
            path.mkdir()
            _sql(path / "firstvisit.db", "CREATE TABLE people (name TEXT)")
            shutil.copy(filled_home.node_pub, path / "node.pub")
        case "no node.pub":
            shutil.copytree(filled_home.path, path)
            (path / "node.pub").unlink()
    with pytest.raises(SyncError, match="thing" if what != "no node.pub" else r"no node\.pub"):
        verify(path)


def test_a_home_of_a_newer_version_is_refused(filled_home) -> None:
    _sql(filled_home.database, f"PRAGMA user_version = {LEDGER_FORMAT.version + 1}")
    with pytest.raises(SyncError, match="newer FirstVisit"):
        verify(filled_home.path)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xff", b"ssh-ed25519 AAAA\n"])
def test_a_key_file_that_is_none_is_refused_by_name(filled_home, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "some.pub"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SyncError, match=r"some\.pub"):
        verify(filled_home.path, path)
