import dataclasses
from pathlib import Path

import numpy as np
import pytest

from models.distill import Lesson, held_out, learned, vectors_of

PEOPLE, IMAGES = 60, 150


@pytest.fixture
def lesson() -> Lesson:
    """Features of which the teacher's vectors are a linear map, but for a little noise."""
    rng = np.random.default_rng(3)
    people = np.concatenate([np.arange(PEOPLE), rng.integers(0, PEOPLE, IMAGES - PEOPLE)])
    features = np.zeros((2, IMAGES, 1280), dtype=np.float32)
    features[:, :, :20] = rng.normal(0, 1, (IMAGES, 20))
    features[1] += rng.normal(0, 0.01, features[1].shape).astype(np.float32)
    targets = features[0, :, :20] @ rng.normal(0, 1, (20, 128))
    own = rng.normal(0, 1, (2, IMAGES, 128))
    return Lesson(
        features,
        (own / np.linalg.norm(own, axis=2, keepdims=True)).astype(np.float32),
        (targets / np.linalg.norm(targets, axis=1, keepdims=True)).astype(np.float32),
        people.astype(np.int64),
        tuple(f"person {number}" for number in range(PEOPLE)),
        tuple(Path(f"{number}.jpg") for number in range(IMAGES)),
    )


def test_a_person_is_measured_by_a_matrix_that_no_image_of_them_had_a_part_in(lesson: Lesson) -> None:
    folds = lesson.fold_of_image()
    assert sorted(set(folds.tolist())) == [0, 1, 2]
    for person in range(PEOPLE):
        assert len(set(folds[lesson.people == person].tolist())) == 1
    before = held_out(lesson)
    for fold in range(3):
        targets = lesson.targets.copy()
        targets[folds == fold] = targets[folds == fold][::-1]
        after = held_out(dataclasses.replace(lesson, targets=targets))
        assert np.array_equal(after[folds == fold], before[folds == fold])
        assert not np.array_equal(after[folds != fold], before[folds != fold])


def test_the_taught_half_comes_near_the_teacher(lesson: Lesson) -> None:
    everybody = np.arange(IMAGES)
    vectors = vectors_of(lesson, everybody, learned(lesson, everybody))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    taught = vectors[:, :128] / np.linalg.norm(vectors[:, :128], axis=1, keepdims=True)
    assert float((taught * lesson.targets).sum(axis=1).mean()) > 0.9
