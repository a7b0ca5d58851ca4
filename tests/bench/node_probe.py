"""A node that is watched from inside: `python -m tests.bench.node_probe REPORT HOME SECONDS PACK SOURCE…`.

Runs the node as `firstvisit run` does, for SECONDS from its first analysed frame on (0: until that frame), and writes
what it saw as JSON: when each frame was analysed and how old it was, how long decisions took, and the process's memory.
"""

import json
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

STARTED_NS = time.monotonic_ns()

from camera.pipeline import Arrival, Pipeline, Step  # noqa: E402  the clock starts before the imports
from camera.slot import Slots  # noqa: E402
from camera.source import Frame  # noqa: E402
from camera.tracker import Sighting  # noqa: E402
from edge import node, watch  # noqa: E402
from edge.home import Home  # noqa: E402

RSS_EVERY_S = 1.0
SETTLE_S = 5.0  # from the first frame; what counts comes after
_frames: dict[str, list[tuple[float, float]]] = {}  # camera: (seconds since the start, age at analysis)
# Of tracks begun after SETTLE_S, seconds to the record: from the first sight, from the first picture or pictures that a
# decision can rest on, and from the last shot it rests on; and how many shots.
_decisions: list[tuple[float, float, float, int]] = []
_decidable: dict[tuple[str, int], datetime] = {}
_first_frame_at: list[datetime] = []
_rss: list[tuple[float, float]] = []
_steady: dict[str, float] = {}
_begun = threading.Event()
_received = [0]


class _Slots(Slots):
    def replace(self, frame: Frame) -> bool:
        _received[0] += 1
        return super().replace(frame)


class _Probed(Pipeline):
    def step(self, frame: Frame) -> Step:
        now_ns = time.monotonic_ns()
        _frames.setdefault(frame.camera_id, []).append(
            ((now_ns - STARTED_NS) / 1e9, (now_ns - frame.captured_ns) / 1e9)
        )
        if not _first_frame_at:
            _first_frame_at.append(frame.captured_at)
        step = super().step(frame)
        _steady.setdefault("to_first_frame_cpu_s", time.process_time())
        _begun.set()
        return step

    def _remember(self, frame: Frame, sighting: Sighting) -> None:
        super()._remember(frame, sighting)
        if self._people[sighting.track_id].decidable:
            _decidable.setdefault((frame.camera_id, sighting.track_id), frame.captured_at)


class _Watch(watch.Watch):
    def _follow(self, step: Step) -> None:
        super()._follow(step)
        now = datetime.now(UTC)
        for arrival in step.arrivals:
            watched = self._pipelines[arrival.camera_id]._people.get(arrival.track_id)
            held = watched is not None and not watched.decided
            if held or _seconds(arrival.first_seen_at, _first_frame_at[0]) < SETTLE_S:
                continue
            moments = (arrival.first_seen_at, _decidable[arrival.camera_id, arrival.track_id], _last_shot(arrival))
            first, decidable, last = (_seconds(now, moment) for moment in moments)
            _decisions.append((first, decidable, last, len(arrival.shots)))


def _last_shot(arrival: Arrival) -> datetime:
    return max(shot.captured_at for shot in arrival.shots)


def _seconds(later: datetime, earlier: datetime) -> float:
    return (later - earlier).total_seconds()


def _measure(seconds: float) -> None:
    _begun.wait()
    time.sleep(min(SETTLE_S, seconds))
    cpu_s, began_s, received = time.process_time(), time.monotonic(), _received[0]
    ended_s = time.monotonic() + seconds
    while (left_s := ended_s - time.monotonic()) > 0:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        _rss.append(((time.monotonic_ns() - STARTED_NS) / 1e9, pages * 4096 / 1e6))
        time.sleep(min(RSS_EVERY_S, left_s))
    _steady.update(
        cpu_s=time.process_time() - cpu_s, wall_s=time.monotonic() - began_s, received=_received[0] - received
    )
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    report, home, seconds, pack, *sources = sys.argv[1:]
    watch.Pipeline = _Probed  # type: ignore[misc]
    watch.Slots = _Slots  # type: ignore[misc]
    node.Watch = _Watch  # type: ignore[misc]
    threading.Thread(target=_measure, args=(float(seconds),), daemon=True).start()
    node.run(Home(Path(home)), node.RunOptions(sources=tuple(sources), pack=pack))
    # not ru_maxrss, in which a process begins with its parent's
    (peak_kib,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    found = {
        "frames": _frames,
        "decisions": _decisions,
        "rss_mb": _rss,
        "peak_mb": int(peak_kib) * 1024 / 1e6,
        "steady": _steady,
    }
    Path(report).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
