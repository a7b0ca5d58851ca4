"""How often a track passes from one person to another, and how often a person's track breaks, on the shared clips.

The tracker compares no appearance; this offline check does: every good sighting is embedded, stretches of five of one
track are grouped by average similarity, and each sighting is given to the group it is most like. A switch is a change
of group within a track that lasts; a break is a further track of a group.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import numpy as np

from camera.quality import MIN_FRONTALITY, MIN_QUALITY, face_px, frontality, quality
from camera.recorded import recorded_frames
from camera.tracker import Tracker
from edge.recognition.decision import GALLERY_FLOOR
from edge.settings import Recognition
from models.faces import Float32
from models.pack import Pack, open_pack
from models.store import Store, default_root

CLIPS = ("walk-in-1080p.mp4", "corridor-walk.gif", "corridor-pause.gif", "head-pose-two.gif", "one-by-one-backs.mp4")
STRETCH = 5
LASTS = 3  # sightings: fewer are the embedder's doubt, not the tracker's
FACE_PX = 24.0


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    track_id: int
    number: int
    vector: Float32


def bench(folder: Path) -> None:
    """Print one line a clip."""
    store = Store(default_root())
    pack = open_pack(store, store.pick(None))
    same = pack.calibration.threshold(Recognition().review_fpir, GALLERY_FLOOR)  # what a node calls unlike
    print("| clip | frames | tracks | people told apart | sightings judged | switches | breaks |")
    print("|---|---|---|---|---|---|---|")
    for name in CLIPS:
        frames, tracks, seen = _tracked(folder / name, pack)
        groups = _groups(seen, same)
        switches, breaks = _counted(seen, groups)
        people = len(set(groups))
        print(f"| `{name}` | {frames} | {tracks} | {people} | {len(seen)} | {switches} | {breaks} |", flush=True)


def _tracked(path: Path, pack: Pack) -> tuple[int, int, list[Seen]]:
    tracker, seen, tracks, number = Tracker(), [], set(), 0
    for frame in recorded_frames("clip", str(path), run_started_at=datetime(2026, 1, 1, tzinfo=UTC), run_started_ns=0):
        number = frame.number
        for sighting in tracker.update(pack.detector.detect(frame.image), frame.captured_ns).sightings:
            tracks.add(sighting.track_id)
            face = sighting.face
            if face_px(face) < FACE_PX or frontality(face) < MIN_FRONTALITY or quality(frame.image, face) < MIN_QUALITY:
                continue
            chip = pack.chip(frame.image, face)
            seen.append(Seen(sighting.track_id, number, pack.embedder.embed(chip[np.newaxis])[0]))
    return number, len(tracks), seen


def _groups(seen: list[Seen], same: float) -> list[int]:
    """The group of each sighting: average linkage over stretches, then the nearest group."""
    if not seen:
        return []
    by_track: dict[int, list[Seen]] = {}
    for one in seen:
        by_track.setdefault(one.track_id, []).append(one)
    stretches = [
        np.mean([one.vector for one in listed[at : at + STRETCH]], axis=0)
        for listed in by_track.values()
        for at in range(0, len(listed), STRETCH)
    ]
    members = [[_unit(vector)] for vector in stretches]
    while len(members) > 1:
        centres = np.stack([_unit(np.mean(group, axis=0)) for group in members])
        alike = centres @ centres.T - 2 * np.eye(len(members))
        one, other = divmod(int(alike.argmax()), len(members))
        if alike[one, other] < same:
            break
        members[one] += members[other]
        del members[other]
    centres = np.stack([_unit(np.mean(group, axis=0)) for group in members])
    return [int((centres @ one.vector).argmax()) for one in seen]


def _counted(seen: list[Seen], groups: list[int]) -> tuple[int, int]:
    by_track: dict[int, list[int]] = {}
    for one, group in zip(seen, groups, strict=True):
        by_track.setdefault(one.track_id, []).append(group)
    switches = 0
    owners: dict[int, int] = {}  # tracks a person has
    for listed in by_track.values():
        runs = [group for group, run in groupby(listed) if len(list(run)) >= LASTS]
        runs = [group for group, _ in groupby(runs)] or listed[:1]
        switches += len(runs) - 1
        for group in set(runs):
            owners[group] = owners.get(group, 0) + 1
    return switches, sum(tracks - 1 for tracks in owners.values())


def _unit(vector: Float32) -> Float32:
    return np.asarray(vector / np.linalg.norm(vector), np.float32)
