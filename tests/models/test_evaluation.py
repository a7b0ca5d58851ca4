import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from models import ModelsError
from models.bootstrap import rate, resampled
from models.error_page import find_errors
from models.evaluation import evaluate
from models.face_set import FaceSet, _Cache
from models.fusion import fused
from models.identification import open_set, search, threshold_at
from models.verification import verify


def faces_of(images: list[int], noise: float, dim: int = 64, lost: tuple[int, ...] = ()) -> FaceSet:
    """Unit vectors around one random direction a person, `images[i]` of person i; rows `lost` show no face."""
    rng = np.random.default_rng(7)
    whose = np.repeat(np.arange(len(images)), images)
    centres = rng.normal(size=(len(images), dim))
    vectors = centres[whose] + noise * rng.normal(size=(len(whose), dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    acquired = ~np.isin(np.arange(len(whose)), lost)
    vectors[~acquired] = 0
    names = tuple(map(str, range(len(images))))
    paths = tuple(Path(str(number)) for number in range(len(whose)))
    qualities = np.full(len(whose), 0.5, np.float32)
    return FaceSet(vectors.astype(np.float32), whose, acquired, qualities, names, paths)


def test_the_threshold_lets_exactly_the_share_of_non_mates_over_it() -> None:
    tops = np.linspace(0, 1, 1000, dtype=np.float32)
    for fpir in (0.05, 0.01, 0.003):
        assert (tops >= threshold_at(tops, fpir)).mean() == pytest.approx(fpir)
    assert (tops >= threshold_at(tops, 0.0005)).sum() == 0
    assert (tops >= threshold_at(np.repeat(tops, 2), 0.0005)).sum() == 0


def test_people_far_apart_are_all_found_and_nobody_else() -> None:
    result = open_set(search(faces_of([2] * 60, 0.05), 30, fuse=fused, splits=5), everybody=False, splits=5)
    assert result.rank1.value == 1
    assert (result.mate_searches, result.nonmate_searches) == (150, 150)
    assert [row.fnir.value for row in result.rows] == [0, 0, 0]


def test_fnir_is_the_share_a_loop_over_the_searches_counts() -> None:
    faces = faces_of([2] * 120, 1.1, dim=24)
    found = search(faces, 60, fuse=fused, splits=4)
    row = open_set(found, everybody=False, splits=4).rows[0]
    missed = sum(
        not (right and top >= row.threshold) for right, top in zip(found.mate_right, found.mate_top, strict=True)
    )
    assert 0.05 < row.fnir.value < 0.95
    assert row.fnir.value == pytest.approx(missed / len(found.mate_top))
    assert row.unsure.value + row.another_person <= row.fnir.value
    assert row.fnir.low <= row.fnir.value <= row.fnir.high
    assert (found.nonmate_top >= row.threshold).mean() == pytest.approx(row.fpir, abs=1 / len(found.nonmate_top))


def test_who_is_named_wrongly_is_a_miss_however_similar() -> None:
    faces = faces_of([2] * 60, 0.05)
    faces.vectors[0], faces.vectors[1] = faces.vectors[2], -faces.vectors[2]
    found = search(faces, None, fuse=fused, splits=1)
    of_first = found.mate_people == 0
    assert not found.mate_right[of_first].any()
    assert open_set(found, everybody=True, splits=1).rank1.value == pytest.approx(59 / 60)


def test_with_everybody_enrolled_a_non_mate_does_not_meet_itself() -> None:
    found = search(faces_of([1] * 40, 0.0), None, fuse=fused, splits=1)
    assert found.gallery_n == 39
    assert found.nonmates == 40
    assert found.nonmate_top.max() < 0.9


def test_an_image_without_a_face_is_a_miss_and_no_alarm() -> None:
    faces = faces_of([2] * 40, 0.05, lost=(0, 2, 4, 6))
    found = search(faces, None, fuse=fused, splits=10)
    assert open_set(found, everybody=True, splits=10).rank1.value == pytest.approx(36 / 40)
    assert np.isneginf(found.nonmate_top[found.nonmate_people < 4]).any()
    checked = verify(faces)
    assert checked.mated_pairs == 40
    assert 0.93 < checked.accuracy.value < 0.96  # four of forty mated pairs are lost


def test_a_probe_of_three_images_misses_less_than_one_of_one() -> None:
    faces = faces_of([4] * 120, 1.5)
    misses = [
        open_set(search(faces, 60, fuse=fused, probe_images=k, splits=5), everybody=False, splits=5).rows[1].fnir.value
        for k in (1, 3)
    ]
    assert misses[1] < misses[0] / 1.3


def test_a_gallery_larger_than_the_folder_is_left_out_and_said() -> None:
    result = evaluate(faces_of([2] * 40 + [1] * 90, 0.3), "p@1", fuse=fused)
    assert [size.gallery_n for size in result.open_set] == [100, 129]
    assert result.left_out == ("N = 1,000 needs 1,020 people, there are 130",)
    json.dumps(result.as_dict())


def test_without_second_images_nothing_is_said_of_mates() -> None:
    result = evaluate(faces_of([1] * 130, 0.3), "p@1", fuse=fused)
    assert result.verification is None
    assert result.open_set == ()
    assert "mate probes of 0" in result.left_out[0]


def test_tar_at_far_agrees_with_counting_and_few_pairs_carry_no_low_far() -> None:
    faces = faces_of([2] * 100, 1.5)
    result = verify(faces)
    similarities = faces.vectors @ faces.vectors.T
    same = faces.people[:, None] == faces.people[None, :]
    once = np.triu(np.ones_like(same), 1)
    assert result.nonmated_pairs == (once & ~same).sum()
    first = result.tar[0]
    assert (similarities[once & ~same] >= first.threshold).mean() == pytest.approx(0.01, rel=0.01)
    assert (similarities[once & same] >= first.threshold).mean() == pytest.approx(first.tar.value)
    assert first.tar.low <= first.tar.value <= first.tar.high
    assert result.tar[2].tar is None


def test_intervals_come_from_whole_people() -> None:
    drawn = list(resampled(50, seed=1, replicates=20))
    assert all(weights.sum() == 50 for weights in drawn)
    # ten images of a person that all agree say no more than one: the interval is that of 50 draws, not of 500
    people, right = np.repeat(np.arange(50), 10), np.repeat(np.arange(50) % 2 == 0, 10)
    shares = np.array([w[people][right].sum() / w[people].sum() for w in resampled(50, seed=1)])
    interval = rate(0.5, shares)
    assert 0.2 < interval.high - interval.low < 0.36


def test_the_worst_errors_are_the_pairs_that_were_planted() -> None:
    faces = faces_of([2] * 60, 0.05)
    faces.vectors[8] = -faces.vectors[9]  # somebody like nobody: missed
    faces.vectors[20] = faces.vectors[30]  # two people who look the same: 31 is named as the other
    faces.qualities[::2] = 0.9
    faces.qualities[8] = 0.1
    errors = find_errors(faces, fpir=2 / 60)
    assert [(error.probe, error.own) for error in errors.false_firsts] == [(8, 9), (21, 20), (31, 30)]
    assert [(error.one, error.other) for error in errors.false_returns] == [(20, 30)]


def test_two_names_of_one_person_are_joined_and_an_unknown_one_is_refused() -> None:
    faces = faces_of([2] * 40, 0.05)
    joined = faces.joined(["3=5"])
    assert (joined.people == 5).sum() == 4
    assert 3 not in joined.people
    assert len(search(joined, None, fuse=fused, splits=1).nonmate_people) == 39
    with pytest.raises(ModelsError, match="nobody is called 'x'"):
        faces.joined(["3=x"])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", pickle.dumps([1])], ids=["empty", "torn", "pickle"])
def test_what_is_no_cache_is_named_in_one_line(tmp_path: Path, content: bytes) -> None:
    cache = tmp_path / "pack.npz"
    cache.write_bytes(content)
    with pytest.raises(ModelsError, match="not a cache of faces, remove it"):
        _Cache(cache)
