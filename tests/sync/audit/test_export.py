import hashlib
import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest

from sync import SyncError
from sync.audit.export import BadExport, Header, read_export, write_export
from sync.format import canonical
from sync.format.records import MAX_BODY_BYTES
from sync.verify.verify import verify


def _export(home, out: Path) -> tuple[int, int, str]:
    ledger = home.ledger()
    try:
        return write_export(ledger, home.node_pub.read_text(), home.central_pub.read_text(), out)
    finally:
        ledger.close()


def test_an_export_reads_back_byte_for_byte(filled_home, tmp_path: Path) -> None:
    out = tmp_path / "ledger.jsonl"
    first, last, sha256 = _export(filled_home, out)
    assert (first, last) == (1, 40)
    assert sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    header, records = read_export(out)
    assert header.node_pub == filled_home.node_pub.read_text()
    assert header.central_pub == filled_home.central_pub.read_text()
    ledger = filled_home.ledger()
    assert list(header.acks) == list(ledger.acks())
    assert [(r.body, r.signature) for r in records] == [(row.body, row.signature) for row in ledger.rows()]


@pytest.mark.parametrize("central_pub", [None, "text\n"])
def test_a_header_reads_back(central_pub: str | None) -> None:
    header = Header("node\n", central_pub, (b"\x01" * 70,), (b"\x02" * 70, b"\x03"))
    assert Header.parse(canonical.decode(canonical.encode(header.fields()))) == header


def test_the_same_ledger_gives_the_same_file(filled_home, tmp_path: Path) -> None:
    assert _export(filled_home, tmp_path / "a") == _export(filled_home, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_export_before_any_join_is_verified(home, tmp_path: Path) -> None:
    ledger = home.ledger()
    ledger.append("epoch.started", {})
    out = tmp_path / "ledger.jsonl"
    assert write_export(ledger, home.node_pub.read_text(), None, out)[:2] == (1, 1)
    assert b"central_pub" not in out.read_bytes()
    assert verify(out).ok


def test_an_export_while_records_and_acks_arrive_is_of_one_moment(filled_home, tmp_path: Path) -> None:
    writer, reader = filled_home.ledger(), filled_home.ledger()
    with reader.snapshot():
        assert reader.head().seq == 40
        filled_home.ack(writer)
        writer.append("node.alive", {})
        held = list(reader.acks()), sum(1 for _ in reader.rows())
    assert (len(held[0]), held[1]) == (3, 40)
    _export(filled_home, tmp_path / "after")
    assert verify(tmp_path / "after").checked == 41


def test_an_export_never_overwrites_and_leaves_no_half_file(filled_home, tmp_path: Path) -> None:
    out = tmp_path / "ledger.jsonl"
    out.write_text("mine")
    with pytest.raises(SyncError, match=r"ledger\.jsonl: already there"):
        _export(filled_home, out)
    assert out.read_text() == "mine"
    with pytest.raises(SyncError, match=r"nowhere/x: "):
        _export(filled_home, tmp_path / "nowhere" / "x")
    with closing(sqlite3.connect(filled_home.database)) as connection, connection:
        connection.execute("UPDATE ledger SET body = x'ff' WHERE seq = 17")
    with pytest.raises(SyncError, match="seq 17: hash does not match the body: damaged"):
        _export(filled_home, tmp_path / "damaged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "ledger.jsonl"]


def test_an_empty_ledger_is_not_exported(home, tmp_path: Path) -> None:
    with pytest.raises(SyncError, match="empty"):
        _export(home, tmp_path / "x")
    assert not (tmp_path / "x").exists()


_HEADER = b'{"acks":[],"format":"firstvisit-ledger","node_pub":"x","notices":[],"v":1}\n'
_RECORD = b'{"body":"{}","signature":"00"}\n'


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", 1),
        (b"hello\n", 1),
        (b"\xff\xfe\n", 1),
        (_HEADER[:-1], 1),
        (_HEADER.replace(b"-ledger", b"-other"), 1),
        (_HEADER.replace(b'"v":1', b'"v":2'), 1),
        (_HEADER.replace(b'"v":1', b'"v":1,"w":1'), 1),
        (_HEADER.replace(b'"notices":[],', b""), 1),
        (_HEADER.replace(b'"node_pub":"x"', b'"node_pub":7'), 1),
        (_HEADER.replace(b'"acks":[]', b'"acks":["zz"]'), 1),
        (_HEADER.replace(b'"acks":[]', b'"acks":["AB"]'), 1),
        (_HEADER.replace(b'"acks":[]', b'"acks":""'), 1),
        (_HEADER.replace(b'"acks":[]', b'"acks": []'), 1),
        (_HEADER + b"\n", 2),
        (_HEADER + _RECORD + b"garbage\n", 3),
        (_HEADER + _RECORD + _RECORD[:-1], 3),
        (_HEADER + _RECORD.replace(b"}\n", b',"x":1}\n'), 2),
        (_HEADER + b'{"body":{},"signature":"00"}\n', 2),
        (_HEADER + _RECORD.replace(b'"00"', b'"0"'), 2),
        (_HEADER + _RECORD + _HEADER, 3),
        (_HEADER + _RECORD.replace(b"\n", b"\r\n"), 2),
    ],
)
def test_garbage_is_refused_with_its_line(tmp_path: Path, data: bytes, line: int) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(data)
    with pytest.raises(BadExport, match=rf"some\.jsonl: line {line}: "):
        _read_all(path)
    if line == 1:
        with pytest.raises(BadExport, match=r"some\.jsonl: line 1: "):
            verify(path)


@pytest.mark.parametrize(("lines", "number"), [(0, 1), (1, 2), (3, 4)])
def test_a_line_without_end_is_refused_before_it_is_held(
    tmp_path: Path, lines: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.audit.export.MAX_HEADER_BYTES", 1_000_000)
    path = tmp_path / "some.jsonl"
    with path.open("wb") as file:
        file.write(b"".join([_HEADER, _RECORD, _RECORD][:lines]))
        file.truncate(file.tell() + 2 * 1024**3)  # a hole: nothing of it lies on the disk
    tracemalloc.start()
    try:
        with pytest.raises(BadExport, match=rf"some\.jsonl: line {number}: longer than"):
            _read_all(path)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_the_largest_record_there_can_be_is_exported_and_read_back(home, tmp_path: Path) -> None:
    ledger = home.ledger()
    ledger.append("node.alive", {"note": '\\"' * ((MAX_BODY_BYTES - 700) // 4)})
    out = tmp_path / "ledger.jsonl"
    write_export(ledger, home.node_pub.read_text(), None, out)
    assert verify(out).ok


def test_a_ledger_of_more_acks_than_a_header_holds_is_not_exported(
    filled_home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.audit.export.MAX_HEADER_BYTES", 1000)
    with pytest.raises(SyncError, match="3 acks are more than"):
        _export(filled_home, tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def _read_all(path: Path) -> None:
    list(read_export(path)[1])
