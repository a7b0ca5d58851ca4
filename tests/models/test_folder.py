import zipfile
from pathlib import Path

import pytest

from models import ModelsError
from models.folder import unpack


def zip_with(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for name in names:
            zipped.writestr(name, name.encode())
    return path


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_only_networks_and_what_describes_them_are_unpacked(tmp_path: Path) -> None:
    unpack(zip_with(tmp_path / "a.zip", "det.onnx", "rec.onnx", "manifest.json", "setup.py"), tmp_path / "out")
    assert files_in(tmp_path / "out") == {"det.onnx", "rec.onnx", "manifest.json"}


def test_the_one_outer_folder_is_left_away(tmp_path: Path) -> None:
    unpack(zip_with(tmp_path / "a.zip", "pack/det.onnx", "pack/sub/rec.onnx"), tmp_path / "out")
    assert files_in(tmp_path / "out") == {"det.onnx", "sub/rec.onnx"}


@pytest.mark.parametrize("name", ["../evil.onnx", "/tmp/evil.onnx", "a/../../evil.onnx", "..\\evil.onnx"])
def test_a_member_that_would_land_outside_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelsError, match=r"a\.zip: .*evil\.onnx would land outside"):
        unpack(zip_with(tmp_path / "a.zip", "good.onnx", name), tmp_path / "out")
    assert not (tmp_path / "evil.onnx").exists()
    assert not (tmp_path / "out").exists()


def test_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.onnx")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr(link, "/etc/passwd")
    with pytest.raises(ModelsError, match="is a link"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_file_that_is_no_zip_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("<html>")
    with pytest.raises(ModelsError, match=r"a\.zip: cannot be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
