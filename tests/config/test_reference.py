"""The examples load, and config/README.md describes every key there is, with its true default."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from edge.settings import Settings as NodeSettings
from edge.settings import load_settings as load_node
from sync.storage.settings import Settings as CentralSettings
from sync.storage.settings import load_settings as load_central

CONFIG = Path(__file__).parents[2] / "config"
NODE_HEADING, CENTRAL_HEADING = "## The node: firstvisit.toml", "## The central server: central.toml"


def documented(heading: str) -> dict[str, str]:
    """Each key of the first table under a heading, and what stands in its column "default"."""
    text = (CONFIG / "README.md").read_text()
    section = text.split(heading, 1)[1].split("\n## ", 1)[0]
    return dict(re.findall(r"^\| `([^`]+)` \| ([^|]+?) \|", section, re.MULTILINE))


def defaults(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Each key of a settings model, and its default as TOML; a dash for none, `none` for None."""
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= defaults(field.annotation, f"{prefix}{name}.")
        elif tables := [a for a in get_args(field.annotation) if isinstance(a, type) and issubclass(a, BaseModel)]:
            found |= defaults(tables[0], f"{prefix}{name}[].")
        else:
            found[prefix + name] = written(field)
    return found


def written(field: FieldInfo) -> str:
    if field.is_required():
        return "-"
    return "none" if field.default is None else f"`{json.dumps(field.default)}`"


@pytest.mark.parametrize(
    ("heading", "model"), [(NODE_HEADING, NodeSettings), (CENTRAL_HEADING, CentralSettings)], ids=["node", "central"]
)
def test_the_reference_lists_exactly_the_keys_there_are_with_their_defaults(
    heading: str, model: type[BaseModel]
) -> None:
    assert documented(heading) == defaults(model)


def test_the_reference_lists_every_variable_that_the_program_reads() -> None:
    root = CONFIG.parent
    read = {
        name
        for package in ("models", "camera", "sync", "edge")
        for file in (root / package).rglob("*.py")
        for name in re.findall(r"""environ\S*["'](FIRSTVISIT_[A-Z_]+)["']""", file.read_text())
    }
    assert "FIRSTVISIT_MODELS" in read, "the search itself works"
    assert set(documented("## Environment")) >= read


def test_the_example_of_a_node_loads() -> None:
    settings = load_node(CONFIG / "node.example.toml")
    assert [(camera.id, camera.zone) for camera in settings.camera] == [
        ("door", "entrance"), ("side-door", "entrance"), ("model", "model")
    ]  # fmt: skip
    assert settings.capture.mode == "after_consent", "the example must not compare anybody without consent"


def test_the_example_of_a_node_shows_the_defaults_it_does_not_change() -> None:
    settings = load_node(CONFIG / "node.example.toml")
    for section in ("retention", "storage", "recognition", "visit", "kiosk", "capture", "desk"):
        assert getattr(settings, section) == type(getattr(settings, section))(), section


def test_the_example_of_central_loads(tmp_path: Path) -> None:
    (tmp_path / "central.toml").write_bytes((CONFIG / "central.example.toml").read_bytes())
    settings = load_central(tmp_path)
    assert settings == CentralSettings(id="headquarters"), "the example shows the defaults"
