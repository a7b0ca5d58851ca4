"""Open-set identification, measured: how often somebody enrolled is not recognised, and a stranger is.

Terms of ISO/IEC 19795-1 and NIST FRTE 1:N. A *mate* search is a probe of somebody enrolled, a *non-mate* search one of
somebody who is not. FPIR: the share of non-mate searches that return anybody at or above the threshold. FNIR: the share
of mate searches whose own person is not at rank 1, or is below the threshold. Images without a face (failures to
acquire) stay in both: a miss of a mate, no alarm of a non-mate.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from models.bootstrap import Float64, Rate, rate, resampled
from models.face_set import FaceSet
from models.faces import Float32

Int64 = npt.NDArray[np.int64]
Fuse: TypeAlias = Callable[[Float32, list[float]], Float32]
"""(K, D) vectors and K qualities of one person's images to one vector (D,)."""

FPIRS = (0.05, 0.01, 0.003)
REVIEW_FPIR = 0.10  # the node's lower threshold: between it and the upper it says unsure
SPLITS = 100
SPLITS_OF_ALL = 20  # with everybody enrolled only the choice of images differs
FEWEST_SEARCHES = 20  # of mates or of non-mates, by different people: with fewer a gallery size is left out
MISSED = -np.inf


@dataclass(frozen=True, slots=True, eq=False)
class Searches:
    """What every search of many random galleries of `gallery_n` people came to; M mate, K non-mate searches.

    mate_people: (M,), mate_top: (M,) the best similarity in the gallery, mate_right: (M,) bool, whether that is their
    own person's. nonmate_people: (K,), nonmate_top: (K,) the best similarity. -inf where no face was found.
    """

    gallery_n: int
    people: int
    mate_people: Int64
    mate_top: Float32
    mate_right: npt.NDArray[np.bool_]
    nonmate_people: Int64
    nonmate_top: Float32

    @property
    def mates(self) -> int:
        """How many different people the mate searches are of."""
        return len(np.unique(self.mate_people))

    @property
    def nonmates(self) -> int:
        """How many different people the non-mate searches are of."""
        return len(np.unique(self.nonmate_people))


@dataclass(frozen=True, slots=True)
class OpenSetRow:
    """FNIR at one FPIR. unsure: the part of FNIR whose best similarity lies between the review threshold and this one;
    another_person: the part that names somebody else at or above the threshold."""

    fpir: float
    threshold: float
    fnir: Rate
    unsure: Rate
    another_person: float


@dataclass(frozen=True, slots=True)
class OpenSet:
    """One gallery size. everybody: all are enrolled, and a non-mate search has its own person taken out."""

    gallery_n: int
    everybody: bool
    splits: int
    mates: int
    nonmates: int
    mate_searches: int
    nonmate_searches: int
    rank1: Rate
    rows: tuple[OpenSetRow, ...]


def search(
    faces: FaceSet, gallery_n: int | None, *, fuse: Fuse, probe_images: int = 1, splits: int = SPLITS, seed: int = 0
) -> Searches:
    """Search `splits` random galleries of `gallery_n` people, one image each; None enrols everybody.

    A mate's probe is made of `probe_images` other images of theirs, fused; a non-mate's of as many. Who has too few is
    enrolled all the same. With everybody enrolled, a person's non-mate search leaves their own template out.
    """
    rows_of = [np.nonzero(faces.people == person)[0] for person in range(len(faces.names))]
    rows_of = [rows for rows in rows_of if len(rows)]
    parts = [
        _split(faces, rows_of, gallery_n, fuse, probe_images, np.random.default_rng([seed, split]))
        for split in range(splits)
    ]
    mates, tops, right, nonmates, alarms = (np.concatenate(column) for column in zip(*parts, strict=True))
    enrolled = len(rows_of) - 1 if gallery_n is None else gallery_n
    return Searches(enrolled, len(faces.names), mates, tops, right, nonmates, alarms)


def _split(
    faces: FaceSet,
    rows_of: list[Int64],
    gallery_n: int | None,
    fuse: Fuse,
    probe_images: int,
    rng: np.random.Generator,
) -> tuple[Int64, Float32, npt.NDArray[np.bool_], Int64, Float32]:
    shuffled = [rng.permutation(rows_of[number]) for number in rng.permutation(len(rows_of))]
    enrolled = shuffled if gallery_n is None else shuffled[:gallery_n]
    rest = shuffled if gallery_n is None else shuffled[gallery_n:]
    gallery = np.array([rows[0] for rows in enrolled])
    mated = [(column, rows[1 : 1 + probe_images]) for column, rows in enumerate(enrolled) if len(rows) > probe_images]
    columns = np.array([column for column, _ in mated], dtype=np.int64)
    similarities = _similarities(faces, [rows for _, rows in mated], gallery, fuse)
    best = similarities.argmax(axis=1) if len(mated) else columns
    tops = similarities[np.arange(len(mated)), best]
    strangers = [(column, rows[:probe_images]) for column, rows in enumerate(rest) if len(rows) >= probe_images]
    against = _similarities(faces, [rows for _, rows in strangers], gallery, fuse)
    if gallery_n is None:
        against[np.arange(len(strangers)), [column for column, _ in strangers]] = MISSED
    mate_people = faces.people[gallery[columns]]
    nonmate_people = faces.people[np.array([rows[0] for _, rows in strangers], dtype=np.int64)]
    return mate_people, tops, (best == columns) & np.isfinite(tops), nonmate_people, against.max(axis=1)


