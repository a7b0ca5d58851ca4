"""From frames to arrivals: with faces scripted where time is the question, with a real detector where faces are."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from camera.pipeline import Arrival, Ended, Pipeline, Step
from camera.quality import quality
from camera.recorded import recorded_frames
from camera.source import Frame
from models.faces import Face, Region
from models.masks import shipped
from models.pack import Pack

START = datetime(2026, 1, 1, tzinfo=UTC)
RATE = 10
ROOM = np.random.default_rng(11).integers(0, 255, (360, 640, 3), dtype=np.uint8)
MakeFace = Callable[..., Face]


class Scripted:
    """Stands where the networks stand: gives the faces of a script, frame by frame, and cuts chips unaligned."""

    chip_px, dim = 112, 2

    def __init__(self) -> None:
        self.script: list[Face] = []
        self.looks = self.refined = 0

    def detect(self, image: np.ndarray, _region: Region | None = None) -> list[Face]:
        assert image.dtype == np.uint8
        self.looks += 1
        return self.script

    def refine(self, _region: np.ndarray, face: Face) -> Face:
        self.refined += 1
        return face

    def align(self, image: np.ndarray, face: Face) -> np.ndarray:
        x, y = face.landmarks_xy.mean(axis=0).astype(int)
        patch = image[max(0, y - 30) : y + 30, max(0, x - 30) : x + 30]
        return np.asarray(cv2.resize(patch, (112, 112)), dtype=np.uint8)

    def embed(self, chips: np.ndarray) -> np.ndarray:
        raise AssertionError(f"{len(chips)} chips embedded: without consent nobody may be")


class Door:
    """A pipeline fed at ten frames a second, and all it said."""

    def __init__(self) -> None:
        self.networks = Scripted()
        self.pipeline = Pipeline("door", self.networks, self.networks, self.networks.refine)
        self.number = 0
        self.steps: list[Step] = []

    def show(self, faces: Sequence[Face], seconds: float, image: np.ndarray = ROOM) -> "Door":
        self.networks.script = list(faces)
        for _ in range(round(seconds * RATE)):
            self.number += 1
            at_s = (self.number - 1) / RATE
            at = START + timedelta(seconds=at_s)
            self.steps.append(self.pipeline.step(Frame("door", self.number, at, round(at_s * 1e9), image)))
        return self

    def finish(self) -> "Door":
        self.steps.append(self.pipeline.finish())
        return self

    @property
    def arrivals(self) -> list[Arrival]:
        return [arrival for step in self.steps for arrival in step.arrivals]

    @property
    def better(self) -> list[Arrival]:
        return [arrival for step in self.steps for arrival in step.better]

    @staticmethod
    def quality_of(face: Face) -> float:
        return quality(ROOM, face)

    @property
    def ended(self) -> list[Ended]:
        return [ended for step in self.steps for ended in step.ended]


def test_a_person_arrives_once_within_a_second_and_is_seen_from_then_on(make_face: MakeFace) -> None:
    door = Door().show([make_face(300, 150)], 5.0)
    assert len(door.arrivals) == 1
    arrival = door.arrivals[0]
    assert arrival.first_seen_at == START
    first = next(index for index, step in enumerate(door.steps) if step.arrivals)
    assert 0.7 <= first / RATE <= 0.8
    assert all(step.seen == (() if index < first else (arrival.track_id,)) for index, step in enumerate(door.steps))
    assert door.ended == []
    door.finish()
    assert door.ended == [Ended("door", arrival.track_id, START + timedelta(seconds=4.9))]
    assert len(door.arrivals) == 1


def test_a_jump_to_another_scene_ends_whoever_was_tracked_and_whoever_is_there_arrives(make_face: MakeFace) -> None:
    door = Door().show([make_face(300, 150)], 2.0, scene(1)).show([make_face(300, 150)], 2.0, scene(2))
    (first, second) = door.arrivals
    assert first.track_id != second.track_id
    assert door.ended == [Ended("door", first.track_id, START + timedelta(seconds=1.9))]
    assert first.together == second.together == frozenset()


def scene(seed: int) -> np.ndarray:
    """Something with edges that a small grey picture still shows, and grain enough for a face to pass for sharp."""
    coarse = np.random.default_rng(seed).integers(0, 200, (9, 16, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (640, 360), interpolation=cv2.INTER_NEAREST) + ROOM // 5, np.uint8)


@pytest.mark.parametrize(
    "after",
    [scene(1) // 3, scene(1) // 40, np.roll(scene(1), 48, axis=1), scene(1)[:, ::-1] // 60],
    ids=["dim", "dark", "panned", "dark and something else"],
)
def test_light_and_a_pan_end_no_track(make_face: MakeFace, after: np.ndarray) -> None:
    door = Door().show([make_face(300, 150)], 2.0, scene(1)).show([make_face(300, 150)], 0.2, after)
    door.show([make_face(300, 150)], 1.0, scene(1))
    assert len({track for step in door.steps for track in step.seen}) == 1
    assert door.ended == []


def test_shots_are_few_best_first_and_of_different_moments(make_face: MakeFace) -> None:
    door = Door()
    for step in range(25):
        door.show([make_face(300, 150, 40 + 2 * step)], 0.1)
    looks = [*door.arrivals, *door.better]
    assert [len(look.shots) for look in looks] == [3, 5]
    for look in looks:
        shots = look.shots
        assert [shot.quality for shot in shots] == sorted((shot.quality for shot in shots), reverse=True)
        assert len({shot.captured_at for shot in shots}) == len(shots)
        for shot in shots:
            assert shot.chip.shape == (112, 112, 3)
            assert cv2.imdecode(np.frombuffer(shot.crop, np.uint8), cv2.IMREAD_COLOR) is not None
            assert shot.camera_id == "door"


def test_whoever_walks_up_is_decided_soon_and_shown_once_more_when_seen_better(make_face: MakeFace) -> None:
    door = Door()
    for step in range(40):
        door.show([make_face(300, 150, 34 + 2 * step)], 0.1)
    (arrival,), (better,) = door.arrivals, door.better
    assert (arrival.final, better.final) == (False, True)
    assert min(shot.quality for shot in better.shots) > max(shot.quality for shot in arrival.shots)
    assert max(shot.captured_at for shot in better.shots) == START + timedelta(seconds=2)


def test_whoever_stands_still_is_not_looked_at_again(make_face: MakeFace) -> None:
    door = Door().show([make_face(300, 150)], 5.0).finish()
    assert len(door.arrivals) == 1
    assert door.better == []
    assert door.networks.refined == 3


def test_what_is_held_is_not_seen_and_arrives_once_more_and_for_good(make_face: MakeFace) -> None:
    door = Door().show([make_face(300, 150)], 1.0)
    (first,) = door.arrivals
    door.pipeline.hold(first.track_id)
    door.show([make_face(300, 150)], 3.0)
    (_, second), undecided = door.arrivals, door.steps[10:20]
    assert all(step.seen == () for step in undecided)
    assert second.final
    assert second.shots[0].captured_at >= first.shots[0].captured_at
    assert len(second.shots) == 5
    assert door.steps[-1].seen == (first.track_id,)
    assert len(door.finish().ended) == 1


def test_what_is_held_when_the_source_ends_arrives_then(make_face: MakeFace) -> None:
    door = Door().show([make_face(300, 150)], 1.0)
    door.pipeline.hold(door.arrivals[0].track_id)
    door.finish()
    assert [arrival.final for arrival in door.arrivals] == [False, True]
    assert len(door.ended) == 1


def test_somebody_who_only_passes_arrives_as_soon_as_they_are_out_of_sight(make_face: MakeFace) -> None:
    door = Door().show([make_face(300, 150)], 0.2).show([], 0.5)
    assert door.arrivals == []
    door.show([], 0.2)
    assert len(door.arrivals) == 1
    assert len(door.arrivals[0].shots) == 1
    door.show([], 3.0)
    assert door.ended[0].last_seen_at == START + timedelta(seconds=0.1)
    assert len(door.arrivals) == len(door.ended) == 1


def test_poor_pictures_are_waited_for_until_there_are_three(make_face: MakeFace) -> None:
    poor = make_face(300, 150, width_px=40, score=0.62)
    away = make_face(300, 150, turn=1.0)
    door = Door().show([poor], 0.1)
    assert 0.3 <= door.quality_of(poor) < 0.4
    door.show([away], 3.0).show([poor], 0.1).show([away], 3.0)
    assert door.arrivals == []
    door.show([poor], 0.1)
    assert [len(arrival.shots) for arrival in door.arrivals] == [3]


def test_of_many_at_once_two_are_decided_a_frame_and_all_in_turn(make_face: MakeFace) -> None:
    faces = [make_face(80 + 90 * place, 150) for place in range(6)]
    door = Door().show(faces, 2.0)
    counts = [len(step.arrivals) for step in door.steps]
    assert [count for count in counts if count] == [2, 2, 2]
    assert counts.index(2) / RATE <= 0.8
    assert len(counts) - counts[::-1].index(2) <= 10


def test_everybody_undecided_arrives_when_the_source_ends(make_face: MakeFace) -> None:
    door = Door().show([make_face(150, 150), make_face(450, 150)], 0.3).finish()
    assert len(door.arrivals) == len(door.ended) == 2
    assert {arrival.together for arrival in door.arrivals} == {frozenset({1}), frozenset({2})}


def test_after_an_outage_the_pipeline_goes_on_with_new_tracks(make_face: MakeFace) -> None:
    face = make_face(300, 150)
    door = Door().show([face], 0.5).finish().show([face], 3.0).finish().finish()
    assert [arrival.track_id for arrival in door.arrivals] == [1, 2]
    assert [ended.track_id for ended in door.ended] == [1, 2]


@pytest.mark.parametrize(
    "what", [{"width_px": 25.0}, {"turn": 1.0}, {"score": 0.3}], ids=["too small", "a profile", "hardly a face"]
)
def test_a_face_not_worth_embedding_never_arrives_nor_is_it_mentioned(
    make_face: MakeFace, what: dict[str, float]
) -> None:
    door = Door().show([make_face(300, 150, **what)], 4.0).show([], 4.0).finish()
    assert door.arrivals == []
    assert door.ended == []
    assert all(step.seen == () for step in door.steps)


def test_somebody_lost_for_two_seconds_neither_ends_nor_arrives_again(make_face: MakeFace) -> None:
    face = make_face(300, 150)
    door = Door().show([face], 3.0).show([], 2.0).show([face], 3.0)
    assert len(door.arrivals) == 1
    assert door.ended == []
    assert door.steps[-1].seen == (door.arrivals[0].track_id,)


def test_those_seen_in_one_frame_are_together_and_those_who_follow_are_not(make_face: MakeFace) -> None:
    left, right, late = make_face(100, 150), make_face(400, 150), make_face(550, 250)
    door = Door().show([left, right], 2.5).show([], 4.0).show([late], 2.5, ROOM[::-1].copy())
    together = [set(arrival.together) for arrival in door.arrivals]
    ids = [arrival.track_id for arrival in door.arrivals]
    assert sorted(ids) == [1, 2, 3]
    assert dict(zip(ids, together, strict=True)) == {1: {2}, 2: {1}, 3: set()}


def test_a_still_empty_room_is_looked_at_every_five_seconds_and_motion_at_once() -> None:
    door = Door().show([], 9.9)
    assert door.networks.looks == 2
    moved = ROOM.copy()
    moved[100:300, 200:300] = 255
    before = door.networks.looks
    door.show([], 0.1, moved)
    assert door.networks.looks == before + 1


def test_every_frame_is_looked_at_while_somebody_is_there(make_face: MakeFace) -> None:
    door = Door().show([make_face(300, 150)], 3.0)
    assert door.networks.looks == 30


def test_only_the_shots_that_are_decided_on_are_refined(make_face: MakeFace) -> None:
    door = Door()
    for step in range(15):  # somebody walks up: every picture beats the one before
        door.show([make_face(300, 150, width_px=40 + 4 * step)], 0.1)
    door.show([], 4.0)
    taken = {shot.captured_at for look in (*door.arrivals, *door.better) for shot in look.shots}
    assert door.networks.refined == len(taken) <= 8


def test_a_covered_camera_is_blind_until_it_sees_again() -> None:
    dark = np.zeros_like(ROOM)
    door = Door().show([], 2.0).show([], 6.0, dark).show([], 3.0)
    assert [(told.kind, told.reason) for step in door.steps for told in step.view] == [
        ("blind", "dark"),
        ("blind", "clear"),
    ]


def test_vitals_tell_frames_and_gaps_since_last_asked() -> None:
    door = Door().show([], 2.0)
    door.number += 7  # seven frames' time without one
    door.show([], 1.0)
    vitals = door.pipeline.vitals()
    assert (vitals.frames, vitals.longest_gap_us) == (30, 800_000)
    assert 0 < vitals.luma_e6 < 1_000_000
    assert 0 < vitals.sharpness_e6 <= 1_000_000
    last_ns = round((door.number - 1) / RATE * 1e9)
    silent = door.pipeline.vitals(now_ns=last_ns + 60_000_000_000)
    assert (silent.frames, silent.longest_gap_us, silent.luma_e6) == (0, 60_000_000, 0)


def test_a_camera_that_never_delivered_has_a_gap_as_long_as_the_window() -> None:
    pipeline = Door().pipeline
    pipeline.vitals(now_ns=1_000_000_000)  # as a run begins
    silent = pipeline.vitals(now_ns=601_000_000_000)
    assert (silent.frames, silent.longest_gap_us) == (0, 600_000_000)


def arrivals_of(path: Path, pack: Pack) -> tuple[list[Arrival], list[Ended]]:
    pipeline = Pipeline("door", pack.detector, pack.embedder, pack.refine, masks=shipped())
    frames = recorded_frames("door", str(path), run_started_at=START, run_started_ns=0)
    steps = [*map(pipeline.step, frames), pipeline.finish()]
    return [a for step in steps for a in step.arrivals], [e for step in steps for e in step.ended]


def templates(arrivals: list[Arrival], pack: Pack) -> np.ndarray:
    rows = []
    for arrival in arrivals:
        vectors = pack.embedder.embed(np.stack([shot.chip for shot in arrival.shots]))
        fused = (vectors * np.array([[shot.quality] for shot in arrival.shots])).sum(axis=0)
        rows.append(fused / np.linalg.norm(fused))
    return np.stack(rows)


@pytest.fixture(scope="session")
def six_people() -> np.ndarray:
    """The group photograph that insightface carries, (886, 1280, 3) BGR."""
    data = pytest.importorskip("insightface.data")
    return np.asarray(data.get_image("t1"), dtype=np.uint8)


def test_six_people_standing_give_six_arrivals(
    six_people: np.ndarray, pack: Pack, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    clip = write_video(tmp_path / "six.mp4", [six_people] * 15, frames_per_s=10)
    arrivals, ended = arrivals_of(clip, pack)
    assert all(
        shot.masked is not None and shot.masked < 0.5 and shot.live is None for a in arrivals for shot in a.shots
    )
    assert len(arrivals) == len(ended) == 6
    assert all(len(arrival.together) == 5 for arrival in arrivals)
    same = templates(arrivals, pack) @ templates(arrivals, pack).T
    assert (same[~np.eye(6, dtype=bool)] < pack.calibration.threshold(0.003, 1000)).all()


def test_six_people_coming_in_give_six_arrivals(
    six_people: np.ndarray, pack: Pack, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    canvas = np.full((886, 1280 * 2, 3), 90, np.uint8)
    canvas[:, 1280:] = six_people
    images = [canvas[:, x : x + 1280] for x in np.linspace(0, 1280, 25).astype(int)] + [six_people] * 8
    clip = write_video(tmp_path / "six.mp4", images, frames_per_s=10)
    arrivals, ended = arrivals_of(clip, pack)
    assert len(arrivals) == len(ended) == 6


@pytest.mark.parametrize(
    ("clip", "people"), [("corridor-pause.gif", 3), ("head-pose-two.gif", 2), ("corridor-walk.gif", 0)]
)
def test_real_footage_gives_as_many_arrivals_as_people_near_enough(
    shared: Path, pack: Pack, clip: str, people: int
) -> None:
    arrivals, _ = arrivals_of(shared / "data" / "video" / clip, pack)
    assert len(arrivals) == people
