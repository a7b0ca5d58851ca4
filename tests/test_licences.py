"""What the program needs at run time may be handed on with it: the licence each distribution states."""

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

_FREE = re.compile(
    r"\b(MIT(-0|-CMU)?|BSD|[023]-?clause|0BSD|Apache|ISC|Zlib|CC0-1\.0|PSF|Python Software Foundation|Public Domain"
    r"|MPL|Mozilla Public License)\b",
    re.IGNORECASE,
)
"""Licences that ask for no more than their own text, or, of the Mozilla one, for the sources of its own files."""
_LESSER = {"fpdf2", "psycopg", "psycopg-binary"}
"""LGPL-3.0: imported and unmodified, in a virtual environment where whoever has the box can put another version."""
_BY_THEIR_FILE = {"pyrage": "MIT License"}
"""Distributions whose metadata state none: what their licence file begins with."""


def _needed() -> list[str]:
    """All that the program needs, PostgreSQL's driver too, and what that needs; what is not installed is left out."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(one) for one in (*project["dependencies"], *project["optional-dependencies"]["postgres"])]
    found = dict[str, set[str]]()
    while waiting:
        wanted = waiting.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        if name in found and wanted.extras <= found[name]:
            continue
        found[name] = found.get(name, set()) | wanted.extras
        try:
            needs = [Requirement(one) for one in distribution(name).requires or ()]
        except PackageNotFoundError:
            del found[name]
            continue
        extras = (*wanted.extras, "")
        waiting += [one for one in needs if not one.marker or any(one.marker.evaluate({"extra": e}) for e in extras)]
    return sorted(found)


def _licence(held: Distribution) -> str:
    """What the metadata state, the newest way of stating it first."""
    for key in ("License-Expression", "Classifier", "License"):
        for one in held.metadata.get_all(key, []):
            if key != "Classifier" or one.startswith("License"):
                return str(one)[:120]
    return ""


def test_what_is_looked_at_is_what_the_program_needs() -> None:
    assert {"orjson", "av", "onnxruntime", "starlette", "cffi"} <= set(_needed())


@pytest.mark.parametrize("name", _needed())
def test_what_the_program_needs_may_be_handed_on_with_it(name: str) -> None:
    held = distribution(name)
    if name in _BY_THEIR_FILE:
        (file,) = [one for one in held.files or () if one.name == "LICENSE"]
        assert _BY_THEIR_FILE[name] in file.read_text()
        return
    said = _licence(held)
    if name in _LESSER:
        assert "LGPL" in said
        return
    assert _FREE.search(said), said
    assert not re.search(r"\b[AL]?GPL", said), said
