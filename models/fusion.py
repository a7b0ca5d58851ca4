"""The shots of one track become one vector."""

from collections.abc import Sequence

import numpy as np

from models import ModelsError
from models.faces import Float32

LEAST_QUALITY = 1e-3  # a track whose shots are all worthless still has a direction


def fused(vectors: Float32, qualities: Sequence[float]) -> Float32:
    """Return (D,) float32 of norm 1: the mean of vectors (N, D) of norm 1, weighted by qualities (N), 0..1.

    Raises ModelsError where there is no vector, or not one quality a vector.
    """
    if vectors.ndim != 2 or not len(vectors) or len(vectors) != len(qualities):
        raise ModelsError(f"{vectors.shape} vectors cannot be fused by {len(qualities)} qualities")
    weights = np.maximum(np.array(qualities, dtype=np.float32), LEAST_QUALITY)
    vector = weights @ vectors
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)
