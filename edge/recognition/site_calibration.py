"""How similar the site's own strangers look, learned from its gallery; the chain carries it as `policy.changed`."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge import EdgeError
from edge.consent import CapturePolicy
from edge.home import Home
from edge.people.tables import ROSTER, VISITORS
from edge.people.vault import Vault
from edge.proven import proven
from edge.recognition.decision import Rule, Strictness
from models.calibration import UPON, Calibration
from sync.format.canonical import Fields
from sync.format.records import Record
from sync.node.ledger import Ledger

FEWEST_PEOPLE = 100  # measured: models/README.md
MOST_PEOPLE = 1500  # the newest; their million pairs say no less than all of a larger gallery
_BLOCK = 256
_PER_RATE = 10**12  # a false match rate in a record: fmr_e12
_PER_SIMILARITY = 10**6


@dataclass(frozen=True, slots=True)
class SiteCalibration:
    """What a gallery says of its strangers.

    pairs: of different people, the newest template of one held against each of the other's, for thresholds count
    templates. templates: how many the visitors' gallery holds; before, after: the thresholds among so many, by the
    pack's own table and by `calibration`. known_same: pairs left out because a record or the roster says that they are
    one person. excluded: pairs left out because they pass the upper threshold: more likely one person enrolled twice.
    """

    calibration: Calibration
    people: int
    templates: int
    pairs: int
    known_same: int
    excluded: int
    before: Rule
    after: Rule


def learn(ledger: Ledger, vault: Vault, pack_id: str, shipped: Calibration, strictness: Strictness) -> SiteCalibration:
    """Compare everybody's newest template with everybody else's, visitors and roster; `shipped` is the pack's table.

    Raises EdgeError under FEWEST_PEOPLE.
    """
    people, owners, vectors, templates = _everybody(vault, pack_id)
    before = strictness.rule(shipped, templates)
    if len(people) < FEWEST_PEOPLE:
        raise EdgeError(f"{len(people)} people are remembered with pack {pack_id}, at least {FEWEST_PEOPLE} are needed")
    number = {person_id: at for at, person_id in enumerate(people)}
    same = {
        (min(number[one], number[other]), max(number[one], number[other]))
        for one, other in _known_same(ledger, vault)
        if one in number and other in number and one != other
    }
    newest = np.nonzero(np.append(owners[1:] != owners[:-1], True))[0]
    kept: list[NDArray[np.float32]] = []
    excluded: set[tuple[int, int]] = set()
    for start in range(0, len(people), _BLOCK):
        probes = np.arange(start, min(start + _BLOCK, len(people)))
        scores = vectors[newest[probes]] @ vectors.T
        apart = probes[:, np.newaxis] != owners
        for one, other in [*same, *((other, one) for one, other in same)]:
            if start <= one < start + _BLOCK:
                apart[one - start, owners == other] = False
        twice = apart & (scores >= before.upper)
        for row, column in zip(*(at.tolist() for at in np.nonzero(twice)), strict=True):
            one, other = start + row, int(owners[column])
            excluded.add((min(one, other), max(one, other)))
        kept.append(scores[apart & ~twice])
    pairs = len(people) * (len(people) - 1) // 2 - len(same) - len(excluded)
    calibration = shipped.refined(np.concatenate(kept), pairs, len(people))
    after = strictness.rule(calibration, templates)
    return SiteCalibration(calibration, len(people), templates, pairs, len(same), len(excluded), before, after)


def record(ledger: Ledger, policy: CapturePolicy, pack_id: str, learnt: SiteCalibration | None) -> Record:
    """Append `policy.changed` with the table that holds from now on for a pack; None: the pack's own again."""
    fields: Fields = {"pack": pack_id, "points": []}
    if learnt is not None:
        fields |= {
            "people": learnt.people,
            "pairs": learnt.pairs,
            "known_same": learnt.known_same,
            "excluded": learnt.excluded,
            "points": [
                {"fmr_e12": round(fmr * _PER_RATE), "similarity_e6": round(similarity * _PER_SIMILARITY)}
                for fmr, similarity in learnt.calibration.points
            ],
        }
    return ledger.append("policy.changed", policy.fields() | {"calibration": fields})


def in_force(home: Home, ledger: Ledger, pack_id: str, shipped: Calibration) -> Calibration:
    """Return the table that the chain's last word on this pack names, the pack's own where there is none.

    A word that the node's key has not signed is none, whoever wrote it into the database: the desk may write there.
    """
    found = [record for record in ledger.records(("policy.changed",)) if _names(record, pack_id)]
    last = next(reversed(proven(home.path, ledger, found)), None)
    if last is None or not last.fields["calibration"]["points"]:
        return shipped
    fields = last.fields["calibration"]
    points = tuple((one["fmr_e12"] / _PER_RATE, one["similarity_e6"] / _PER_SIMILARITY) for one in fields["points"])
    return Calibration(points, f"{fields['people']:,} people of this site{UPON}{shipped.measured}")


def _names(record: Record, pack_id: str) -> bool:
    fields = record.fields.get("calibration")
    return isinstance(fields, dict) and fields.get("pack") == pack_id


def _everybody(vault: Vault, pack_id: str) -> tuple[list[str], NDArray[np.intp], NDArray[np.float32], int]:
    """The newest people: ids (P,); whose each template is (T,), people's one behind the other, and its vector (T, D).

    The last number is how many templates the visitors' gallery holds.
    """
    vectors: dict[str, list[NDArray[np.float32]]] = {}
    templates = 0
    for gallery in (ROSTER, VISITORS):
        for sealed in vault.templates.sealed(pack_id, gallery=gallery):
            stored = sealed.opened()
            vectors.setdefault(stored.person_id, []).append(stored.vector)
            templates += gallery == VISITORS
    people = list(vectors)[-MOST_PEOPLE:]
    owners = np.repeat(np.arange(len(people)), [len(vectors[person_id]) for person_id in people])
    rows = [vector for person_id in people for vector in vectors[person_id]]
    return people, owners, np.stack(rows) if rows else np.empty((0, 0), np.float32), templates


def _known_same(ledger: Ledger, vault: Vault) -> Iterable[tuple[str, str]]:
    """Ids of one person under two: members of staff and the visitors they were, and proposed merges."""
    for member in vault.enrolled.all():
        if member.visitor_id is not None:
            yield member.person_id, member.visitor_id
    for visit in ledger.records(("visit.return",)):
        merge = visit.fields.get("merge")
        if isinstance(merge, list) and len(merge) == 2:
            yield merge[0], merge[1]
