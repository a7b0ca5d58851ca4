"""Tracks on boxes whose owners are known."""

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from camera.tracker import Tracker, Update
from models.faces import Face

S = 1_000_000_000
MakeFace = Callable[..., Face]
# (second, {person: (x, y, width)}) of every frame
Scene = Iterable[tuple[float, dict[str, tuple[float, float, float]]]]


def run(make_face: MakeFace, scene: Scene, seed: int = 1, jitter: float = 0.03) -> dict[str, list[int]]:
    """Return each person's track ids in order of appearance, without repetition."""
    rng = np.random.default_rng(seed)
    tracker = Tracker()
    owners: dict[str, list[int]] = {}
    for second, people in scene:
        faces = {}
        for name, (x, y, width) in people.items():
            dx, dy, dw = rng.normal(0, jitter, 3) * width
            faces[name] = make_face(x + dx, y + dy, width + dw / 2)
        update = tracker.update(list(faces.values()), int(second * S))
        ids = {id(sighting.face): sighting.track_id for sighting in update.sightings}
        assert len(set(ids.values())) == len(faces)
        for name, face in faces.items():
            seen = owners.setdefault(name, [])
            if not seen or seen[-1] != ids[id(face)]:
                seen.append(ids[id(face)])
    return owners


def walk(frames_per_s: float, until_s: float) -> Iterable[float]:
    return [number / frames_per_s for number in range(int(until_s * frames_per_s))]


@pytest.mark.parametrize("frames_per_s", [25, 12, 5])
def test_people_who_walk_keep_their_tracks(make_face: MakeFace, frames_per_s: float) -> None:
    scene = [
        (t, {"left": (100 + 120 * t, 200, 50), "near": (600, 220 + 20 * t, 60 * 1.2**t), "still": (900, 300, 70)})
        for t in walk(frames_per_s, 4)
    ]
    assert {name: len(ids) for name, ids in run(make_face, scene).items()} == {"left": 1, "near": 1, "still": 1}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("frames_per_s", [25, 12])
def test_two_who_cross_at_different_distances_are_never_swapped(
    make_face: MakeFace, frames_per_s: float, seed: int
) -> None:
    scene = []
    for t in walk(frames_per_s, 4):
        near, far = (100 + 200 * t, 260.0, 90.0), (900 - 200 * t, 225.0, 60.0)
        hidden = abs(near[0] - far[0]) < 60  # the near one covers the far one
        scene.append((t, {"near": near} if hidden else {"near": near, "far": far}))
    owners = run(make_face, scene, seed)
    assert len(owners["near"]) == 1
    assert not set(owners["near"]) & set(owners["far"])


def test_somebody_lost_for_two_seconds_is_resumed_in_the_same_place(make_face: MakeFace) -> None:
    scene = [(t, {"a": (400, 300, 60)} if t < 1 or t > 3 else {}) for t in walk(12, 5)]
    assert run(make_face, scene) == {"a": [1]}


def test_somebody_lost_for_longer_is_a_new_track(make_face: MakeFace) -> None:
    scene = [(t, {"a": (400, 300, 60)} if t < 1 or t > 4.5 else {}) for t in walk(12, 6)]
    assert run(make_face, scene) == {"a": [1, 2]}


def test_the_next_one_through_the_door_is_not_the_one_who_just_left(make_face: MakeFace) -> None:
    scene: list[tuple[float, dict[str, tuple[float, float, float]]]] = []
    for t in walk(12, 6):
        people = {}
        if t < 2.5:
            people["first"] = (400.0, 200 + 100 * t, 40 * 1.5**t)
        if t > 3:
            people["second"] = (400.0, 200 + 100 * (t - 3), 40 * 1.5 ** (t - 3))
        scene.append((t, people))
    owners = run(make_face, scene)
    assert not set(owners["first"]) & set(owners["second"])


def test_somebody_who_appears_beside_a_covered_face_does_not_take_its_track(make_face: MakeFace) -> None:
    scene = []
    for t in walk(25, 4):
        people = {}
        if t < 1 or t > 2:
            people["covered"] = (400.0, 300.0, 50.0)
        if t > 1.4:
            people["other"] = (455.0, 330.0, 50.0)
        scene.append((t, people))
    owners = run(make_face, scene)
    assert owners["covered"] == [1]
    assert not set(owners["covered"]) & set(owners["other"])


def test_a_detector_that_blinks_does_not_break_tracks(make_face: MakeFace) -> None:
    rng = np.random.default_rng(2)
    scene = [
        (
            t,
            {
                n: p
                for n, p in {"a": (300 + 80 * t, 300.0, 60.0), "b": (1100.0, 300.0, 60.0)}.items()
                if rng.random() > 0.3
            },
        )
        for t in walk(12, 6)
    ]
    assert {name: len(ids) for name, ids in run(make_face, scene).items()} == {"a": 1, "b": 1}


def test_two_boxes_on_one_face_are_one_track(make_face: MakeFace) -> None:
    tracker = Tracker()
    for number in range(10):
        faces = [make_face(300, 300, 60, score=0.9), make_face(308, 305, 66, score=0.6)]
        assert len(tracker.update(faces, number * S // 10).sightings) == 1
    assert len(tracker) == 1


def test_a_track_ends_once_and_ids_are_never_used_again(make_face: MakeFace) -> None:
    tracker = Tracker(lost_after_s=1.0)
    update: Update = tracker.update([make_face(100, 100)], 0)
    assert [sighting.track_id for sighting in update.sightings] == [1]
    assert tracker.update([], S).ended == ()
    assert tracker.update([], S + 1).ended == (1,)
    assert tracker.update([], 9 * S).ended == ()
    again = tracker.update([make_face(100, 100)], 10 * S)
    assert [sighting.track_id for sighting in again.sightings] == [2]
    assert tracker.finish() == (2,)
    assert tracker.finish() == ()
    assert len(tracker) == 0
