"""Searching 10,000, 100,000 and a million templates exactly, beside one BLAS product of the same size."""

import gc
import statistics
import time
from pathlib import Path
from typing import Self

import numpy as np

from edge.people.templates import SealedTemplate, StoredTemplate
from edge.recognition.gallery import Gallery
from models.faces import Template
from tests.bench.report import Row

DIM = 128
SIZES = (10_000, 100_000, 1_000_000)
MAX_RATIO, MAX_MB, MAX_GROWTH = 1.3, 600.0, 3.0


class _NoVault:
    """What a Gallery asks of its vault, for people who are nowhere but in memory."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def templates(self) -> Self:
        return self

    def revision(self) -> int:
        return self.count

    def lookalikes(self) -> dict[str, frozenset[str]]:
        return {}

    def sealed(self, _pack: str, _person: str | None = None, gallery: int = 1) -> list[SealedTemplate]:  # noqa: ARG002
        return []

    def changed_between(self, _after: int, _revision: int) -> list[str]:
        return ["p-to-erase"]


def bench(runs: int) -> list[Row]:
    rows: list[Row] = []
    change_us: dict[int, float] = {}
    for size in SIZES:
        rng = np.random.default_rng(size)
        before_mb, started_s = _resident_mb(), time.process_time()
        vault = _NoVault()
        gallery = Gallery(vault, "bench@0")  # type: ignore[arg-type]
        for start in range(0, size, 10_000):
            block = _unit(rng, 10_000)
            for offset, vector in enumerate(block):
                number = start + offset
                vault.count += 1
                gallery.add(StoredTemplate(number, f"p-{number:020x}", number, vector))
        insert_us = (time.process_time() - started_s) / size * 1e6
        held_mb = _resident_mb() - before_mb
        change_us[size] = _changes_us(gallery, vault, rng)
        plain = np.concatenate([block.vectors[: size - at * len(block.vectors)] for at, block in _blocks(gallery)])
        ours, product = _times(gallery, plain, rng, max(runs, 5) if size > 100_000 else 20 * max(runs, 5))
        ratio = statistics.median(ours) / statistics.median(product)
        detail = f"{statistics.median(ours) * 1e3:.3f} against {statistics.median(product) * 1e3:.3f} ms"
        detail += f", median of {len(ours)}; insert {insert_us:.0f} us"
        rows.append(Row(f"search {size:,} x {DIM}", "one BLAS product", ratio, "x", "<=", MAX_RATIO, detail))
        if size == SIZES[-1]:
            rows.append(Row(f"memory of {size:,} templates", "-", held_mb, " MB", "<=", MAX_MB, "resident, as it grew"))
        del plain, gallery
        gc.collect()
    growth = change_us[SIZES[-1]] / change_us[SIZES[0]]
    detail = ", ".join(f"{us:.0f} us at {size:,}" for size, us in change_us.items())
    rows.append(Row("insert and erase, 1,000,000 to 10,000", "itself", growth, "x", "<=", MAX_GROWTH, detail))
    return rows


def _changes_us(gallery: Gallery, vault: _NoVault, rng: np.random.Generator) -> float:
    """The time, us, of adding somebody and erasing them, as another process's erasure reaches the gallery."""
    taken = []
    for number, vector in enumerate(_unit(rng, 500)):
        started_s = time.process_time()
        vault.count += 1
        gallery.add(StoredTemplate(10**9 + number, "p-to-erase", 0, vector))
        vault.count += 1
        gallery.refresh()
        taken.append(time.process_time() - started_s)
        assert "p-to-erase" not in gallery
    return statistics.median(taken) * 1e6


def _times(gallery: Gallery, plain: np.ndarray, rng: np.random.Generator, runs: int) -> tuple[list[float], list[float]]:
    """Processor seconds of searches and of products, in turn; each answer is checked against the product's."""
    ours, product = [], []
    for probe in _unit(rng, runs):
        template = Template(probe, "bench@0")
        started_s = time.process_time()
        scores = plain @ probe
        product.append(time.process_time() - started_s)
        started_s = time.process_time()
        match = gallery.search(template, frozenset())
        ours.append(time.process_time() - started_s)
        first, second = np.argsort(-scores)[:2]
        assert match.best is not None
        assert match.second is not None
        assert abs(match.best.similarity - scores[first]) < 1e-5
        assert abs(match.second.similarity - scores[second]) < 1e-5
    return ours, product


def _blocks(gallery: Gallery) -> list[tuple[int, object]]:
    return list(enumerate(gallery._rows._blocks))


def _unit(rng: np.random.Generator, count: int) -> np.ndarray:
    vectors = rng.standard_normal((count, DIM), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
