"""The ranges of CenterFace's activations, measured on mosaics of faces: `python -m models.centerface_ranges FACES_DIR`.

Rewrites packs/centerface_ranges.json, which every install quantises by; nothing that runs imports this. FACES_DIR is
PERSON/*.jpg. Prints what the 8-bit network finds of what the other one finds, on mosaics that were not measured on.
"""

import json
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import onnx

from models.centerface import RANGES, CenterFace, quick
from models.faces import Face, Float32, Image
from models.manifest import shipped_file
from models.quantise import tensors
from models.refine import overlap
from models.runtime import Network
from models.store import Store, default_root

MOSAICS, HELD_OUT = 120, 40
CANVAS_HW = (384, 640)
CELLS_PX = (64, 96, 128, 192, 384)
LIGHT = (0.25, 1.3)
# Of one picture 99.99 % of the values count, and of the pictures nine in ten: what lies beyond is rare, and a range
# that holds it makes the steps of everything else coarser. Found best of four on other pictures: models/README.md
WITHIN, OF_PICTURES = 99.99, 0.9


def main() -> None:
    faces = sorted(Path(sys.argv[1]).glob("*/*.jpg"))
    network = Store(default_root()).read("mobilefacenet", "centerface.onnx")
    names = [name for name in tensors(network) if name != "input.1"]  # the picture itself
    rng = np.random.default_rng(1)
    lows, highs = [], []
    inner = _with_outputs(network, names)
    for canvas in _mosaics(faces, MOSAICS, rng):
        outputs = inner.run(np.asarray(cv2.dnn.blobFromImage(canvas, swapRB=True), np.float32))
        by_name = dict(zip(inner.output_names, outputs, strict=True))
        values = [by_name[name] for name in names]
        lows.append([float(np.percentile(value, 100 - WITHIN)) for value in values])
        highs.append([float(np.percentile(value, WITHIN)) for value in values])
    low, high = np.quantile(lows, 1 - OF_PICTURES, axis=0), np.quantile(highs, OF_PICTURES, axis=0)
    found = {name: [round(float(a), 4), round(float(b), 4)] for name, a, b in zip(names, low, high, strict=True)}
    path = Path(str(resources.files("models") / "packs" / RANGES))
    path.write_text("{\n" + ",\n".join(f"{json.dumps(name)}: {span}" for name, span in found.items()) + "\n}\n")
    fine = CenterFace(Network(network, name="fine", threads=1), detect_px=640, min_score=0.5)
    fast = CenterFace(
        Network(quick(network, shipped_file(RANGES)), name="quick", threads=1), detect_px=640, min_score=0.5
    )
    print(_compared(fine, fast, list(_mosaics(faces, HELD_OUT, rng))))


def _with_outputs(network: bytes, names: list[str]) -> Network:
    model = onnx.load_model_from_string(network)
    there = {output.name for output in model.graph.output}
    added = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names]
    model.graph.output.extend(value for value in added if value.name not in there)
    return Network(model.SerializeToString(), name="centerface.onnx", threads=1)


def _mosaics(faces: list[Path], count: int, rng: np.random.Generator) -> Iterator[Image]:
    height, width = CANVAS_HW
    for _ in range(count):
        canvas = np.zeros((height, width, 3), np.uint8)
        cell = int(rng.choice(CELLS_PX))
        for top in range(0, height, cell):
            for left in range(0, width, cell):
                face = cv2.imread(str(faces[rng.integers(len(faces))]))
                assert face is not None
                small = cv2.resize(face, (cell, cell), interpolation=cv2.INTER_AREA) * rng.uniform(*LIGHT)
                part = np.clip(small, 0, 255).astype(np.uint8)[: height - top, : width - left]
                canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
        yield canvas


def _compared(fine: CenterFace, fast: CenterFace, images: list[Image]) -> str:
    faces = found = more = 0
    apart: list[float] = []
    for image in images:
        ours, theirs = fast.detect(image), fine.detect(image)
        faces += len(theirs)
        pairs = [(face, _same(face, ours)) for face in theirs]
        found += sum(same is not None for _, same in pairs)
        more += len(ours) - sum(same is not None for _, same in pairs)
        apart += [_apart(face, same) for face, same in pairs if same is not None]
    return f"{found} of {faces} faces found, {more} more; landmarks {np.median(apart):.1%} of the eyes' distance apart"


def _same(face: Face, others: list[Face]) -> Face | None:
    best = max(others, key=lambda other: overlap(face.box_xyxy, other.box_xyxy), default=None)
    return best if best is not None and overlap(face.box_xyxy, best.box_xyxy) > 0.5 else None


def _apart(face: Face, same: Face) -> float:
    eyes: Float32 = face.landmarks_xy[:2]
    return float(
        np.linalg.norm(face.landmarks_xy - same.landmarks_xy, axis=1).mean() / np.linalg.norm(eyes[0] - eyes[1])
    )


if __name__ == "__main__":
    main()
