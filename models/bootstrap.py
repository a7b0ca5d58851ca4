"""Intervals by resampling people: images of one person agree with each other, so that they are no independent draws."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

REPLICATES = 500
COVERAGE = 0.95


@dataclass(frozen=True, slots=True)
class Rate:
    """A share 0..1 with its 95 % bootstrap interval over people."""

    value: float
    low: float
    high: float


def resampled(people: int, seed: int, replicates: int = REPLICATES) -> Iterator[Float64]:
    """Yield (people,) weights: how often each person is drawn when as many are drawn with replacement."""
    rng = np.random.default_rng(seed)
    for _ in range(replicates):
        yield np.bincount(rng.integers(people, size=people), minlength=people).astype(np.float64)


def rate(value: float, replicates: Float64) -> Rate:
    """Return `value` with the percentile interval of what its bootstrap replicates came to; NaN ones do not count."""
    drawn = replicates[np.isfinite(replicates)]
    if not len(drawn):
        return Rate(value, value, value)
    low, high = np.quantile(drawn, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Rate(float(value), float(low), float(high))
