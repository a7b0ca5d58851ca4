from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sync import SyncError
from sync.storage.files import write_durably


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("before")
    path.chmod(0o640)
    inode = path.stat().st_ino
    write_durably(path, "after, 之后")
    assert path.read_text(encoding="utf-8") == "after, 之后"
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.stat().st_ino != inode, "written beside, not over: a power cut cannot leave half of it"
    assert [child.name for child in tmp_path.iterdir()] == ["node.toml"]


def test_a_new_file_has_the_mode_asked_for(tmp_path: Path) -> None:
    write_durably(tmp_path / "secret", "password", 0o600)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_link_stays_one_and_what_it_names_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "home").mkdir()
    real, link = tmp_path / "etc" / "node.toml", tmp_path / "home" / "firstvisit.toml"
    real.write_text("before")
    link.symlink_to(real)
    write_durably(link, "after")
    assert link.is_symlink()
    assert real.read_text() == "after"
    assert [child.name for child in (tmp_path / "home").iterdir()] == ["firstvisit.toml"]


def test_what_an_interrupted_writer_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "central.pub.new").write_text("hal")
    write_durably(tmp_path / "central.pub", "whole")
    assert [child.name for child in tmp_path.iterdir()] == ["central.pub"]


def test_two_who_write_one_file_at_once_do_not_meet(tmp_path: Path) -> None:
    def write(text: str) -> None:
        for _ in range(50):
            write_durably(tmp_path / "crl.pem", text * 5000)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, "abcd"))
    assert {path.name for path in tmp_path.iterdir()} == {"crl.pem"}
    assert len(set((tmp_path / "crl.pem").read_text())) == 1


def test_a_place_that_cannot_be_written_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SyncError, match=r"^[^\n]*none/file: cannot be written: No such file or directory$"):
        write_durably(tmp_path / "none" / "file", "text")
