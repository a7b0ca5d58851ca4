"""Distillation: the student's vector of a face, badly seen, is drawn to the teacher's of the same face, well seen."""

import logging
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from models.distill.samples import Float16, Round
from models.distill.student import Student
from models.dlib_resnet import DIM, Weights
from models.faces import Float32

log = logging.getLogger(__name__)

Rows = npt.NDArray[np.int64]

FLAT = 1024 + 4096  # numbers in the last two maps
BATCH = 64
RATE = 3e-4  # Adam's, falling to 0 along half a cosine
WARM_UP_STEPS = 50
DECAY = 1e-4
LONGEST_GRADIENT = 1.0
RIDGE = 4000.0  # of the first head, over standardised maps


def ridge_head(flat: Float32, targets: Float32) -> tuple[Float32, Float32]:
    """Return matrix and biases of the linear head from maps (N, 5120) to the targets (N, 128), by ridge regression."""
    mean, spread = flat.mean(axis=0), flat.std(axis=0) + np.float32(1e-2)
    scaled, middle = (flat - mean) / spread, targets.mean(axis=0)
    inner = scaled @ scaled.T + np.float32(RIDGE) * np.eye(len(scaled), dtype=np.float32)
    matrix = scaled.T @ np.linalg.solve(inner, targets - middle) / spread[:, np.newaxis]
    return matrix.astype(np.float32), (middle - mean @ matrix).astype(np.float32)


def untrained_student(original: Weights) -> Student:
    """Return dlib's network with a head of zeros."""
    return Student(original, np.zeros((FLAT, DIM), dtype=np.float32), np.zeros(DIM, dtype=np.float32))


def flat_maps(original: Weights, plain: Float16) -> Float32:
    """Return the last two maps (2, N, 5120) of dlib's own network, for maps (2, N, 64, 17, 17)."""
    student, parts = untrained_student(original), _parts(np.arange(plain.shape[1]))
    with torch.no_grad():
        return np.stack(
            [np.concatenate([student.flat(_tensor(side[part])).numpy() for part in parts]) for side in plain]
        )


def own_vectors(original: Weights, flat: Float32) -> Float32:
    """Return dlib's own vectors (2, N, 128) of norm 1, for its last two maps (2, N, 5120)."""
    channels = len(original.matrix)
    last = flat[:, :, : 4 * channels].reshape(*flat.shape[:2], channels, 4)
    return _unit(last.mean(axis=3) @ original.matrix)


def first_student(original: Weights, flat: Float32, targets: Float32) -> Student:
    """Return dlib's network with the head that ridge regression gives for faces (2, N, 5120), both sides of each."""
    return Student(original, *ridge_head(flat.reshape(-1, FLAT), np.tile(targets, (2, 1))))


def train(student: Student, rounds: Iterator[Round], number_of_rounds: int, rows: Rows, seed: int) -> None:
    """Train on the faces `rows` of `number_of_rounds` rounds, in place."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(student.parameters(), lr=RATE, weight_decay=DECAY)
    steps_a_round = len(rows) // BATCH
    steps = number_of_rounds * steps_a_round
    step = 0
    for number, samples in enumerate(rounds):
        losses = []
        for part in np.array_split(rng.permutation(rows)[: steps_a_round * BATCH], steps_a_round):
            rate = RATE * min(1.0, (step + 1) / WARM_UP_STEPS) * (1 + math.cos(math.pi * step / steps)) / 2
            for group in optimiser.param_groups:
                group["lr"] = rate
            with torch.autocast("cpu", dtype=torch.bfloat16):  # 1.7 times as fast here
                flat = student.flat(_tensor(samples.maps[part]))
            vectors = functional.normalize(student.head(flat.float()))
            loss = (1 - (vectors * _tensor(samples.targets[part])).sum(dim=1)).mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), LONGEST_GRADIENT)
            optimiser.step()
            losses.append(loss.item())
            step += 1
        log.info("round trained round=%d of=%d loss=%.4f", number + 1, number_of_rounds, float(np.mean(losses)))


def vectors_of(student: Student, plain: Float16, own: Float32, own_weight: float) -> Float32:
    """Return what the pack gives, (N, 256) of norm 1, for maps (2, N, 64, 17, 17) and dlib's vectors (2, N, 128)."""
    parts = _parts(np.arange(plain.shape[1]))
    with torch.no_grad():
        taught = [np.concatenate([student(_tensor(side[part])).numpy() for part in parts]) for side in plain]
    return _unit(np.concatenate([np.stack(taught), own_weight * own], axis=2).sum(axis=0))


def _unit(vectors: Float32) -> Float32:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)


def _parts(rows: Rows) -> list[Rows]:
    return np.array_split(rows, -(-len(rows) // BATCH))


def _tensor(values: npt.NDArray[np.floating]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))
