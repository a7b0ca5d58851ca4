"""dlib's face ResNet with a second way to a vector, trained here: dlib's .dat and our own weights as one ONNX file.

Our file is an .npz (how it was trained: models/README.md) with

    matrix      (5120, 128) float16   what reads the taught vector off the last two maps (dlib_resnet.Taught)
    biases      (128,) float32
    own_weight  () float32            of dlib's own vector, behind the taught one
    steps_N     int8, the shape of convolution N's weights: what is added to dlib's, in units of `scales_N`
    scales_N    (filters, 1, 1, 1) float32
    biases_N    (filters,) float32, in place of dlib's

for each convolution N (15 to 28 of 0 to 28, in the order of the forward pass) that was trained; without it, the taught
way has dlib's.
"""

import io
import zipfile

import numpy as np

from models import ModelsError
from models.dlib_resnet import EARLY_BLOCKS, Taught, Weights, read, written
from models.faces import Float32

FIRST_TAUGHT = 1 + 2 * EARLY_BLOCKS  # the first convolution after the shared blocks


def converted(dat: bytes, trained: bytes) -> bytes:
    """Return the ONNX file of dlib's network in `dat` with the weights in `trained`: chips as dlib's, to (N, 256).

    Deterministic. Raises ModelsError where either is not what it should be.
    """
    original = read(dat)
    return written(original, unpacked(original, trained))


def unpacked(original: Weights, trained: bytes) -> Taught:
    """Return what `trained` makes of dlib's weights; raises ModelsError."""
    try:
        with np.load(io.BytesIO(trained), allow_pickle=False) as arrays:
            convolutions = tuple(
                _stepped(number, original.convolutions[number], arrays)
                for number in range(FIRST_TAUGHT, len(original.convolutions))
            )
            matrix = arrays["matrix"].astype(np.float32)
            return Taught(convolutions, matrix, arrays["biases"], float(arrays["own_weight"]))
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise ModelsError(f"weights of dlib-distilled: not the file that belongs to this program ({error})") from error


def packed(original: Weights, taught: Taught) -> bytes:
    """Return the file that `unpacked` makes `taught` of, weights to within half a step and the matrix in float16."""
    arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float16 | np.float32 | np.int8]]] = {
        "matrix": taught.matrix.astype(np.float16),
        "biases": taught.biases,
        "own_weight": np.array(taught.own_weight, dtype=np.float32),
    }
    pairs = zip(original.convolutions[FIRST_TAUGHT:], taught.convolutions, strict=True)
    for number, ((old, old_biases), (new, new_biases)) in enumerate(pairs, start=FIRST_TAUGHT):
        if np.array_equal(old, new) and np.array_equal(old_biases, new_biases):
            continue
        scales = np.abs(new - old).max(axis=(1, 2, 3), keepdims=True) / 127
        scales = np.maximum(scales, np.finfo(np.float32).tiny).astype(np.float32)
        arrays[f"steps_{number}"] = np.rint((new - old) / scales).astype(np.int8)
        arrays[f"scales_{number}"] = scales
        arrays[f"biases_{number}"] = new_biases
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own options
    return file.getvalue()


def _stepped(
    number: int, convolution: tuple[Float32, Float32], arrays: "np.lib.npyio.NpzFile"
) -> tuple[Float32, Float32]:
    weights, biases = convolution
    if f"steps_{number}" not in arrays:
        return weights, biases
    steps = arrays[f"steps_{number}"]
    if steps.shape != weights.shape:
        raise ValueError(f"steps_{number} is {steps.shape}, expected {weights.shape}")
    return weights + steps * arrays[f"scales_{number}"], arrays[f"biases_{number}"]
