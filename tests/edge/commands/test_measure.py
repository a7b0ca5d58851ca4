import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from edge import EdgeError
from edge.cli import app
from models import ModelsError
from models.store import Store

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty people, some with one image, among what lies about in other people's folders."""
    made = tmp_path_factory.mktemp("faces") / "faces"
    people = sorted((shared / "data" / "lfw-dev").iterdir(), key=lambda person: -len(list(person.iterdir())))
    for person in people[:22] + people[-8:]:
        shutil.copytree(person, made / person.name)
    first = made / people[0].name
    (first / "notes.txt").write_text("no image")
    (first / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    (first / "empty.jpg").touch()
    cv2.imwrite(str(first / "wall.png"), np.full((80, 80, 3), 90, np.uint8))
    (made / "loose.jpg").write_bytes(b"")
    (made / "nobody").mkdir()
    return made


@pytest.fixture(scope="module")
def packs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("packs")
    Store(root).install("mobilefacenet", from_dir=shared / "models" / "open")
    return root


@pytest.mark.filterwarnings("error:Data has no positive values")  # so few people, no errors: the plot shows that too
def test_a_folder_is_measured_with_whatever_lies_in_it(
    folder: Path, packs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("FIRSTVISIT_MODELS", str(packs))
    out, png, cache = tmp_path / "eval.json", tmp_path / "det.png", tmp_path / "cache"
    arguments = ["models", "eval", "--faces", str(folder), "--json", str(out), "--cache", str(cache)]
    result = runner.invoke(app, [*arguments, "--plot", str(png)])
    assert result.exit_code == 0, result.output
    (measured,) = json.loads(out.read_text())
    assert (measured["people"], measured["unreadable"], measured["failures_to_acquire"]) == (30, 2, 1)
    assert [size["everybody"] for size in measured["open_set"]] == [True]
    assert measured["open_set"][0]["rank1"]["value"] > 0.8
    assert measured["verification"]["accuracy"]["value"] > 0.9
    assert "N = 100 needs 120 people, there are 30" in result.stdout
    for name in ("broken.jpg", "empty.jpg"):
        assert [line.endswith("not an image, left out") for line in result.stderr.splitlines() if name in line] == [
            True
        ]
    assert png.read_bytes().startswith(b"\x89PNG")
    again = runner.invoke(app, arguments)
    assert again.exit_code == 0
    assert json.loads(out.read_text()) == [measured]


def test_a_folder_without_people_is_refused_in_one_line(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        result = runner.invoke(app, ["models", "eval", "--faces", str(folder)])
        assert isinstance(result.exception, ModelsError)
        assert str(folder) in str(result.exception)
        assert "\n" not in str(result.exception)


def test_what_cannot_work_is_said_before_anything_is_measured(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRSTVISIT_MODELS", str(tmp_path))
    arguments = ["models", "eval", "--faces", str(folder)]
    for more, word in (
        ([], "no pack is installed"),
        (["--json", str(tmp_path / "nowhere" / "eval.json")], "no such folder"),
        (["--errors", str(tmp_path)], "is a folder"),
        (["--pack", "mobilefacenet"], "mobilefacenet"),
    ):
        result = runner.invoke(app, [*arguments, *more])
        assert isinstance(result.exception, EdgeError | ModelsError), result.output
        assert word in str(result.exception)
        assert "\n" not in str(result.exception)
