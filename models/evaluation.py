"""One pack measured on one folder of faces: everything `firstvisit models eval` prints."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models.face_set import FaceSet
from models.identification import FEWEST_SEARCHES, SPLITS, SPLITS_OF_ALL, Fuse, OpenSet, det, open_set, search
from models.verification import Verification, verify

GALLERY_SIZES = (100, 1000, None)  # None: everybody


@dataclass(frozen=True, slots=True)
class Evaluation:
    """verification: None where nobody has two images. left_out: one line for each gallery size that could not be
    measured. det: by gallery size, (FPIR, FNIR) points; the last is everybody."""

    pack_id: str
    people: int
    images: int
    unreadable: int
    failures_to_acquire: int
    probe_images: int
    verification: Verification | None
    open_set: tuple[OpenSet, ...]
    left_out: tuple[str, ...]
    det: dict[str, tuple[tuple[float, float], ...]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def evaluate(faces: FaceSet, pack_id: str, *, fuse: Fuse, probe_images: int = 1, seed: int = 0) -> Evaluation:
    """Return the figures of a pack on the faces it made; `fuse` makes a probe of `probe_images` images of a person."""
    people = len(np.unique(faces.people))
    measured, left_out, curves = [], [], {}
    for gallery_n in GALLERY_SIZES:
        everybody = gallery_n is None
        label = "all" if gallery_n is None else f"{gallery_n:,}"
        if gallery_n is not None and people < gallery_n + FEWEST_SEARCHES:
            left_out.append(f"N = {label} needs {gallery_n + FEWEST_SEARCHES:,} people, there are {people:,}")
            continue
        splits = SPLITS_OF_ALL if everybody else SPLITS
        found = search(faces, gallery_n, fuse=fuse, probe_images=probe_images, splits=splits, seed=seed)
        if min(found.mates, found.nonmates) < FEWEST_SEARCHES:
            left_out.append(
                f"N = {label} has mate probes of {found.mates} and non-mate probes of {found.nonmates} people, "
                f"{FEWEST_SEARCHES} of each are needed ({probe_images + 1} and {probe_images} images a person)"
            )
            continue
        measured.append(open_set(found, everybody=everybody, splits=splits, seed=seed))
        curves[label] = tuple(det(found))
    return Evaluation(
        pack_id,
        people,
        len(faces.images),
        len(faces.unreadable),
        faces.failures_to_acquire,
        probe_images,
        verify(faces, seed),
        tuple(measured),
        tuple(left_out),
        curves,
    )
