"""Everybody who can be recognised, in memory, searched exactly."""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.vault import StoredTemplate, Vault, VaultError
from models.faces import Template

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A person and the best similarity (-1..1) of their templates to the probe."""

    person_id: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Match:
    """The answer of an exact search, nothing decided yet.

    best, second: the two most similar people, None where the gallery has fewer. people: how many people were
    compared. twins: similarity between best and second themselves, -1 where there is no second. elder: the one of the
    two who was enrolled first.
    """

    best: Candidate | None
    second: Candidate | None
    people: int
    twins: float
    elder: str | None

    @property
    def similarity(self) -> float | None:
        return self.best.similarity if self.best else None

    @property
    def margin(self) -> float | None:
        """How far the best is ahead of the second; None without a second."""
        return self.best.similarity - self.second.similarity if self.best and self.second else None


class Gallery:
    """The searchable people of one pack; follows the vault, which others write too."""

    def __init__(self, vault: Vault, pack_id: str) -> None:
        self._vault = vault
        self._pack_id = pack_id
        self._revision = -1
        self._vectors = np.empty((0, 0), np.float32)  # rows beyond the templates held are spare room, zeroed
        self._ids: list[int] = []
        self._owners: list[str] = []
        self._rows_of: dict[str, set[int]] = {}
        self._known_since: dict[str, int] = {}
        self._damaged: set[int] = set()
        self.refresh()

    def __len__(self) -> int:
        """How many people can be recognised."""
        return len(self._rows_of)

    def __contains__(self, person_id: str) -> bool:
        return person_id in self._rows_of

    def refresh(self) -> None:
        """Follow what others have added, settled or erased since the last look; costs what has changed."""
        revision = self._vault.revision()
        if revision == self._revision:
            return
        owners = self._vault.owners(self._pack_id)
        for row in range(len(self._ids) - 1, -1, -1):  # from the end, so that a swap never moves an unseen row
            if owners.get(self._ids[row]) != self._owners[row]:
                self._remove(row)
        for template_id in sorted(owners.keys() - set(self._ids)):
            try:
                stored = self._vault.template(template_id)
            except VaultError as error:  # one damaged face must not blind the node to everybody else's
                if template_id not in self._damaged:
                    log.error("template left out: %s", error)
                self._damaged.add(template_id)
                continue
            if stored is not None:
                self._insert(stored)
        self._revision = revision

    def add(self, stored: StoredTemplate) -> None:
        """Take in a template that this process has just written to the vault."""
        self._insert(stored)
        # one more than before is this very addition; anything else is somebody's change, still to be read
        if self._vault.revision() == self._revision + 1:
            self._revision += 1

    def search(self, probe: Template, excluded: frozenset[str]) -> Match:
        """Compare `probe` (of this gallery's pack) with everybody but `excluded`."""
        if probe.pack_id != self._pack_id:
            raise ValueError(f"probe of pack {probe.pack_id} in a gallery of {self._pack_id}")
        people = len(self._rows_of) - sum(person in self._rows_of for person in excluded)
        if not people:
            return Match(None, None, 0, -1.0, None)
        scores = self._vectors[: len(self._ids)] @ probe.vector
        for person in excluded:
            scores[list(self._rows_of.get(person, ()))] = -np.inf
        best = self._strongest(scores)
        best_rows = list(self._rows_of[best.person_id])
        if people == 1:
            return Match(best, None, people, -1.0, best.person_id)
        scores[best_rows] = -np.inf
        second = self._strongest(scores)
        between = self._vectors[best_rows] @ self._vectors[list(self._rows_of[second.person_id])].T
        elder = min(best, second, key=lambda candidate: self._known_since[candidate.person_id])
        return Match(best, second, people, float(between.max()), elder.person_id)

    def _strongest(self, scores: NDArray[np.float32]) -> Candidate:
        row = int(scores.argmax())
        return Candidate(self._owners[row], float(scores[row]))

    def _insert(self, stored: StoredTemplate) -> None:
        row = len(self._ids)
        if row == len(self._vectors):
            wider = np.zeros((row + max(64, row), len(stored.vector)), np.float32)
            if row:
                wider[:row] = self._vectors[:row]
            self._vectors = wider
        self._vectors[row] = stored.vector
        self._ids.append(stored.template_id)
        self._owners.append(stored.person_id)
        self._rows_of.setdefault(stored.person_id, set()).add(row)
        self._known_since[stored.person_id] = stored.created_us

    def _remove(self, row: int) -> None:
        """Drop a row; the last one takes its place."""
        owner, last = self._owners[row], len(self._ids) - 1
        self._rows_of[owner].discard(row)
        if not self._rows_of[owner]:
            del self._rows_of[owner], self._known_since[owner]
        if row != last:
            self._vectors[row] = self._vectors[last]
            self._ids[row], self._owners[row] = self._ids[last], self._owners[last]
            rows = self._rows_of[self._owners[row]]
            rows.discard(last)
            rows.add(row)
        self._vectors[last] = 0.0
        self._ids.pop()
        self._owners.pop()
