from pathlib import Path

import cv2
import numpy as np
import pytest

from models import ModelsError
from models.runtime import Network
from models.yunet import YuNet


@pytest.fixture(scope="module")
def model(shared: Path) -> Path:
    return shared / "models" / "open" / "face_detection_yunet_2026may.onnx"


def test_faces_are_those_opencv_finds_with_the_same_file(model: Path, group_photo: np.ndarray) -> None:
    size_wh = (640, 448)  # multiples of 32: nothing to pad
    image = cv2.resize(group_photo, size_wh)
    ours = YuNet(Network(model.read_bytes(), name="yunet.onnx", threads=1), detect_px=640, min_score=0.6).detect(image)
    theirs = cv2.FaceDetectorYN.create(str(model), "", size_wh, 0.6).detect(image)[1]
    assert len(ours) == len(theirs) == 6
    for face, row in zip(ours, theirs, strict=True):
        assert np.abs(face.box_xyxy - np.array([*row[:2], *(row[:2] + row[2:4])])).max() < 0.5
        assert np.abs(face.landmarks_xy.reshape(-1) - row[4:14]).max() < 0.5
        assert face.score == pytest.approx(row[14], abs=1e-3)


def test_an_image_without_faces_has_none(model: Path) -> None:
    detector = YuNet(Network(model.read_bytes(), name="yunet.onnx", threads=1), detect_px=640, min_score=0.6)
    assert detector.detect(np.zeros((100, 300, 3), dtype=np.uint8)) == []


def test_another_network_is_refused_by_name(shared: Path) -> None:
    other = (shared / "models" / "open" / "MobileFaceNet.onnx").read_bytes()
    with pytest.raises(ModelsError, match=r"other\.onnx.*not a YuNet"):
        YuNet(Network(other, name="other.onnx", threads=1), detect_px=640, min_score=0.6)
