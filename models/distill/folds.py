"""People in folds, so that a figure is reported on people that the network it belongs to has not seen."""

import hashlib

import numpy as np
import numpy.typing as npt

FOLDS = 3


def fold_of(names: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Return the fold (0..2) of each name, by its sha256."""
    return np.array([int(hashlib.sha256(f"fold {name}".encode()).hexdigest(), 16) % FOLDS for name in names])