def _similarities(faces: FaceSet, probes: list[Int64], gallery: Int64, fuse: Fuse) -> Float32:
    vectors = np.zeros((len(probes), faces.vectors.shape[1]), dtype=np.float32)
    for number, rows in enumerate(probes):
        found = rows[faces.acquired[rows]]
        if len(found):
            many = len(rows) > 1
            vectors[number] = (
                fuse(faces.vectors[found], faces.qualities[found].tolist()) if many else faces.vectors[found[0]]
            )
    similarities = vectors @ faces.vectors[gallery].T
    similarities[~vectors.any(axis=1)] = MISSED
    similarities[:, ~faces.acquired[gallery]] = MISSED
    return similarities


def threshold_at(tops: Float32, fpir: float, weights: Float64 | None = None) -> float:
    """Return the lowest threshold at which no more than `fpir` of the non-mate searches (K,) reach it.

    weights: (K,), how much each search counts.
    """
    order = np.argsort(-tops)
    return _threshold_in(tops[order], fpir, np.ones(len(tops)) if weights is None else weights[order])


def _threshold_in(falling: Float32, fpir: float, weights: Float64) -> float:
    cumulated = np.cumsum(weights)
    first_too_many = int(np.searchsorted(cumulated, fpir * cumulated[-1] * (1 + 1e-9), side="right"))
    if first_too_many == len(falling):
        return -1.0
    return float(np.nextafter(falling[first_too_many], np.float32(2)))


def open_set(searches: Searches, *, everybody: bool, splits: int, seed: int = 0) -> OpenSet:
    """Return rank 1 and FNIR at each of FPIRS, with intervals by resampling the people."""
    nonmate_order = np.argsort(-searches.nonmate_top)
    tops, people = searches.nonmate_top[nonmate_order], searches.nonmate_people[nonmate_order]

    def measured(weights: Float64) -> Float64:
        """(1 + 4 per FPIR,): rank 1; then threshold, FNIR, unsure, another person."""
        mate, nonmate = weights[searches.mate_people], weights[people]
        if not mate.sum() or not nonmate.sum():
            return np.full(1 + 4 * len(FPIRS), np.nan)
        lower = _threshold_in(tops, REVIEW_FPIR, nonmate)
        figures = [_share(searches.mate_right, mate)]
        for fpir in FPIRS:
            upper = _threshold_in(tops, fpir, nonmate)
            over = searches.mate_top >= upper
            unsure = (searches.mate_top >= lower) & ~over
            figures += [
                upper,
                1 - _share(over & searches.mate_right, mate),
                _share(unsure, mate),
                _share(over & ~searches.mate_right, mate),
            ]
        return np.array(figures)

    value = measured(np.ones(searches.people))
    drawn = np.array([measured(weights) for weights in resampled(searches.people, seed)])
    rows = tuple(
        OpenSetRow(
            fpir,
            float(value[at]),
            rate(value[at + 1], drawn[:, at + 1]),
            rate(value[at + 2], drawn[:, at + 2]),
            float(value[at + 3]),
        )
        for at, fpir in zip(range(1, 1 + 4 * len(FPIRS), 4), FPIRS, strict=True)
    )
    return OpenSet(
        searches.gallery_n,
        everybody,
        splits,
        searches.mates,
        searches.nonmates,
        len(searches.mate_top),
        len(searches.nonmate_top),
        rate(value[0], drawn[:, 0]),
        rows,
    )


def det(searches: Searches) -> list[tuple[float, float]]:
    """Return (FPIR, FNIR) along the detection error trade-off, from FPIR 20 % down to a single non-mate person."""
    lowest = 1 / max(1, searches.nonmates)
    right = np.sort(searches.mate_top[searches.mate_right])
    points = []
    for fpir in np.geomspace(0.2, min(lowest, 0.2), 60):
        upper = threshold_at(searches.nonmate_top, float(fpir))
        hits = len(right) - int(np.searchsorted(right, upper, side="left"))
        points.append((float(fpir), 1 - hits / max(1, len(searches.mate_top))))
    return points


def _share(which: npt.NDArray[np.bool_], weights: Float64) -> float:
    return float(weights[which].sum() / weights.sum())
