import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models import ModelsError
from models.insight import template_for
from models.manifest import RECIPE
from models.pack import open_pack
from models.store import Store

pytest.importorskip("insightface", reason="insightface is not installed")


@pytest.mark.filterwarnings("ignore:`estimate` is deprecated")
def test_vectors_are_those_faceanalysis_gives_of_a_face_and_its_mirror_image(
    store_with_insightface: Store, shared: Path, group_photo: np.ndarray
) -> None:
    from insightface.app import FaceAnalysis
    from insightface.utils.face_align import norm_crop

    pack = open_pack(store_with_insightface, "insightface-pack", detect_px=640)
    theirs = FaceAnalysis(name=str(shared / "models" / "insightface-pack"), providers=["CPUExecutionProvider"])
    theirs.prepare(ctx_id=-1, det_size=(640, 448))  # the shape our detector runs this photo at
    expected = sorted(theirs.get(group_photo), key=lambda face: face.bbox[0])
    faces = sorted(pack.detector.detect(group_photo), key=lambda face: float(face.box_xyxy[0]))
    assert len(faces) == len(expected) == 6
    vectors = pack.embedder.embed(np.stack([pack.embedder.align(group_photo, face) for face in faces]))
    for face, vector, other in zip(faces, vectors, expected, strict=True):
        assert np.abs(face.landmarks_xy - other.kps).max() < 0.5
        chip = norm_crop(group_photo, other.kps, pack.embedder.chip_px)
        both = other.embedding + theirs.models["recognition"].get_feat(np.ascontiguousarray(chip[:, ::-1]))[0]
        assert vector @ both / np.linalg.norm(both) > 0.995


def test_an_added_pack_says_that_it_is_uncalibrated_and_where_it_came_from(store_with_insightface: Store) -> None:
    added = store_with_insightface.manifest("insightface-pack")
    assert added.calibration.measured.startswith("uncalibrated")
    assert not added.commercial_use
    assert {file.name for file in added.files} == {"mobilefacenet.onnx", "scrfd_2.5g_bnkps.onnx"}
    assert store_with_insightface.verify("insightface-pack") == []


