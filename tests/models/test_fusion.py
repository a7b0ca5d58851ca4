import numpy as np
import pytest

from models import ModelsError
from models.fusion import fused

AXES = np.eye(3, dtype=np.float32)


def test_a_template_is_the_mean_of_the_vectors_weighted_by_quality() -> None:
    vector = fused(AXES[:2], [0.9, 0.3])
    assert vector.dtype == np.float32
    assert vector == pytest.approx(np.array([3, 1, 0]) / np.sqrt(10), abs=1e-6)


def test_shots_of_no_quality_still_make_a_template() -> None:
    assert fused(AXES[[0, 0]], [0.0, 0.0]) == pytest.approx([1, 0, 0])


@pytest.mark.parametrize("qualities", [[], [0.5], [0.5, 0.5, 0.5]])
def test_vectors_and_qualities_must_match(qualities: list[float]) -> None:
    with pytest.raises(ModelsError, match="cannot be fused"):
        fused(AXES[: 2 if qualities else 0], qualities)
