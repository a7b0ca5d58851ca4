"""The power cut itself: what it keeps and what it takes."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.powercut import Disk, build

WRITER = """
import os, sys
os.chdir(sys.argv[1])
{body}
os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    return build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def disk(tmp_path: Path, library: Path) -> Disk:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "old").write_bytes(b"old")
    return Disk(tmp_path / "disk", library, tmp_path / "log")


def _write(disk: Disk, folder: Path, body: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITER.format(body=body), str(folder)],
        env={**os.environ, **disk.environment()},
        check=False,
    )
    assert done.returncode == -9


def test_what_was_synced_with_its_name_stays(disk: Disk, tmp_path: Path) -> None:
    body = "f=os.open('new', os.O_RDWR|os.O_CREAT); os.write(f, b'kept'); os.fsync(f); os.fsync(os.open('.', 0))"
    for seed in range(8):
        _write(disk, tmp_path / "disk", body)
        disk.cut(random.Random(seed))
        assert (tmp_path / "disk" / "new").read_bytes() == b"kept"
        (tmp_path / "disk" / "new").unlink()
        disk.keep()


def test_a_name_whose_folder_was_not_synced_may_go(disk: Disk, tmp_path: Path) -> None:
    _write(disk, tmp_path / "disk", "f=os.open('new', os.O_RDWR|os.O_CREAT); os.write(f, b'kept'); os.fsync(f)")
    found = set()
    for seed in range(20):
        shutil.copy(tmp_path / "log", tmp_path / "log.kept")
        disk.cut(random.Random(seed))
        found.add((tmp_path / "disk" / "new").exists())
        (tmp_path / "disk" / "new").unlink(missing_ok=True)
        disk.keep()
        shutil.move(tmp_path / "log.kept", tmp_path / "log")
    assert found == {False, True}


def test_what_was_not_synced_is_discarded_or_torn(disk: Disk, tmp_path: Path) -> None:
    body = "f=os.open('old', os.O_RDWR); os.pwrite(f, b'x'*4096, 0); os.fsync(f); os.pwrite(f, b'y'*4096, 0)"
    seen = set()
    _write(disk, tmp_path / "disk", body)
    for seed in range(20):
        shutil.copy(tmp_path / "log", tmp_path / "log.kept")
        loss = disk.cut(random.Random(seed))
        assert loss.operations == 1
        content = (tmp_path / "disk" / "old").read_bytes()
        assert len(content) == 4096
        assert set(content) <= set(b"xy")
        seen.add(content.count(b"y"))
        shutil.move(tmp_path / "log.kept", tmp_path / "log")
    assert 0 in seen
    assert len(seen) > 2


@pytest.mark.parametrize(("mode", "kept"), [("FULL", True), ("NORMAL", False)])
def test_a_commit_of_sqlite_survives_only_where_it_is_synced(disk: Disk, tmp_path: Path, mode: str, kept: bool) -> None:
    body = (
        "import sqlite3; c=sqlite3.connect('d.db', isolation_level=None);"
        f" c.execute('PRAGMA journal_mode=WAL'); c.execute('PRAGMA synchronous={mode}');"
        " c.execute('CREATE TABLE t (n)'); c.execute('INSERT INTO t VALUES (7)')"
    )
    _write(disk, tmp_path / "disk", body)
    disk.cut(random.Random(0))  # discards everything that waits
    with sqlite3.connect(tmp_path / "disk" / "d.db") as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
        assert bool(tables and connection.execute("SELECT n FROM t").fetchall() == [(7,)]) is kept
