"""Verification, measured: are two images of one person?

Terms of ISO/IEC 19795-1. A *mated* pair shows one person, a *non-mated* pair two. FAR is the share of non-mated pairs
at or above the threshold, TAR (1 - FRR) that of mated pairs. Both count failures to acquire: a pair with an image that
shows no face matches nobody.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.bootstrap import Float64, Rate, rate, resampled
from models.face_set import FaceSet
from models.faces import Float32

Int64 = npt.NDArray[np.int64]

FARS = (0.01, 0.001, 0.0001)
FOLDS = 10
RULE_OF_30 = 30  # errors below which a rate is not worth giving (ISO/IEC 19795-1, after Doddington)
BLOCK = 512
BINS = 200_000
HIGHEST_KEPT = 0.02  # share of the non-mated pairs, the most similar, that the intervals are made from
MISSED = -1.0


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


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Similarities (K,) and whose the two images are, (K,) each; of a mated pair both are the same."""

    similarities: Float32
    one: Int64
    other: Int64

    def weights(self, of_person: Float64, mated: bool) -> Float64:
        weights: Float64 = of_person[self.one] if mated else of_person[self.one] * of_person[self.other]
        return weights


def verify(faces: FaceSet, seed: int = 0) -> Verification | None:
    """Return how well pairs of images are told apart; None where nobody has two images."""
    mated = _mated(faces)
    if not len(mated.similarities):
        return None
    counts = _nonmated_histogram(faces)
    pairs = int(counts.sum())
    above = pairs - np.cumsum(counts)  # above[i]: pairs at or over the upper edge of bin i
    edges = np.linspace(-1.0, 1.0, BINS + 1)
    highest = _nonmated_above(faces, float(edges[1 + int(np.argmax(above <= HIGHEST_KEPT * pairs))]))
    rising = np.sort(mated.similarities)
    points = []
    for fmr in np.geomspace(0.1, max(RULE_OF_30 / pairs, 1e-7), 60):
        threshold = edges[1 + int(np.argmax(above <= fmr * pairs))]
        points.append((float(fmr), float(np.searchsorted(rising, threshold, side="left") / len(rising))))
    return Verification(
        len(rising), pairs, _accuracy(faces, mated, seed), _tar(faces, mated, highest, pairs, seed), tuple(points)
    )


def _mated(faces: FaceSet) -> _Pairs:
    one, other = [], []
    for person in np.unique(faces.people):
        rows = np.nonzero(faces.people == person)[0]
        first, second = np.triu_indices(len(rows), 1)
        one.append(rows[first])
        other.append(rows[second])
    return _pairs(faces, np.concatenate(one), np.concatenate(other))


def _pairs(faces: FaceSet, one: Int64, other: Int64) -> _Pairs:
    similarities = np.einsum("ij,ij->i", faces.vectors[one], faces.vectors[other])
    similarities[~(faces.acquired[one] & faces.acquired[other])] = MISSED
    return _Pairs(similarities, faces.people[one], faces.people[other])


def _blocks(faces: FaceSet, start: int) -> tuple[Float32, npt.NDArray[np.bool_]]:
    """Similarities (BLOCK, N - start) of some rows with all from them on, and which are non-mated pairs, each once."""
    similarities = faces.vectors[start : start + BLOCK] @ faces.vectors[start:].T
    similarities[~faces.acquired[start : start + BLOCK]] = MISSED
    similarities[:, ~faces.acquired[start:]] = MISSED
    later = np.arange(similarities.shape[1])[np.newaxis] > np.arange(similarities.shape[0])[:, np.newaxis]
    apart = faces.people[start : start + BLOCK, np.newaxis] != faces.people[np.newaxis, start:]
    return similarities, apart & later


def _nonmated_histogram(faces: FaceSet) -> Int64:
    counts = np.zeros(BINS, dtype=np.int64)
    for start in range(0, len(faces.vectors), BLOCK):
        similarities, wanted = _blocks(faces, start)
        counts += np.histogram(similarities[wanted].clip(-1.0, 1.0), BINS, (-1.0, 1.0))[0]
    return counts


def _nonmated_above(faces: FaceSet, similarity: float) -> _Pairs:
    """The pairs at or over `similarity`, most similar first."""
    found = []
    for start in range(0, len(faces.vectors), BLOCK):
        similarities, wanted = _blocks(faces, start)
        one, other = np.nonzero(wanted & (similarities >= similarity))
        found.append((similarities[one, other], faces.people[start + one], faces.people[start + other]))
    values, ones, others = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(-values)
    return _Pairs(values[order], ones[order], others[order])


def _tar(faces: FaceSet, mated: _Pairs, highest: _Pairs, pairs: int, seed: int) -> tuple[TarAtFar, ...]:
    images = np.bincount(faces.people, minlength=len(faces.names)).astype(np.float64)

    def measured(of_person: Float64) -> Float64:
        """(2 per FAR,): threshold and TAR."""
        weighted = of_person * images
        total = (weighted.sum() ** 2 - (weighted**2).sum()) / 2
        cumulated = np.cumsum(highest.weights(of_person, mated=False))
        weights = mated.weights(of_person, mated=True)
        figures = []
        for far in FARS:
            at = int(np.searchsorted(cumulated, far * total, side="right"))
            known = at < len(highest.similarities) and weights.sum() > 0
            threshold = float(np.nextafter(highest.similarities[at], np.float32(2))) if known else np.nan
            tar = float(weights[mated.similarities >= threshold].sum() / weights.sum()) if known else np.nan
            figures += [threshold, tar]
        return np.array(figures)

    value = measured(np.ones(len(faces.names)))
    drawn = np.array([measured(weights) for weights in resampled(len(faces.names), seed)])
    rows = []
    for at, far in enumerate(FARS):
        carried = far * pairs >= RULE_OF_30 and bool(np.isfinite(value[2 * at]))
        tar = rate(value[2 * at + 1], drawn[:, 2 * at + 1]) if carried else None
        rows.append(TarAtFar(far, float(value[2 * at]) if carried else None, tar))
    return tuple(rows)


def _accuracy(faces: FaceSet, mated: _Pairs, seed: int) -> Rate:
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
        one, other = mated.weights(of_person, mated=True), nonmated.weights(of_person, mated=False)
        if not one.sum() or not other.sum():
            return float("nan")
        return float((one[right_mated].sum() / one.sum() + other[right_nonmated].sum() / other.sum()) / 2)

    drawn = np.array([measured(weights) for weights in resampled(len(faces.names), seed)])
    return rate(measured(np.ones(len(faces.names))), drawn)


def _drawn(faces: FaceSet, mated: _Pairs, fold_of: Int64, rng: np.random.Generator) -> _Pairs:
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
    return _pairs(faces, np.concatenate(one), np.concatenate(other))


def _best_threshold(mated: Float32, nonmated: Float32) -> float:
    """Return the similarity that tells most pairs apart: a mated one among `mated` (M,)."""
    rising, strangers = np.sort(mated), np.sort(nonmated)
    missed = np.arange(len(rising)) / len(rising)
    accepted = 1 - np.searchsorted(strangers, rising, side="left") / max(1, len(strangers))
    return float(rising[int(np.argmin(missed + accepted))])
