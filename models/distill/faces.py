"""The training images, each face cut out once with room around it, and what the teacher makes of it."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from models import ModelsError
from models.align import aligned_chip, similarity_transform
from models.distill.augment import CANVAS_PX, CANVAS_XY
from models.face_set import find_images
from models.faces import Float32, Image
from models.pack import Pack


@dataclass(frozen=True, slots=True, eq=False)
class TrainingFaces:
    """One face an image.

    canvases: (N, 192, 192, 3) uint8 BGR. points_xy: (N, 5, 2) float32, landmarks on the canvas. targets: (N, 128)
    float32, the teacher's vectors of norm 1. people: (N,), an index into `names`.
    """

    canvases: Image
    points_xy: Float32
    targets: Float32
    people: npt.NDArray[np.int64]
    names: tuple[str, ...]


def load(folder: Path, teacher: Pack, cache: Path) -> TrainingFaces:
    """Return the faces of FOLDER/PERSON/*, the one nearest the middle of each image, kept in the file `cache`."""
    if not cache.exists():
        paths = find_images(folder)
        names = sorted({path.parent.name for path in paths})
        rows = [(_face(path, teacher), names.index(path.parent.name)) for path in paths]
        canvases, points, targets = (np.stack(column) for column in zip(*(face for face, _ in rows), strict=True))
        people = np.array([person for _, person in rows])
        np.savez(cache, canvases=canvases, points_xy=points, targets=targets, people=people, names=np.array(names))
    with np.load(cache, allow_pickle=False) as kept:
        return TrainingFaces(
            kept["canvases"], kept["points_xy"], kept["targets"], kept["people"], tuple(kept["names"].tolist())
        )


def _face(path: Path, teacher: Pack) -> tuple[Image, Float32, Float32]:
    image = np.asarray(cv2.imread(str(path)), dtype=np.uint8)
    middle = np.array(image.shape[1::-1], dtype=np.float32) / 2
    faces = teacher.detector.detect(image)
    if not faces:
        raise ModelsError(f"{path}: no face found")
    face = min(faces, key=lambda face: float(np.linalg.norm(face.box_xyxy.reshape(2, 2).mean(axis=0) - middle)))
    face = teacher.refine(image, face)
    turn = similarity_transform(face.landmarks_xy, CANVAS_XY)
    points = face.landmarks_xy @ turn[:, :2].T + turn[:, 2]
    target = teacher.embedder.embed(teacher.embedder.align(image, face)[np.newaxis])[0]
    return aligned_chip(image, face.landmarks_xy, CANVAS_XY, CANVAS_PX), points.astype(np.float32), target
