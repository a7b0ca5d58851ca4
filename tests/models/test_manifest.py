import tomllib
from pathlib import Path

import pytest

from models import ModelsError, manifest


@pytest.mark.parametrize("name", sorted(manifest.shipped()))
def test_every_shipped_manifest_is_whole(name: str) -> None:
    pack = manifest.parse(manifest.shipped()[name], name)
    assert pack.name == name
    assert pack.files or pack.archive
    assert pack.commercial_use or pack.terms
    assert pack.recipe == manifest.RECIPE
    for file in pack.files:
        assert file.sources


def test_a_file_takes_weights_only_from_one_that_is_listed_before_it() -> None:
    text = manifest.shipped()["dlib-distilled"]
    with pytest.raises(ModelsError, match=r"weights_from 'other\.npz' is not listed before it"):
        manifest.parse(text.replace('weights_from = "dlib_distilled.npz"', 'weights_from = "other.npz"'), "test")
    with pytest.raises(ModelsError, match="weights_from belongs to convert = dlib_distilled"):
        manifest.parse(text.replace('weights_from = "dlib_distilled.npz"\n', ""), "test")
    with pytest.raises(ModelsError, match=r"shipped must be the name of an \.npz file"):
        manifest.parse(text.replace('shipped = "dlib_distilled.npz"', 'shipped = "../secret.npz"'), "test")


@pytest.mark.parametrize("name", ["mobilefacenet", "dlib-distilled", "dlib"])
def test_the_packs_that_are_installed_by_default_were_measured(name: str) -> None:
    pack = manifest.parse(manifest.shipped()[name], name)
    assert pack.calibration.is_measured
    assert pack.accuracy is not None
    assert pack.commercial_use
    # what the node asks for lies inside the table, not beyond its end
    assert pack.calibration.points[-1][1] >= pack.calibration.threshold(0.003, 1000) - 1e-3


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('kind = "centerface"', 'kind = "retina"', r"detector\.kind"),
        ("dim = 4", 'dim = "four"', r"embedder.*dim"),
        ("dim = 4", "dim = 4\ncolour = 1", r"embedder.*colour"),
        ("chip_px = 112\n", "", r"embedder.*chip_px"),
        ("[1, 1], ", "", "five points"),
        ("std_rgb = [1, 1, 1]", "std_rgb = [0, 1, 1]", "std_rgb"),
        ('name = "net.onnx"', 'name = "../net.onnx"', "file name inside"),
        ('file = "net.onnx"', 'file = "other.onnx"', r"other\.onnx"),
        ('licence = "MIT"\n', "", "licence"),
        ('name = "tiny"', 'name = "Tiny Pack"', "Tiny Pack"),
        ("size_bytes = 3", "size_bytes = 0", "size_bytes"),
        ('sha256 = "', 'sha256 = "xyz', "sha256"),
        ("[embedder]", "[embedder", "not TOML"),
        ("http://", "file://", "url"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(make_manifest, old: str, new: str, named: str) -> None:
    text = make_manifest("tiny", {"net.onnx": b"net"}, "http://a.example")
    assert manifest.parse(text, "tiny.toml").name == "tiny"
    assert old in text
    with pytest.raises(ModelsError, match=named) as refusal:
        manifest.parse(text.replace(old, new, 1), "tiny.toml")
    assert str(refusal.value).startswith("tiny.toml: ")
    assert "\n" not in str(refusal.value)


def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelsError, match=r"pack\.toml: cannot be read"):
        manifest.load(tmp_path / "pack.toml")
    (tmp_path / "pack.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelsError, match=r"pack\.toml: cannot be read"):
        manifest.load(tmp_path / "pack.toml")


def test_the_pack_id_depends_on_files_and_recipe_and_not_on_thresholds(make_manifest) -> None:
    text = make_manifest("tiny", {"net.onnx": b"net"})
    measured = text + '[calibration]\nmeasured = "here"\npoints = [[0.1, 0.2], [0.01, 0.3]]\n'
    other = make_manifest("tiny", {"net.onnx": b"another net"})
    assert tomllib.loads(measured)["calibration"]
    recipe = text.replace("[detector]", "recipe = 7\n[detector]")
    ids = [manifest.parse(each, "tiny.toml").pack_id for each in (text, measured, other, recipe)]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
