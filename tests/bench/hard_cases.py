"""What recognition still gives for masked, small, blurred, dark and turned faces, and what the gates keep out.

1,000 people of FACES/PERSON/* are enrolled with their first image as it is. The probes are second images of people
among them and images of people who are not, all of them people that `models/masks_train.py` did not train on, altered
case by case. Decided as a node decides: the pack's thresholds at the defaults, the margin, one image a track.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.random import Generator

from camera.pipeline import MIN_FACE_PX
from camera.quality import MIN_FRONTALITY, MIN_QUALITY_ALONE, face_px, frontality, quality
from edge.recognition.decision import GALLERY_FLOOR, Rule, Strictness
from edge.settings import Recognition
from models.face_set import FaceSet, embed_folder
from models.faces import Face, Float32, Image
from models.masks import MaskDetector, shipped
from models.masks_drawn import with_mask
from models.masks_train import found, held_out, textures
from models.pack import Pack, open_pack
from models.store import Store, default_root

SIZES_PX = (24, 28, 32, 40, 48, 60)
Alter: TypeAlias = Callable[[Image, Face, Generator], Image]


@dataclass(slots=True)
class Tally:
    """Outcomes of one case. mates: right, unsure, false first, wrong person; strangers: first, unsure, false return."""

    probes: int = 0
    unseen: int = 0
    gated: int = 0
    masked: int = 0
    mates: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    gated_mates: list[str] = field(default_factory=list)
    gated_strangers: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    vectors: Float32
    people: list[str]
    rule: Rule

    def outcome(self, vector: Float32, person: str) -> str:
        """How a probe is decided: right, wrong, unsure or first."""
        similarities = self.vectors @ vector
        best, second = np.argsort(similarities)[::-1][:2]
        if similarities[best] < self.rule.lower:
            return "first"
        if similarities[best] < self.rule.upper or similarities[best] - similarities[second] < self.rule.margin:
            return "unsure"
        return "right" if self.people[best] == person else "wrong"


def bench(faces: Path, probes: int, cache: Path | None) -> None:
    """Print the table; probes: of mates and of strangers, at most."""
    store = Store(default_root())
    name = store.pick(None)
    pack = open_pack(store, name)
    everybody = embed_folder(faces, pack, lambda _done, _total: None, cache=cache)
    gallery, mates, strangers = _enrolled(everybody, pack, probes)
    print(
        f"pack {pack.pack_id}; {len(gallery.people)} enrolled; probes of {len(mates)} mates, {len(strangers)} strangers"
    )
    print(f"upper {gallery.rule.upper:.3f}, lower {gallery.rule.lower:.3f}, margin {gallery.rule.margin:.3f}")
    mate, stranger, kept_out = "right | unsure | first | wrong", "stranger: unsure | return", "gated: right | return"
    print(f"| case | found | masked | gated | {mate} | {stranger} | {kept_out} |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    masks = shipped()
    for case, alter in cases().items():
        tally = _run(pack, masks, gallery, mates, strangers, alter, check_px=not case.startswith("face of"))
        print(_row(case, tally), flush=True)
    _look_alikes(gallery, pack, mates, strangers)
    _turned(everybody, gallery, pack, 6 * probes)


def cases() -> dict[str, Alter]:
    """Every alteration by name."""
    drawn_on = textures()
    table: dict[str, Alter] = {
        "as it is": lambda image, _face, _rng: image,
        "masked": lambda image, face, rng: with_mask(image, face, rng, drawn_on),
        "dark glasses": _with_glasses,
    }
    for px in SIZES_PX:
        table[f"face of {px} px"] = lambda image, face, _rng, px=px: _resized(image, px / face_px(face))  # type: ignore[misc]
    for sigma in (0.03, 0.05, 0.08):
        table[f"blurred, sigma {sigma:.0%} of the face"] = lambda image, face, _rng, s=sigma: _blurred(
            image, s * face_px(face)
        )  # type: ignore[misc]
    for share, noise in ((0.25, 4.0), (0.1, 4.0), (0.05, 4.0)):
        table[f"light x {share}, noise {noise:.0f}"] = lambda image, _face, rng, a=share, n=noise: _dark(
            image, a, n, rng
        )  # type: ignore[misc]
    for share in (0.75, 0.6, 0.5):
        table[f"narrowed to {share}"] = lambda image, _face, _rng, a=share: _narrowed(image, a)  # type: ignore[misc]
    return table


def _enrolled(faces: FaceSet, pack: Pack, probes: int) -> tuple[Gallery, list[Path], list[Path]]:
    rows: dict[str, list[int]] = {}
    for row, person in enumerate(faces.people):
        if faces.acquired[row]:
            rows.setdefault(faces.names[person], []).append(row)
    kept = sorted(person for person in rows if held_out(person))
    mates = [person for person in kept if len(rows[person]) > 1][:probes]
    strangers = [person for person in kept if person not in mates][:probes]
    others = sorted(person for person in rows if person not in {*mates, *strangers})
    people = [*mates, *others][:GALLERY_FLOOR]
    strictness = Strictness.of(Recognition())
    vectors = faces.vectors[[rows[person][0] for person in people]]
    gallery = Gallery(vectors, people, strictness.rule(pack.calibration, GALLERY_FLOOR))
    return (
        gallery,
        [faces.images[rows[person][1]] for person in mates],
        [faces.images[rows[person][0]] for person in strangers],
    )


def _run(
    pack: Pack,
    masks: MaskDetector,
    gallery: Gallery,
    mates: list[Path],
    strangers: list[Path],
    alter: Alter,
    *,
    check_px: bool,
) -> Tally:
    tally, rng = Tally(), np.random.default_rng(17)
    for path in (*mates, *strangers):
        plain = np.asarray(cv2.imread(str(path)), np.uint8)
        first = found(pack.detector, plain)
        if first is None:
            continue
        tally.probes += 1
        image = alter(plain, first, rng)
        face = found(pack.detector, image)
        if face is None:
            tally.unseen += 1
            continue
        value = quality(image, face)
        gated = frontality(face) < MIN_FRONTALITY or value < MIN_QUALITY_ALONE
        gated = gated or (check_px and face_px(face) < MIN_FACE_PX)
        refined = pack.refine(image, face)
        tally.masked += masks.masked(image, refined) >= 0.5
        vector = pack.embedder.embed(pack.embedder.align(image, refined)[np.newaxis])[0]
        outcome = gallery.outcome(vector, path.parent.name)
        is_mate = path in mates
        tally.gated += gated
        if gated:
            (tally.gated_mates if is_mate else tally.gated_strangers).append(outcome)
        else:
            (tally.mates if is_mate else tally.strangers).append(outcome)
    return tally


def _row(case: str, tally: Tally) -> str:
    seen = tally.probes - tally.unseen

    def share(outcomes: list[str], *kinds: str) -> str:
        return f"{sum(one in kinds for one in outcomes) / len(outcomes):.1%}" if outcomes else "–"

    cells = [
        case,
        f"{seen / tally.probes:.1%}",
        f"{tally.masked / max(1, seen):.1%}",
        f"{tally.gated / max(1, seen):.1%}",
        *(share(tally.mates, kind) for kind in ("right", "unsure", "first", "wrong")),
        share(tally.strangers, "unsure"),
        share(tally.strangers, "wrong", "right"),
        share(tally.gated_mates, "right"),
        share(tally.gated_strangers, "wrong", "right"),
    ]
    return "| " + " | ".join(cells) + " |"


def _look_alikes(gallery: Gallery, pack: Pack, mates: list[Path], strangers: list[Path]) -> None:
    """How the tenth of the strangers most like somebody enrolled are decided, and mates whose like is enrolled."""
    ranked: list[tuple[float, str]] = []
    close: list[tuple[float, str]] = []
    for path in (*strangers, *mates):
        image = np.asarray(cv2.imread(str(path)), np.uint8)
        face = found(pack.detector, image)
        if face is None:
            continue
        vector = pack.embedder.embed(pack.chip(image, face)[np.newaxis])[0]
        similarities = gallery.vectors @ vector
        own = [number for number, person in enumerate(gallery.people) if person == path.parent.name]
        similarities[own] = -1.0
        (close if own else ranked).append((float(similarities.max()), gallery.outcome(vector, path.parent.name)))
    for what, listed in (
        ("strangers most like somebody enrolled", ranked),
        ("mates with the nearest look-alike", close),
    ):
        tenth = sorted(listed, reverse=True)[: max(1, len(listed) // 10)]
        counted = {kind: sum(outcome == kind for _, outcome in tenth) for kind in ("right", "unsure", "first", "wrong")}
        print(f"{what}, a tenth of them, similarity {tenth[-1][0]:.3f} to {tenth[0][0]:.3f}: {counted}")


def _turned(faces: FaceSet, gallery: Gallery, pack: Pack, probes: int) -> None:
    """How heads are decided as they were photographed, by frontality: of anybody enrolled, images after the first."""
    enrolled = set(gallery.people)
    by_band: dict[str, list[str]] = {"under 0.15, gated": [], "0.15 to 0.5": [], "0.5 to 0.9": [], "0.9 and more": []}
    done = 0
    for row in np.random.default_rng(1).permutation(len(faces.images)):
        person = faces.names[faces.people[row]]
        first = int(np.nonzero((faces.people == faces.people[row]) & faces.acquired)[0][0])
        if person not in enrolled or row == first or not faces.acquired[row] or done >= probes:
            continue
        done += 1
        face = found(pack.detector, np.asarray(cv2.imread(str(faces.images[row])), np.uint8))
        if face is None:
            continue
        front = frontality(face)
        band = list(by_band)[int(front >= MIN_FRONTALITY) + int(front >= 0.5) + int(front >= 0.9)]
        by_band[band].append(gallery.outcome(faces.vectors[row], person))
    for band, outcomes in by_band.items():
        counted = {kind: sum(outcome == kind for outcome in outcomes) for kind in ("right", "unsure", "first", "wrong")}
        print(f"frontality {band}: {len(outcomes)} images, {counted}")


def _with_glasses(image: Image, face: Face, _rng: Generator) -> Image:
    """Dark glasses over both eyes."""
    left, right = face.landmarks_xy[0].astype(float), face.landmarks_xy[1].astype(float)
    apart = float(np.linalg.norm(right - left))
    drawn = image.copy()
    angle = float(np.degrees(np.arctan2(right[1] - left[1], right[0] - left[0])))
    for eye in (left, right):
        axes = (round(0.38 * apart), round(0.27 * apart))
        cv2.ellipse(drawn, (round(eye[0]), round(eye[1])), axes, angle, 0, 360, (28, 26, 24), -1, cv2.LINE_AA)
    cv2.line(
        drawn,
        (round(left[0]), round(left[1])),
        (round(right[0]), round(right[1])),
        (28, 26, 24),
        max(1, round(0.07 * apart)),
    )
    return drawn


def _resized(image: Image, scale: float) -> Image:
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _blurred(image: Image, sigma_px: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.uint8)


def _dark(image: Image, share: float, noise: float, rng: Generator) -> Image:
    """Less light, a sensor's noise, and the camera's gain, which brings both up again to half of what it was."""
    dim = image.astype(np.float32) * share + rng.normal(0, noise, image.shape)
    return np.clip(dim * min(0.5 / share, 8.0), 0, 255).astype(np.uint8)


def _narrowed(image: Image, share: float) -> Image:
    """As if turned away: narrower, and no less high."""
    return np.asarray(cv2.resize(image, None, fx=share, fy=1.0, interpolation=cv2.INTER_AREA), np.uint8)
