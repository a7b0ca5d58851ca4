"""Trains the matrix of the pack `dlib-distilled`, and measures it on people that it was not trained on.

With the packs `dlib` and `mobilefacenet` installed, FACES_DIR/PERSON/*.jpg and dlib's own file:

    python -m models.distill FACES_DIR --dat dlib_face_recognition_resnet_model_v1.dat --out dlib_distilled.npz

Prints the figures and the [calibration] table of three folds of people, each by a matrix trained on the other two, and
writes the matrix trained on all of them. A development tool: the program itself never runs it.
"""

import argparse
import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx
from rich.console import Console

from models import ModelsError
from models.align import aligned_chip
from models.calibrate import calibrate
from models.dlib_distilled import SHAPES, packed
from models.dlib_resnet import FEATURES, Taught, Weights, read, written
from models.evaluation import evaluate
from models.evaluation_table import tables
from models.face_set import FaceSet, find_images, nearest_middle
from models.faces import Float32, Image
from models.folder import calibration_toml
from models.fusion import fused
from models.manifest import EmbedderSpec
from models.pack import Pack, open_pack
from models.runtime import Network
from models.store import Store, default_root

TEACHER = "mobilefacenet"
FOLDS = 3
RIDGE = 1000.0  # over standardised features; measured: models/README.md
OWN_WEIGHT = 3.0  # of dlib's own vector beside the taught one; measured: models/README.md
SOURCE = "{folder}, each person embedded by a matrix trained on the other two of three folds of these people"


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What both networks make of each image, one face an image.

    features: (2, N, 1280) float32, of the chip and of its mirror image. own: (2, N, 128), dlib's vectors of norm 1.
    targets: (N, 128), the teacher's of norm 1. people: (N,), an index into `names`.
    """

    features: Float32
    own: Float32
    targets: Float32
    people: npt.NDArray[np.int64]
    names: tuple[str, ...]
    images: tuple[Path, ...]

    def face_set(self, vectors: Float32) -> FaceSet:
        """Return the faces with other vectors (N, D)."""
        count = len(vectors)
        found, quality = np.ones(count, dtype=np.bool_), np.ones(count, dtype=np.float32)
        return FaceSet(vectors, self.people, found, quality, self.names, self.images)

    def fold_of_image(self) -> npt.NDArray[np.int64]:
        """Return each image's fold (0..2), the same for all images of a person."""
        digests = [hashlib.sha256(f"fold {name}".encode()).hexdigest() for name in self.names]
        return np.array([int(digest, 16) % FOLDS for digest in digests])[self.people]


def prepare(folder: Path, original: Weights, dlib: EmbedderSpec, teacher: Pack) -> Lesson:
    """Return what dlib's network and the teacher make of FOLDER/PERSON/*; raises ModelsError on a faceless image."""
    images = find_images(folder)
    names = sorted({path.parent.name for path in images})
    template_xy = np.array(dlib.template_xy, dtype=np.float32)
    chips, targets = [], []
    for number, path in enumerate(images):
        image = np.asarray(cv2.imread(str(path)), dtype=np.uint8)
        faces = teacher.detector.detect(image)
        if not faces:
            raise ModelsError(f"{path}: no face found")
        face = teacher.refine(image, nearest_middle(faces, image))
        chips.append(aligned_chip(image, face.landmarks_xy, template_xy, dlib.chip_px))
        targets.append(teacher.embedder.embed(teacher.embedder.align(image, face)[np.newaxis])[0])
        if number % 100 == 0:
            print(f"{number}/{len(images)}", file=sys.stderr)
    features, own = seen(with_features(original), original, np.stack(chips), dlib)
    people = np.array([names.index(path.parent.name) for path in images], dtype=np.int64)
    return Lesson(features, own, np.stack(targets), people, tuple(names), tuple(images))


def seen(network: Network, original: Weights, chips: Image, spec: EmbedderSpec) -> tuple[Float32, Float32]:
    """Return the features (2, N, 1280) and dlib's vectors (2, N, 128) of chips (N, 150, 150, 3) and their mirrors.

    network: of `with_features`.
    """
    sides = (chips, chips[:, :, ::-1])
    features = np.array([[network.run(_blob(chip, spec))[1][0] for chip in side] for side in sides], dtype=np.float32)
    last = features[:, :, :1024].reshape(2, len(chips), len(original.matrix), 4)
    return features, _unit(last.mean(axis=3) @ original.matrix)


