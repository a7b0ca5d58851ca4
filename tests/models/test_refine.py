import cv2
import numpy as np
import pytest

from models.faces import Face
from models.pack import Pack
from models.refine import overlap, refined


def by_place(pack: Pack, image: np.ndarray) -> list[Face]:
    return sorted(pack.detector.detect(image), key=lambda face: float(face.box_xyxy[0]))


def test_a_second_look_brings_two_sizes_of_a_face_closer_together(any_pack: Pack, group_photo: np.ndarray) -> None:
    """Landmarks of one photograph at two sizes should be the same points; how far apart are they, in face widths?"""
    small_photo = cv2.resize(group_photo, None, fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA)
    ratio = np.array(group_photo.shape[1::-1], np.float32) / small_photo.shape[1::-1]
    apart: dict[str, list[float]] = {"first": [], "second": []}
    for face, small in zip(by_place(any_pack, group_photo), by_place(any_pack, small_photo), strict=True):
        width = float(face.box_xyxy[2] - face.box_xyxy[0])
        fine, coarse = any_pack.refine(group_photo, face), any_pack.refine(small_photo, small)
        assert fine.score == face.score
        assert overlap(fine.box_xyxy, face.box_xyxy) > 0.7
        apart["first"].append(float(np.abs(face.landmarks_xy - ratio * small.landmarks_xy).mean()) / width)
        apart["second"].append(float(np.abs(fine.landmarks_xy - ratio * coarse.landmarks_xy).mean()) / width)
    assert np.mean(apart["second"]) < np.mean(apart["first"])
    assert np.max(apart["second"]) < 0.06


class Elsewhere:
    """A detector that sees nothing, or only a neighbour's face."""

    def __init__(self, *faces: Face) -> None:
        self._faces = list(faces)

    def detect(self, _image: np.ndarray) -> list[Face]:
        return self._faces


@pytest.mark.parametrize("seen", [(), (Face(np.array([0, 0, 90, 90], np.float32), np.ones((5, 2), np.float32), 0.99),)])
def test_a_face_that_is_not_found_again_stays_as_it_was(seen: tuple[Face, ...]) -> None:
    face = Face(np.array([100, 100, 160, 180], np.float32), np.full((5, 2), 130, np.float32), 0.8)
    assert refined(Elsewhere(*seen), np.zeros((300, 300, 3), np.uint8), face) is face
