"""The table of what is shown end to end names tests that there are."""

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
NAMED = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", (HERE / "README.md").read_text(encoding="utf-8"))


def test_every_test_that_the_table_names_is_there() -> None:
    assert len(NAMED) > 20
    gone = [f"{path}::{name}" for path, name in NAMED if not (HERE / path).is_file() or name not in named_in(path)]
    assert gone == []


def named_in(path: str) -> set[str]:
    """The names in a file, and that of no test, by which the whole file is meant."""
    parsed = ast.parse((HERE / path).read_text(encoding="utf-8"))
    return {"", *(one.name for one in parsed.body if isinstance(one, ast.FunctionDef))}
