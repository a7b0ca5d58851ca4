"""Pairs of images: of one person (mated), and of two (non-mated), most of which are never kept at once."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.bootstrap import Float64
from models.face_set import FaceSet
from models.faces import Float32

Int64 = npt.NDArray[np.int64]

BLOCK = 512
BINS = 200_000  # of -1..1
MISSED = -1.0  # a pair with an image that shows no face


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Similarities (K,) and whose the two images are, (K,) each; of a mated pair both are the same."""

    similarities: Float32
    one: Int64
    other: Int64

    def weights(self, of_person: Float64) -> Float64:
        """Return (K,): how much each pair counts where people (P,) count so much; of mated pairs its person once."""
        weights: Float64 = np.where(self.one == self.other, 1.0, of_person[self.other]) * of_person[self.one]
        return weights


@dataclass(frozen=True, slots=True, eq=False)
class NonMated:
    """All non-mated pairs of a set by similarity: counts (BINS,), and `people` images each, (P,)."""

    counts: Int64
    images: Int64

    @property
    def pairs(self) -> int:
        """How many there are."""
        return int(self.counts.sum())

    def at(self, fmr: float) -> float:
        """Return the lowest similarity that no more than `fmr` of them exceed, to the width of a bin."""
        above = self.pairs - np.cumsum(self.counts)  # above[i]: pairs at or over the upper edge of bin i
        return -1.0 + 2.0 * (1 + int(np.argmax(above <= fmr * self.pairs))) / BINS

    def weighted(self, of_person: Float64) -> float:
        """Return how many pairs there would be if people (P,) counted so much, copies of one never paired."""
        weighted = of_person * self.images
        return float((weighted.sum() ** 2 - (weighted**2).sum()) / 2)


def mated_pairs(faces: FaceSet) -> Pairs:
    """Return every pair of two images of one person, each once."""
    one, other = [], []
    for person in np.unique(faces.people):
        rows = np.nonzero(faces.people == person)[0]
        first, second = np.triu_indices(len(rows), 1)
        one.append(rows[first])
        other.append(rows[second])
    return pairs_of(faces, np.concatenate(one), np.concatenate(other))


def pairs_of(faces: FaceSet, one: Int64, other: Int64) -> Pairs:
    """Return the pairs of rows `one` (K,) with rows `other` (K,)."""
    similarities = np.einsum("ij,ij->i", faces.vectors[one], faces.vectors[other])
    similarities[~(faces.acquired[one] & faces.acquired[other])] = MISSED
    return Pairs(similarities, faces.people[one], faces.people[other])


def non_mated(faces: FaceSet) -> NonMated:
    """Return the distribution of all non-mated pairs, each once."""
    counts = np.zeros(BINS, dtype=np.int64)
    for start in range(0, len(faces.vectors), BLOCK):
        similarities, wanted = _block(faces, start)
        counts += np.histogram(similarities[wanted].clip(-1.0, 1.0), BINS, (-1.0, 1.0))[0]
    return NonMated(counts, np.bincount(faces.people, minlength=len(faces.names)))


def non_mated_above(faces: FaceSet, similarity: float) -> Pairs:
    """Return the non-mated pairs at or over `similarity`, most similar first."""
    found = []
    for start in range(0, len(faces.vectors), BLOCK):
        similarities, wanted = _block(faces, start)
        one, other = np.nonzero(wanted & (similarities >= similarity))
        found.append((similarities[one, other], faces.people[start + one], faces.people[start + other]))
    values, ones, others = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(-values, kind="stable")
    return Pairs(values[order], ones[order], others[order])


def _block(faces: FaceSet, start: int) -> tuple[Float32, npt.NDArray[np.bool_]]:
    """Similarities (BLOCK, N - start) of some rows with all from them on, and which are non-mated pairs, each once."""
    similarities = faces.vectors[start : start + BLOCK] @ faces.vectors[start:].T
    similarities[~faces.acquired[start : start + BLOCK]] = MISSED
    similarities[:, ~faces.acquired[start:]] = MISSED
    later = np.arange(similarities.shape[1])[np.newaxis] > np.arange(similarities.shape[0])[:, np.newaxis]
    apart = faces.people[start : start + BLOCK, np.newaxis] != faces.people[np.newaxis, start:]
    return similarities, apart & later
