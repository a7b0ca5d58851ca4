import numpy as np
import pytest

from models.align import ARCFACE_112_XY, aligned_chip, similarity_transform
from models.pack import open_pack
from models.store import Store

TEMPLATE = np.array(ARCFACE_112_XY, dtype=np.float32)


def test_a_turned_scaled_and_shifted_template_is_brought_back() -> None:
    angle, scale = np.deg2rad(25), 3.0
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (TEMPLATE @ turn.T + [40, 7]).astype(np.float32)
    matrix = similarity_transform(moved, TEMPLATE)
    assert np.allclose(moved @ matrix[:, :2].T + matrix[:, 2], TEMPLATE, atol=1e-3)


def test_a_mirrored_face_is_not_unmirrored() -> None:
    mirrored = TEMPLATE * [-1, 1] + [112, 0]
    matrix = similarity_transform(mirrored.astype(np.float32), TEMPLATE)
    assert np.linalg.det(matrix[:, :2]) > 0


def test_five_points_in_one_place_do_not_break_the_transform() -> None:
    assert np.isfinite(similarity_transform(np.full((5, 2), 9, dtype=np.float32), TEMPLATE)).all()


@pytest.mark.filterwarnings("ignore:`estimate` is deprecated")
def test_chips_are_those_insightface_cuts(group_photo: np.ndarray, store_with_dlib: Store) -> None:
    face_align = pytest.importorskip("insightface.utils.face_align", reason="insightface is not installed")
    for face in open_pack(store_with_dlib, "dlib").detector.detect(group_photo):
        ours = aligned_chip(group_photo, face.landmarks_xy, TEMPLATE, 112).astype(int)
        theirs = face_align.norm_crop(group_photo, face.landmarks_xy, 112).astype(int)
        assert np.abs(ours - theirs).max() <= 2
