"""How the node is, as far as its own records tell."""

import threading
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from sync.format.records import Record

CameraStatus: TypeAlias = Literal["up", "down", "blind", "moved", "starting", "off"]

KINDS = (
    "node.boot",
    "node.alive",
    "node.stopped",
    "camera.up",
    "camera.down",
    "camera.blind",
    "camera.moved",
    "clock.step",
    "policy.changed",
    "storage.full",
    "place.changed",
)
LASTING = tuple(kind for kind in KINDS if kind not in ("node.alive", "camera.down"))
"""Of the same, those that are not told again and again while they last."""
SILENT_AFTER_S = 15 * 60  # heartbeats come every 10 minutes


@dataclass(frozen=True, slots=True)
class CameraState:
    """One camera. since_us: of its status. frames, longest_gap_us: of the last heartbeat, None before the first.

    moved: it looks elsewhere than its reference view, whatever else is the matter.
    """

    camera_id: str
    status: CameraStatus = "starting"
    since_us: int | None = None
    reason: str = ""
    frames: int | None = None
    longest_gap_us: int | None = None
    moved: bool = False


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """The node. heard_us: its newest sign of life among these records.

    full_since_us: since when a full disk keeps it from recording. unrecorded: the last time that did, from and until.
    """

    running: bool = False
    since_us: int | None = None
    heard_us: int | None = None
    alive_window_us: int | None = None
    pack: str | None = None
    mode: str | None = None
    version: str | None = None
    people: int | None = None
    clock_steps: int = 0
    full_since_us: int | None = None
    unrecorded: tuple[int, int] | None = None
    cameras: tuple[CameraState, ...] = ()


class Health:
    """The newest state of one node; one thread adds, many read."""

    def __init__(self, camera_ids: tuple[str, ...]) -> None:
        """camera_ids: the configured cameras, shown even before the node has said anything of them."""
        self._lock = threading.Lock()
        self._configured = camera_ids
        self._state = NodeHealth(cameras=tuple(CameraState(i, status="off") for i in camera_ids))

    def add(self, record: Record) -> None:
        """Fold in the next record of KINDS."""
        with self._lock:
            self._state = self._next(self._state, record)

    def read(self) -> NodeHealth:
        with self._lock:
            return self._state

    def knows(self, camera_id: str) -> bool:
        """Whether a camera is configured, or the node runs with it (`firstvisit run --source`)."""
        return any(camera.camera_id == camera_id for camera in self.read().cameras)

    def _next(self, state: NodeHealth, record: Record) -> NodeHealth:
        fields, at_us = record.fields, record.stamp.wall_us
        state = replace(state, heard_us=at_us, mode=fields.get("mode", state.mode))
        match record.kind:
            case "node.boot":
                return replace(
                    state,
                    running=True,
                    since_us=at_us,
                    pack=fields.get("pack"),
                    version=fields.get("version"),
                    clock_steps=0,
                    full_since_us=None,  # said again where it still is
                    cameras=tuple(CameraState(i, since_us=at_us) for i in self._configured),
                )
            case "node.stopped":
                cameras = tuple(replace(camera, status="off", since_us=at_us, reason="") for camera in state.cameras)
                return replace(state, running=False, since_us=at_us, cameras=cameras)
            case "node.alive":
                window_us = fields["until_us"] - fields["since_us"] if "since_us" in fields else None
                state = replace(state, people=fields.get("people"), alive_window_us=window_us)
                for told in fields.get("cameras", ()):
                    camera = _camera(state, told["camera"])
                    if camera.status == "starting" and told.get("frames"):  # it came up before these records begin
                        camera = replace(camera, status="up", since_us=None)
                    frames, gap_us = told.get("frames"), told.get("longest_gap_us")
                    state = _with(state, replace(camera, frames=frames, longest_gap_us=gap_us))
                return state
            case "storage.full" if "until_us" in fields:
                return replace(state, full_since_us=None, unrecorded=(fields["since_us"], fields["until_us"]))
            case "storage.full":
                return replace(state, full_since_us=fields.get("since_us", at_us))
            case "clock.step":
                return replace(state, clock_steps=state.clock_steps + 1)
            case "camera.up" | "camera.down" | "camera.blind":
                camera, since_us = _camera(state, fields["camera"]), fields.get("at_us", at_us)
                status: CameraStatus = "down"
                if record.kind == "camera.up":
                    status = "moved" if camera.moved else "up"  # it gives pictures again, of the other place
                if record.kind == "camera.blind":
                    status = "blind"
                reason = fields.get("reason", "")
                if camera.status == status and camera.reason == reason:  # told again each minute; it began before
                    return state
                return _with(state, replace(camera, status=status, since_us=since_us, reason=reason))
            case "camera.moved":
                camera, since_us = _camera(state, fields["camera"]), fields.get("at_us", at_us)
                if fields.get("state") == "clear":
                    return _with(state, replace(camera, moved=False, status="up", since_us=since_us, reason=""))
                return _with(state, replace(camera, moved=True, status="moved", since_us=since_us, reason=""))
            case _:
                return state


def _camera(state: NodeHealth, camera_id: str) -> CameraState:
    return next((c for c in state.cameras if c.camera_id == camera_id), CameraState(camera_id))


def _with(state: NodeHealth, camera: CameraState) -> NodeHealth:
    others = {c.camera_id: c for c in state.cameras}
    others[camera.camera_id] = camera
    return replace(state, cameras=tuple(others.values()))
