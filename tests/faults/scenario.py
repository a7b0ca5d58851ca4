"""A scenario: what `make faults` runs, and the mutant that it must notice."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Work:
    """What a scenario is run with.

    root: an empty folder of its own. cut: the shorter one of CI. mutant: the one to start processes with, where one is
    to be noticed; then as little as shows it is enough. rng: of everything that is chosen by chance.
    """

    root: Path
    cut: bool
    rng: random.Random
    mutant: str | None = None

    def times(self, full: int, cut: int, mutant: int | None = None) -> int:
        """How often, in this run."""
        if self.mutant is not None:
            return cut if mutant is None else mutant
        return cut if self.cut else full

    def mutants(self, *names: str) -> tuple[str, ...]:
        """The mutant in force, where it is one of these."""
        return (self.mutant,) if self.mutant in names else ()


@dataclass(slots=True)
class Result:
    """What a scenario found: its figures for a person to read, and everything that is wrong."""

    figures: str = ""
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row.

    mutants: by name, a piece of the problem that its run must find. alone: measures latencies, so nothing may run
    beside it.
    """

    number: int
    title: str
    run: Callable[[Work], Result]
    mutants: dict[str, str] = field(default_factory=dict)
    alone: bool = False
