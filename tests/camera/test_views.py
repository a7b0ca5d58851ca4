"""A camera that no longer sees what it was installed to see says so, and people and weather do not make it say so."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle, repeat
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from camera.motion import look
from camera.views import KeptView, ViewWatch

T0 = datetime(2026, 1, 1, tzinfo=UTC)
FRAMES_PER_S = 4
SIZE = (640, 360)
CLIPS = ("walk-in-1080p.mp4", "corridor-walk.gif", "corridor-pause.gif", "head-pose-two.gif", "one-by-one-backs.mp4")
Image = np.ndarray
Told = list[tuple[float, str, str]]


def drawn_room() -> Image:
    """A lobby of straight edges: floor tiles, a counter, doors, a board with text."""
    room = np.full((SIZE[1], SIZE[0], 3), (168, 176, 180), np.uint8)
    cv2.rectangle(room, (0, 230), (640, 360), (120, 128, 140), -1)
    for x in range(0, 640, 64):
        cv2.line(room, (x, 360), (200 + x // 3, 230), (90, 96, 104), 2)
    cv2.rectangle(room, (40, 60), (150, 230), (96, 70, 50), -1)
    cv2.rectangle(room, (180, 60), (290, 230), (210, 200, 150), -1)
    cv2.rectangle(room, (400, 190), (620, 280), (60, 84, 130), -1)
    for y in range(30, 150, 24):
        cv2.putText(room, "HARBOUR VIEW 1-3 BR", (360, y), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (40, 40, 90), 2)
    return room


ROOM = drawn_room()
FOLDER = np.full_like(ROOM, 232)
for line in range(9):
    cv2.putText(FOLDER, f"LEASE {line} SECTION", (20, 40 + 38 * line), cv2.FONT_HERSHEY_SIMPLEX, 1.1, (70, 40, 40), 3)


NOISE = np.random.default_rng(5).normal(0, 1, (8, SIZE[1], SIZE[0], 1)).astype(np.float32)


def noisy(images: Iterable[Image], sigma: float = 3.0) -> Iterator[Image]:
    for image, noise in zip(images, cycle(NOISE), strict=False):
        yield np.clip(image + sigma * noise, 0, 255).astype(np.uint8)


def still(seconds: float, image: Image = ROOM) -> Iterator[Image]:
    return noisy(repeat(image, int(seconds * FRAMES_PER_S)))


def crowd(seconds: float, image: Image = ROOM, people: int = 14) -> Iterator[Image]:
    """Tall figures who pass in front of everything, and hide more than half of it at any moment."""
    rng = np.random.default_rng(9)
    start, speed = rng.uniform(0, 900, people), rng.uniform(20, 70, people) * rng.choice([-1, 1], people)
    colours = rng.integers(20, 230, (people, 3)).tolist()

    def frames() -> Iterator[Image]:
        for number in range(int(seconds * FRAMES_PER_S)):
            picture = image.copy()
            for x0, v, colour in zip(start, speed, colours, strict=True):
                x = int((x0 + v * number / FRAMES_PER_S) % 900) - 130
                cv2.rectangle(picture, (x, 90), (x + 90, 360), colour, -1)
                cv2.circle(picture, (x + 45, 70), 32, (130, 160, 200), -1)
            yield picture

    return noisy(frames())


def moved(images: Iterable[Image], right: float, roll_deg: float = 0.0, zoom: float = 1.0) -> Iterator[Image]:
    for image in images:
        height, width = image.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), roll_deg, zoom)
        matrix[0, 2] += right * width
        yield cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


class Camera:
    """A view watch fed with pictures; told holds what it has said, in seconds since the first."""

    def __init__(self, kept: KeptView | None, live: bool = True) -> None:
        self.watch = ViewWatch(kept, live=live)
        self.now_s = 0.0
        self.told: Told = []

    def see(self, images: Iterable[Image]) -> Told:
        """What is said while these are seen: when, kind, reason."""
        before = len(self.told)
        for image in images:
            view, at_ns, at = look(image), int(self.now_s * 1e9), T0 + timedelta(seconds=self.now_s)
            for change in self.watch.update(view, at_ns, at):
                self.told.append((self.now_s, change.kind, change.reason))
            self.watch.learn(view, (), at_ns, at)
            self.now_s += 1 / FRAMES_PER_S
        return self.told[before:]


@pytest.fixture
def camera() -> Camera:
    """One whose reference view is the empty room, watched for some seconds already."""
    grey = look(ROOM).grey
    watching = Camera(KeptView(grey, grey, T0))
    assert watching.see(still(6)) == []
    return watching


def test_a_folder_held_before_it_is_blind_within_ten_seconds_and_over_when_it_goes(camera: Camera) -> None:
    began_s = camera.now_s
    (said,) = camera.see(still(12, FOLDER))
    assert said[1:] == ("blind", "other_view")
    assert said[0] - began_s < 10
    ((ended_s, *ended),) = camera.see(still(5))
    assert ended == ["blind", "clear"]
    assert ended_s - began_s - 12 < 3


@pytest.mark.parametrize(
    ("picture", "reason"),
    [(cv2.GaussianBlur(FOLDER, (0, 0), 9), "covered"), (np.full_like(ROOM, 90), "covered"), (ROOM // 40, "dark")],
)
def test_what_is_out_of_focus_of_one_tone_or_dark_is_blind_for_its_reason(
    camera: Camera, picture: Image, reason: str
) -> None:
    began_s = camera.now_s
    (said,) = camera.see(still(12, picture))
    assert (said[0] - began_s < 10, *said[1:]) == (True, "blind", reason)


def test_blindness_begins_when_its_first_picture_was_taken(camera: Camera) -> None:
    began = T0 + timedelta(seconds=camera.now_s)
    at_ns = int(camera.now_s * 1e9)
    changes = [
        change
        for number, image in enumerate(still(10, FOLDER))
        for change in camera.watch.update(
            look(image), at_ns + number * 250_000_000, began + timedelta(seconds=number / 4)
        )
    ]
    assert abs((changes[0].since - began).total_seconds()) <= 0.5


@pytest.mark.parametrize(("right", "roll_deg", "zoom"), [(0.10, 0, 1), (-0.25, 0, 1), (0.05, 0, 1), (0.06, 8, 1.1)])
def test_a_displaced_or_turned_view_is_moved_and_moved_back(
    camera: Camera, right: float, roll_deg: float, zoom: float
) -> None:
    assert [said[1:] for said in camera.see(moved(still(25), right, roll_deg, zoom))] == [("moved", "displaced")]
    assert camera.see(still(20, FOLDER))[0][1:] == ("blind", "other_view")  # it can be covered where it looks now too
    told = [said[1:] for said in camera.see(still(25))]
    assert told[-1] == ("moved", "clear")


def test_a_crowd_alarms_nobody_and_hides_no_displacement(camera: Camera) -> None:
    assert camera.see(crowd(30)) == []
    assert [said[1:] for said in camera.see(moved(crowd(40, people=5), 0.10))] == [("moved", "displaced")]


def test_a_mast_in_the_wind_is_not_moved(camera: Camera) -> None:
    rng = np.random.default_rng(2)
    shaken = (next(moved([image], float(rng.uniform(-0.015, 0.015)))) for image in still(40))
    assert camera.see(shaken) == []


def test_a_slow_dusk_does_not_alarm_until_it_is_dark(camera: Camera) -> None:
    seconds = 100
    light = np.linspace(1.0, 0.18, seconds * FRAMES_PER_S)
    curves = ((255 * np.linspace(0, 1, 256) ** (2.2 - 1.2 * share) * share).astype(np.uint8) for share in light)
    dusk = noisy((cv2.LUT(ROOM, curve) for curve in curves), sigma=2.0)
    assert camera.see(dusk) == []
    assert [said[1:] for said in camera.see(still(6, ROOM // 40))] == [("blind", "dark")]


def slowly(camera: Camera, images: Iterable[Image], every_s: float = 2.0) -> list[tuple[str, str]]:
    """What is said of pictures that are further apart, for what takes an hour."""
    said = []
    for image in images:
        view, at_ns, at = look(image), int(camera.now_s * 1e9), T0 + timedelta(seconds=camera.now_s)
        said += [(change.kind, change.reason) for change in camera.watch.update(view, at_ns, at)]
        camera.watch.learn(view, (), at_ns, at)
        camera.now_s += every_s
    return said


@pytest.mark.parametrize("crept", ["faded in", "pushed in"])
def test_another_picture_that_creeps_over_the_view_for_half_an_hour_is_blind_in_the_end(
    camera: Camera, crept: str
) -> None:
    def creeping() -> Iterator[Image]:
        for number in range(930):
            share = min(1.0, number / 870)
            picture = ((1 - share) * ROOM + share * FOLDER).astype(np.uint8)
            if crept == "pushed in":
                picture = ROOM.copy()
                picture[:, : int(share * SIZE[0])] = FOLDER[:, : int(share * SIZE[0])]
            yield picture

    camera.watch = ViewWatch(camera.watch.kept)
    assert slowly(camera, creeping()) == [("blind", "other_view")]
    assert slowly(camera, [ROOM] * 5) == [("blind", "clear")]


def test_a_day_s_light_that_wanders_and_fades_is_not_taken_for_that(camera: Camera) -> None:
    across = np.linspace(-1, 1, SIZE[0])[None, :, None]

    def lit() -> Iterator[Image]:
        for number in range(450):
            share = number / 450
            light = (0.25 + 0.75 * (0.5 + 0.5 * np.cos(np.pi * share) * across)) * (1 - 0.8 * share)
            picture, x = ROOM * light, int(640 * share)
            patch = np.array([[x, 230], [x + 120, 230], [x + 60, 360], [x - 80, 360]])
            sun = cv2.fillPoly(np.zeros(SIZE[::-1], np.float32), [patch], 60.0 * (1 - share))
            yield np.clip(picture + sun[..., None], 0, 255).astype(np.uint8)

    camera.watch = ViewWatch(camera.watch.kept)
    assert slowly(camera, lit()) == []


def test_the_sun_behind_the_people_is_backlit(camera: Camera) -> None:
    against = (ROOM * 0.12).astype(np.uint8)
    against[30:200, 170:420] = 255
    assert [said[1:] for said in camera.see(still(20, against))] == [("blind", "backlit")]
    assert [said[1:] for said in camera.see(still(5))] == [("blind", "clear")]


def test_the_same_picture_again_and_again_is_frozen_but_not_in_a_file(camera: Camera) -> None:
    one = next(iter(still(1)))
    began_s = camera.now_s
    (said,) = camera.see(repeat(one, 45 * FRAMES_PER_S))
    assert (said[0] - began_s < 32, *said[1:]) == (True, "blind", "frozen")
    assert [said[1:] for said in camera.see(still(3))] == [("blind", "clear")]
    film = Camera(None, live=False)
    assert film.see(repeat(one, 45 * FRAMES_PER_S)) == []


def test_a_quiet_room_with_a_sensors_noise_is_not_frozen(camera: Camera) -> None:
    assert camera.see(noisy(repeat(ROOM, 40 * FRAMES_PER_S), sigma=1.0)) == []


def test_another_picture_format_is_moved(camera: Camera) -> None:
    assert [said[1:] for said in camera.see(image[:, :560] for image in still(8))] == [("moved", "format")]


def test_a_reference_is_taken_once_without_the_faces_and_anew_when_asked() -> None:
    watch = ViewWatch(None)
    lit = ROOM.copy()
    lit[100:160, 300:350] = 255
    face = np.array([300 / 640, 100 / 360, 350 / 640, 160 / 360], np.float32)
    for number in range(40):
        at = T0 + timedelta(seconds=number)
        with_face = number % 3 == 0  # in every third picture somebody stands there
        watch.learn(look(lit if with_face else ROOM), [face] if with_face else [], number * 10**9, at)
    assert watch.kept is not None
    assert np.abs(watch.kept.installed - look(ROOM).grey).max() < 1
    watch.retake()
    assert watch.kept is None


def test_where_a_face_never_leaves_there_is_no_face_in_the_reference() -> None:
    watch = ViewWatch(None)
    poster = ROOM.copy()
    poster[100:160:2, 300:350] = 255
    face = np.array([300 / 640, 100 / 360, 350 / 640, 160 / 360], np.float32)
    for number in range(40):
        watch.learn(look(poster), [face], number * 10**9, T0 + timedelta(seconds=number))
    assert watch.kept is not None
    assert np.ptp(watch.kept.installed[25:40, 75:88]) == 0


@pytest.fixture(scope="module")
def clip(shared: Path) -> Callable[[str], list[Image]]:
    def read(name: str) -> list[Image]:
        with av.open(str(shared / "data" / "video" / name)) as container:
            frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
        return [cv2.resize(frame, SIZE) for frame in frames[:: max(1, len(frames) // 40)]]

    return read


@pytest.mark.parametrize("name", CLIPS)
def test_real_footage_alarms_only_when_the_camera_is_turned_or_covered(
    clip: Callable[[str], list[Image]], name: str
) -> None:
    frames = clip(name)
    grey = look(np.median(np.stack(frames[::2]), axis=0).astype(np.uint8)).grey
    camera = Camera(KeptView(grey, grey, T0))
    there_and_back = [*frames, *reversed(frames)]
    assert camera.see(there_and_back) == []
    assert ("moved", "displaced") in [said[1:] for said in camera.see(moved(there_and_back, 0.1))]
    camera = Camera(KeptView(grey, grey, T0))
    camera.see(frames)
    began_s = camera.now_s
    assert camera.see(still(12, FOLDER))[0][0] - began_s < 10
