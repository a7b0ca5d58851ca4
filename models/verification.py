"""Verification, measured: are two images of one person?

Terms of ISO/IEC 19795-1. A *mated* pair shows one person, a *non-mated* pair two. FAR is the share of non-mated pairs
at or above the threshold, TAR (1 - FRR) that of mated pairs. Both count failures to acquire: a pair with an image that
shows no face matches nobody.
"""

from dataclasses import dataclass

import numpy as np

from models.bootstrap import Float64, Rate, rate, resampled
from models.face_set import FaceSet
from models.faces import Float32
from models.pairs import Int64, NonMated, Pairs, mated_pairs, non_mated, non_mated_above, pairs_of

FARS = (0.01, 0.001, 0.0001)
FOLDS = 10
RULE_OF_30 = 30  # errors below which a rate is not worth giving (ISO/IEC 19795-1, after Doddington)
HIGHEST_KEPT = 0.02  # share of the non-mated pairs, the most similar, that the intervals are made from


@dataclass(frozen=True, slots=True)
class TarAtFar:
    """TAR at a FAR; `tar` is None where fewer than RULE_OF_30 pairs would lie over the threshold."""

    far: float
    threshold: float | None
    tar: Rate | None


@dataclass(frozen=True, slots=True)
class Verification:
    """accuracy: of as many non-mated as mated pairs in FOLDS folds of people, each with the threshold that is best on
    the other folds. det: (FMR, FNMR) points."""

    mated_pairs: int
    nonmated_pairs: int
    accuracy: Rate
    tar: tuple[TarAtFar, ...]
    det: tuple[tuple[float, float], ...]


def verify(faces: FaceSet, seed: int = 0) -> Verification | None:
    """Return how well pairs of images are told apart; None where nobody has two images."""
    mated = mated_pairs(faces)
    if not len(mated.similarities):
        return None
    strangers = non_mated(faces)
    rising = np.sort(mated.similarities)
    points = [
        (float(fmr), float(np.searchsorted(rising, strangers.at(fmr), side="left") / len(rising)))
        for fmr in np.geomspace(0.1, RULE_OF_30 / max(strangers.pairs, 10 * RULE_OF_30), 60)
    ]
    return Verification(
        len(rising),
        strangers.pairs,
        _accuracy(faces, mated, seed),
        _tar(mated, strangers, non_mated_above(faces, strangers.at(HIGHEST_KEPT)), seed),
        tuple(points),
    )


def _tar(mated: Pairs, strangers: NonMated, highest: Pairs, seed: int) -> tuple[TarAtFar, ...]:
    people = len(strangers.images)

    def measured(of_person: Float64) -> Float64:
        """(2 per FAR,): threshold and TAR."""
        total = strangers.weighted(of_person)
        cumulated = np.cumsum(highest.weights(of_person))
        weights = mated.weights(of_person)
        figures = []
        for far in FARS:
            at = int(np.searchsorted(cumulated, far * total, side="right"))
            known = at < len(highest.similarities) and weights.sum() > 0
            threshold = float(np.nextafter(highest.similarities[at], np.float32(2))) if known else np.nan
            tar = float(weights[mated.similarities >= threshold].sum() / weights.sum()) if known else np.nan
            figures += [threshold, tar]
        return np.array(figures)

    value = measured(np.ones(people))
    drawn = np.array([measured(weights) for weights in resampled(people, seed)])
    rows = []
    for at, far in enumerate(FARS):
        carried = far * strangers.pairs >= RULE_OF_30 and bool(np.isfinite(value[2 * at]))
        tar = rate(value[2 * at + 1], drawn[:, 2 * at + 1]) if carried else None
        rows.append(TarAtFar(far, float(value[2 * at]) if carried else None, tar))
    return tuple(rows)


def _accuracy(faces: FaceSet, mated: Pairs, seed: int) -> Rate:
    rng = np.random.default_rng(seed)
    people = np.unique(faces.people)
    fold_of = np.full(len(faces.names), -1)
    fold_of[rng.permutation(people)] = np.arange(len(people)) % FOLDS
    nonmated = _drawn(faces, mated, fold_of, rng)
    right_mated = np.zeros(len(mated.similarities), dtype=np.bool_)
    right_nonmated = np.zeros(len(nonmated.similarities), dtype=np.bool_)
    for fold in range(FOLDS):
        inside, inside_nonmated = fold_of[mated.one] == fold, fold_of[nonmated.one] == fold
        threshold = _best_threshold(mated.similarities[~inside], nonmated.similarities[~inside_nonmated])
        right_mated[inside] = mated.similarities[inside] >= threshold
        right_nonmated[inside_nonmated] = nonmated.similarities[inside_nonmated] < threshold

    def measured(of_person: Float64) -> float:
        one, other = mated.weights(of_person), nonmated.weights(of_person)
        if not one.sum() or not other.sum():
            return float("nan")
        return float((one[right_mated].sum() / one.sum() + other[right_nonmated].sum() / other.sum()) / 2)

    drawn = np.array([measured(weights) for weights in resampled(len(faces.names), seed)])
    return rate(measured(np.ones(len(faces.names))), drawn)


def _drawn(faces: FaceSet, mated: Pairs, fold_of: Int64, rng: np.random.Generator) -> Pairs:
    """As many non-mated pairs as mated ones in each fold, both images of it."""
    one, other = [], []
    for fold in range(FOLDS):
        wanted = int((fold_of[mated.one] == fold).sum())
        rows = np.nonzero(fold_of[faces.people] == fold)[0]
        if len(np.unique(faces.people[rows])) < 2:
            continue
        first, second = rng.choice(rows, 4 * wanted + 64), rng.choice(rows, 4 * wanted + 64)
        apart = np.nonzero(faces.people[first] != faces.people[second])[0][:wanted]
        one.append(first[apart])
        other.append(second[apart])
    return pairs_of(faces, np.concatenate(one), np.concatenate(other))


def _best_threshold(mated: Float32, nonmated: Float32) -> float:
    """Return the similarity that tells most pairs apart: a mated one among `mated` (M,)."""
    rising, strangers = np.sort(mated), np.sort(nonmated)
    missed = np.arange(len(rising)) / len(rising)
    accepted = 1 - np.searchsorted(strangers, rising, side="left") / max(1, len(strangers))
    return float(rising[int(np.argmin(missed + accepted))])
