"""A folder of faces, FOLDER/PERSON/IMAGE, as vectors: what every measurement here is made of."""

import hashlib
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from models import ModelsError
from models.faces import Face, Float32, Image
from models.pack import Pack

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
FEWEST_PEOPLE = 20
SAVE_EVERY = 500  # images: what an interrupted run has to do again

Tick: TypeAlias = Callable[[int, int], None]
Quality: TypeAlias = Callable[[Image, Face], float]


@dataclass(frozen=True, slots=True, eq=False)
class FaceSet:
    """One row an image that could be read.

    vectors: (N, D) float32 of norm 1, zeros where no face was found. people: (N,) int, an index into `names`. acquired:
    (N,) bool; an image without a face is a failure to acquire (ISO/IEC 19795-1) and stays in the set as one. qualities:
    (N,) float32, 0..1. images: what each row was read from. unreadable: files that are no image, left out.
    """

    vectors: Float32
    people: npt.NDArray[np.int64]
    acquired: npt.NDArray[np.bool_]
    qualities: Float32
    names: tuple[str, ...]
    images: tuple[Path, ...]
    unreadable: tuple[Path, ...] = ()

    @property
    def failures_to_acquire(self) -> int:
        """Images without a face."""
        return int((~self.acquired).sum())

    def joined(self, same: Sequence[str]) -> "FaceSet":
        """The set with the two names of each A=B of `same` as one person; raises ModelsError on an unknown name."""
        people = self.people.copy()
        for pair in same:
            one, _, other = pair.partition("=")
            for name in (one, other):
                if name not in self.names:
                    raise ModelsError(f"--same {pair}: nobody is called {name!r}")
            people[people == self.names.index(one)] = self.names.index(other)
        return replace(self, people=people)

    def with_faces(self) -> "FaceSet":
        """The rows in which a face was found."""
        return self.of_rows(np.nonzero(self.acquired)[0])

    def of_people(self, people: npt.NDArray[np.int64]) -> "FaceSet":
        """The rows of some people (K,), by their index into `names`."""
        return self.of_rows(np.nonzero(np.isin(self.people, people))[0])

    def of_rows(self, rows: npt.NDArray[np.int64]) -> "FaceSet":
        """Some rows (K,), with all the names."""
        return replace(
            self,
            vectors=self.vectors[rows],
            people=self.people[rows],
            acquired=self.acquired[rows],
            qualities=self.qualities[rows],
            images=tuple(self.images[row] for row in rows),
        )


def find_images(folder: Path) -> list[Path]:
    """Return the images FOLDER/PERSON/*, sorted; raises ModelsError where they show fewer than FEWEST_PEOPLE."""
    if not folder.is_dir():
        raise ModelsError(f"{folder}: no such folder")
    images = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    people = len({path.parent for path in images})
    if people < FEWEST_PEOPLE:
        raise ModelsError(
            f"{folder}: holds images of {people} people as PERSON/IMAGE, at least {FEWEST_PEOPLE} are needed"
        )
    return images


def embed_folder(
    folder: Path, pack: Pack, tick: Tick, *, quality: Quality | None = None, cache: Path | None = None
) -> FaceSet:
    """Return the faces of all images FOLDER/PERSON/*, one an image: the one nearest the middle.

    tick: called with (done, total) after each image. quality: weighs an image, 1 each without it. cache: a folder that
    keeps what a pack made of an image, by the image's sha256, so that only new images cost time.
    """
    images = find_images(folder)
    names = sorted({path.parent.name for path in images})
    number_of = {name: number for number, name in enumerate(names)}
    # a row without a measured quality is no row for who asks for one
    known = _Cache(None if cache is None else cache / f"{pack.pack_id}{'' if quality else '-unweighed'}.npz")
    rows, kept, unreadable = [], [], []
    for done, path in enumerate(images, start=1):
        row = known.row(path, lambda image: _row(image, pack, quality))
        if row is None:
            unreadable.append(path)
        else:
            rows.append(row)
            kept.append(path)
        if done % SAVE_EVERY == 0:
            known.save()
        tick(done, len(images))
    known.save()
    table = np.array(rows, dtype=np.float32).reshape(len(rows), -1)
    acquired = table[:, 0] > 0
    people = np.array([number_of[path.parent.name] for path in kept], dtype=np.int64)
    shown = len(np.unique(people[acquired]))
    if shown < FEWEST_PEOPLE:
        raise ModelsError(f"{folder}: faces of only {shown} people were found, at least {FEWEST_PEOPLE} are needed")
    return FaceSet(table[:, 2:], people, acquired, table[:, 1], tuple(names), tuple(kept), tuple(unreadable))


def _row(image: Image, pack: Pack, quality: Quality | None) -> Float32:
    """(2 + D,): whether a face was found, its quality, its vector."""
    row = np.zeros(2 + pack.embedder.dim, dtype=np.float32)
    faces = pack.detector.detect(image)
    if faces:
        face = nearest_middle(faces, image)
        row[0] = 1.0
        row[1] = 1.0 if quality is None else quality(image, face)
        row[2:] = pack.embedder.embed(pack.chip(image, face)[np.newaxis])[0]
    return row


def nearest_middle(faces: list[Face], image: Image) -> Face:
    """Return the face whose box's middle is nearest that of image (H, W, 3)."""
    middle = np.array(image.shape[1::-1], dtype=np.float32) / 2
    return min(faces, key=lambda face: float(np.linalg.norm(face.box_xyxy.reshape(2, 2).mean(axis=0) - middle)))


class _Cache:
    """Rows by the sha256 of their image, in one file; without it they are not kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._rows: dict[bytes, Float32] = {}
        self._changed = False
        if self._path is not None and self._path.exists():
            try:
                with np.load(self._path) as kept:
                    self._rows = {bytes(key): row for key, row in zip(kept["sha256"], kept["rows"], strict=True)}
            except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
                raise ModelsError(f"{self._path}: not a cache of faces, remove it: {error}") from error

    def row(self, path: Path, make: Callable[[Image], Float32]) -> Float32 | None:
        """Return an image's row, None where the file is no image."""
        try:
            content = path.read_bytes()
        except OSError:
            return None
        key = hashlib.sha256(content).digest()
        if key not in self._rows:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
            if image is None:
                return None
            self._rows[key] = make(np.asarray(image, dtype=np.uint8))
            self._changed = True
        return self._rows[key]

    def save(self) -> None:
        if self._path is None or not self._changed:
            return
        keys = np.frombuffer(b"".join(self._rows), np.uint8).reshape(-1, 32)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._path.parent, suffix=".part", delete=False) as out:
                np.savez(out, sha256=keys, rows=np.stack(list(self._rows.values())))
            Path(out.name).replace(self._path)
        except OSError as error:
            raise ModelsError(f"{self._path}: cannot be written: {error.strerror}") from error
        self._changed = False
