"""An image fitted into a detector's input, and what was found there brought back to the image."""

import cv2
import numpy as np

from models.faces import Face, Float32, Image, Region

SIDE_MULTIPLE_PX = 32  # the coarsest map of every detector here is 1/32 of its input
CUT_SHARE = 0.15  # of a face's side: half faces are given boxes that end a little before the edge
NMS_OVERLAP = 0.3  # intersection over union from which two boxes are one face


def input_side_px(side_px: int, scale: float) -> int:
    """Return the side of the input for an image's side shrunk by `scale`: the next multiple of 32."""
    return -(-max(1, round(side_px * scale)) // SIDE_MULTIPLE_PX) * SIDE_MULTIPLE_PX


def shrunk_by(image: Image, detect_px: int) -> float:
    """Return the scale that brings an image's long side to `detect_px`; none is enlarged, which invents no detail."""
    return float(min(1.0, detect_px / max(image.shape[:2])))


def fitted(
    image: Image, detect_px: int, fixed_hw: tuple[int, int] | None = None, region: Region | None = None
) -> tuple[Image, Float32]:
    """Return a canvas (H, W, 3) with the image in its upper left corner, and image pixels a canvas pixel (x, y).

    The image is shrunk to `detect_px` on its long side; of `region` alone it is the same share. The rest of the canvas
    is black. `fixed_hw` is the input of a network that takes no other.
    """
    scale = shrunk_by(image, detect_px)
    if region is not None:
        image = image[region[1] : region[3], region[0] : region[2]]
    image_h, image_w = image.shape[:2]
    height, width = max(1, round(image_h * scale)), max(1, round(image_w * scale))
    canvas_h, canvas_w = fixed_hw or (input_side_px(image_h, scale), input_side_px(image_w, scale))
    canvas = np.zeros((canvas_h, canvas_w, 3), dtype=np.uint8)
    cv2.resize(image, (width, height), dst=canvas[:height, :width], interpolation=cv2.INTER_LINEAR)
    return canvas, np.array([image_w / width, image_h / height], dtype=np.float32)


def without_overlaps(boxes_xyxy: Float32, scores: Float32) -> list[int]:
    """Return the rows of boxes (N, 4) to keep, best score first: of boxes that overlap only the best one."""
    boxes_xywh = boxes_xyxy.copy()
    boxes_xywh[:, 2:] -= boxes_xywh[:, :2]
    kept = cv2.dnn.NMSBoxes(boxes_xywh.tolist(), scores.tolist(), 0.0, NMS_OVERLAP)
    return [int(row) for row in kept]


def faces_within(
    image: Image, boxes_xyxy: Float32, landmarks_xy: Float32, scores: Float32, region: Region | None = None
) -> list[Face]:
    """Return faces of boxes (N, 4), landmarks (N, 5, 2), scores (N,) in image pixels, boxes cut at the image's edge.

    region: where those pixels are counted from; a box at an edge of it inside the image is of a face that was cut.
    """
    image_h, image_w = image.shape[:2]
    if region is not None:
        left, top, right, bottom = region
        boxes_xyxy = boxes_xyxy + np.array([left, top, left, top], dtype=np.float32)
        landmarks_xy = landmarks_xy + np.array([left, top], dtype=np.float32)
        low = [left if left > 0 else -np.inf, top if top > 0 else -np.inf]
        high = [right if right < image_w else np.inf, bottom if bottom < image_h else np.inf]
        edge = CUT_SHARE * (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2])
        inside = np.all((boxes_xyxy[:, :2] - edge >= low) & (boxes_xyxy[:, 2:] + edge <= high), axis=1)
        boxes_xyxy, landmarks_xy, scores = boxes_xyxy[inside], landmarks_xy[inside], scores[inside]
    boxes = np.clip(boxes_xyxy, 0.0, np.array([image_w, image_h, image_w, image_h], dtype=np.float32))
    return [
        Face(box.astype(np.float32), points.astype(np.float32), float(min(1.0, max(0.0, score))))
        for box, points, score in zip(boxes, landmarks_xy, scores, strict=True)
        if box[2] > box[0] and box[3] > box[1]
    ]
