"""YuNet: a detector with landmarks, 0.2 MB (Wu et al. 2023, doi:10.1007/s11633-023-1423-y)."""

import cv2
import numpy as np

from models import ModelsError
from models.faces import Face, Float32, Image, Region
from models.letterbox import faces_within, fitted, without_overlaps
from models.runtime import Network

STRIDES_PX = (8, 16, 32)


class YuNet:
    """Detector over maps of 1/8, 1/16 and 1/32 of the input.

    Files that fix their input (opencv_zoo's 2023mar: 640x640) get the image inside that input.
    """

    def __init__(self, network: Network, *, detect_px: int, min_score: float) -> None:
        missing = {f"{part}_{stride}" for part in ("cls", "obj", "bbox", "kps") for stride in STRIDES_PX}
        if missing - set(network.output_names):
            raise ModelsError(f"{network.name}: is not a YuNet, it has no outputs cls_8, obj_8, bbox_8, kps_8 …")
        self._network = network
        self._fixed_hw = network.input_hw
        self._detect_px = min(detect_px, *self._fixed_hw) if self._fixed_hw else detect_px
        self._min_score = min_score

    def detect(self, image: Image, region: Region | None = None) -> list[Face]:
        """As `Detector.detect`; a file of one input size looks at the whole image, which costs it no more."""
        region = None if self._fixed_hw else region
        canvas, ratio = fitted(image, self._detect_px, self._fixed_hw, region)
        blob = np.asarray(cv2.dnn.blobFromImage(canvas), dtype=np.float32)
        outputs = dict(zip(self._network.output_names, self._network.run(blob), strict=True))
        boxes, landmarks, scores = decode(outputs, canvas.shape[1], self._min_score)
        kept = without_overlaps(boxes, scores)
        return faces_within(image, boxes[kept] * np.tile(ratio, 2), landmarks[kept] * ratio, scores[kept], region)


def decode(outputs: dict[str, Float32], width_px: int, min_score: float) -> tuple[Float32, Float32, Float32]:
    """Return boxes (N, 4) xyxy, landmarks (N, 5, 2) and scores (N,) in input pixels, overlaps still in.

    As in OpenCV's face_detect.cpp: a score is the geometric mean of class and objectness; a box is the offset of its
    centre from the cell and the log of its size, in strides.
    """
    boxes, landmarks, scores = [], [], []
    for stride in STRIDES_PX:
        cls, obj, bbox, kps = (outputs[f"{part}_{stride}"][0] for part in ("cls", "obj", "bbox", "kps"))
        score = np.sqrt(np.clip(cls[:, 0], 0.0, 1.0) * np.clip(obj[:, 0], 0.0, 1.0))
        found = np.nonzero(score >= min_score)[0]
        cells = np.stack([found % (width_px // stride), found // (width_px // stride)], axis=1)
        size = np.exp(bbox[found, 2:]) * stride
        centre = (cells + bbox[found, :2]) * stride
        boxes.append(np.concatenate([centre - size / 2, centre + size / 2], axis=1))
        landmarks.append((kps[found].reshape(-1, 5, 2) + cells[:, np.newaxis]) * stride)
        scores.append(score[found])
    return (
        np.concatenate(boxes).astype(np.float32),
        np.concatenate(landmarks).astype(np.float32),
        np.concatenate(scores).astype(np.float32),
    )
