"""The worth of a picture of a face, and the best of a track."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import cv2
import numpy as np
import pytest

from camera import CameraError
from camera.quality import (
    CROP_PX,
    MIN_QUALITY,
    BestShot,
    BestShots,
    Glimpse,
    crop_jpeg,
    face_px,
    frontality,
    glimpse,
    quality,
    sharpness,
)
from models.align import ARCFACE_112_XY, aligned_chip
from models.faces import Face
from models.pack import Pack

T0 = datetime(2026, 1, 1, tzinfo=UTC)
CHIP = np.random.default_rng(5).integers(0, 255, (112, 112, 3), dtype=np.uint8)
MakeFace = Callable[..., Face]


def turned(face: Face, degrees: float) -> Face:
    centre = face.landmarks_xy.mean(axis=0)
    matrix = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), degrees, 1.0)
    points = face.landmarks_xy @ matrix[:, :2].T + matrix[:, 2]
    return Face(face.box_xyxy, points.astype(np.float32), face.score)


SOMEBODY = Face(np.array([20, 10, 80, 100], np.float32), np.full((5, 2), 50, np.float32), 0.9)


def shot(at_s: float, value: float) -> Glimpse:
    return Glimpse(T0 + timedelta(seconds=at_s), CHIP, SOMEBODY, value, 50.0)


def test_a_face_that_looks_at_the_camera_is_wholly_frontal(make_face: MakeFace) -> None:
    assert frontality(make_face(100, 100)) == pytest.approx(1.0)


def test_frontality_falls_with_the_turn_of_the_head_to_nothing(make_face: MakeFace) -> None:
    values = [frontality(make_face(100, 100, turn=turn)) for turn in (0.0, 0.4, 0.5, 0.6, 0.95)]
    assert values == sorted(values, reverse=True)
    assert values[0] == 1.0
    assert values[-1] == 0.0
    assert frontality(make_face(100, 100, turn=-0.5)) == pytest.approx(values[2])


@pytest.mark.parametrize("degrees", [-60, -20, 35, 90])
def test_a_tilted_head_is_as_frontal_as_an_upright_one(make_face: MakeFace, degrees: float) -> None:
    face = make_face(100, 100, turn=0.55)
    assert frontality(turned(face, degrees)) == pytest.approx(frontality(face), abs=1e-4)


def test_points_fallen_into_one_have_no_frontality() -> None:
    assert frontality(Face(np.array([0, 0, 50, 60], np.float32), np.full((5, 2), 9, np.float32), 0.9)) == 0.0


def test_quality_grows_with_size_sharpness_frontality_and_score(make_face: MakeFace) -> None:
    image = np.random.default_rng(6).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    blurred = cv2.GaussianBlur(image, (0, 0), 5).astype(np.uint8)
    best = quality(image, make_face(100, 100, width_px=120, score=1.0))
    assert 0.9 < best <= 1.0
    assert quality(image, make_face(100, 100, width_px=35, score=1.0)) < best
    assert quality(image, make_face(100, 100, width_px=120, score=0.6)) < best
    assert quality(image, make_face(100, 100, width_px=120, score=1.0, turn=0.6)) < best
    assert quality(blurred, make_face(100, 100, width_px=120, score=1.0)) < best
    assert sharpness(blurred, make_face(100, 100)) < sharpness(image, make_face(100, 100))


def test_a_face_over_the_edge_of_the_picture_has_a_sharpness_still(make_face: MakeFace) -> None:
    image = np.random.default_rng(6).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    assert sharpness(image, make_face(198, 3)) > 0
    assert sharpness(image, make_face(900, 900)) == 0


def test_the_short_side_of_the_box_is_the_size_of_a_face(make_face: MakeFace) -> None:
    assert face_px(make_face(100, 100, width_px=40)) == pytest.approx(40)


@pytest.mark.parametrize(("x", "y", "width"), [(300, 300, 80), (10, 10, 60), (600, 400, 500), (635, 475, 30)])
def test_a_crop_is_a_small_jpeg_with_the_face_in_it(make_face: MakeFace, x: int, y: int, width: int) -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    cv2.circle(image, (x, y), max(4, width // 8), (0, 255, 0), -1)
    crop = cv2.imdecode(np.frombuffer(crop_jpeg(image, make_face(x, y, width)), np.uint8), cv2.IMREAD_COLOR)
    assert crop is not None
    assert max(crop.shape[:2]) <= CROP_PX
    assert crop[..., 1].max() > 200


@pytest.mark.parametrize("centre", [(300, 200), (20, 30), (590, 390)])
@pytest.mark.parametrize("degrees", [0, 40])
def test_a_glimpse_gives_the_very_chip_and_crop_that_the_frame_gives(
    make_face: MakeFace, centre: tuple[float, float], degrees: float
) -> None:
    image = np.random.default_rng(3).integers(0, 255, (400, 600, 3), dtype=np.uint8)
    face = turned(make_face(*centre), degrees)
    kept = glimpse(image, face, T0, 0.5)
    template_xy = np.array(ARCFACE_112_XY, np.float32)
    of_frame = aligned_chip(image, face.landmarks_xy, template_xy, 112)
    of_region = aligned_chip(kept.region, kept.face.landmarks_xy, template_xy, 112)
    assert np.abs(of_frame.astype(int) - of_region).max() <= 2  # warpAffine rounds coordinates to 1/32 px
    assert crop_jpeg(kept.region, kept.face) == crop_jpeg(image, face)
    assert kept.region.base is None  # else every kept moment would hold on to its whole frame


def test_a_glimpse_of_a_face_that_fills_the_picture_is_shrunk_and_gives_nearly_the_same_chip(
    make_face: MakeFace,
) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    image = np.asarray(cv2.resize(noise, (2400, 1600), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    face = make_face(1200, 800, width_px=900)
    kept = glimpse(image, face, T0, 0.5)
    assert kept.region.nbytes < 2_000_000
    assert kept.face_px == face_px(face) == 900
    template_xy = np.array(ARCFACE_112_XY, np.float32)
    of_frame = aligned_chip(image, face.landmarks_xy, template_xy, 112)
    of_region = aligned_chip(kept.region, kept.face.landmarks_xy, template_xy, 112)
    assert np.abs(of_frame.astype(int) - of_region).mean() < 1  # 3 and more with the points half a pixel off


def test_the_best_shots_are_spread_over_time() -> None:
    best = BestShots(max_shots=5, apart_s=0.2)
    for number in range(100):  # four seconds at 25 frames a second, better and better
        best.add(shot(number / 25, 0.2 + number / 200))
    kept = best.best_first()
    times = sorted((one.captured_at - T0).total_seconds() for one in kept)
    assert len(kept) == 5
    assert len({round(time_s * 1000) // 200 for time_s in times}) == 5
    assert times[-1] - times[0] >= 0.75
    assert [one.quality for one in kept] == sorted((one.quality for one in kept), reverse=True)
    assert best.best_quality() == kept[0].quality == pytest.approx(0.695)


def test_shots_of_one_moment_give_only_their_best() -> None:
    best = BestShots(max_shots=5, apart_s=0.2)
    for at_s, value in ((0.0, 0.5), (0.04, 0.7), (0.08, 0.6)):
        best.add(shot(at_s, value))
    assert [one.quality for one in best.best_first()] == [0.7]


def test_a_worse_shot_replaces_nothing() -> None:
    best = BestShots(max_shots=2, apart_s=0.2)
    for at_s, value in ((0.0, 0.8), (0.1, 0.7), (1.0, 0.6), (2.0, 0.5)):
        best.add(shot(at_s, value))
    assert [one.quality for one in best.best_first()] == [0.8, 0.6]
    assert not best.wanted(0.6, T0 + timedelta(seconds=3))
    assert best.wanted(0.61, T0 + timedelta(seconds=3))


def test_a_shot_refuses_a_chip_or_quality_out_of_range() -> None:
    with pytest.raises(CameraError, match="chip"):
        BestShot("door", 1, T0, np.zeros((112, 96, 3), np.uint8), b"", 0.5, 50.0)
    with pytest.raises(CameraError, match="quality"):
        BestShot("door", 1, T0, CHIP, b"", 1.5, 50.0)


def test_a_blurred_real_face_is_worth_nothing_and_a_sharp_one_much(pack: Pack) -> None:
    data = pytest.importorskip("insightface.data", reason="insightface is not installed")
    photo = np.asarray(data.get_image("t1"), np.uint8)
    for face in pack.detector.detect(photo):
        blurred = cv2.GaussianBlur(photo, (0, 0), 0.05 * face_px(face)).astype(np.uint8)
        assert quality(photo, face) > MIN_QUALITY
        assert quality(blurred, face) == 0
