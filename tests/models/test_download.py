import hashlib
import os
from pathlib import Path

import pytest

from models.download import SourceError, download, with_mirror

CONTENT = os.urandom(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def fetch(target: Path, *urls: str) -> list[tuple[int, int]]:
    seen: list[tuple[int, int]] = []

    def note(_label: str, done: int, total: int) -> None:
        seen.append((done, total))

    download(list(urls), target, sha256=SHA256, size_bytes=len(CONTENT), progress=note)
    return seen


def test_a_file_is_fetched_whole_and_progress_is_told(server, tmp_path: Path) -> None:
    server.files["net.onnx"] = CONTENT
    seen = fetch(tmp_path / "net.onnx", server.url("net.onnx"))
    assert (tmp_path / "net.onnx").read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_part_already_fetched_is_continued(server, tmp_path: Path) -> None:
    server.files["net.onnx"] = CONTENT
    (tmp_path / "net.onnx.part").write_bytes(CONTENT[:700_000])
    fetch(tmp_path / "net.onnx", server.url("net.onnx"))
    assert server.requests == [("/net.onnx", "bytes=700000-")]
    assert (tmp_path / "net.onnx").read_bytes() == CONTENT
    assert not (tmp_path / "net.onnx.part").exists()


def test_a_server_without_ranges_starts_again(server, tmp_path: Path) -> None:
    server.files["net.onnx"] = CONTENT
    server.honour_range = False
    (tmp_path / "net.onnx.part").write_bytes(CONTENT[:700_000])
    fetch(tmp_path / "net.onnx", server.url("net.onnx"))
    assert (tmp_path / "net.onnx").read_bytes() == CONTENT


def test_a_connection_that_breaks_is_resumed_where_it_broke(server, tmp_path: Path) -> None:
    server.files["net.onnx"] = CONTENT
    server.cut_after_bytes = 400_000
    fetch(tmp_path / "net.onnx", server.url("net.onnx"))
    assert (tmp_path / "net.onnx").read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["", "bytes=400000-", "bytes=800000-"]


def test_a_part_of_another_file_is_thrown_away(server, tmp_path: Path) -> None:
    server.files["net.onnx"] = CONTENT
    (tmp_path / "net.onnx.part").write_bytes(os.urandom(500_000))
    fetch(tmp_path / "net.onnx", server.url("net.onnx"))
    assert (tmp_path / "net.onnx").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path: Path) -> None:
    server.files["net.onnx"] = CONTENT
    (tmp_path / "net.onnx.part").write_bytes(os.urandom(1_000_001))
    fetch(tmp_path / "net.onnx", server.url("net.onnx"))
    assert (tmp_path / "net.onnx").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "wrong", [os.urandom(1_000_000), CONTENT[:-1], CONTENT + b"x", b"<html>log in to this network</html>"]
)
def test_a_wrong_file_is_never_kept_and_the_next_address_is_tried(server, tmp_path: Path, wrong: bytes) -> None:
    server.files |= {"wrong": wrong, "net.onnx": CONTENT}
    fetch(tmp_path / "net.onnx", server.url("wrong"), server.url("net.onnx"))
    assert (tmp_path / "net.onnx").read_bytes() == CONTENT
    with pytest.raises(SourceError, match=r"net2\.onnx could not be fetched") as refusal:
        fetch(tmp_path / "net2.onnx", server.url("wrong"))
    assert not (tmp_path / "net2.onnx").exists()
    assert "\n" not in str(refusal.value)


def test_addresses_that_do_not_answer_are_named(server, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as refusal:
        fetch(tmp_path / "net.onnx", server.url("gone"), "http://127.0.0.1:1/net.onnx", "http://no.such.invalid/x")
    assert "404" in str(refusal.value)
    assert "no.such.invalid" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_the_mirror_comes_before_the_addresses_of_the_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = ["https://a.example/x/net.onnx", "https://b.example/net.onnx"]
    monkeypatch.delenv("FIRSTVISIT_MIRROR", raising=False)
    assert with_mirror(urls) == urls
    monkeypatch.setenv("FIRSTVISIT_MIRROR", "https://mirror.example/models/")
    assert with_mirror(urls) == ["https://mirror.example/models/net.onnx", *urls]
    monkeypatch.setenv("FIRSTVISIT_MIRROR", "https://proxy.example/{url}")
    assert with_mirror(urls)[0] == "https://proxy.example/https://a.example/x/net.onnx"
    assert with_mirror(urls)[-2:] == urls
