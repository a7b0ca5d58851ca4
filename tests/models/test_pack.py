import cv2
import numpy as np
import pytest

from models import ModelsError
from models.faces import Face, Float32
from models.pack import Pack, open_pack
from models.store import Store


def embedded(pack: Pack, image: np.ndarray) -> Float32:
    faces = sorted(pack.detector.detect(image), key=lambda face: float(face.box_xyxy[0]))
    return pack.embedder.embed(np.stack([pack.embedder.align(image, face) for face in faces]))


def test_six_people_are_six_and_each_is_known_again(any_pack: Pack, group_photo: np.ndarray) -> None:
    lower = any_pack.calibration.threshold(0.10, 1000)
    upper = any_pack.calibration.threshold(0.003, 1000)
    at_first = embedded(any_pack, group_photo)
    assert at_first.shape == (6, any_pack.embedder.dim)
    assert np.allclose(np.linalg.norm(at_first, axis=1), 1, atol=1e-5)
    between = at_first @ at_first.T - 2 * np.eye(6)
    assert between.max() < lower
    coded = cv2.imdecode(cv2.imencode(".jpg", group_photo, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
    again = embedded(any_pack, cv2.resize(coded, (960, 664)))
    assert (at_first * again).sum(axis=1).min() > upper


def test_no_chips_give_no_vectors_and_wrong_ones_are_refused(any_pack: Pack) -> None:
    side = any_pack.embedder.chip_px
    assert any_pack.embedder.embed(np.empty((0, side, side, 3), dtype=np.uint8)).shape == (0, any_pack.embedder.dim)
    with pytest.raises(ModelsError, match="chips"):
        any_pack.embedder.embed(np.zeros((1, side + 1, side, 3), dtype=np.uint8))


def test_a_chip_is_cut_even_where_the_face_leaves_the_image(any_pack: Pack, group_photo: np.ndarray) -> None:
    side = any_pack.embedder.chip_px
    face = any_pack.detector.detect(group_photo)[0]
    outside = Face(face.box_xyxy, face.landmarks_xy - np.float32(5000), face.score)
    chip = any_pack.embedder.align(group_photo, outside)
    assert chip.shape == (side, side, 3)
    assert np.isfinite(any_pack.embedder.embed(chip[np.newaxis])).all()


def test_the_pack_id_names_the_pack_and_stays(store_with_dlib: Store) -> None:
    pack = open_pack(store_with_dlib, "dlib")
    assert pack.pack_id == open_pack(store_with_dlib, "dlib").pack_id
    name, _, digest = pack.pack_id.partition("@")
    assert (name, len(digest)) == ("dlib", 12)


def test_a_pack_that_is_not_installed_is_refused_with_the_command(tmp_path: pytest.TempPathFactory) -> None:
    with pytest.raises(ModelsError, match="firstvisit models install mobilefacenet"):
        open_pack(Store(tmp_path), "mobilefacenet")


def test_a_mirrored_face_is_the_same_vector(any_pack: Pack, group_photo: np.ndarray) -> None:
    """Chip and mirrored chip are averaged; one alone differs from the other by far more than rounding."""
    chip = any_pack.embedder.align(group_photo, any_pack.detector.detect(group_photo)[0])
    both = any_pack.embedder.embed(np.stack([chip, chip[:, ::-1]]))
    assert both[0] == pytest.approx(both[1], abs=1e-5)