def learned(lesson: Lesson, rows: npt.NDArray[np.int64]) -> Taught:
    """Return the ridge regression from the features of images `rows` onto the teacher's vectors."""
    features = lesson.features[:, rows].mean(axis=0).astype(np.float64)
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-3
    scaled, middle = (features - mean) / spread, lesson.targets[rows].mean(axis=0)
    inner = scaled.T @ scaled + RIDGE * np.eye(scaled.shape[1])
    matrix = np.linalg.solve(inner, scaled.T @ (lesson.targets[rows] - middle)) / spread[:, np.newaxis]
    return Taught(matrix.astype(np.float32), (middle - mean @ matrix).astype(np.float32), OWN_WEIGHT)


def vectors_of(lesson: Lesson, rows: npt.NDArray[np.int64], taught: Taught) -> Float32:
    """Return the pack's vectors (len(rows), 256) of norm 1."""
    read_off = _unit(lesson.features[:, rows] @ taught.matrix + taught.biases)
    return _unit(np.concatenate([read_off, taught.own_weight * lesson.own[:, rows]], axis=2).sum(axis=0))


def held_out(lesson: Lesson) -> Float32:
    """Return the vectors (N, 256) of everybody, each by a matrix that their fold had no part in."""
    folds = lesson.fold_of_image()
    vectors = np.empty((len(folds), 256), dtype=np.float32)
    for fold in range(FOLDS):
        rows = np.nonzero(folds == fold)[0]
        vectors[rows] = vectors_of(lesson, rows, learned(lesson, np.nonzero(folds != fold)[0]))
    return vectors


def main() -> None:
    """Train, measure and write."""
    parser = argparse.ArgumentParser(prog="python -m models.distill", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("faces_dir", type=Path, metavar="FACES_DIR")
    parser.add_argument("--dat", type=Path, required=True, help="dlib_face_recognition_resnet_model_v1.dat")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--same", action="append", default=[], metavar="A=B", help="two names of one person")
    parser.add_argument("--source", help="what the faces are, for the manifest; default: the folder's name")
    chosen = parser.parse_args()
    store = Store(default_root())
    try:
        original = read(chosen.dat.read_bytes())
        dlib = store.manifest("dlib").embedder
        assert dlib is not None  # Manifest allows no other
        lesson = prepare(chosen.faces_dir, original, dlib, open_pack(store, TEACHER))
        lesson = replace(lesson, people=lesson.face_set(lesson.targets).joined(chosen.same).people)
    except (ModelsError, OSError) as error:
        sys.exit(str(error))
    vectors = held_out(lesson)
    compared = (("dlib-distilled", vectors), ("dlib", _unit(lesson.own.sum(axis=0))), (TEACHER, lesson.targets))
    console = Console(width=200)
    for table in tables([evaluate(lesson.face_set(found), name, fuse=fused) for name, found in compared]):
        console.print(table)
    source = SOURCE.format(folder=chosen.source or f"folder {chosen.faces_dir.name}")
    print(calibration_toml(calibrate(lesson.face_set(vectors), source)))
    file = packed(learned(lesson, np.arange(len(lesson.people))))
    chosen.out.write_bytes(file)
    print(f'sha256 = "{hashlib.sha256(file).hexdigest()}"\nsize_bytes = {len(file)}')


def with_features(original: Weights) -> Network:
    """Return dlib's network with the features as its second output."""
    nothing = {name: np.zeros(shape, dtype=np.float32) for name, shape in SHAPES.items()}
    model = onnx.load_model_from_string(written(original, Taught(nothing["matrix"], nothing["biases"], 0.0)))
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(FEATURES))
    return Network(model.SerializeToString(), name=FEATURES, threads=1)


def _blob(chip_bgr: Image, spec: EmbedderSpec) -> Float32:
    mean, std = np.array(spec.mean_rgb, dtype=np.float32), np.array(spec.std_rgb, dtype=np.float32)
    return np.ascontiguousarray(((chip_bgr[:, :, ::-1] - mean) / std).transpose(2, 0, 1)[np.newaxis])


def _unit(vectors: npt.NDArray[np.floating]) -> Float32:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)


if __name__ == "__main__":
    main()
