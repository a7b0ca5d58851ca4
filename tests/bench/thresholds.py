"""Do thresholds keep their promise? Realised FPIR against the target, on people the table was not calibrated on.

    python -m tests.bench.thresholds FACES_DIR --pack mobilefacenet

Each split puts N people with one image into a gallery, searches one image of each non-mate, and takes the threshold
from a calibration on the people left over.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.recognition.decision import GALLERY_FLOOR
from models import ModelsError
from models.bootstrap import Float64
from models.calibrate import calibrate, fused_tracks
from models.calibration import CAUTIOUS
from models.face_set import FaceSet, embed_folder
from models.pack import open_pack
from models.store import Store, default_root

TARGETS = (0.05, 0.01, 0.003)
GALLERIES = (100, 300, 900)
FARTHEST = 5000  # too many to enrol here: extrapolated from the pairs of the largest gallery
TRACK_GALLERY = 100
SITE_PEOPLE, SITE_GALLERY = (50, 100, 300), 300
SHARE_CALIBRATED = 2 / 3  # of the people not enrolled, but no more than half of all; the others are searched


@dataclass(frozen=True, slots=True)
class Promise:
    """Realised FPIR over the splits: mean, and the 2.5 and 97.5 % points of single splits."""

    gallery_n: int
    target: float
    mean: float
    low: float
    high: float
    threshold: float
    at_node_floor: float


def keep_promise(faces: FaceSet, gallery_n: int, splits: int, seed: int) -> tuple[list[Promise], list[Promise]]:
    """Realised FPIR at `gallery_n`, and extrapolated to FARTHEST from the same pairs."""
    people = np.unique(faces.people)
    calibrated = min(len(people) // 2, round((len(people) - gallery_n) * SHARE_CALIBRATED))
    if len(people) - gallery_n - calibrated < 20:
        raise ModelsError(f"N = {gallery_n} needs more than {len(people)} people")
    realised = np.empty((splits, len(TARGETS), 5))  # FPIR at N, its threshold, at the node's floor; the two of FARTHEST
    for split in range(splits):
        rng = np.random.default_rng([seed, gallery_n, split])
        order = rng.permutation(people)
        table = calibrate(faces.of_people(order[:calibrated]), "a split")
        enrolled = order[calibrated : calibrated + gallery_n]
        gallery, probes = (_one_each(faces, some, rng) for some in (enrolled, order[calibrated + gallery_n :]))
        similarities = faces.vectors[probes] @ faces.vectors[gallery].T
        tops = similarities.max(axis=1)
        for at, target in enumerate(TARGETS):
            threshold = table.threshold(target, gallery_n)
            floor = table.threshold(target, max(gallery_n, GALLERY_FLOOR))
            far = table.threshold(target, FARTHEST)
            far_fpir = -np.expm1(FARTHEST * np.log1p(-(similarities >= far).mean()))
            realised[split, at] = (tops >= threshold).mean(), threshold, (tops >= floor).mean(), far_fpir, far
    own = [_promise(gallery_n, target, *realised[:, at, :3].T) for at, target in enumerate(TARGETS)]
    far_off = [_promise(FARTHEST, target, *realised[:, at, [3, 4, 3]].T) for at, target in enumerate(TARGETS)]
    return own, far_off


def keep_promise_of_tracks(faces: FaceSet, splits: int, seed: int) -> list[Promise]:
    """The same of templates fused from three images, enrolled and searched, at N = TRACK_GALLERY.

    at_node_floor is what the table of single images would come to at this N.
    """
    tracks = fused_tracks(faces, seed)
    people = np.unique(tracks.people)
    realised = np.empty((splits, len(TARGETS), 3))
    for split in range(splits):
        rng = np.random.default_rng([seed, TRACK_GALLERY, split])
        order = rng.permutation(people)
        half = len(order) // 2
        others = rng.permutation(np.setdiff1d(np.unique(faces.people), people))[: 2 * half]
        both = calibrate(faces.of_people(np.concatenate([order[:half], others])), "a split", seed)
        enrolled, searched = order[half : half + TRACK_GALLERY], order[half + TRACK_GALLERY :]
        gallery, probes = (tracks.vectors[_one_each(tracks, some, rng)] for some in (enrolled, searched))
        tops = (probes @ gallery.T).max(axis=1)
        for at, target in enumerate(TARGETS):
            threshold = both.of_tracks().threshold(target, TRACK_GALLERY)
            single = both.threshold(target, TRACK_GALLERY)
            realised[split, at] = (tops >= threshold).mean(), threshold, (tops >= single).mean()
    return [_promise(TRACK_GALLERY, target, *realised[:, at].T) for at, target in enumerate(TARGETS)]


def learn_from_site(faces: FaceSet, site_n: int, splits: int, seed: int) -> list[Promise]:
    """Realised FPIR at N = SITE_GALLERY by the table of nobody's pack, refined by `site_n` people with one image each.

    at_node_floor is what that table comes to unrefined.
    """
    people = np.unique(faces.people)
    realised = np.empty((splits, len(TARGETS), 3))
    for split in range(splits):
        rng = np.random.default_rng([seed, site_n, split])
        order = rng.permutation(people)
        site, enrolled, searched = np.split(order, [site_n, site_n + SITE_GALLERY])
        own, gallery, probes = (faces.vectors[_one_each(faces, some, rng)] for some in (site, enrolled, searched))
        compared = (own @ own.T)[~np.eye(site_n, dtype=bool)]
        learnt = CAUTIOUS.refined(compared, site_n * (site_n - 1) // 2, site_n)
        tops = (probes @ gallery.T).max(axis=1)
        for at, target in enumerate(TARGETS):
            threshold, before = learnt.threshold(target, SITE_GALLERY), CAUTIOUS.threshold(target, SITE_GALLERY)
            realised[split, at] = (tops >= threshold).mean(), threshold, (tops >= before).mean()
    return [_promise(SITE_GALLERY, target, *realised[:, at].T) for at, target in enumerate(TARGETS)]


def _promise(gallery_n: int, target: float, fpir: Float64, threshold: Float64, at_floor: Float64) -> Promise:
    low, high = np.quantile(fpir, [0.025, 0.975])
    return Promise(gallery_n, target, float(fpir.mean()), low, high, float(threshold.mean()), float(at_floor.mean()))


def _one_each(faces: FaceSet, people: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    return np.array([rng.choice(np.nonzero(faces.people == person)[0]) for person in people])


def main() -> None:
    """Print one row a gallery and target."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.thresholds")
    parser.add_argument("faces_dir", type=Path)
    parser.add_argument("--pack", required=True)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--same", action="append", default=[], metavar="A=B", help="two names of one person")
    parser.add_argument("--cache", type=Path, help="as of `firstvisit models eval`")
    chosen = parser.parse_args()
    try:
        pack = open_pack(Store(default_root()), chosen.pack)
        faces = embed_folder(chosen.faces_dir, pack, lambda *_: None, cache=chosen.cache)
        faces = faces.joined(chosen.same).with_faces()
        print(f"{pack.pack_id}, {chosen.splits} splits by person; FPIR in %")
        print("| N | target | realised, mean [95 % of splits] | ratio | threshold | with the node's floor of 1,000 |")
        print("|---|---|---|---|---|---|")
        for gallery_n in GALLERIES:
            own, far_off = keep_promise(faces, gallery_n, chosen.splits, chosen.seed)
            for row in own:
                print(_line(row, f"{gallery_n}", f"{100 * row.at_node_floor:.3f}"), flush=True)
        for row in far_off:
            print(_line(row, f"{FARTHEST:,} (extrapolated)", "the same"))
        print("| N, templates of three images | … | … | … | … | by the table of single images |")
        for row in keep_promise_of_tracks(faces, chosen.splits, chosen.seed):
            print(_line(row, f"{TRACK_GALLERY} tracks", f"{100 * row.at_node_floor:.3f}"), flush=True)
        print("| N, after learning from a site | … | … | … | … | by the cautious table, unrefined |")
        for site_n in SITE_PEOPLE:
            for row in learn_from_site(faces, site_n, chosen.splits, chosen.seed):
                print(_line(row, f"{SITE_GALLERY}; {site_n} people", f"{100 * row.at_node_floor:.3f}"), flush=True)
    except ModelsError as error:
        sys.exit(str(error))


def _line(row: Promise, label: str, floor: str) -> str:
    return (
        f"| {label} | {100 * row.target:g} | {100 * row.mean:.3f} [{100 * row.low:.2f}, {100 * row.high:.2f}] "
        f"| {row.mean / row.target:.2f} | {row.threshold:.3f} | {floor} |"
    )


if __name__ == "__main__":
    main()
