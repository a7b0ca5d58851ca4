"""The 8-bit detector: made at install, verified like any file, used where the processor is made for it."""

from pathlib import Path

import numpy as np
import pytest

from models import ModelsError
from models.centerface import RANGES, CenterFace, quick
from models.manifest import parse, shipped, shipped_file
from models.pack import open_pack
from models.quantise import quantised, tensors
from models.runtime import multiplies_bytes
from models.store import Store

PACK, MADE = "dlib", "centerface-8bit.onnx"


@pytest.fixture
def copied(store_with_dlib: Store, tmp_path: Path) -> Store:
    """An installed pack that a test may spoil."""
    folder = tmp_path / "models" / PACK
    folder.mkdir(parents=True)
    for path in (store_with_dlib.root / PACK).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return Store(tmp_path / "models")


def without_made(store: Store) -> None:
    """As an install of before there were 8-bit networks."""
    toml = store.root / PACK / "pack.toml"
    toml.write_text(toml.read_text().partition("[made]")[0].replace(f'quick = "{MADE}"\n', ""))
    (store.root / PACK / MADE).unlink()


def test_it_finds_the_same_faces_nearly_in_the_same_places(store_with_dlib: Store, group_photo: np.ndarray) -> None:
    pack = open_pack(store_with_dlib, PACK, quick=True)
    assert pack.fine is not None
    fine, fast = (sorted(d.detect(group_photo), key=lambda f: f.box_xyxy[0]) for d in (pack.fine, pack.detector))
    assert len(fine) == len(fast) == 6
    for one, other in zip(fine, fast, strict=True):
        eyes = np.linalg.norm(one.landmarks_xy[0] - one.landmarks_xy[1])
        apart = np.linalg.norm(one.landmarks_xy - other.landmarks_xy, axis=1).mean() / eyes
        assert 0 < apart < 0.1  # and they are two networks


def test_landmarks_that_a_chip_is_cut_by_are_those_of_the_full_network(
    store_with_dlib: Store, group_photo: np.ndarray
) -> None:
    fast, slow = (open_pack(store_with_dlib, PACK, quick=quick) for quick in (True, False))
    face = slow.detector.detect(group_photo)[0]
    assert (fast.refine(group_photo, face).landmarks_xy == slow.refine(group_photo, face).landmarks_xy).all()


def test_an_install_makes_it_and_records_what_it_made(store_with_dlib: Store) -> None:
    found = store_with_dlib.manifest(PACK)
    assert set(found.made) == {MADE}
    assert MADE not in {file.name for file in found.files}
    network = store_with_dlib.read(PACK, "centerface.onnx")
    assert (
        store_with_dlib.read(PACK, MADE) == quick(network, shipped_file(RANGES)) == quick(network, shipped_file(RANGES))
    )
    assert len(store_with_dlib.read(PACK, MADE)) < len(network) / 3


@pytest.mark.parametrize(
    ("name", "pack_id"),
    [("mobilefacenet", "mobilefacenet@ee74d88406df"), ("dlib", "dlib@fe73d59048b9")],
)
def test_a_pack_is_the_same_pack_with_it(name: str, pack_id: str) -> None:
    assert parse(shipped()[name], name).pack_id == pack_id


def test_one_that_is_not_what_was_made_is_named_refused_and_repaired(copied: Store) -> None:
    path = copied.root / PACK / MADE
    path.write_bytes(path.read_bytes()[:-1])
    assert copied.verify(PACK) == [f"{path}: is not the file that was installed (wrong sha256)"]
    with pytest.raises(ModelsError, match=rf"{MADE}: is not the file that was installed"):
        open_pack(copied, PACK, quick=True)
    assert open_pack(copied, PACK, quick=False).detector is not None


def test_a_pack_installed_before_there_was_one_works_and_gets_it_without_fetching(copied: Store) -> None:
    without_made(copied)
    old = open_pack(copied, PACK, quick=True)
    assert old.detector is old.fine
    copied.install(PACK, from_dir=copied.root)  # which holds no file of the pack
    assert copied.verify(PACK) == []
    new = open_pack(copied, PACK, quick=True)
    assert new.detector is not new.fine
    assert new.pack_id == old.pack_id
    assert copied.install(PACK).already


@pytest.mark.parametrize(
    ("cpu_info", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_vnni\n", True),
        ("flags\t\t: fpu avx2 avx_vnni\n", True),
        ("flags\t\t: fpu avx2 avx512f\n", False),
        ("BogoMIPS\t: 48\nFeatures\t: fp asimd asimddp\n", True),
        ("Features\t: fp asimd\n", False),
        ("", False),
        (None, False),
    ],
)
def test_it_is_used_where_the_processor_multiplies_bytes(cpu_info: str | None, expected: bool, tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    if cpu_info is not None:
        path.write_text(cpu_info)
    assert multiplies_bytes(path) is expected


def test_the_processor_s_own_word_decides_by_default(store_with_dlib: Store) -> None:
    pack = open_pack(store_with_dlib, PACK)
    assert (pack.detector is not pack.fine) is multiplies_bytes()


def test_a_tensor_without_a_range_and_a_network_of_other_layers_are_refused(store_with_dlib: Store) -> None:
    network = store_with_dlib.read(PACK, "centerface.onnx")
    wanted = tensors(network)
    with pytest.raises(ModelsError, match="no range was measured"):
        quantised(network, {name: (0.0, 1.0) for name in wanted[:-1] if name != "input.1"})
    with pytest.raises(ModelsError, match="cannot be quantised"):
        quantised(store_with_dlib.read(PACK, "dlib_resnet.onnx"), {})


def test_every_layer_but_those_that_answer_is_in_bytes(store_with_dlib: Store) -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load_model_from_string(store_with_dlib.read(PACK, MADE)).graph
    floats = [node for node in graph.node if node.op_type == "Conv" and not node.input[1].endswith("_back")]
    answers = {output.name for output in graph.output}
    assert len(floats) == len(answers) == 4
    assert isinstance(open_pack(store_with_dlib, PACK).detector, CenterFace)
