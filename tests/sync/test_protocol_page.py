"""The protocol's page names every kind of record under the key that signs it, and stays readable."""

import re
from pathlib import Path

import pytest

from sync.format.records import ROLE_OF_KIND

_PAGE = (Path(__file__).parents[2] / "sync/README.md").read_text(encoding="utf-8")
_KINDS, _FIELDS = _PAGE.split("### The kinds\n", 1)[1].split("\n## ", 1)[0].split("### Fields of the kinds", 1)
_UNWRITTEN = {"person.expired"}
_MOST_LETTERS = 500  # of a row of a table: what a screen shows of one cell without scrolling


def kinds_of(text: str) -> list[str]:
    """`camera.up` `.down` as a list: camera.up, camera.down."""
    found, family = list[str](), ""
    for name in re.findall(r"`([a-z]*\.[a-z.]+)`", text):
        family = name.split(".")[0] or family
        found.append(f"{family}.{name.split('.', 1)[1]}")
    return found


def test_the_table_of_kinds_is_the_program_s() -> None:
    rows = [line.strip("| ").split(" | ") for line in _KINDS.splitlines() if line.startswith("| `")]
    assert {kind: row[1] for row in rows for kind in kinds_of(row[0])} == ROLE_OF_KIND


@pytest.mark.parametrize("kind", sorted(set(ROLE_OF_KIND) - _UNWRITTEN))
def test_each_kind_that_is_written_has_its_fields_said(kind: str) -> None:
    headings = [line for line in _FIELDS.splitlines() if line.startswith("#### ")]
    assert any(kind in kinds_of(heading) for heading in headings)


def test_no_row_is_longer_than_a_person_reads() -> None:
    rows = [line for line in (_KINDS + _FIELDS).splitlines() if line.startswith("|")]
    assert [row[:60] for row in rows if len(row) > _MOST_LETTERS] == []
