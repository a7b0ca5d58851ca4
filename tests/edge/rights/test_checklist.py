"""The checklist of duties cites its articles, and names files and tests that exist."""

import ast
import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_HEADING = "### What the law asks of an appliance"
_ARTICLES = {"P": 74, "F": 20}
"""How many each of the two has."""
_CITED = re.compile(r"\b([PF]) (\d+(?:, \d+)*)")


def rows() -> list[list[str]]:
    text = (_ROOT / "edge/README.md").read_text(encoding="utf-8").split(_HEADING, 1)[1].split("\n## ", 1)[0]
    table = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    return [row for row in table if len(row) == 4 and row[0] != "duty"]


def functions_of(file: Path) -> set[str]:
    """The functions of a test module that pytest takes for tests."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {one.name for one in tree.body if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")}


def test_the_list_is_there() -> None:
    assert len(rows()) > 30


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:40])
def test_a_duty_cites_articles_and_names_files_and_tests_that_exist(row: list[str]) -> None:
    duty, met_by, tests, operators = row
    cited = [(law, int(number)) for law, numbers in _CITED.findall(duty) for number in numbers.split(", ")]
    assert cited or "网络安全法" in duty
    assert [(law, number) for law, number in cited if not 1 <= number <= _ARTICLES[law]] == []
    if (met_by, tests) == ("–", "–"):
        assert operators, "nobody meets it"
        return
    files = re.findall(r"`((?:edge|sync|camera|models)/[^`:]+)`", met_by)
    assert files
    assert [file for file in files if not (_ROOT / file).exists()] == []
    named = re.findall(r"`(tests/[^`]+)::([^`]+)`", tests)
    assert len(named) == tests.count("`") // 2 > 0, "each by file and name"
    assert [f"{file}::{name}" for file, name in named if name not in functions_of(_ROOT / file)] == []
