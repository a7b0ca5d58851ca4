"""The far end of how similar strangers are, where too few pairs were seen to count.

A threshold at FPIR 0.3 % among 1,000 lies at a false match rate of 3e-6. The excess of similarities over a high
threshold follows a generalised Pareto distribution (Pickands 1975, Balkema and de Haan 1974), fitted here by
probability-weighted moments (Hosking and Wallis 1987, Technometrics 29:339).
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from models.bootstrap import Float64, resampled
from models.pairs import NonMated, Pairs

Tail: TypeAlias = Callable[[float], float]

TAIL_SHARE = 3e-4  # of all pairs, the most similar: measured against 1e-3, models/README.md
FEWEST_IN_TAIL = 30
REPLICATES = 200


def tail_share(pairs: int) -> float:
    """Return which share of so many pairs a tail is fitted to: TAIL_SHARE, or what holds FEWEST_IN_TAIL of them."""
    return max(TAIL_SHARE, FEWEST_IN_TAIL / max(1, pairs))


def fit_tail(strangers: NonMated, highest: Pairs, seed: int = 0) -> Tail:
    """Return the false match rate as a function of the similarity, from that of the last pair of `highest` on.

    It is the mean over fits to resampled people, not one best fit: a threshold put where this mean meets a rate keeps
    to that rate on average over what the people measured might have been, where a single fit is too low as often as
    too high and costs more when too low. The shape is never taken as negative, which would say that from some
    similarity on strangers do not exist.
    """
    start = float(highest.similarities[-1])
    excess = highest.similarities[::-1].astype(np.float64) - start
    fits = []
    for of_person in resampled(len(strangers.images), seed, REPLICATES):
        weights = highest.weights(of_person)[::-1]
        if weights @ excess > 0:
            shape, scale = _pareto(excess, weights)
            fits.append((weights.sum() / strangers.weighted(of_person), shape, scale))
    shares, shapes, scales = np.array(fits).T

    def fmr(similarity: float) -> float:
        return float(np.mean(shares * _survival((similarity - start) / scales, shapes)))

    return fmr


def _pareto(rising: Float64, weights: Float64) -> tuple[float, float]:
    """Shape >= 0 and scale of weighted excesses (K,), smallest first."""
    weights = weights / weights.sum()
    ranks = np.cumsum(weights) - weights / 2
    mean = float(weights @ rising)
    moment = float(weights @ (rising * (1 - ranks)))
    spread = mean - 2 * moment  # half of Gini's mean difference
    if spread <= mean / 2:
        return 0.0, mean
    return 2 - mean / spread, 2 * mean * moment / spread


def _survival(excess: Float64, shapes: Float64) -> npt.NDArray[np.float64]:
    """How likely a stranger's excess, in scales, is passed, for each fit."""
    heavy = np.maximum(shapes, 1e-9)
    return np.where(shapes > 1e-6, np.exp(-np.log1p(heavy * excess) / heavy), np.exp(-excess))
