"""The checklist of duties names files and tests that exist."""

import re
from pathlib import Path

_ROOT = Path(__file__).parents[3]
_HEADING = "### What the law asks of an appliance"


def rows() -> list[list[str]]:
    text = (_ROOT / "edge/README.md").read_text(encoding="utf-8").split(_HEADING, 1)[1].split("\n## ", 1)[0]
    table = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1:]]


def test_every_duty_names_files_and_tests_that_exist() -> None:
    listed = rows()
    assert len(listed) > 20
    for duty, met_by, tests, _operators in listed:
        files = re.findall(r"`((?:edge|sync|camera|models)/[^`:]+)`", met_by)
        assert files or met_by == "–" or "`edge" in met_by, duty
        missing = [file for file in files if not (_ROOT / file).exists()]
        assert not missing, f"{duty}: {missing}"
        for test in re.findall(r"`(tests/[^`]+)`", tests):
            file, _, name = test.partition("::")
            assert (_ROOT / file).is_file(), f"{duty}: {test}"
            if name:
                assert f"def {name}(" in (_ROOT / file).read_text(encoding="utf-8"), f"{duty}: {test}"
        assert tests == "–" or "`tests/" in tests, duty
