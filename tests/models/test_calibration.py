import math

import numpy as np
import pytest

from models import ModelsError
from models.calibration import CAUTIOUS, Calibration

TABLE = Calibration(((1e-1, 0.1), (1e-3, 0.3), (1e-5, 0.5)), "a test")


def fpir_at(fmr: float, people: int) -> float:
    return 1 - (1 - fmr) ** people


@pytest.mark.parametrize(("fmr", "similarity"), [(1e-1, 0.1), (1e-2, 0.2), (1e-3, 0.3), (1e-4, 0.4), (1e-5, 0.5)])
def test_the_threshold_reads_the_table_linearly_in_the_logarithm(fmr: float, similarity: float) -> None:
    assert TABLE.threshold(fpir_at(fmr, 1), 1) == pytest.approx(similarity, abs=1e-9)
    if fmr <= 1e-3:  # else the FPIR among 1,000 is 1 within rounding
        assert TABLE.threshold(fpir_at(fmr, 1000), 1000) == pytest.approx(similarity, abs=1e-6)


def test_beyond_the_table_the_last_segment_goes_on_and_never_passes_one() -> None:
    assert TABLE.threshold(fpir_at(1e-6, 1), 1) == pytest.approx(0.6, abs=1e-6)
    assert TABLE.threshold(fpir_at(0.5, 1), 1) == pytest.approx(0.1 - 0.1 * math.log10(5), abs=1e-6)
    assert TABLE.threshold(1e-12, 10**9) == 1.0


def test_more_people_and_a_lower_target_raise_the_threshold() -> None:
    assert TABLE.threshold(0.003, 1000) > TABLE.threshold(0.1, 1000)
    assert TABLE.threshold(0.003, 100_000) > TABLE.threshold(0.003, 1000)


@pytest.mark.parametrize(("fpir", "people"), [(0.0, 1000), (1.0, 1000), (-0.1, 1000), (0.1, 0)])
def test_impossible_targets_are_refused(fpir: float, people: int) -> None:
    with pytest.raises(ModelsError):
        TABLE.threshold(fpir, people)


@pytest.mark.parametrize(
    "points", [((1e-1, 0.1),), ((1e-3, 0.3), (1e-1, 0.1)), ((1e-1, 0.3), (1e-3, 0.1)), ((1e-1, 0.1), (0.0, 0.3))]
)
def test_a_table_that_does_not_fall_and_rise_is_refused(points: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ModelsError, match="calibration"):
        Calibration(points, "a test")


def test_the_cautious_table_says_it_was_not_measured() -> None:
    assert not CAUTIOUS.is_measured
    crowd = np.random.default_rng(3).normal(0, 0.1, 100_000).astype(np.float32)
    assert not CAUTIOUS.refined(crowd, len(crowd), 450).is_measured, "a site's own people do not measure a pack"
    assert TABLE.refined(crowd, len(crowd), 450).is_measured
    assert TABLE.is_measured
