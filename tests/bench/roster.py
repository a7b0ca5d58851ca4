"""How often a roster of staff knows its people, and how often it takes a customer for one of them.

    python -m tests.bench.roster ../shared/data/lfw-dev --pack mobilefacenet --cache /tmp/faces

People are split in half, time and again: the thresholds are calibrated on one half, and of the other some are enrolled
by one image (or more, --images) and come again by another, while all the rest are customers nobody has seen before.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from edge.recognition.decision import Strictness
from edge.settings import Recognition
from models.calibrate import calibrate
from models.face_set import FaceSet, embed_folder
from models.fusion import fused
from models.pack import open_pack
from models.store import Store, default_root

STAFF = 30
SITE = Strictness.of(Recognition())


def one_day(faces: FaceSet, enrolled: int, track: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Shares (certain, between, under) of returning staff, and of customers, in one split by person."""
    people = rng.permutation(np.unique(faces.people))
    half = len(people) // 2
    table = calibrate(faces.of_people(people[:half]), "half")
    rule = SITE.rule(table.of_tracks() if track > 1 else table, STAFF * enrolled)
    test = faces.of_people(people[half:])
    images = {person: rng.permutation(np.nonzero(test.people == person)[0]) for person in people[half:]}
    staff = [person for person in people[half:] if len(images[person]) >= enrolled + track][:STAFF]
    roster = test.vectors[np.concatenate([images[person][:enrolled] for person in staff])]
    again = np.stack([_track(test, images[person][enrolled : enrolled + track]) for person in staff])
    others = [rows for person, rows in images.items() if person not in staff and len(rows) >= track]
    customers = np.stack([_track(test, rows[:track]) for rows in others])
    return _shares(again @ roster.T, rule.lower, rule.upper), _shares(customers @ roster.T, rule.lower, rule.upper)


def _track(faces: FaceSet, rows: np.ndarray) -> np.ndarray:
    return fused(faces.vectors[rows], faces.qualities[rows])


def _shares(scores: np.ndarray, lower: float, upper: float) -> np.ndarray:
    best = scores.max(axis=1)
    return np.array([(best >= upper).mean(), ((best >= lower) & (best < upper)).mean(), (best < lower).mean()])


def main() -> None:
    """Print a line each for staff and customers: the mean over the splits and the 5th to 95th percentile."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faces", type=Path)
    parser.add_argument("--pack", required=True)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--images", type=int, default=1, help="that each is enrolled by")
    parser.add_argument("--track", type=int, default=1, help="images that each comes again by, fused as a track's are")
    parser.add_argument("--cache", type=Path)
    asked = parser.parse_args()
    store = Store(default_root())
    pack = open_pack(store, store.pick(asked.pack))
    tick = (lambda done, total: print(f"\r{done}/{total}", end="", file=sys.stderr)) if sys.stderr.isatty() else None
    faces = embed_folder(asked.faces, pack, tick or (lambda *_: None), cache=asked.cache).with_faces()
    days = [one_day(faces, asked.images, asked.track, np.random.default_rng(seed)) for seed in range(asked.splits)]
    print(f"{pack.pack_id}, {STAFF} enrolled by {asked.images}, back by {asked.track}; {asked.splits} splits by person")
    for name, shares in (("staff", [day[0] for day in days]), ("customers", [day[1] for day in days])):
        table = 100 * np.array(shares)
        low, high = np.percentile(table, [5, 95], axis=0)
        words = zip(("staff", "maybe_staff", "a visitor"), table.mean(axis=0), low, high, strict=True)
        print(f"{name:9}", "  ".join(f"{word} {mean:.2f} % ({a:.1f} to {b:.1f})" for word, mean, a, b in words))


if __name__ == "__main__":
    main()
