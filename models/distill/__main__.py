"""Trains the weights of the pack `dlib-distilled`, and measures what they are worth on people they have not seen.

With the packs `dlib` and `mobilefacenet` installed, and FACES_DIR/PERSON/*.jpg:

    python -m models.distill samples FACES_DIR --work DIR --dat FILE           # what the training sees, made once
    python -m models.distill fold FACES_DIR --work DIR --dat FILE --fold 0     # and 1, 2: trained on the other two
    python -m models.distill measure FACES_DIR --work DIR --dat FILE           # figures and [calibration] of the folds
    python -m models.distill ship FACES_DIR --work DIR --dat FILE              # trained on all: dlib_distilled.npz
"""

import argparse
import hashlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console

from models import ModelsError
from models.calibrate import calibrate
from models.distill import samples
from models.distill.faces import TrainingFaces, load
from models.distill.folds import FOLDS, fold_of
from models.distill.samples import Float16, Round, Sampler
from models.distill.student import Student
from models.distill.train import Rows, first_student, flat_maps, own_vectors, train, vectors_of
from models.dlib_distilled import packed
from models.dlib_resnet import DIM, Weights, read
from models.evaluation import evaluate
from models.evaluation_table import tables
from models.face_set import FaceSet, find_images
from models.faces import Float32
from models.folder import calibration_toml
from models.fusion import fused
from models.pack import open_pack
from models.runtime import Network
from models.store import Store, default_root

log = logging.getLogger(__name__)

TEACHER = "mobilefacenet"
ROUNDS = 10  # each a sample of every image
PASSES = 2  # over the rounds
SEED = 1
OWN_WEIGHT = 2.0  # of dlib's own vector beside the taught one; measured: models/README.md
SOURCE = "a third of LFW deep-funnelled (people whose sha256(name) mod 3 is 0), each by a network not trained on them"


class Bench:
    """The faces, the networks they are shown to, and a folder where everything is kept that was made once."""

    def __init__(self, faces_dir: Path, work: Path, dat: Path) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self._store = Store(default_root())
        self.work = work
        self._faces_dir = faces_dir
        self.original: Weights = read(dat.read_bytes())
        self.faces: TrainingFaces = load(faces_dir, open_pack(self._store, TEACHER), work / "faces.npz")
        self.folds = fold_of(self.faces.names)[self.faces.people]

    def sampler(self) -> Sampler:
        """Return what makes the rounds."""
        early, teacher = self._store.manifest("dlib").embedder, self._store.manifest(TEACHER).embedder
        assert early is not None
        assert teacher is not None
        cut = samples.early_part(self._store.read("dlib", early.file))
        return Sampler(
            self.faces,
            early=Network(cut, name="dlib's network cut off", threads=1),
            early_spec=early,
            teacher=Network(self._store.read(TEACHER, teacher.file), name=teacher.file, threads=1),
            teacher_spec=teacher,
        )

    def plain(self) -> Float16:
        """Return the maps of all chips as they are and mirrored, (2, N, 64, 17, 17)."""
        path = self.work / "plain.npy"
        if not path.exists():
            np.save(path, self.sampler().plain())
        return np.asarray(np.load(path))

    def flat(self) -> Float32:
        """Return the last two maps of dlib's own network for the same chips, (2, N, 5120)."""
        path = self.work / "flat.npy"
        if not path.exists():
            np.save(path, flat_maps(self.original, self.plain()))
        return np.asarray(np.load(path))

    def rounds(self, part: int, of: int) -> Iterator[Round]:
        """Yield the rounds part, part + of, part + 2 of, …"""
        sampler = self.sampler()
        for number in range(part, ROUNDS, of):
            yield samples.kept_round(sampler, self.work, number)

    def face_set(self, vectors: Float32) -> FaceSet:
        """Return the faces with these vectors (N, 128), for measuring."""
        count = len(vectors)
        found, weight = np.ones(count, dtype=np.bool_), np.ones(count, dtype=np.float32)
        images = tuple(find_images(self._faces_dir))
        return FaceSet(vectors, self.faces.people, found, weight, self.faces.names, images)


def make_samples(bench: Bench, part: int, of: int) -> None:
    """Make every `of`-th round, beginning with `part`, and the plain maps."""
    for number, _ in enumerate(bench.rounds(part, of)):
        log.info("round made round=%d", part + number * of)
    bench.plain()


def trained_on(bench: Bench, rows: Rows) -> Student:
    """Return a student trained on the faces `rows`."""
    student = first_student(bench.original, bench.flat()[:, rows], bench.faces.targets[rows])
    rounds = (made for _ in range(PASSES) for made in bench.rounds(0, 1))
    train(student, rounds, PASSES * ROUNDS, rows, SEED)
    return student


def hold_out(bench: Bench, fold: int) -> None:
    """Train without `fold` and keep the vectors of its people."""
    student = trained_on(bench, np.nonzero(bench.folds != fold)[0])
    rows = np.nonzero(bench.folds == fold)[0]
    own = own_vectors(bench.original, bench.flat()[:, rows])
    np.save(bench.work / f"held-out-{fold}.npy", vectors_of(student, bench.plain()[:, rows], own, OWN_WEIGHT))


def measure(bench: Bench) -> None:
    """Print the figures and the [calibration] table of the vectors that were held out, all folds together."""
    own = own_vectors(bench.original, bench.flat()).sum(axis=0)
    dlibs = np.asarray(own / np.linalg.norm(own, axis=1, keepdims=True), dtype=np.float32)
    vectors = np.empty((len(dlibs), 2 * DIM), dtype=np.float32)
    for fold in range(FOLDS):
        vectors[bench.folds == fold] = np.load(bench.work / f"held-out-{fold}.npy")
    compared = (("dlib-distilled", vectors), ("dlib", dlibs), (TEACHER, bench.faces.targets))
    console = Console(width=200)
    for table in tables([evaluate(bench.face_set(found), name, fuse=fused) for name, found in compared]):
        console.print(table)
    print(calibration_toml(calibrate(bench.face_set(vectors), SOURCE)))


def ship(bench: Bench) -> None:
    """Train on everybody and write the file that the pack ships."""
    student = trained_on(bench, np.arange(len(bench.faces.people)))
    file = packed(bench.original, student.taught(OWN_WEIGHT))
    (bench.work / "dlib_distilled.npz").write_bytes(file)
    print(f'sha256 = "{hashlib.sha256(file).hexdigest()}"\nsize_bytes = {len(file)}')


def main() -> None:
    """Run one of the steps."""
    parser = argparse.ArgumentParser(prog="python -m models.distill", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("step", choices=("samples", "fold", "measure", "ship"))
    parser.add_argument("faces_dir", type=Path, metavar="FACES_DIR")
    parser.add_argument("--work", type=Path, required=True, help="a folder for what is made once (1.1 GB)")
    parser.add_argument("--dat", type=Path, required=True, help="dlib_face_recognition_resnet_model_v1.dat")
    parser.add_argument("--fold", type=int, choices=range(FOLDS), default=0, help="of `fold`: who is held out")
    parser.add_argument("--part", type=int, default=0, help="of `samples`: which part of them to make")
    parser.add_argument("--parts", type=int, default=1, help="of `samples`: in how many parts, side by side")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        bench = Bench(chosen.faces_dir, chosen.work, chosen.dat)
        if chosen.step == "samples":
            make_samples(bench, chosen.part, chosen.parts)
        elif chosen.step == "fold":
            hold_out(bench, chosen.fold)
        elif chosen.step == "measure":
            measure(bench)
        else:
            ship(bench)
    except ModelsError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
