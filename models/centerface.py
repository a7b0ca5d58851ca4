"""CenterFace: a detector with landmarks, 7 MB (Xu et al. 2019, arXiv:1911.03599)."""

import cv2
import numpy as np
import onnx

from models import ModelsError
from models.faces import Face, Float32, Image
from models.runtime import Network

STRIDE_PX = 4  # one cell of every output map
SIDE_MULTIPLE_PX = 32  # the deepest map is 1/32 of the input and is scaled back up and added
NMS_OVERLAP = 0.3
DIMENSIONS = ("batch", "height", "width")


def rewritten(distributed: bytes) -> bytes:
    """Return CenterFace's ONNX file with the weights out of the graph's inputs and a free input size.

    The file as distributed lists all 194 weights as inputs, which keeps ONNX Runtime from folding them, and fixes the
    input at 10x3x32x32. The network is fully convolutional, so any multiple of 32 px runs. Deterministic.
    """
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
    return model.SerializeToString(deterministic=True)


class CenterFace:
    """Detector: shrinks the image to `detect_px` on its long side (never enlarges it) and reads four maps."""

    def __init__(self, network: Network, *, detect_px: int, min_score: float) -> None:
        self._network = network
        self._detect_px = detect_px
        self._min_score = min_score

    def detect(self, image: Image) -> list[Face]:
        """Return the faces of image (H, W, 3) uint8 BGR, best score first, in that image's pixels."""
        image_h, image_w = image.shape[:2]
        scale = min(1.0, self._detect_px / max(image_h, image_w))
        height, width = max(1, round(image_h * scale)), max(1, round(image_w * scale))
        canvas = np.zeros((_padded(height), _padded(width), 3), dtype=np.uint8)
        cv2.resize(image, (width, height), dst=canvas[:height, :width], interpolation=cv2.INTER_LINEAR)
        blob = np.asarray(cv2.dnn.blobFromImage(canvas, swapRB=True), dtype=np.float32)
        heat, size, offset, points = self._network.run(blob)
        boxes_xyxy, landmarks_xy, scores = decode(heat[0, 0], size[0], offset[0], points[0], self._min_score)
        if not len(scores):
            return []
        # back to the image given; scale differs by axis by less than half a pixel's rounding
        ratio = np.array([image_w / width, image_h / height], dtype=np.float32)
        limit = np.array([image_w, image_h], dtype=np.float32)
        boxes = np.clip(boxes_xyxy.reshape(-1, 2, 2) * ratio, 0.0, limit).reshape(-1, 4)
        landmarks = landmarks_xy * ratio
        return [Face(boxes[i], landmarks[i], float(scores[i])) for i in range(len(scores)) if _has_area(boxes[i])]


def decode(
    heat: Float32, size: Float32, offset: Float32, points: Float32, min_score: float
) -> tuple[Float32, Float32, Float32]:
    """Return boxes (N, 4) xyxy, landmarks (N, 5, 2) and scores (N,) of the network's input, best first, overlaps removed.

    heat (h, w): score a cell. size (2, h, w): log of height and width in cells. offset (2, h, w): the centre's y and x
    in the cell. points (10, h, w): y and x of five landmarks as shares of the box.
    """
    rows, columns = np.nonzero(heat >= min_score)
    scores = heat[rows, columns]
    box_h, box_w = np.exp(size[:, rows, columns]) * STRIDE_PX
    top = (rows + offset[0, rows, columns] + 0.5) * STRIDE_PX - box_h / 2
    left = (columns + offset[1, rows, columns] + 0.5) * STRIDE_PX - box_w / 2
    boxes_xywh = np.stack([left, top, box_w, box_h], axis=1).astype(np.float32)
    kept = np.asarray(cv2.dnn.NMSBoxes(boxes_xywh, scores, min_score, NMS_OVERLAP), dtype=np.intp).reshape(-1)
    shares = points[:, rows[kept], columns[kept]].reshape(5, 2, -1)
    landmarks_x = shares[:, 1] * box_w[kept] + left[kept]
    landmarks_y = shares[:, 0] * box_h[kept] + top[kept]
    boxes = boxes_xywh[kept]
    boxes[:, 2:] += boxes[:, :2]
    landmarks = np.stack([landmarks_x, landmarks_y], axis=-1).transpose(1, 0, 2).astype(np.float32)
    return boxes, landmarks, np.clip(scores[kept], 0.0, 1.0)


def _padded(side_px: int) -> int:
    return -(-side_px // SIDE_MULTIPLE_PX) * SIDE_MULTIPLE_PX


def _has_area(box_xyxy: Float32) -> bool:
    return bool(box_xyxy[2] > box_xyxy[0] and box_xyxy[3] > box_xyxy[1])
