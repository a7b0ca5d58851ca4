"""The values a network's work is passed on in, and the two roles a network plays."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models import ModelsError

Float32 = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]
Region = tuple[int, int, int, int]
"""A rectangle of an image, left, top, right and bottom, px; right and bottom are outside."""

UNIT_NORM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One detected face, in pixels of the image it was found in.

    box_xyxy: (4,) float32, inside the image. landmarks_xy: (5, 2) float32, left eye, right eye, nose, left and
    right corner of the mouth as seen in the image. score: 0..1.
    """

    box_xyxy: Float32
    landmarks_xy: Float32
    score: float

    def __post_init__(self) -> None:
        if self.box_xyxy.shape != (4,) or self.box_xyxy.dtype != np.float32:
            raise ModelsError(f"a face's box must be (4,) float32, not {self.box_xyxy.shape} {self.box_xyxy.dtype}")
        if self.landmarks_xy.shape != (5, 2) or self.landmarks_xy.dtype != np.float32:
            shape, dtype = self.landmarks_xy.shape, self.landmarks_xy.dtype
            raise ModelsError(f"a face's landmarks must be (5, 2) float32, not {shape} {dtype}")
        if not 0.0 <= self.score <= 1.0:
            raise ModelsError(f"a face's score must lie in 0..1, not {self.score}")


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """What a person is compared by: vector (D,) float32 of L2 norm 1, made by the pack `pack_id`.

    Vectors of different packs are not comparable; `pack_id` says which ones are.
    """

    vector: Float32
    pack_id: str

    def __post_init__(self) -> None:
        if self.vector.ndim != 1 or self.vector.dtype != np.float32:
            raise ModelsError(f"a template must be (D,) float32, not {self.vector.shape} {self.vector.dtype}")
        norm = float(np.linalg.norm(self.vector))
        if not abs(norm - 1.0) <= UNIT_NORM_TOLERANCE:  # written so that a NaN is refused too
            raise ModelsError(f"a template must have norm 1, not {norm:.4f}")
        if not self.pack_id:
            raise ModelsError("a template must name the pack that made it")


class Detector(Protocol):
    """Finds faces."""

    def detect(self, image: Image, region: Region | None = None) -> list[Face]:
        """Return the faces of image (H, W, 3) uint8 BGR, best score first, in that image's pixels.

        region: the only part to look at, at the same scale as the whole; a face that its edge cuts is left out.
        """
        ...


class Embedder(Protocol):
    """Turns faces into vectors that can be compared by their dot product."""

    @property
    def chip_px(self) -> int:
        """Side of a chip, px."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    def align(self, image: Image, face: Face) -> Image:
        """Return the chip (chip_px, chip_px, 3) uint8 BGR of one face of image (H, W, 3) uint8 BGR."""
        ...

    def embed(self, chips: Image) -> Float32:
        """Return (N, dim) float32, rows of norm 1, for chips (N, chip_px, chip_px, 3) uint8 BGR."""
        ...
