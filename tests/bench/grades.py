"""How often a decision of each grade is wrong, on a folder of faces: FACES_DIR/PERSON/*.jpg.

    python -m tests.bench.grades FACES_DIR --pack mobilefacenet --cache DIR

Tracks of three images, fused and decided by the product's own rule in a gallery of 1,000 people with one image each,
over random splits by person: mates (enrolled with another image) and non-mates. No liveness network: B is the best.
"""

import argparse
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from camera.pipeline import Arrival
from camera.quality import BestShot, quality
from edge.recognition.decision import Rule, Strictness, decide
from edge.recognition.gallery import Candidate, Match
from edge.recognition.grade import graded
from edge.settings import Recognition
from models.face_set import FaceSet, embed_folder
from models.faces import Float32
from models.fusion import fused
from models.pack import open_pack
from models.store import Store, default_root

SHOTS = 3
STRICTNESS = Strictness.of(Recognition())
NOBODY = np.zeros((2, 2, 3), np.uint8)


def main() -> None:
    """Print one row a grade and decision."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("faces_dir", type=Path)
    parser.add_argument("--pack", default="mobilefacenet")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--enrolled", type=int, default=1000)
    parser.add_argument("--splits", type=int, default=100)
    chosen = parser.parse_args()
    pack = open_pack(Store(default_root()), chosen.pack)
    faces = embed_folder(chosen.faces_dir, pack, _tick, quality=quality, cache=chosen.cache).with_faces()
    rule = STRICTNESS.rule(pack.calibration.of_tracks(), chosen.enrolled)
    told: Counter[tuple[str, str, bool]] = Counter()
    random = np.random.default_rng(0)
    for _ in range(chosen.splits):
        told += _split(faces, rule, chosen.enrolled, random)
    tracks = sum(told.values())
    print(f"pack {pack.pack_id}, {chosen.enrolled:,} enrolled, {chosen.splits} splits, {tracks:,} tracks of {SHOTS}")
    print(f"{'grade':<7}{'decision':<10}{'tracks':>8}{'share':>9}{'wrong':>8}{'error rate':>12}")
    for grade in "BC":
        for decision in ("first", "return", "unsure"):
            right, wrong = told[grade, decision, True], told[grade, decision, False]
            if right + wrong:
                rate = "-" if decision == "unsure" else f"{wrong / (right + wrong):.2%}"
                count = right + wrong
                print(f"{grade:<7}{decision:<10}{count:>8,}{count / tracks:>9.1%}{wrong:>8,}{rate:>12}")


def _split(faces: FaceSet, rule: Rule, enrolled: int, random: np.random.Generator) -> Counter[tuple[str, str, bool]]:
    """Count (grade, decision, right) over one random choice of who is enrolled."""
    people = random.permutation(np.unique(faces.people))
    known, strangers = people[:enrolled], people[enrolled:]
    rows_of = {person: random.permutation(np.nonzero(faces.people == person)[0]) for person in people}
    gallery = faces.vectors[[rows_of[person][0] for person in known]]
    told: Counter[tuple[str, str, bool]] = Counter()
    for number, person in enumerate(known):
        if len(rows_of[person]) > SHOTS:
            told[_decided(faces, rows_of[person][1 : SHOTS + 1], gallery, rule, number)] += 1
    for person in strangers:
        if len(rows_of[person]) >= SHOTS:
            told[_decided(faces, rows_of[person][:SHOTS], gallery, rule, None)] += 1
    return told


def _decided(
    faces: FaceSet, rows: np.ndarray, gallery: Float32, rule: Rule, truth: int | None
) -> tuple[str, str, bool]:
    similarities = gallery @ fused(faces.vectors[rows], faces.qualities[rows].tolist())
    second, best = (int(row) for row in np.argsort(similarities)[-2:])
    match = Match(
        Candidate(str(best), float(similarities[best])),
        Candidate(str(second), float(similarities[second])),
        len(gallery),
        float(gallery[best] @ gallery[second]),
        str(min(best, second)),
    )
    verdict = decide(match, rule)
    at = datetime(2026, 7, 1, tzinfo=UTC)
    shots = sorted((BestShot("door", 1, at, NOBODY, b"", float(faces.qualities[row]), 100.0) for row in rows),
                   key=lambda shot: -shot.quality)  # fmt: skip
    arrival = Arrival("door", 1, at, tuple(shots), frozenset())
    grading = graded(verdict.decision, match, rule, arrival, live_source=True, measured=True)
    if verdict.decision == "return":
        right = verdict.person_id == (None if truth is None else str(truth))
    else:
        right = verdict.decision == "first" and truth is None
    return grading.grade, verdict.decision, right


def _tick(done: int, total: int) -> None:
    if done == total:
        print(f"{total:,} images embedded", flush=True)


if __name__ == "__main__":
    main()
