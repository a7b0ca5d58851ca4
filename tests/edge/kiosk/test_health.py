from typing import Any

import pytest

from edge.kiosk.health import KINDS, Health
from tests.edge.kiosk.door import Door

CAMERA = {"source": "rtsp", "source_hash": "0" * 64}


@pytest.fixture
def told(door: Door) -> Any:
    """What Health knows after the ledger has been read to its end."""

    def told() -> Health:
        health = Health(("entrance",))
        for record in door.ledger.records(KINDS):
            health.add(record)
        return health

    return told


def test_a_camera_that_stays_down_is_down_since_it_first_was(told: Any, door: Door) -> None:
    door.ledger.append("node.boot", {"pack": "dlib@0", "version": "0.1.0", "mode": "ephemeral"})
    for at_us in (60_000_000, 120_000_000):
        door.ledger.append("camera.down", {"camera": "entrance", "at_us": at_us, "reason": "stalled", **CAMERA})
    (camera,) = told().read().cameras
    assert (camera.status, camera.reason, camera.since_us) == ("down", "stalled", 60_000_000)
    door.ledger.append("camera.blind", {"camera": "entrance", "at_us": 180_000_000, "reason": "covered", **CAMERA})
    assert told().read().cameras[0].status == "blind"
    door.ledger.append("camera.up", {"camera": "entrance", "at_us": 240_000_000, **CAMERA})
    assert told().read().cameras[0].since_us == 240_000_000


def test_a_camera_that_was_turned_stays_so_until_it_looks_there_again(told: Any, door: Door) -> None:
    door.ledger.append("node.boot", {"pack": "dlib@0", "version": "0.1.0", "mode": "ephemeral"})
    moved = {"camera": "entrance", "at_us": 60_000_000, "reason": "displaced", "state": "moved", **CAMERA}
    door.ledger.append("camera.moved", moved)
    door.ledger.append("camera.blind", {"camera": "entrance", "at_us": 70_000_000, "reason": "dark", **CAMERA})
    door.ledger.append("camera.up", {"camera": "entrance", "at_us": 80_000_000, "reason": "clear", **CAMERA})
    assert told().read().cameras[0].status == "moved"
    door.ledger.append("camera.moved", {**moved, "at_us": 90_000_000, "reason": "clear", "state": "clear"})
    assert told().read().cameras[0].status == "up"


def test_a_new_run_forgets_the_cameras_and_jumps_of_the_last(told: Any, door: Door) -> None:
    assert not told().read().running
    assert told().read().cameras[0].status == "off"
    boot = {"pack": "dlib@0", "version": "0.1.0", "mode": "ephemeral"}
    door.ledger.append("node.boot", boot)
    door.ledger.append("camera.up", {"camera": "cam9", "at_us": 1, **CAMERA})
    door.ledger.append("clock.step", {"jump_us": 5_000_000, "before_us": 1})
    assert told().read().clock_steps == 1
    assert [camera.camera_id for camera in told().read().cameras] == ["entrance", "cam9"]
    door.ledger.append("node.stopped", {"reason": "stopped"})
    assert not told().read().running
    door.ledger.append("node.boot", boot)
    state = told().read()
    assert (state.running, state.clock_steps, state.pack) == (True, 0, "dlib@0")
    assert [camera.camera_id for camera in state.cameras] == ["entrance"]


def test_a_heartbeat_tells_what_each_camera_saw(told: Any, door: Door) -> None:
    seen = {"camera": "entrance", "frames": 14_980, "longest_gap_us": 180_000}
    door.ledger.append("node.alive", {"since_us": 0, "until_us": 600_000_000, "people": 7, "cameras": [seen]})
    state = told().read()
    assert (state.people, state.alive_window_us) == (7, 600_000_000)
    assert (state.cameras[0].frames, state.cameras[0].longest_gap_us) == (14_980, 180_000)
