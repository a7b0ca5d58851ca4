import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models import ModelsError, manifest
from models.cli import app
from models.store import Store

runner = CliRunner()


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FIRSTVISIT_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def installed(root: Path, make_manifest) -> Store:
    """A pack of two small files, as if it had been added."""
    files = {"net.onnx": b"net", "more.onnx": b"more"}
    stick = root.parent / "stick"
    stick.mkdir()
    for name, content in files.items():
        (stick / name).write_bytes(content)
    store = Store(root, {"tiny": make_manifest("tiny", files)})
    store.install("tiny", from_dir=stick)
    return store


def test_list_prints_every_pack_as_one_json_list(installed: Store) -> None:
    result = runner.invoke(app, ["list", "--json"])
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert set(rows) == {*manifest.shipped(), *installed.installed()}
    assert rows["tiny"]["installed"]
    assert not rows["dlib"]["installed"]
    assert rows["mobilefacenet"]["commercial_use"]
    assert not rows["buffalo_l"]["commercial_use"]
    assert rows["dlib"]["fnir_fpir1pct_n1000"] == 0.37
    assert result.exit_code == 0


def test_list_shows_a_table_with_licences_and_what_each_pack_misses() -> None:
    result = runner.invoke(app, ["list"], env={"COLUMNS": "160"})
    assert result.exit_code == 0
    for word in ("mobilefacenet", "4.8%", "37.0%", "Apache-2.0", "non-commercial", "not measured"):
        assert word in result.stdout


def test_verify_answers_no_with_exit_code_1(installed: Store) -> None:
    assert runner.invoke(app, ["verify"]).exit_code == 0
    (installed.root / "tiny" / "net.onnx").write_bytes(b"nut")
    result = runner.invoke(app, ["verify", "tiny"])
    assert result.exit_code == 1
    assert "net.onnx" in result.stdout
    as_json = runner.invoke(app, ["verify", "--json"])
    assert as_json.exit_code == 1
    assert len(json.loads(as_json.stdout)[0]["faults"]) == 1


def test_bad_input_is_a_models_error_for_the_outer_main() -> None:
    for arguments in (["install", "nope"], ["install", "buffalo_l"], ["verify", "nope"], ["add", "nowhere"]):
        result = runner.invoke(app, arguments)
        assert isinstance(result.exception, ModelsError), arguments
        assert result.stdout == ""


def test_the_recommended_pack_is_installed_from_a_folder_and_json_says_so(shared: Path, root: Path) -> None:
    arguments = ["install", "--from", str(shared / "models" / "open"), "--json"]
    first = json.loads(runner.invoke(app, arguments).stdout)
    assert first == {"name": "mobilefacenet", "already": False, "warning": ""}
    assert json.loads(runner.invoke(app, arguments).stdout)["already"]
    assert Store(root).verify("mobilefacenet") == []


def test_a_folder_is_added(shared: Path) -> None:
    pytest.importorskip("insightface", reason="insightface is not installed")
    result = runner.invoke(app, ["add", str(shared / "models" / "insightface-pack"), "--json"])
    assert json.loads(result.stdout)["calibration"].startswith("uncalibrated")


@pytest.mark.parametrize("command", ["list", "install", "add", "verify"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = runner.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert f"firstvisit models {command}" in result.stdout


def test_the_commands_load_without_the_vision_libraries() -> None:
    script = "import sys\nfor name in ('onnxruntime', 'cv2', 'insightface', 'onnx'): sys.modules[name] = None\n"
    run = subprocess.run([sys.executable, "-c", script + "import models.cli"], check=False, capture_output=True)
    assert run.returncode == 0, run.stderr
