"""Faces go to tracks at the least cost there is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camera.assignment import assigned


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1), st.floats(0, 0.9))
def test_the_total_cost_is_scipy_s(rows: int, columns: int, seed: int, impossible: float) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(seed)
    cost = rng.random((rows, columns)) * 4 - 1
    cost[rng.random(cost.shape) < impossible] = 1e6
    pairs = assigned(cost)
    best = cost[optimize.linear_sum_assignment(cost)].sum()
    assert sum(cost[pair] for pair in pairs) == pytest.approx(best, abs=1e-6 * max(1.0, abs(best)))
    assert len(pairs) == min(rows, columns)
    assert [row for row, _ in pairs] == sorted({row for row, _ in pairs})
    assert len({column for _, column in pairs}) == len(pairs)
