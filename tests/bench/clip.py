"""Every frame of a clip: FirstVisit beside face_recognition, beside InsightFace, beside its own networks."""

import contextlib
import io
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from camera.pipeline import Pipeline
from camera.recorded import recorded_frames
from camera.source import Frame
from models.faces import Detector, Embedder, Face, Image
from models.insight import open_folder
from models.pack import Pack, open_pack
from models.refine import refined
from models.runtime import Network, session_options
from models.store import Store, default_root
from tests.bench import process
from tests.bench.report import Row

PEER = Path(__file__).with_name("peer.py")
PEER_EVERY = 5  # frames; the peers are slow, and each of their frames stands alone
FASTER, MORE_FACES, FASTER_THAN_INSIGHT, OVERHEAD = 40.0, 1.7, 4.0, 1.15


def bench(clip: Path, runs: int) -> list[Row]:
    store = Store(default_root())
    pack = open_pack(store, store.pick(None))
    frames = list(recorded_frames("bench", str(clip), run_started_at=datetime.now(UTC), run_started_ns=0))
    for frame in frames:
        assert frame.image.size  # decoded ahead: this is about what comes after
    return [*_beside_face_recognition(clip, len(frames), pack, frames, runs), *_beside_networks(frames, pack, runs),
            *_beside_insightface(frames, runs)]  # fmt: skip


class _Counted:
    """A detector that counts what it finds."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.faces = 0

    def detect(self, image: Image, region: tuple[int, int, int, int] | None = None) -> list[Face]:
        found = self._detector.detect(image, region)
        self.faces += len(found)
        return found


def _analysed(
    frames: list[Frame], detector: Detector, embedder: Embedder, refine: Callable[[Image, Face], Face]
) -> float:
    """Analyse frames and embed whoever arrives, as the node does; returns the processor seconds."""
    pipeline = Pipeline("bench", detector, embedder, refine)
    started_s = time.thread_time()
    for frame in frames:
        for arrival in pipeline.step(frame).arrivals:
            embedder.embed(np.stack([shot.chip for shot in arrival.shots]))
    for arrival in pipeline.finish().arrivals:
        embedder.embed(np.stack([shot.chip for shot in arrival.shots]))
    return time.thread_time() - started_s


def _beside_face_recognition(clip: Path, count: int, pack: Pack, frames: list[Frame], runs: int) -> list[Row]:
    peer = process.peer_python()
    ours: list[process.Run] = []
    theirs: list[dict[str, float]] = []
    for _ in range(runs):
        ours.append(process.run_over(clip, pack.name))
        theirs.append(json.loads(process.output([peer, str(PEER), str(clip), str(PEER_EVERY)])))
    counted = _Counted(pack.detector)
    _analysed(frames, counted, pack.embedder, pack.refine)
    rows = []
    for kind in ("cpu", "wall"):
        our_ms = statistics.median(getattr(run, f"{kind}_s") for run in ours) / count * 1e3
        their_ms = statistics.median(run[f"{kind}_ms"] for run in theirs)
        detail = (
            f"{our_ms:.1f} against {their_ms:.0f} ms a frame, {kind} time; ours is the whole process with start-up,"
        )
        detail += f" decisions and records, theirs find and encode alone; median of {runs}"
        rows.append(Row(f"every frame of the clip, {kind}", "face_recognition", their_ms / our_ms, "x", ">=", FASTER,
                        detail))  # fmt: skip
    our_faces, their_faces = counted.faces / count, theirs[0]["faces"]
    detail = f"{our_faces:.2f} against {their_faces:.2f} faces a frame"
    rows.append(Row("faces found", "face_recognition", our_faces / their_faces, "x", ">=", MORE_FACES, detail))
    return rows


def _beside_networks(frames: list[Frame], pack: Pack, runs: int) -> list[Row]:
    raw_s = 0.0
    plain = Network.run

    def timed(self: Network, blob: np.ndarray) -> list[np.ndarray]:
        nonlocal raw_s
        started_s = time.thread_time()
        answer = plain(self, blob)
        raw_s += time.thread_time() - started_s
        return answer

    ratios, whole_ms = [], []
    Network.run = timed  # type: ignore[method-assign]
    try:
        for _ in range(runs):
            raw_s = 0.0
            whole_s = _analysed(frames, pack.detector, pack.embedder, pack.refine)
            ratios.append(whole_s / raw_s)
            whole_ms.append(whole_s / len(frames) * 1e3)
    finally:
        Network.run = plain  # type: ignore[method-assign]
    ratio, ms = statistics.median(ratios), statistics.median(whole_ms)
    detail = f"{ms:.1f} against {ms / ratio:.1f} ms a frame, processor time; median of {runs}"
    return [Row("pipeline", "the ONNX Runtime calls it makes", ratio, "x", "<=", OVERHEAD, detail)]


def _beside_insightface(frames: list[Frame], runs: int) -> list[Row]:
    folder = process.SHARED / "models" / "insightface-pack"
    warnings.filterwarnings("ignore", category=FutureWarning, module="insightface")
    try:
        from insightface.app import FaceAnalysis

        with contextlib.redirect_stdout(io.StringIO()):
            peer = FaceAnalysis(name=str(folder), providers=["CPUExecutionProvider"], sess_options=session_options(1))
            peer.prepare(ctx_id=-1, det_size=(640, 640))
    except (ImportError, AssertionError) as error:
        print(f"no InsightFace row: {error}", file=sys.stderr)
        return []
    detector, embedder = open_folder(folder, detect_px=640, min_score=0.5, threads=1)
    ours_ms, theirs_ms, faces = [], [], 0
    for _ in range(runs):
        counted = _Counted(detector)
        ours_ms.append(_analysed(frames, counted, embedder, partial(refined, detector)) / len(frames) * 1e3)
        some, faces = frames[::PEER_EVERY], 0
        started_s = time.thread_time()
        for frame in some:
            faces += len(peer.get(frame.image))
        theirs_ms.append((time.thread_time() - started_s) / len(some) * 1e3)
    ours, theirs = statistics.median(ours_ms), statistics.median(theirs_ms)
    detail = f"{ours:.1f} against {theirs:.1f} ms a frame, processor time; {counted.faces / len(frames):.2f} against"
    detail += f" {faces / len(some):.2f} faces a frame; median of {runs}"
    return [Row("the same networks", "InsightFace FaceAnalysis", theirs / ours, "x", ">=", FASTER_THAN_INSIGHT, detail)]
