"""The verifier that shares no code with the rest comes to the same verdicts as the rest."""

import ast
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync import SyncError, verify_standalone
from sync.export import write_export
from sync.verify import verify
from tests.sync.conftest import BuiltHome

FILE = Path(verify_standalone.__file__)


@pytest.fixture
def exported(filled_home: BuiltHome, tmp_path: Path) -> Path:
    """An export of 40 records, acknowledged up to 30."""
    out = tmp_path / "ledger.jsonl"
    ledger = filled_home.ledger()
    write_export(ledger, filled_home.node_pub.read_text(), filled_home.central_pub.read_text(), out)
    ledger.close()
    return out


def ours(path: Path, key: Path | None = None) -> tuple[str, int | None]:
    """What the project's own verifier says: good, bad or unreadable, and the first bad seq."""
    try:
        verdict = verify(path, key)
    except SyncError:
        return "unreadable", None
    return ("good", None) if verdict.ok else ("bad", verdict.first_bad)


def theirs(path: Path, key: Path | None = None) -> tuple[str, int | None]:
    """The same of the standalone one."""
    try:
        verify_standalone.judge(*verify_standalone.read_export(path), verify_standalone.Given(key))
    except verify_standalone.At as at:
        return "bad", at.place[1]
    except verify_standalone.Bad:
        return "bad", None
    except verify_standalone.Unreadable:
        return "unreadable", None
    return "good", None


def test_it_imports_nothing_but_the_standard_library_and_pynacl() -> None:
    imported = [node for node in ast.walk(ast.parse(FILE.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name for node in imported for name in _names(node)}
    assert names - sys.stdlib_module_names == {"nacl"}


def _names(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom):
        yield (node.module or "").split(".")[0]
    else:
        yield from (alias.name.split(".")[0] for alias in node.names)


def test_as_a_program_of_its_own_it_verifies_an_export_and_names_a_bad_record(exported: Path) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", str(FILE), str(exported)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=exported.parent)

    good = run()
    assert (good.returncode, good.stderr) == (0, "")
    assert "40 records of node gate-1 verified up to seq 40" in good.stdout
    exported.write_bytes(exported.read_bytes().replace(b'\\"v17\\"', b'\\"v71\\"'))
    bad = run()
    assert bad.returncode == 1
    assert bad.stdout == "bad: seq 17: the signature does not verify\n"


MUTANTS = 400


def test_both_verifiers_judge_mutated_exports_alike(exported: Path, tmp_path: Path) -> None:
    whole, rng = exported.read_bytes(), random.Random(11)
    said, path = list[str](), tmp_path / "mutant.jsonl"
    for number in range(MUTANTS):
        mutant = bytearray(whole)
        match number % 5:
            case 0 | 1:  # a byte becomes another
                mutant[rng.randrange(len(mutant))] = rng.randrange(256)
            case 2:  # a digit becomes another digit: what is still JSON
                digits = [at for at, byte in enumerate(mutant) if chr(byte) in "0123456789abcdef"]
                mutant[rng.choice(digits)] = ord(rng.choice("0123456789abcdef"))
            case 3:  # a line goes, or stands twice
                lines = bytes(mutant).splitlines(keepends=True)
                at = rng.randrange(len(lines))
                mutant[:] = b"".join(lines[:at] + lines[at : at + 1] * rng.choice((0, 2)) + lines[at + 1 :])
            case 4:  # cut short
                del mutant[rng.randrange(len(mutant)) :]
        path.write_bytes(mutant)
        expected = ours(path)
        assert theirs(path) == expected, f"mutant {number}"
        said.append(expected[0])
    assert said.count("bad") > MUTANTS / 4
    assert said.count("unreadable") > MUTANTS / 10
