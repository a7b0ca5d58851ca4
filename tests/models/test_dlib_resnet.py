from pathlib import Path

import numpy as np
import pytest

from models import ModelsError
from models.dlib_resnet import converted
from models.pack import Pack, open_pack
from models.runtime import Network
from models.store import Store

MEAN_RGB = np.array([122.782, 117.001, 104.298], dtype=np.float32)


def test_the_conversion_agrees_with_dlib_on_real_faces(
    dlib_dat: Path, store_with_dlib: Store, group_photo: np.ndarray
) -> None:
    dlib = pytest.importorskip("dlib", reason="dlib-bin, a development-only check, is not installed")
    pack: Pack = open_pack(store_with_dlib, "dlib")
    chips = [pack.embedder.align(group_photo, face) for face in pack.detector.detect(group_photo)]
    original = dlib.face_recognition_model_v1(str(dlib_dat))
    network = Network(converted(dlib_dat.read_bytes()), name="dlib_resnet.onnx", threads=1)
    assert len(chips) == 6
    for chip in chips:
        rgb = np.ascontiguousarray(chip[:, :, ::-1])
        theirs = np.array(original.compute_face_descriptor(rgb))
        mirrored = np.array(original.compute_face_descriptor(np.ascontiguousarray(rgb[:, ::-1])))
        ours = network.run(((rgb - MEAN_RGB) / np.float32(256)).transpose(2, 0, 1)[np.newaxis])[0][0]
        assert np.abs(ours - theirs).max() < 1e-5
        embedded = pack.embedder.embed(chip[np.newaxis])[0]
        both = theirs + mirrored
        assert np.abs(embedded - both / np.linalg.norm(both)).max() < 1e-5


def test_the_conversion_gives_the_same_bytes_each_time(dlib_dat: Path) -> None:
    assert converted(dlib_dat.read_bytes()) == converted(dlib_dat.read_bytes())


def test_a_file_cut_short_is_refused(dlib_dat: Path) -> None:
    content = dlib_dat.read_bytes()
    with pytest.raises(ModelsError, match="dlib"):
        converted(content[: len(content) // 2])
    with pytest.raises(ModelsError, match="dlib"):
        converted(b"")
    with pytest.raises(ModelsError, match="more layers"):
        converted(content + content[300:20_000])
