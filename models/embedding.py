"""Networks that read one aligned chip and give one vector: MobileFaceNet, SFace, the converted dlib ResNet."""

import numpy as np

from models import ModelsError
from models.align import aligned_chip
from models.faces import Face, Float32, Image
from models.runtime import Network


class ChipEmbedder:
    """Embedder over one network whose preparation of a chip is wholly told by numbers.

    A chip's RGB values have `mean_rgb` subtracted and are divided by `std_rgb`, both in 0..255. A face's vector is the
    mean over its chip and the chip mirrored: measured: models/README.md.
    """

    def __init__(
        self,
        network: Network,
        *,
        chip_px: int,
        dim: int,
        template_xy: tuple[tuple[float, float], ...],
        mean_rgb: tuple[float, float, float],
        std_rgb: tuple[float, float, float],
    ) -> None:
        self._network = network
        self._chip_px = chip_px
        self._dim = dim
        self._template_xy = np.array(template_xy, dtype=np.float32)
        self._scale = (1.0 / np.array(std_rgb, dtype=np.float32)).reshape(1, 3, 1, 1)
        self._shift = np.array(mean_rgb, dtype=np.float32).reshape(1, 3, 1, 1)

    @property
    def chip_px(self) -> int:
        """Side of a chip, px."""
        return self._chip_px

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._dim

    def align(self, image: Image, face: Face) -> Image:
        """Return the chip (chip_px, chip_px, 3) uint8 BGR of one face of image (H, W, 3) uint8 BGR."""
        return aligned_chip(image, face.landmarks_xy, self._template_xy, self._chip_px)

    def embed(self, chips: Image) -> Float32:
        """Return (N, dim) float32, rows of norm 1, for chips (N, chip_px, chip_px, 3) uint8 BGR."""
        if chips.ndim != 4 or chips.shape[1:] != (self._chip_px, self._chip_px, 3):
            raise ModelsError(f"chips must be (N, {self._chip_px}, {self._chip_px}, 3), not {chips.shape}")
        # One by one: half of these files fix the batch at 1, and on one thread a larger batch is no faster.
        rows = [self._read(chip) + self._read(chip[:, ::-1]) for chip in chips]
        if not rows:
            return np.empty((0, self._dim), dtype=np.float32)
        vectors = np.stack(rows)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    def _read(self, chip_bgr: Image) -> Float32:
        rgb = chip_bgr[np.newaxis, :, :, ::-1].transpose(0, 3, 1, 2)
        vector = self._network.run((rgb - self._shift) * self._scale)[0].reshape(-1)
        if vector.shape != (self._dim,):
            raise ModelsError(f"the network gives {vector.size} numbers a face, its manifest says dim = {self._dim}")
        return vector
