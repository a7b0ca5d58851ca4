"""Pictures of whoever has not consented: in the node's memory while they wait, nowhere on the disk, and then gone."""

import os
import secrets
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from camera.pipeline import Pipeline, Step
from camera.recorded import recorded_frames
from edge.clock import Clock
from edge.desk.checkin import Arrival, CheckIn, Registration
from edge.desk.consents import Consent
from edge.home import Home
from models.faces import Face, Image
from models.pack import Pack
from sync.format.records import Record
from tests.edge.conftest import FindBytes, MakeHome
from tests.edge.process_memory import found_in
from tests.edge.visits.test_after_consent import AGREED

WITHIN_S = 60.0


@dataclass(frozen=True)
class Pictures:
    """Bytes of an arrival's best shot: its picture as JPEG, a row of its chip, a row of the frame around the face."""

    crop: bytes
    rows: tuple[bytes, ...]

    @property
    def all(self) -> tuple[bytes, ...]:
        return (self.crop, *self.rows)


def pictures_of(film: Path, pack: Pack) -> list[Pictures]:
    """What the node's own pipeline takes from the film, by arrival."""
    regions: list[bytes] = []

    def refine(image: Image, face: Face) -> Face:
        middle = image[image.shape[0] // 2]
        regions.append(middle[: 3 * 64].tobytes())
        return pack.refine(image, face)

    pipeline = Pipeline("cam1", pack.detector, pack.embedder, refine)
    taken: dict[int, tuple[datetime, Pictures]] = {}

    def take(step: Step) -> None:
        shown = iter(regions)  # each shot was refined once, in this order
        for arrival in (*step.arrivals, *step.better):
            region, *_ = [next(shown) for _ in arrival.shots]
            crop = arrival.shots[0].crop
            chip = arrival.shots[0].chip
            row = chip[chip.shape[0] // 2].tobytes()
            first_seen_at = taken.get(arrival.track_id, (arrival.first_seen_at, None))[0]
            taken[arrival.track_id] = first_seen_at, Pictures(crop[len(crop) // 2 :][:256], (row, region))
        regions.clear()

    for frame in recorded_frames("cam1", str(film), run_started_at=datetime.now(UTC), run_started_ns=0):
        take(pipeline.step(frame))
    take(pipeline.finish())
    return [pictures for _, pictures in sorted(taken.values(), key=lambda one: one[0])]


@pytest.fixture
def may_look() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may read another process's memory")


@pytest.fixture
def running(
    make_home: MakeHome,
    walk_in: Path,
    may_look: None,  # noqa: ARG001
) -> Iterator[tuple[Home, subprocess.Popen[bytes]]]:
    """A node under after_consent that has seen the whole film and goes on waiting."""
    home = make_home(mode="after_consent")
    words = ["run", "--home", str(home.path), "--source", str(walk_in), "--fast"]
    node = subprocess.Popen([sys.executable, "-m", "edge", *words])
    yield home, node
    node.send_signal(signal.SIGTERM)
    node.wait(30)


def records(home: Home, *kinds: str) -> list[Record]:
    with closing(home.open_ledger()) as ledger:
        return list(ledger.records(kinds))


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.1)


def test_refused_or_compared_nothing_of_a_picture_is_left_in_memory_or_on_the_disk(
    running: tuple[Home, subprocess.Popen[bytes]], walk_in: Path, pack: Pack, find_bytes: FindBytes
) -> None:
    home, node = running
    taken = pictures_of(walk_in, pack)
    until(lambda: any(one.fields["reason"] == "ended" for one in records(home, "camera.down")), "the film's end")
    seen = sorted(records(home, "visit.seen"), key=lambda record: record.fields["arrived_us"])
    assert len(seen) == len(taken) == 9
    held = {needle for pictures in taken[:4] for needle in (pictures.crop, pictures.rows[0])}
    assert found_in(node.pid, held) == held, "the search finds what waits"

    desk = CheckIn(lambda: home.open_ledger("desk", Clock()), home)

    def arrival(record: Record) -> Arrival:
        return Arrival(record.fields["visit"], None, record.fields["arrived_us"], None, (), (record.epoch, record.seq))

    def close(record: Record, consent: Consent | None) -> None:
        desk.register(arrival(record), Registration("walk_in", consent=consent), secrets.token_hex(16), "u-1")

    desk.dismiss(arrival(seen[0]), "refused", secrets.token_hex(16), "u-1")
    asked_s = time.monotonic()
    close(seen[1], AGREED)
    close(seen[2], None)
    until(lambda: bool(records(home, "visit.first", "visit.return", "visit.unsure")), "the decision")
    assert time.monotonic() - asked_s < 10, "the node hears of a consent within a second; the rest is this machine's"
    (decision,) = records(home, "visit.first", "visit.return", "visit.unsure")
    assert decision.fields["visit"] == seen[1].fields["visit"]
    until(lambda: not found_in(node.pid, [one for gone in taken[:3] for one in gone.all]), "memory without them")
    assert taken[3].crop in found_in(node.pid, taken[3].all), "who has not been asked still waits"

    for needle in (needle for pictures in taken for needle in pictures.all):
        assert find_bytes(home.path, needle) == []


HOUR = textwrap.dedent(
    """
    import sys
    from datetime import UTC, datetime
    import numpy as np
    from camera.pipeline import Arrival
    from camera.quality import BestShot
    from edge.freed_memory import overwrite_freed_memory
    from edge.visits.held_shots import HELD_S, HeldShots
    from sync.format.records import Record

    overwrite_freed_memory()
    at = datetime(2026, 7, 1, 2, tzinfo=UTC)

    def hold(seed):
        made = np.random.default_rng(seed)
        shots = tuple(
            BestShot("door", 1, at, made.integers(0, 256, (112, 112, 3), np.uint8), made.bytes(20_000), 0.8, 80.0)
            for _ in range(5)
        )
        record = Record("n", 1, seed, "visit.seen", b"", b"", b"", b"", "", {"visit": f"v-{seed}"})
        held.hold(record, Arrival("door", 1, at, shots, frozenset()), at, 100.0 * seed)

    held = HeldShots()
    hold(1)
    hold(2)
    for line in sys.stdin:
        print(held.sweep(HELD_S + float(line)), flush=True)
    """
)


def marks(seed: int) -> list[bytes]:
    """What the program above holds of an arrival: a row of each chip, and the middle of the best picture."""
    made = np.random.default_rng(seed)
    taken = [(made.integers(0, 256, (112, 112, 3), np.uint8), made.bytes(20_000)) for _ in range(5)]
    return [*(chip[56].tobytes() for chip, _ in taken), taken[0][1][9_000:9_256]]


@pytest.mark.usefixtures("may_look")
def test_an_hour_later_nothing_of_a_picture_is_left_in_memory() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOUR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None

        def sweep(at_s: float) -> str:
            assert child.stdin is not None
            assert child.stdout is not None
            print(at_s, file=child.stdin, flush=True)
            return child.stdout.readline().strip()

        assert sweep(99) == "0"
        assert found_in(child.pid, marks(1)) == set(marks(1))
        assert sweep(100) == "1"
        assert found_in(child.pid, marks(1)) == set()
        assert found_in(child.pid, marks(2)) == set(marks(2)), "the next one's hour is not over"
        assert sweep(200) == "1"
        assert found_in(child.pid, marks(2)) == set()
        child.stdin.close()
        assert child.wait(30) == 0