def test_a_damaged_added_pack_is_refused_before_it_is_loaded(shared: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add(shared / "models" / "insightface-pack", "mine")
    path = tmp_path / "mine" / "mobilefacenet.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelsError, match=r"mobilefacenet\.onnx.*wrong sha256.*add the pack again"):
        open_pack(store, "mine")
    store.add(shared / "models" / "insightface-pack", "mine")
    assert open_pack(store, "mine").name == "mine"


def test_an_added_pack_whose_thresholds_belong_to_another_recipe_is_refused(shared: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add(shared / "models" / "insightface-pack", "mine")
    path = tmp_path / "mine" / "pack.toml"
    path.write_text(path.read_text().replace(f"recipe = {RECIPE}", f"recipe = {RECIPE + 1}"))
    with pytest.raises(ModelsError, match=r"pack mine was measured with recipe \d+, .*add the pack again"):
        open_pack(store, "mine")


def test_folders_that_are_no_pack_are_refused_by_name(shared: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    detector_only = tmp_path / "half"
    detector_only.mkdir()
    network = (shared / "models" / "insightface-pack" / "scrfd_2.5g_bnkps.onnx").read_bytes()
    (detector_only / "det.onnx").write_bytes(network)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "det.onnx").write_bytes(network[:1000])
    for folder, complaint in (
        (tmp_path / "nowhere", "nowhere: is not a folder"),
        (shared / "data" / "spoof", r"spoof: holds no \.onnx file"),
        (detector_only, "half: holds no recognition model"),
        (broken, "broken: is not a folder that insightface can load"),
    ):
        with pytest.raises(ModelsError, match=complaint) as refusal:
            store.add(folder)
        assert "\n" not in str(refusal.value)
    with pytest.raises(ModelsError, match="shipped with the program"):
        store.add(shared / "models" / "insightface-pack", "dlib")
    with pytest.raises(ModelsError, match="choose a --name"):
        store.add(shared / "models" / "insightface-pack", "My Pack")
    assert store.installed() == []


def test_an_archive_of_insightface_is_installed_once_its_licence_is_accepted(
    server, shared: Path, tmp_path: Path, group_photo: np.ndarray
) -> None:
    with zipfile.ZipFile(tmp_path / "zoo.zip", "w") as zipped:
        for path in sorted((shared / "models" / "insightface-pack").iterdir()):
            zipped.write(path, f"zoo/{path.name}")
    content = (tmp_path / "zoo.zip").read_bytes()
    server.files["zoo.zip"] = content
    text = (
        'name = "zoo"\nabout = "a test"\nlicence = "research only"\ncommercial_use = false\nterms = "Research only."\n'
        f'recipe = {RECIPE}\n[archive]\nname = "zoo.zip"\nsha256 = "{hashlib.sha256(content).hexdigest()}"\n'
        f'urls = ["{server.url("zoo.zip")}"]\n'
    )
    store = Store(tmp_path / "models", {"zoo": text})
    with pytest.raises(ModelsError, match=r"Research only\."):
        store.install("zoo")
    assert not store.install("zoo", accept_licence=True).already
    assert store.install("zoo", accept_licence=True).already
    assert store.verify("zoo") == []
    pack = open_pack(store, "zoo")
    assert len(pack.detector.detect(group_photo)) == 6
    assert pack.calibration.measured.startswith("uncalibrated")
    by_hand = Store(tmp_path / "offline", {"zoo": text.replace(server.address, "http://127.0.0.1:1")})
    by_hand.install("zoo", from_dir=tmp_path, accept_licence=True)
    assert by_hand.manifest("zoo").pack_id == store.manifest("zoo").pack_id


@pytest.mark.filterwarnings("ignore:`estimate` is deprecated")
@pytest.mark.parametrize("chip_px", [112, 128, 224, 256])
def test_templates_are_those_of_insightface(chip_px: int) -> None:
    from insightface.utils.face_align import estimate_norm

    points = np.array([[60, 70], [110, 72], [86, 100], [66, 130], [104, 131]], dtype=np.float32)
    matrix = estimate_norm(points, chip_px)
    template = template_for(chip_px)
    # points that lie on the template already are not moved by insightface's own transform
    assert np.allclose(estimate_norm(template, chip_px), [[1, 0, 0], [0, 1, 0]], atol=1e-4)
    assert matrix.shape == (2, 3)


def test_chips_of_another_size_are_refused() -> None:
    with pytest.raises(ModelsError, match="100 px"):
        template_for(100)


def test_a_package_with_insightfaces_own_manifest_is_added_whole(
    shared: Path, tmp_path: Path, group_photo: np.ndarray
) -> None:
    package = tmp_path / "raccoon_x"
    (package / "nets").mkdir(parents=True)
    for source, name in (("scrfd_2.5g_bnkps.onnx", "det.onnx"), ("mobilefacenet.onnx", "rec.onnx")):
        (package / "nets" / name).write_bytes((shared / "models" / "insightface-pack" / source).read_bytes())
    (package / "MODEL.LICENSE").write_text("non-commercial")
    (package / "manifest.json").write_text(
        json.dumps(
            {
                "manifest_version": 2,
                "model_id": "raccoon_x",
                "license": "MODEL.LICENSE",
                "tasks": {
                    "detection": {"file": "nets/det.onnx"},
                    "recognition": {"file": "nets/rec.onnx", "embedding_dimension": 128},
                    "verification": {"file": "nets/not-shipped.onnx"},
                },
            }
        )
    )
    store = Store(tmp_path / "models")
    added = store.add(package)
    assert {file.name for file in added.files} == {"nets/det.onnx", "nets/rec.onnx", "manifest.json", "MODEL.LICENSE"}
    assert len(open_pack(store, "raccoon_x").detector.detect(group_photo)) == 6
