"""Thresholds from a pack's measured distribution of strangers' similarities."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from models import ModelsError

FEWEST_BEHIND_A_RATE = 30  # pairs of strangers over a similarity, below which its rate is not taken from them
UPON = ", upon: "  # what a site's own table was learnt upon, behind it in `measured`
LOWEST_REFINED = 3e-4  # further out one person enrolled twice would count for more than strangers who look alike


@dataclass(frozen=True, slots=True)
class Calibration:
    """How similar strangers look to a pack: (false match rate, similarity) pairs, and how they were measured.

    `points` run from the highest false match rate to the lowest, so similarities rise; they are of single images.
    `track_points` are the same of templates fused from three images, which lie further out: what an image adds by
    chance averages out of them; none where that was not measured. `measured` is one line that says on what, or begins
    with "uncalibrated" where nothing was measured with this very pack.
    """

    points: tuple[tuple[float, float], ...]
    measured: str
    track_points: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if len(self.points) < 2 or len(self.track_points) == 1:
            raise ModelsError("calibration: at least two [fmr, similarity] points are needed")
        for points in (self.points, self.track_points):
            for fmr, similarity in points:
                if not (0.0 < fmr < 1.0 and -1.0 <= similarity <= 1.0):
                    raise ModelsError(
                        f"calibration: point [{fmr}, {similarity}] lies outside 0 < fmr < 1, |similarity| <= 1"
                    )
            for (fmr, similarity), (next_fmr, next_similarity) in pairwise(points):
                if not (next_fmr < fmr and next_similarity > similarity):
                    raise ModelsError(
                        f"calibration: after [{fmr}, {similarity}] the fmr must fall and the similarity rise"
                    )

    def of_tracks(self) -> "Calibration":
        """The table for templates fused from several images; this one where none was measured."""
        return Calibration(self.track_points, self.measured) if self.track_points else self

    @property
    def is_measured(self) -> bool:
        """Whether the points were measured with this very pack; a site's own people do not make up for that."""
        return not self.measured.rpartition(UPON)[2].startswith("uncalibrated")

    def threshold(self, fpir: float, gallery_n: int) -> float:
        """Return the similarity at which a stranger is matched to anyone among `gallery_n` people with chance `fpir`.

        Takes the comparisons as independent, FPIR = 1 - (1 - FMR)^N, and reads the table linearly in log FMR; beyond
        its ends the outermost segment is continued, never above 1. Raises ModelsError on an fpir outside 0..1 or N < 1.
        """
        if not 0.0 < fpir < 1.0:
            raise ModelsError(f"fpir must lie between 0 and 1, not {fpir}")
        if gallery_n < 1:
            raise ModelsError(f"gallery_n must be at least 1, not {gallery_n}")
        fmr = -math.expm1(math.log1p(-fpir) / gallery_n)
        segments = list(zip(self.points, self.points[1:], strict=False))
        (fmr_a, similarity_a), (fmr_b, similarity_b) = next((s for s in segments if fmr >= s[1][0]), segments[-1])
        share = math.log(fmr_a / fmr) / math.log(fmr_a / fmr_b)
        return max(-1.0, min(1.0, similarity_a + share * (similarity_b - similarity_a)))

    def refined(self, similarities: npt.NDArray[np.float32], pairs: int, people: int) -> "Calibration":
        """Return this table moved to where other strangers lie: `similarities` (K,), as rates out of `pairs` pairs.

        Rates that FEWEST_BEHIND_A_RATE pairs carry, none below LOWEST_REFINED, are theirs; lower ones keep this table's
        distance from the last of them, which is averaged over up to three. Raises ModelsError where none is carried.
        """
        rising = np.sort(similarities)
        carried = [
            (fmr, float(np.quantile(rising, 1 - fmr)) - similarity)
            for fmr, similarity in self.points
            if fmr >= LOWEST_REFINED and fmr * pairs >= FEWEST_BEHIND_A_RATE
        ]
        if not carried:
            raise ModelsError(f"{pairs:,} pairs of strangers are too few to learn from")
        moved = dict(carried)
        far = sum(shift for _, shift in carried[-3:]) / len(carried[-3:])
        points: list[tuple[float, float]] = []
        for fmr, similarity in self.points:
            there = round(similarity + moved.get(fmr, far), 6)
            if -1.0 <= there <= 1.0 and (not points or there > points[-1][1]):
                points.append((fmr, there))
        return Calibration(tuple(points), f"{people:,} people of this site{UPON}{self.measured}")


# For a pack that nobody has measured: what mobilefacenet was measured to need (models/README.md) and 0.03 more. Larger
# ArcFace-style networks keep strangers further apart, so this errs on the side of calling people unsure.
CAUTIOUS = Calibration(
    ((1e-1, 0.17), (1e-2, 0.28), (1e-3, 0.37), (1e-4, 0.44), (1e-5, 0.50), (3e-6, 0.54)),
    "uncalibrated: cautious values for ArcFace-style networks, not measured with this pack",
)
