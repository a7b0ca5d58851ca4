"""The worst errors of an identification as one local page of image pairs, to be looked at one by one."""

import base64
import html
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from models import ModelsError
from models.face_set import FaceSet
from models.identification import MISSED, threshold_at

SHOWN = 40  # of each kind
THUMB_PX = 200
PAGE_FPIR = 0.01

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;background:#f6f6f4;color:#222}"
    "section{display:grid;grid-template-columns:repeat(auto-fill,minmax(430px,1fr));gap:1rem}"
    "figure{margin:0;padding:.6rem;background:#fff;border:1px solid #ddd;border-radius:6px}"
    "figure img{height:200px;margin-right:.4rem}figcaption{font-size:13px}"
)


@dataclass(frozen=True, slots=True)
class FalseFirst:
    """A probe whose own person is not at rank 1 or under the threshold; rows of a FaceSet, similarities -1..1."""

    probe: int
    own: int
    own_similarity: float
    best: int
    best_similarity: float


@dataclass(frozen=True, slots=True)
class FalseReturn:
    """Two people at or over the threshold; rows of a FaceSet, similarity -1..1."""

    one: int
    other: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Errors:
    """false_firsts: least similar to themselves first. false_returns: most similar first. Both at `threshold`."""

    threshold: float
    false_firsts: tuple[FalseFirst, ...]
    false_returns: tuple[FalseReturn, ...]


def find_errors(faces: FaceSet, fpir: float = PAGE_FPIR) -> Errors:
    """Enrol everybody's best image, search all others, and each enrolled one against everybody else.

    Images without a face, counted elsewhere, are no part of it.
    """
    found = np.nonzero(faces.acquired)[0]
    best_first = found[np.argsort(-faces.qualities[found], kind="stable")]
    people, first = np.unique(faces.people[best_first], return_index=True)
    gallery = best_first[first]
    enrolled = faces.vectors[gallery]
    alarms = enrolled @ enrolled.T
    np.fill_diagonal(alarms, MISSED)
    threshold = threshold_at(alarms.max(axis=1), fpir)
    false_returns = [
        FalseReturn(int(gallery[one]), int(gallery[other]), float(alarms[one, other]))
        for one, other in zip(*np.nonzero(np.triu(alarms, 1) >= threshold), strict=True)
    ]
    false_firsts = []
    for probe in np.setdiff1d(found, gallery):
        own = int(np.searchsorted(people, faces.people[probe]))
        similarities = enrolled @ faces.vectors[probe]
        best = int(similarities.argmax())
        if best != own or similarities[own] < threshold:
            one = (int(probe), int(gallery[own]), float(similarities[own]))
            false_firsts.append(FalseFirst(*one, int(gallery[best]), float(similarities[best])))
    false_firsts.sort(key=lambda error: error.own_similarity)
    false_returns.sort(key=lambda error: -error.similarity)
    return Errors(threshold, tuple(false_firsts), tuple(false_returns))


def write_page(faces: FaceSet, pack_id: str, path: Path) -> Errors:
    """Write the page to `path`, images inside it; returns what it shows. It holds faces: keep it to yourself."""
    errors = find_errors(faces)
    firsts = [
        _figure(
            faces,
            (one.probe, one.own) if one.own == one.best else (one.probe, one.own, one.best),
            f"own person {one.own_similarity:.3f}, best {one.best_similarity:.3f}",
        )
        for one in errors.false_firsts[:SHOWN]
    ]
    returns = [_figure(faces, (one.one, one.other), f"{one.similarity:.3f}") for one in errors.false_returns[:SHOWN]]
    title = html.escape(f"{pack_id}: errors at FPIR {PAGE_FPIR:.0%}, threshold {errors.threshold:.3f}")
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1><p>{len(np.unique(faces.people)):,} people, each enrolled with their best image. "
        "Of a false first: the probe, its own person as enrolled and, where somebody else was nearer, that person; "
        "qualities in brackets.</p>"
        f"<h2>False firsts: {len(errors.false_firsts)}, the worst {len(firsts)}</h2>"
        f"<section>{''.join(firsts)}</section>"
        f"<h2>False returns: {len(errors.false_returns)} pairs, the worst {len(returns)}</h2>"
        f"<section>{''.join(returns)}</section></html>\n"
    )
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ModelsError(f"{path}: cannot be written: {error.strerror}") from error
    return errors


def _figure(faces: FaceSet, rows: tuple[int, ...], caption: str) -> str:
    images = "".join(f'<img src="data:image/jpeg;base64,{_thumb(faces.images[row])}" alt="">' for row in rows)
    names = " / ".join(f"{faces.names[faces.people[row]]} ({faces.qualities[row]:.2f})" for row in rows)
    return f"<figure>{images}<figcaption><b>{html.escape(caption)}</b><br>{html.escape(names)}</figcaption></figure>"


def _thumb(path: Path) -> str:
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ModelsError(f"{path}: has been no image since it was measured")
    scale = THUMB_PX / image.shape[0]
    thumb = cv2.resize(image, (max(1, round(image.shape[1] * scale)), THUMB_PX), interpolation=cv2.INTER_AREA)
    return base64.b64encode(cv2.imencode(".jpg", thumb)[1].tobytes()).decode()
