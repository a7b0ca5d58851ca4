import numpy as np
import pytest

from models import ModelsError
from models.faces import Face, Template

BOX = np.array([1, 2, 3, 4], dtype=np.float32)
POINTS = np.zeros((5, 2), dtype=np.float32)


def test_a_face_keeps_what_it_was_given() -> None:
    face = Face(BOX, POINTS, 0.5)
    assert face.box_xyxy is BOX
    assert face.score == 0.5


@pytest.mark.parametrize(
    ("box", "points", "score", "named"),
    [
        (BOX.astype(np.float64), POINTS, 0.5, "box"),
        (BOX[:3], POINTS, 0.5, "box"),
        (BOX, POINTS[:4], 0.5, "landmarks"),
        (BOX, POINTS, 1.5, "score"),
        (BOX, POINTS, float("nan"), "score"),
    ],
)
def test_a_malformed_face_is_refused(box: np.ndarray, points: np.ndarray, score: float, named: str) -> None:
    with pytest.raises(ModelsError, match=named):
        Face(box, points, score)


@pytest.mark.parametrize("vector", [[1.0, 1.0], [0.0, 0.0], [float("nan"), 0.0], [[1.0]]])
def test_a_template_that_is_not_a_unit_vector_is_refused(vector: list[float]) -> None:
    with pytest.raises(ModelsError, match="template"):
        Template(np.array(vector, dtype=np.float32), "pack@0")


def test_a_template_names_its_pack() -> None:
    with pytest.raises(ModelsError, match="pack"):
        Template(np.array([1.0, 0.0], dtype=np.float32), "")
