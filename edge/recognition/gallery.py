"""Everybody who can be recognised, in memory, searched exactly."""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.people.person_keys import VaultError
from edge.people.tables import VISITORS
from edge.people.template_choice import MOST_TEMPLATES
from edge.people.templates import SealedTemplate, StoredTemplate
from edge.people.vault import Vault
from edge.recognition.gallery_rows import Rows
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
    two who was enrolled first. lookalike: the likest of those whom the desk has marked as looking like the best, None
    where there are none; its similarity is -1 where nothing of them is searched.
    """

    best: Candidate | None
    second: Candidate | None
    people: int
    twins: float
    elder: str | None
    lookalike: Candidate | None = None

    @property
    def similarity(self) -> float | None:
        return self.best.similarity if self.best else None

    @property
    def margin(self) -> float | None:
        """How far the best is ahead of the second; None without a second."""
        return self.best.similarity - self.second.similarity if self.best and self.second else None


class Gallery:
    """The searchable people of one pack; follows the vault, which others write too."""

    def __init__(self, vault: Vault, pack_id: str, of: int = VISITORS) -> None:
        """of: whom to search, VISITORS or ROSTER."""
        self._vault = vault
        self._of = of
        self._pack_id = pack_id
        self._rows = Rows()
        self._damaged: set[int] = set()
        self._revision = vault.templates.revision()
        self._pairs = vault.lookalikes()
        self._load()

    def __len__(self) -> int:
        """How many people can be recognised."""
        return self._rows.people

    @property
    def templates(self) -> int:
        """How many templates a search compares with, of all people together."""
        return len(self._rows)

    def __contains__(self, person_id: str) -> bool:
        return person_id in self._rows

    def faces(self) -> dict[str, list[NDArray[np.float32]]]:
        """Everybody's vectors as they are searched; for a small gallery."""
        found: dict[str, list[NDArray[np.float32]]] = {}
        for row in range(len(self._rows)):
            found.setdefault(self._rows.person_id(row), []).append(self._rows.vector(row))
        return found

    def refresh(self) -> None:
        """Follow what others have added, settled or erased since the last look; costs what has changed."""
        revision = self._vault.templates.revision()
        if revision == self._revision:
            return
        self._pairs = self._vault.lookalikes()
        changed = self._vault.templates.changed_between(self._revision, revision)
        if changed is None:
            self._rows.clear()
            self._load()
        else:
            for person_id in changed:
                self._follow(person_id)
        self._revision = revision

    def add(self, stored: StoredTemplate) -> None:
        """Take in a template that this process has just written to the vault."""
        self._insert(stored)
        # one more than before is this very addition; anything else is somebody's change, still to be read
        if self._vault.templates.revision() == self._revision + 1:
            self._revision += 1

    def search(self, probe: Template, excluded: frozenset[str]) -> Match:
        """Compare `probe` (of this gallery's pack) with everybody but `excluded`."""
        if probe.pack_id != self._pack_id:
            raise ValueError(f"probe of pack {probe.pack_id} in a gallery of {self._pack_id}")
        rows = self._rows
        scores, people = rows.scores(probe.vector), rows.people
        for person in excluded:
            if struck := rows.of(person):
                scores[struck] = -np.inf
                people -= 1
        if not people:
            return Match(None, None, 0, -1.0, None)
        best_row = int(scores.argmax())
        best = Candidate(rows.person_id(best_row), float(scores[best_row]))
        lookalike = self._likest(self._pairs.get(best.person_id, frozenset()), scores)
        if people == 1:
            return Match(best, None, people, -1.0, best.person_id, lookalike)
        best_rows = rows.of(best.person_id)
        scores[best_rows] = -np.inf
        second_row = int(scores.argmax())
        second = Candidate(rows.person_id(second_row), float(scores[second_row]))
        between = rows.vectors(best_rows) @ rows.vectors(rows.of(second.person_id)).T
        elder = best if rows.since_us(best_row) <= rows.since_us(second_row) else second
        return Match(best, second, people, float(between.max()), elder.person_id, lookalike)

    def nearest(self, probe: Template, excluded: frozenset[str], most: int) -> list[Candidate]:
        """The `most` people likest to a probe but for `excluded`, nearest first."""
        scores = self._rows.scores(probe.vector)
        found: dict[str, float] = {}
        enough = (most + len(excluded)) * MOST_TEMPLATES
        likest = np.argpartition(scores, -enough)[-enough:] if enough < len(scores) else np.arange(len(scores))
        for row in likest[np.argsort(-scores[likest], kind="stable")]:
            person_id = self._rows.person_id(int(row))
            if person_id not in excluded:
                found.setdefault(person_id, float(scores[row]))
        return [Candidate(person_id, similarity) for person_id, similarity in list(found.items())[:most]]

    def _likest(self, pair: frozenset[str], scores: NDArray[np.float32]) -> Candidate | None:
        """The likest of some people, also where they are struck out or not here: that a pair was marked counts."""
        found = [Candidate(who, max((float(scores[row]) for row in self._rows.of(who)), default=-1.0)) for who in pair]
        best = max(found, key=lambda one: one.similarity, default=None)
        return None if best is None else Candidate(best.person_id, max(best.similarity, -1.0))

    def _load(self) -> None:
        for sealed in self._vault.templates.sealed(self._pack_id, gallery=self._of):
            self._take(sealed)

    def _follow(self, person_id: str) -> None:
        """Hold of this person what the vault holds."""
        sealed = {
            found.template_id: found for found in self._vault.templates.sealed(self._pack_id, person_id, self._of)
        }
        held = {self._rows.template_id(row): row for row in self._rows.of(person_id)}
        for row in sorted((row for number, row in held.items() if number not in sealed), reverse=True):
            self._rows.remove(row)  # from the end, so that a move never renumbers a row still to be removed
        for number in sorted(sealed.keys() - held.keys()):
            self._take(sealed[number])

    def _take(self, sealed: SealedTemplate) -> None:
        try:
            self._insert(sealed.opened())
        except (VaultError, ValueError) as error:  # one damaged face must not blind the node to everybody else's
            if sealed.template_id not in self._damaged:
                log.error("template left out: %s", error)
            self._damaged.add(sealed.template_id)

    def _insert(self, stored: StoredTemplate) -> None:
        self._rows.add(stored.template_id, stored.person_id, stored.created_us, stored.vector)
