"""Real faces walk past a real node: six strangers, of whom two come back, and one more."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
import pytest

from edge.home import Home, create_home
from edge.node import RunOptions, run
from edge.people.vault import opened
from edge.recognition.decision import Strictness
from edge.recognition.site_calibration import SiteCalibration, record
from edge.settings import new_config, set_broker
from edge.visits.visit_log import LoggedVisit, visit_log
from models.pack import Pack
from models.store import Store
from sync.central.keys import create_keys
from sync.node.trust import join
from sync.verify.verify import verify

JPEG_START = b"\xff\xd8\xff\xe0"
AT_ONCE = {"until_end": True, "fast": True}


def make(path: Path, mode: str) -> Home:
    capture = {"mode": mode, "legal_basis": "published pictures" if mode == "ephemeral" else ""}
    return create_home(path, new_config(site="s", node="gate", place={"datum": "wgs84"}, capture=capture), None)


def visits_of(home: Home) -> list[LoggedVisit]:
    with closing(home.open_ledger()) as ledger:
        return visit_log(ledger)


def kinds_of(home: Home) -> list[str]:
    with closing(home.open_ledger()) as ledger:
        return [row.kind for row in ledger.rows()]


def left_of(home: Home) -> list[dict[str, object]]:
    with closing(home.open_ledger()) as ledger:
        return [record.fields for record in ledger.records(("visit.left",))]


@dataclass(frozen=True)
class TwoRuns:
    """A HOME after the clip was run twice with no gap between visits."""

    home: Home
    pack_id: str
    first: list[LoggedVisit]
    second: list[LoggedVisit]
    people_after: tuple[int, int]


@pytest.fixture(scope="module")
def two_runs(walk_in: Path, pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> TwoRuns:
    home = make(tmp_path_factory.mktemp("two-runs") / "home", "ephemeral")
    options = RunOptions(sources=(str(walk_in),), visit_gap_s=0, **AT_ONCE)
    people = []
    for _ in range(2):
        assert run(home, options)
        with opened(home.database, home.keys_database) as vault:
            people.append(len(vault.people()))
    rows = visits_of(home)
    half = len(rows) // 2
    return TwoRuns(home, pack.pack_id, rows[:half], rows[half:], (people[0], people[1]))


def test_six_come_in_for_the_first_time_two_return_and_one_more_is_new(two_runs: TwoRuns) -> None:
    decisions = [row.decision for row in two_runs.first]
    assert decisions == ["first"] * 6 + ["return"] * 2 + ["first"]
    firsts = [row.person_id for row in two_runs.first if row.decision == "first"]
    returned = [row.person_id for row in two_runs.first if row.decision == "return"]
    assert len(set(firsts)) == 7
    assert len(set(returned)) == 2
    assert set(returned) < set(firsts)
    assert two_runs.people_after[0] == 7


def test_on_the_second_run_everybody_returns_and_nobody_is_new(two_runs: TwoRuns) -> None:
    assert [row.decision for row in two_runs.second] == ["return"] * 9
    assert [row.person_id for row in two_runs.second] == [row.person_id for row in two_runs.first]
    assert two_runs.people_after == (7, 7)


def test_a_film_is_evidence_of_the_lowest_grade_and_names_its_pack(two_runs: TwoRuns) -> None:
    for row in (*two_runs.first, *two_runs.second):
        assert row.grade == "C"
        assert row.pack == two_runs.pack_id
        assert row.record.fields["source"] == "file"
        assert len(row.record.body) < 8192


def test_a_run_is_held_to_the_table_that_was_learnt_here(walk_in: Path, pack: Pack, tmp_path: Path) -> None:
    home = make(tmp_path / "home", "ephemeral")
    shipped = pack.calibration.of_tracks()
    moved = replace(shipped, points=tuple((fmr, similarity + 0.01) for fmr, similarity in shipped.points))
    rule = Strictness(0.003, 0.10, 0.5).rule(moved, 1000)
    learnt = SiteCalibration(moved, 200, 200, 19_900, 0, 0, rule, rule)
    with closing(home.open_ledger("node")) as ledger:
        record(ledger, home.policy(home.settings()), pack.pack_id, learnt)
    assert run(home, RunOptions(sources=(str(walk_in),), **AT_ONCE))
    thresholds = {(row.record.fields["upper_e6"], row.record.fields["lower_e6"]) for row in visits_of(home)}
    assert thresholds == {(round(rule.upper * 1e6), round(rule.lower * 1e6))}


def test_the_chain_tells_the_whole_run_and_verifies(two_runs: TwoRuns) -> None:
    kinds = kinds_of(two_runs.home)
    assert kinds[:4] == ["epoch.started", "policy.changed", "node.boot", "camera.up"]
    assert kinds[-1] == "node.stopped"
    assert kinds.count("policy.changed") == 1
    assert kinds.count("node.boot") == kinds.count("node.stopped") == kinds.count("node.alive") == 2
    assert kinds.count("visit.left") == 18
    verdict = verify(two_runs.home.path, two_runs.home.node_pub)
    assert verdict.ok, verdict.why


def test_the_heartbeat_counts_every_frame_of_the_film(two_runs: TwoRuns) -> None:
    with closing(two_runs.home.open_ledger()) as ledger:
        alive = ledger.last_of("node.alive")
    assert alive is not None
    (camera,) = alive.fields["cameras"]
    assert camera["frames"] == 300  # 25 s at 12 frames a second
    assert camera["dropped"] == 0
    assert alive.fields["people"] == 7
    assert alive.fields["since_us"] < alive.fields["until_us"]


def test_faces_lie_on_the_disk_sealed_and_open_with_their_keys(
    two_runs: TwoRuns, find_bytes: Callable[[Path, bytes], list[str]], searchable
) -> None:
    home = two_runs.home
    with opened(home.database, home.keys_database) as vault:
        templates = searchable(vault, two_runs.pack_id)
        crops = [vault.of_visits.crop(row.visit_id) for row in two_runs.first]
    assert len({template.person_id for template in templates}) == 7
    assert len(templates) == 9 + 9  # one a visit
    assert all(crop is not None and crop.startswith(JPEG_START) for crop in crops)
    assert find_bytes(home.path, JPEG_START) == []
    for stored in templates:
        assert find_bytes(home.path, stored.vector.tobytes()) == []


def test_after_consent_sees_arrivals_and_keeps_nothing_of_a_face(
    two_runs: TwoRuns, walk_in: Path, tmp_path: Path, find_bytes: Callable[[Path, bytes], list[str]], searchable
) -> None:
    home = make(tmp_path / "home", "after_consent")
    assert run(home, RunOptions(sources=(str(walk_in),), **AT_ONCE))
    rows = visits_of(home)
    assert [row.decision for row in rows] == ["seen"] * 9
    assert {(row.person_id, row.similarity, row.pack) for row in rows} == {(None, None, None)}
    assert [row.record.fields["party"] for row in rows] == [6] * 6 + [2] * 2 + [1]
    assert [fields["reason"] for fields in left_of(home)] == ["track_end"] * 9
    with opened(home.database, home.keys_database) as vault:
        assert vault.people() == []
    # the very vectors that comparing these people would have made
    with opened(two_runs.home.database, two_runs.home.keys_database) as vault:
        vectors = [stored.vector.tobytes() for stored in searchable(vault, two_runs.pack_id)]
    assert len(vectors) == 9 + 9
    for needle in (JPEG_START, b"JFIF", *vectors, *(vector[:16] for vector in vectors)):
        assert find_bytes(home.path, needle) == []
    assert find_bytes(home.path, rows[0].record.body)  # the search does find what is there


def start(home: Home, film: Path, *more: str) -> subprocess.Popen[str]:
    """`firstvisit run` on the film, as a process; at its own pace unless told otherwise."""
    command = [sys.executable, "-m", "edge", "run", "--home", str(home.path), "--source", str(film), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.usefixtures("pack")
@pytest.mark.parametrize("source", ["usb:217", "clip.mp4", "empty"])
def test_a_source_that_cannot_be_read_is_said_in_one_line_with_its_cause(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clip.mp4").write_text("no video")
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("FIRSTVISIT_LOG", "WARNING")
    named = source if source.startswith("usb") else str(tmp_path / source)
    run_once = start(make(tmp_path / "home", "after_consent"), Path(named))
    _, errors = run_once.communicate(timeout=60)
    assert run_once.returncode == 2
    why = {"usb:217": "/dev/video217 does not exist", "clip.mp4": "not a readable video", "empty": "holds no images"}
    assert why[source] in errors
    assert errors.count("\n") == 1, errors


def test_a_killed_node_loses_nothing_and_a_stopped_one_says_goodbye(walk_in: Path, tmp_path: Path) -> None:
    home = make(tmp_path / "home", "ephemeral")
    killed = start(home, walk_in)
    wait_for(lambda: "visit.first" in kinds_of(home), killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=20)
    assert left_of(home) == []
    kept = visits_of(home)

    stopped = start(home, walk_in)
    try:
        wait_for(lambda: kinds_of(home).count("camera.up") == 2, stopped)
        # whoever was there at the crash was closed before anything new was recorded, the end unknown
        left = left_of(home)
        assert sorted(str(fields["visit"]) for fields in left) == sorted(row.visit_id for row in kept)
        assert all(fields["reason"] == "crash" and "end_us" not in fields for fields in left)
        second = subprocess.run(
            [sys.executable, "-m", "edge", "run", "--home", str(home.path), "--source", str(walk_in)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert second.returncode == 2
        assert second.stderr == f"firstvisit: {home.path}: already running (process {stopped.pid})\n"
        asked = time.monotonic()
        stopped.send_signal(signal.SIGTERM)
        _, errors = stopped.communicate(timeout=20)
        took_s = time.monotonic() - asked
    finally:
        stopped.kill()
        stopped.wait(20)
    assert stopped.returncode == 0, errors
    assert took_s < 5
    assert kinds_of(home)[-2:] == ["node.alive", "node.stopped"]
    with closing(home.open_ledger()) as ledger:
        goodbye = ledger.last_of("node.stopped")
    assert goodbye is not None
    assert goodbye.fields["reason"] == "stopped"
    verdict = verify(home.path, home.node_pub)
    assert verdict.ok, verdict.why


def empty_hall(path: Path) -> Path:
    """Ten frames of nobody."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((240, 320, 3), 90, np.uint8), "bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_node_that_waits_for_a_silent_central_still_stops_within_five_seconds(packs: Store, tmp_path: Path) -> None:
    assert packs.installed()
    home = make(tmp_path / "home", "after_consent")
    (tmp_path / "central").mkdir()
    create_keys(tmp_path / "central", "hq")
    join(home.path, tmp_path / "central" / "central.pub")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and never listening: nobody answers there
        set_broker(home.config, f"mqtt://127.0.0.1:{taken.getsockname()[1]}")
        film = empty_hall(tmp_path / "hall.mp4")
        node = start(home, film, "--allow-file", "--fast", "--until-end", "--drain", "120")
        try:
            wait_for(lambda: kinds_of(home)[-1] == "node.stopped", node)
            assert node.poll() is None
            asked = time.monotonic()
            node.send_signal(signal.SIGTERM)
            _, errors = node.communicate(timeout=60)
            took_s = time.monotonic() - asked
        finally:
            node.kill()
            node.wait(20)
    assert node.returncode == 1, errors  # the answer to "has central everything?" is no
    assert took_s < 5
