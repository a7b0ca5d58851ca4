import cv2
import numpy as np
import pytest

from models import ModelsError
from models.centerface import rewritten
from models.faces import Detector
from models.pack import open_pack
from models.runtime import Network
from models.store import Store


@pytest.fixture(scope="module")
def detector(store_with_dlib: Store) -> Detector:
    return open_pack(store_with_dlib, "dlib").detector


def test_the_group_photo_has_six_faces_with_their_features_in_place(
    detector: Detector, group_photo: np.ndarray
) -> None:
    faces = detector.detect(group_photo)
    assert len(faces) == 6
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)
    for face in faces:
        left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks_xy
        assert left_eye[0] < right_eye[0]
        assert left_mouth[0] < right_mouth[0]
        assert left_eye[1] < nose[1] < left_mouth[1]
        assert (face.landmarks_xy >= face.box_xyxy[:2]).all()
        assert (face.landmarks_xy <= face.box_xyxy[2:]).all()


def test_faces_are_told_in_pixels_of_the_image_given(detector: Detector, group_photo: np.ndarray) -> None:
    doubled = cv2.resize(group_photo, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    by_x = sorted(detector.detect(group_photo), key=lambda face: face.box_xyxy[0])
    doubled_by_x = sorted(detector.detect(doubled), key=lambda face: face.box_xyxy[0])
    assert len(doubled_by_x) == 6
    for once, twice in zip(by_x, doubled_by_x, strict=True):
        assert np.abs(twice.landmarks_xy / 2 - once.landmarks_xy).max() < 5


def test_a_face_cut_by_the_edge_has_its_box_inside_the_image(detector: Detector, group_photo: np.ndarray) -> None:
    cut = np.ascontiguousarray(group_photo[:, 100:])  # through the face furthest to the left
    for face in detector.detect(cut):
        assert (face.box_xyxy >= 0).all()
        assert face.box_xyxy[2] <= cut.shape[1]
        assert face.box_xyxy[3] <= cut.shape[0]


def test_a_region_of_the_image_shows_the_faces_in_it_and_none_that_its_edge_cuts(
    detector: Detector, group_photo: np.ndarray
) -> None:
    everybody = sorted(detector.detect(group_photo), key=lambda face: face.box_xyxy[0])
    first, cut = everybody[0], everybody[2]
    left, right = 0, round(float(cut.box_xyxy[0] + cut.box_xyxy[2]) / 128) * 64  # on the grid of the network's strides
    found = sorted(detector.detect(group_photo, (left, 0, right, group_photo.shape[0])), key=lambda f: f.box_xyxy[0])
    assert len(found) == sum(float(face.box_xyxy[2]) <= right for face in everybody) < 6
    assert np.abs(found[0].landmarks_xy - first.landmarks_xy).max() < 3
    assert np.abs(found[0].box_xyxy - first.box_xyxy).max() < 6


@pytest.mark.parametrize("shape", [(1080, 1920, 3), (7, 5, 3), (33, 1000, 3)])
def test_an_image_without_faces_has_none(detector: Detector, shape: tuple[int, int, int]) -> None:
    assert detector.detect(np.full(shape, 127, dtype=np.uint8)) == []


def test_a_file_that_is_no_network_is_refused_by_name() -> None:
    with pytest.raises(ModelsError, match=r"centerface\.onnx"):
        rewritten(b"<html>not found</html>")
    with pytest.raises(ModelsError, match=r"some\.onnx"):
        Network(b"<html>not found</html>", name="some.onnx", threads=1)
