import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from models import ModelsError, manifest
from models.distill import Lesson, seen, vectors_of, with_features
from models.dlib_distilled import converted, packed, unpacked
from models.dlib_resnet import FEATURES, Taught, Weights, read, written
from models.pack import open_pack
from models.runtime import Network
from models.store import Store

MEAN_RGB = np.array([122.782, 117.001, 104.298], dtype=np.float32)


@pytest.fixture(scope="module")
def trained() -> bytes:
    return manifest.shipped_file("dlib_distilled.npz")


@pytest.fixture(scope="module")
def original(dlib_dat: Path) -> Weights:
    return read(dlib_dat.read_bytes())


@pytest.fixture(scope="module")
def store(dlib_dat: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("distilled"))
    store.install("dlib-distilled", from_dir=dlib_dat.parent)
    return store


@pytest.fixture(scope="module")
def blobs(store: Store, group_photo: np.ndarray) -> np.ndarray:
    """Six faces, (6, 3, 150, 150), prepared for the network."""
    pack = open_pack(store, "dlib-distilled")
    chips = np.stack([pack.embedder.align(group_photo, face) for face in pack.detector.detect(group_photo)])
    return np.asarray((chips[:, :, :, ::-1] - MEAN_RGB).transpose(0, 3, 1, 2) / np.float32(256), dtype=np.float32)


def test_the_shipped_weights_are_the_ones_the_manifest_names_and_stay_under_12_mb(trained: bytes) -> None:
    found = manifest.parse(manifest.shipped()["dlib-distilled"], "dlib-distilled")
    file = next(file for file in found.files if file.is_shipped)
    assert (file.sha256, file.size_bytes) == (hashlib.sha256(trained).hexdigest(), len(trained))
    assert len(trained) <= 12_000_000
    assert found.size_bytes == sum(other.size_bytes for other in found.files if other is not file)


def test_an_install_gives_the_same_bytes_each_time_and_opens(store: Store, dlib_dat: Path, trained: bytes) -> None:
    content = store.read("dlib-distilled", "dlib_distilled.onnx")
    assert content == converted(dlib_dat.read_bytes(), trained)
    assert store.verify("dlib-distilled") == []
    assert open_pack(store, "dlib-distilled").pack_id.startswith("dlib-distilled@")


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_the_taught_half_is_read_off_dlibs_last_maps_and_dlibs_own_vector_follows(
    original: Weights, trained: bytes, blobs: np.ndarray
) -> None:
    taught = unpacked(trained)
    model = onnx.load_model_from_string(written(original, taught))
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(FEATURES))
    network = Network(model.SerializeToString(), name="with features", threads=1)
    plain = onnx.load_model_from_string(written(original))
    pool = next(node for node in plain.graph.node if node.op_type == "GlobalAveragePool")
    before = [node.output[0] for node in plain.graph.node if node.op_type == "Relu"][-3]
    for name in (pool.input[0], before):
        plain.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    dlibs = Network(plain.SerializeToString(), name="dlib's own, with its last maps", threads=1)
    for blob in blobs:
        own, last, before_last = dlibs.run(blob[np.newaxis])
        assert (last.shape, before_last.shape) == ((1, 256, 2, 2), (1, 256, 4, 4))
        vectors, features = network.run(blob[np.newaxis])
        expected = np.concatenate([last.reshape(1, -1), before_last.mean(axis=(2, 3))], axis=1)
        assert np.abs(expected - features).max() < 1e-4
        assert np.abs(unit(expected @ taught.matrix + taught.biases) - vectors[:, :128]).max() < 1e-4
        assert np.abs(unit(own) * taught.own_weight - vectors[:, 128:]).max() < 1e-4


def test_training_measures_the_very_vectors_that_the_pack_gives(
    store: Store, original: Weights, trained: bytes, group_photo: np.ndarray
) -> None:
    pack, spec = open_pack(store, "dlib-distilled"), store.manifest("dlib-distilled").embedder
    assert spec is not None
    chips = np.stack([pack.embedder.align(group_photo, face) for face in pack.detector.detect(group_photo)])
    features, own = seen(with_features(original), original, chips, spec)
    lesson = Lesson(features, own, np.zeros((6, 128), np.float32), np.arange(6), tuple("abcdef"), (Path(),) * 6)
    measured = vectors_of(lesson, np.arange(6), unpacked(trained))
    assert np.abs(pack.embedder.embed(chips) - measured).max() < 1e-4


def test_what_is_packed_comes_back_with_the_matrix_in_half_precision(trained: bytes) -> None:
    rng = np.random.default_rng(1)
    matrix = rng.normal(0, 0.01, (1280, 128)).astype(np.float32)
    taught = Taught(matrix, rng.normal(0, 1, 128).astype(np.float32), 1.5)
    back = unpacked(packed(taught))
    assert np.abs(back.matrix - matrix).max() < 1e-4
    assert np.array_equal(back.biases, taught.biases)
    assert back.own_weight == 1.5
    assert packed(unpacked(trained)) == trained


def test_a_face_is_nearer_to_its_blurred_copy_than_to_anybody_else(store: Store, group_photo: np.ndarray) -> None:
    import cv2

    pack = open_pack(store, "dlib-distilled")
    faces = pack.detector.detect(group_photo)
    blurred = np.asarray(cv2.GaussianBlur(group_photo, (0, 0), 1.5), dtype=np.uint8)
    sharp, soft = (
        pack.embedder.embed(np.stack([pack.embedder.align(image, face) for face in faces]))
        for image in (group_photo, blurred)
    )
    assert len(faces) == 6
    similarities = sharp @ soft.T
    strangers = similarities[~np.eye(6, dtype=bool)]
    assert np.diag(similarities).min() > float(strangers.max())


def test_a_file_of_another_kind_is_refused(trained: bytes) -> None:
    for damaged in (b"no archive at all", b"", trained[: len(trained) // 2]):
        with pytest.raises(ModelsError, match="weights of dlib-distilled"):
            unpacked(damaged)
    small = Taught(np.zeros((2, 2), dtype=np.float32), np.zeros(128, dtype=np.float32), 1.0)
    with pytest.raises(ModelsError, match=r"matrix is \(2, 2\), expected \(1280, 128\)"):
        unpacked(packed(small))
