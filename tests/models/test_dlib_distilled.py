import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from models import ModelsError, manifest
from models.dlib_distilled import FIRST_TAUGHT, converted, packed, unpacked
from models.dlib_resnet import Taught, Weights, read, written
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


def test_the_taught_half_is_read_off_the_last_two_maps_and_dlibs_own_vector_follows(
    original: Weights, trained: bytes, blobs: np.ndarray
) -> None:
    taught = unpacked(original, trained)
    model = onnx.load_model_from_string(written(original, taught))
    maps = [node.input[0] for node in model.graph.node if node.op_type == "Flatten"][1:]
    for name in maps:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    network = Network(model.SerializeToString(), name="with maps", threads=1)
    dlibs = Network(written(original), name="dlib's own", threads=1)
    for blob in blobs:
        vectors, last, before = network.run(blob[np.newaxis])
        assert (last.shape, before.shape) == ((1, 256, 2, 2), (1, 256, 4, 4))
        flat = np.concatenate([last.reshape(1, -1), before.reshape(1, -1)], axis=1)
        assert np.abs(unit(flat @ taught.matrix + taught.biases) - vectors[:, :128]).max() < 1e-4
        own = unit(dlibs.run(blob[np.newaxis])[0]) * taught.own_weight
        assert np.abs(own - vectors[:, 128:]).max() < 1e-4


def test_the_maps_are_those_of_the_weights_in_the_file(original: Weights, trained: bytes, blobs: np.ndarray) -> None:
    """A network of dlib's shape with the taught weights in place of dlib's, its mean taken by dlib's own last layer."""
    taught = unpacked(original, trained)
    model = onnx.load_model_from_string(written(original, taught))
    last = [node.input[0] for node in model.graph.node if node.op_type == "Flatten"][1]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(last))
    maps = Network(model.SerializeToString(), name="with maps", threads=1).run(blobs[:1])[1]
    replaced = Weights((*original.convolutions[:FIRST_TAUGHT], *taught.convolutions), original.matrix)
    vectors = Network(written(replaced), name="replaced", threads=1).run(blobs[:1])[0]
    assert np.abs(maps.mean(axis=(2, 3)) @ original.matrix - vectors).max() < 1e-4


def test_what_is_packed_comes_back_to_within_half_a_step(original: Weights, trained: bytes) -> None:
    rng = np.random.default_rng(1)
    late = list(original.convolutions[FIRST_TAUGHT:])
    weights, biases = late[-1]
    moved = weights + rng.normal(0, 0.01, weights.shape).astype(np.float32)
    late[-1] = (moved, biases + np.float32(0.5))
    taught = unpacked(original, trained)
    back = unpacked(original, packed(original, Taught(tuple(late), taught.matrix, taught.biases, 1.5)))
    step = np.abs(moved - weights).max(axis=(1, 2, 3), keepdims=True) / 127
    assert (np.abs(back.convolutions[-1][0] - moved) <= step * 0.501 + 1e-7).all()
    assert np.array_equal(back.convolutions[-1][1], biases + np.float32(0.5))
    assert np.array_equal(back.convolutions[0][0], original.convolutions[FIRST_TAUGHT][0])
    assert back.own_weight == 1.5


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


def test_weights_of_another_shape_or_kind_are_refused(original: Weights, trained: bytes) -> None:
    with pytest.raises(ModelsError, match="weights of dlib-distilled"):
        unpacked(original, b"no archive at all")
    with pytest.raises(ModelsError, match="weights of dlib-distilled"):
        unpacked(original, trained[: len(trained) // 2])
