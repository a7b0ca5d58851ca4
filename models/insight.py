"""Packs that run through insightface's own FaceAnalysis: SCRFD detectors and ArcFace-style networks."""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from models import ModelsError
from models.align import ARCFACE_112_XY, aligned_chip
from models.faces import Detector, Embedder, Face, Float32, Image, Region
from models.letterbox import faces_within, input_side_px, shrunk_by
from models.runtime import session_options

TASKS = ["detection", "recognition"]


class InsightDetector:
    """Detector over the detection model of a FaceAnalysis."""

    def __init__(self, model: Any, *, detect_px: int, min_score: float) -> None:
        self._model = model
        self._detect_px = detect_px
        self._min_score = min_score

    def detect(self, image: Image, region: Region | None = None) -> list[Face]:
        """As `Detector.detect`."""
        scale = shrunk_by(image, self._detect_px)
        part = image if region is None else image[region[1] : region[3], region[0] : region[2]]
        input_wh = (input_side_px(part.shape[1], scale), input_side_px(part.shape[0], scale))
        found, landmarks = self._model.detect(part, input_size=input_wh, det_thresh=self._min_score)
        if not len(found):
            return []
        if landmarks is None:
            raise ModelsError("the pack's detector gives no landmarks: faces cannot be aligned")
        return faces_within(image, found[:, :4], landmarks, found[:, 4], region)


class InsightEmbedder:
    """Embedder over the recognition model of a FaceAnalysis."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._template_xy = template_for(self.chip_px)
        self._dim = int(self._vector(np.zeros((self.chip_px, self.chip_px, 3), dtype=np.uint8)).size)

    @property
    def chip_px(self) -> int:
        """Side of a chip, px."""
        return int(self._model.input_size[0])

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._dim

    def align(self, image: Image, face: Face) -> Image:
        """Return the chip (chip_px, chip_px, 3) uint8 BGR of one face of image (H, W, 3) uint8 BGR."""
        return aligned_chip(image, face.landmarks_xy, self._template_xy, self.chip_px)

    def embed(self, chips: Image) -> Float32:
        """Return (N, dim) float32, rows of norm 1, for chips (N, chip_px, chip_px, 3) uint8 BGR."""
        if chips.ndim != 4 or chips.shape[1:] != (self.chip_px, self.chip_px, 3):
            raise ModelsError(f"chips must be (N, {self.chip_px}, {self.chip_px}, 3), not {chips.shape}")
        rows = [vector / np.linalg.norm(vector) for vector in map(self._mirrored, chips)]
        return np.stack(rows) if rows else np.empty((0, self._dim), dtype=np.float32)

    def _mirrored(self, chip: Image) -> Float32:
        return self._vector(chip) + self._vector(np.ascontiguousarray(chip[:, ::-1]))

    def _vector(self, chip: Image) -> Float32:
        return np.asarray(self._model.get_feat(chip), dtype=np.float32).reshape(-1)


def template_for(chip_px: int) -> Float32:
    """Return the five points (5, 2) on a chip, as insightface.utils.face_align places them.

    Chips of 112 px and multiples are the template enlarged; those of 128 px have 8 px more to the left and right.
    Raises ModelsError for any other side. insightface's own function is not called: it needs scikit-image's
    deprecated `estimate`.
    """
    points = np.array(ARCFACE_112_XY, dtype=np.float32)
    if chip_px % 112 == 0:
        return points * np.float32(chip_px / 112)
    if chip_px % 128 == 0:
        return (points + np.array([8.0, 0.0], dtype=np.float32)) * np.float32(chip_px / 128)
    raise ModelsError(f"chips of {chip_px} px: insightface knows multiples of 112 and of 128")


def open_folder(folder: Path, *, detect_px: int, min_score: float, threads: int) -> tuple[Detector, Embedder]:
    """Return detector and embedder of a folder that FaceAnalysis accepts; raises ModelsError where it does not."""
    models = _loaded(folder, threads)
    return (
        InsightDetector(models["detection"], detect_px=detect_px, min_score=min_score),
        InsightEmbedder(models["recognition"]),
    )


def files_of(folder: Path) -> list[str]:
    """Return which files of a folder that FaceAnalysis accepts a pack needs, relative to it."""
    models = _loaded(folder, threads=1)
    names = [Path(model.model_file).resolve().relative_to(folder.resolve()).as_posix() for model in models.values()]
    # insightface 2.x packages tell their tasks in a manifest, which then is needed too
    return sorted(names) + [name for name in ("manifest.json", "MODEL.LICENSE") if (folder / name).is_file()]


def _loaded(folder: Path, threads: int) -> dict[str, Any]:
    if not folder.is_dir():
        raise ModelsError(f"{folder}: is not a folder")
    if not any(folder.rglob("*.onnx")):
        raise ModelsError(f"{folder}: holds no .onnx file")
    try:
        from insightface.app import FaceAnalysis
    except ImportError as error:
        raise ModelsError(f"{folder}: needs insightface: pip install 'firstvisit[insightface]'") from error
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it loads
            analysis = FaceAnalysis(
                name=str(folder),
                allowed_modules=TASKS,
                providers=["CPUExecutionProvider"],
                sess_options=session_options(threads),
                static_shape_sessions=False,  # else every new frame size would keep a session of its own
            )
    except Exception as error:  # it asserts and raises whatever its parsers raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelsError(f"{folder}: is not a folder that insightface can load ({reason})") from error
    models = dict(analysis.models)
    for task in TASKS:
        if task not in models:
            raise ModelsError(f"{folder}: holds no {task} model that insightface recognises")
    return models
