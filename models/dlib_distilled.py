"""dlib's face ResNet with its last layers trained anew: dlib's .dat and our own weights, written as one ONNX file.

Our file is an .npz (how it was trained: models/README.md) with

    head_matrix  (5120, 128) float16   what reads the vector off the last two maps (dlib_resnet.Head)
    head_biases  (128,) float32
    steps_N      int8, the shape of convolution N's weights: what is added to dlib's, in units of `scales_N`
    scales_N     (filters, 1, 1, 1) float32
    biases_N     (filters,) float32, in place of dlib's

for each convolution N (0 to 28, in the order of the forward pass) that was trained; the others stay dlib's.
"""

import io
import zipfile

import numpy as np

from models import ModelsError
from models.dlib_resnet import Head, Weights, read, written
from models.faces import Float32


def converted(dat: bytes, trained: bytes) -> bytes:
    """Return the ONNX file of dlib's network in `dat` with the weights in `trained`: chips as dlib's, to (N, 128).

    Deterministic. Raises ModelsError where either is not what it should be.
    """
    return written(*merged(read(dat), trained))


def merged(original: Weights, trained: bytes) -> tuple[Weights, Head]:
    """Return dlib's weights with those of `trained` in their place, and the head; raises ModelsError."""
    try:
        with np.load(io.BytesIO(trained), allow_pickle=False) as arrays:
            convolutions = tuple(
                _stepped(number, weights, arrays) if f"steps_{number}" in arrays else (weights, biases)
                for number, (weights, biases) in enumerate(original.convolutions)
            )
            head = Head(arrays["head_matrix"].astype(np.float32), arrays["head_biases"])
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ModelsError(f"weights of dlib-distilled: not the file that belongs to this program ({error})") from error
    return Weights(convolutions, original.matrix), head


def packed(original: Weights, trained: Weights, head: Head) -> bytes:
    """Return the file whose `merged` with `original` is `trained` to within half a step, and `head` in float16."""
    arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float16 | np.float32 | np.int8]]] = {
        "head_matrix": head.matrix.astype(np.float16),
        "head_biases": head.biases,
    }
    pairs = zip(original.convolutions, trained.convolutions, strict=True)
    for number, ((old, old_biases), (new, new_biases)) in enumerate(pairs):
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


def _stepped(number: int, weights: Float32, arrays: "np.lib.npyio.NpzFile") -> tuple[Float32, Float32]:
    steps, scales = arrays[f"steps_{number}"], arrays[f"scales_{number}"]
    if steps.shape != weights.shape:
        raise ValueError(f"steps_{number} is {steps.shape}, expected {weights.shape}")
    return weights + steps * scales, arrays[f"biases_{number}"]
