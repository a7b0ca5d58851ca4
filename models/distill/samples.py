"""Rounds of samples: every face once a round, made anew each time.

The first half of dlib's network is never trained, so a sample is kept as the maps that come out of it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.align import aligned_chip
from models.distill.augment import Rng, bent, morphed, shifted, spoiled
from models.distill.faces import TrainingFaces
from models.distill.folds import FOLDS, fold_of
from models.dlib_resnet import EARLY_BLOCKS
from models.faces import Float32, Image
from models.manifest import EmbedderSpec
from models.runtime import Network

MORPHED, BENT = 0.55, 0.4  # shares of the samples
MAP_SHAPE = (64, 17, 17)  # after block EARLY_BLOCKS of dlib's network
Float16 = npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """maps: (N, 64, 17, 17) float16. targets: (N, 128) float32. as_taken: (N,) bool, neither morphed nor bent."""

    maps: Float16
    targets: Float32
    as_taken: npt.NDArray[np.bool_]


def early_part(model: bytes) -> bytes:
    """Return dlib's network in ONNX, cut off after EARLY_BLOCKS residual blocks."""
    import onnx
    from onnx.utils import Extractor

    whole = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model))
    sums = [number for number, node in enumerate(whole.graph.node) if node.op_type == "Add"]
    name = whole.graph.node[sums[EARLY_BLOCKS - 1] + 1].output[0]
    return bytes(Extractor(whole).extract_model(["chips"], [name]).SerializeToString())


class Sampler:
    """Makes rounds; a face is morphed with faces of its own fold only, so that a held-out fold stays unseen."""

    def __init__(
        self,
        faces: TrainingFaces,
        *,
        early: Network,
        early_spec: EmbedderSpec,
        teacher: Network,
        teacher_spec: EmbedderSpec,
    ) -> None:
        """early: dlib's network cut off, for chips as `early_spec` says; teacher: the network that is imitated."""
        self._faces = faces
        self._early, self._early_spec = early, early_spec
        self._teacher, self._teacher_spec = teacher, teacher_spec
        folds = fold_of(faces.names)[faces.people]
        self._same_fold = [np.nonzero(folds == fold)[0] for fold in range(FOLDS)]
        self._folds = folds

    def plain(self) -> Float16:
        """Return the maps of the chips as they are and mirrored, (2, N, 64, 17, 17) float16."""
        both = np.empty((2, len(self._faces.people), *MAP_SHAPE), dtype=np.float16)
        for number, canvas in enumerate(self._faces.canvases):
            chip = _chip(canvas, self._faces.points_xy[number], self._early_spec)
            both[0, number], both[1, number] = self._maps(chip), self._maps(chip[:, ::-1])
        return both

    def round(self, number: int) -> Round:
        """Return round `number`, the same each time."""
        rng = np.random.default_rng([7, number])
        faces = self._faces
        maps = np.empty((len(faces.people), *MAP_SHAPE), dtype=np.float16)
        targets = faces.targets.copy()
        as_taken = np.ones(len(faces.people), dtype=np.bool_)
        for row in range(len(faces.people)):
            canvas, points, as_taken[row] = self._somebody(row, rng)
            if not as_taken[row]:
                targets[row] = self._taught(canvas, points, rng)
            chip = _chip(canvas, shifted(points, rng), self._early_spec)
            chip = chip[:, ::-1] if rng.random() < 0.5 else chip
            maps[row] = self._maps(spoiled(np.ascontiguousarray(chip), rng))
        return Round(maps, targets, as_taken)

    def _somebody(self, row: int, rng: Rng) -> tuple[Image, Float32, bool]:
        """Return the canvas and landmarks of a face made from that of `row`, and whether it is unchanged."""
        canvas, points, as_taken = self._faces.canvases[row], self._faces.points_xy[row], True
        if rng.random() < MORPHED:
            other = int(rng.choice(self._same_fold[self._folds[row]]))
            canvas, points = morphed(
                canvas, points, self._faces.canvases[other], self._faces.points_xy[other], rng.uniform(0.25, 0.5)
            )
            as_taken = False
        if rng.random() < BENT:
            canvas, points = bent(canvas, points, rng)
            as_taken = False
        return canvas, points, as_taken

    def _taught(self, canvas: Image, points: Float32, rng: Rng) -> Float32:
        """Return the teacher's vector of one side, drawn by lot: over the rounds the targets are those of both."""
        chip = _chip(canvas, points, self._teacher_spec)
        vector = self._teacher.run(_blob(chip[:, ::-1] if rng.random() < 0.5 else chip, self._teacher_spec))[0][0]
        return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)

    def _maps(self, chip: Image) -> Float32:
        return np.asarray(self._early.run(_blob(chip, self._early_spec))[0][0])


def _chip(canvas: Image, points: Float32, spec: EmbedderSpec) -> Image:
    return aligned_chip(canvas, points, np.array(spec.template_xy, dtype=np.float32), spec.chip_px)


def _blob(chip: Image, spec: EmbedderSpec) -> Float32:
    rgb = chip[np.newaxis, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float32)
    mean, std = (np.array(values, dtype=np.float32).reshape(1, 3, 1, 1) for values in (spec.mean_rgb, spec.std_rgb))
    return np.ascontiguousarray((rgb - mean) / std)


def kept_round(sampler: Sampler, folder: Path, number: int) -> Round:
    """Return round `number`, made once and kept in `folder`."""
    path = folder / f"round-{number}.npz"
    if not path.exists():
        made = sampler.round(number)
        part = folder / f"round-{number}.part.npz"
        np.savez(part, maps=made.maps, targets=made.targets, as_taken=made.as_taken)
        part.replace(path)
    with np.load(path, allow_pickle=False) as kept:
        return Round(kept["maps"], kept["targets"], kept["as_taken"])
