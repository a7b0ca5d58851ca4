"""Everybody who can be recognised, in memory, searched exactly."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.vault import Vault
from models.faces import Template


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
        self._vectors = np.empty((0, 0), np.float32)  # rows beyond _count are spare room
        self._count = 0
        self._owners: list[str] = []
        self._rows_of: dict[str, list[int]] = {}
        self.refresh()

    def __len__(self) -> int:
        """How many people can be recognised."""
        return len(self._rows_of)

    def __contains__(self, person_id: str) -> bool:
        return person_id in self._rows_of

    def refresh(self) -> None:
        """Follow what others have added, settled or erased since the last look."""
        revision = self._vault.revision()
        if revision == self._revision:
            return
        stored = list(self._vault.templates(self._pack_id))
        self._vectors = np.stack([template.vector for template in stored]) if stored else np.empty((0, 0), np.float32)
        self._count = len(stored)
        self._owners = [template.person_id for template in stored]
        self._rows_of = {}
        for row, owner in enumerate(self._owners):
            self._rows_of.setdefault(owner, []).append(row)
        self._revision = revision

    def add(self, person_id: str, template: Template) -> None:
        """Take in a person whom this process has just written to the vault."""
        if self._count == len(self._vectors):
            spare = max(64, self._count)
            wider = np.zeros((self._count + spare, len(template.vector)), np.float32)
            if self._count:
                wider[: self._count] = self._vectors[: self._count]
            self._vectors = wider
        self._vectors[self._count] = template.vector
        self._owners.append(person_id)
        self._rows_of.setdefault(person_id, []).append(self._count)
        self._count += 1
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
        scores = self._vectors[: self._count] @ probe.vector
        for person in excluded:
            scores[self._rows_of.get(person, [])] = -np.inf
        best = self._strongest(scores)
        best_rows = self._rows_of[best.person_id]
        if people == 1:
            return Match(best, None, people, -1.0, best.person_id)
        scores[best_rows] = -np.inf
        second = self._strongest(scores)
        second_rows = self._rows_of[second.person_id]
        between = self._vectors[best_rows] @ self._vectors[second_rows].T
        elder = best if min(best_rows) < min(second_rows) else second
        return Match(best, second, people, float(between.max()), elder.person_id)

    def _strongest(self, scores: NDArray[np.float32]) -> Candidate:
        row = int(scores.argmax())
        return Candidate(self._owners[row], float(scores[row]))
