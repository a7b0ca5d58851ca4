"""CenterFace: a detector with landmarks, 7 MB (Xu et al. 2019, arXiv:1911.03599)."""

import json

import cv2
import numpy as np

from models import ModelsError
from models.faces import Face, Float32, Image, Region
from models.letterbox import faces_within, fitted, without_overlaps
from models.quantise import quantised
from models.runtime import Network

STRIDE_PX = 4  # one cell of every output map
DIMENSIONS = ("batch", "height", "width")
RANGES = "centerface_ranges.json"  # beside the manifests; how they were measured: centerface_ranges.py


def rewritten(distributed: bytes) -> bytes:
    """Return CenterFace's ONNX file with the weights out of the graph's inputs and a free input size.

    The file as distributed lists all 194 weights as inputs, which keeps ONNX Runtime from folding them, and fixes the
    input at 10x3x32x32. The network is fully convolutional, so any multiple of 32 px runs. Deterministic.
    """
    import onnx  # needed at install only, and large

    try:
        model = onnx.load_model_from_string(distributed)
    except Exception as error:  # protobuf's DecodeError is not part of its typed interface
        raise ModelsError("centerface.onnx: not an ONNX file") from error
    graph = model.graph
    weights = {weight.name for weight in graph.initializer}
    images = [value for value in graph.input if value.name not in weights]
    if len(images) != 1 or len(graph.output) != 4:
        raise ModelsError(f"centerface.onnx: {len(images)} inputs and {len(graph.output)} outputs, expected 1 and 4")
    image_input = onnx.ValueInfoProto()
    image_input.CopyFrom(images[0])
    del graph.input[:]
    graph.input.append(image_input)
    for value in (*graph.input, *graph.output):
        batch, _channels, height, width = value.type.tensor_type.shape.dim
        prefix = "" if value.name == image_input.name else "map_"
        for dimension, label in zip((batch, height, width), DIMENSIONS, strict=True):
            dimension.dim_param = label if label == "batch" else prefix + label
    del graph.value_info[:]
    return bytes(model.SerializeToString(deterministic=True))


def quick(network: bytes, ranges: bytes) -> bytes:
    """Return what `rewritten` gave with its layers in 8 bits; ranges: the file RANGES. Deterministic."""
    return quantised(network, {name: (low, high) for name, (low, high) in json.loads(ranges).items()})


class CenterFace:
    """Detector over four maps of 1/4 of the input: score, size, offset, landmarks."""

    def __init__(self, network: Network, *, detect_px: int, min_score: float) -> None:
        """detect_px: long side, px, to which a larger image is shrunk; min_score: 0..1."""
        self._network = network
        self._detect_px = detect_px
        self._min_score = min_score

    def detect(self, image: Image, region: Region | None = None) -> list[Face]:
        """As `Detector.detect`."""
        canvas, ratio = fitted(image, self._detect_px, region=region)
        blob = np.asarray(cv2.dnn.blobFromImage(canvas, swapRB=True), dtype=np.float32)
        heat, size, offset, points = self._network.run(blob)
        boxes, landmarks, scores = decode(heat[0, 0], size[0], offset[0], points[0], self._min_score)
        kept = without_overlaps(boxes, scores)
        return faces_within(image, boxes[kept] * np.tile(ratio, 2), landmarks[kept] * ratio, scores[kept], region)


def decode(
    heat: Float32, size: Float32, offset: Float32, points: Float32, min_score: float
) -> tuple[Float32, Float32, Float32]:
    """Return boxes (N, 4) xyxy, landmarks (N, 5, 2) and scores (N,) in input pixels, overlaps still in.

    heat (h, w): score a cell. size (2, h, w): log of height and width in cells. offset (2, h, w): the centre's y and x
    in the cell. points (10, h, w): y and x of five landmarks as shares of the box.
    """
    rows, columns = np.nonzero(heat >= min_score)
    box_h, box_w = np.exp(size[:, rows, columns]) * STRIDE_PX
    top = (rows + offset[0, rows, columns] + 0.5) * STRIDE_PX - box_h / 2
    left = (columns + offset[1, rows, columns] + 0.5) * STRIDE_PX - box_w / 2
    boxes = np.stack([left, top, left + box_w, top + box_h], axis=1).astype(np.float32)
    shares = points[:, rows, columns].reshape(5, 2, -1)
    landmarks = np.stack([shares[:, 1] * box_w + left, shares[:, 0] * box_h + top], axis=-1)
    return boxes, landmarks.transpose(1, 0, 2).astype(np.float32), heat[rows, columns]
