"""dlib's face ResNet with a second reading of its last maps, trained here: dlib's .dat and our matrix as one ONNX file.

Our file is an .npz (how it was trained: models/README.md) with `matrix` (1280, 128) float16, `biases` (128,) float32
and `own_weight` () float32, which are those of dlib_resnet.Taught.
"""

import io
import zipfile

import numpy as np

from models import ModelsError
from models.dlib_resnet import Taught, read, written

SHAPES = {"matrix": (1280, 128), "biases": (128,), "own_weight": ()}


def converted(dat: bytes, trained: bytes) -> bytes:
    """Return the ONNX file of dlib's network in `dat` with the matrix in `trained`: chips as dlib's, to (N, 256).

    Deterministic. Raises ModelsError where either is not what it should be.
    """
    return written(read(dat), unpacked(trained))


def unpacked(trained: bytes) -> Taught:
    """Return what is in `trained`; raises ModelsError."""
    try:
        with np.load(io.BytesIO(trained), allow_pickle=False) as arrays:
            found = {name: arrays[name].astype(np.float32) for name in SHAPES}
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise ModelsError(f"weights of dlib-distilled: not the file that belongs to this program ({error})") from error
    for name, shape in SHAPES.items():
        if found[name].shape != shape:
            raise ModelsError(f"weights of dlib-distilled: {name} is {found[name].shape}, expected {shape}")
    return Taught(found["matrix"], found["biases"], float(found["own_weight"]))


def packed(taught: Taught) -> bytes:
    """Return the file that `unpacked` makes `taught` of, its matrix in float16."""
    file = io.BytesIO()
    np.savez_compressed(
        file,
        matrix=taught.matrix.astype(np.float16),
        biases=taught.biases.astype(np.float32),
        own_weight=np.array(taught.own_weight, dtype=np.float32),
    )
    return file.getvalue()
