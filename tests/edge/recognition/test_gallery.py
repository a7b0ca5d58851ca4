"""The gallery answers exactly what comparing everybody one by one would."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Self

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.clock import Clock
from edge.home import Home
from edge.people.tables import VISITORS
from edge.people.templates import SealedTemplate, StoredTemplate
from edge.people.vault import Vault, opened
from edge.recognition.gallery import Gallery
from models.faces import Template
from sync.node.ledger import Ledger

PACK = "test@000000000000"
NOW = datetime(2026, 7, 1, 2, tzinfo=UTC)
DIM = 16


def unit(vector: np.ndarray) -> np.ndarray:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def random_unit(rng: np.random.Generator) -> np.ndarray:
    return unit(rng.standard_normal(DIM))


def probe(vector: np.ndarray, pack: str = PACK) -> Template:
    return Template(unit(vector), pack)


@pytest.fixture
def vault(home: Home) -> Iterator[Vault]:
    with opened(home.database, home.keys_database) as vault:
        yield vault


@pytest.fixture
def ledger(home: Home) -> Iterator[Ledger]:
    ledger = home.open_ledger("node", Clock())
    yield ledger
    ledger.close()


_clock = itertools.count()  # people are stored one after the other


def store(
    vault: Vault, ledger: Ledger, person_id: str, vector: np.ndarray, *, searchable: bool = True, pack: str = PACK
) -> None:
    vault.create_key(person_id)
    with ledger.transaction() as transaction:
        vault.add_person(
            transaction.connection, person_id, pack, vector, NOW + timedelta(seconds=1) * next(_clock), searchable
        )


def newest(vault: Vault) -> StoredTemplate:
    """What `Visits` hands on after it has written a template."""
    return list(vault.templates.sealed(PACK))[-1].opened()


def holds(gallery: Gallery, vector: np.ndarray) -> bool:
    """Whether a vector lies anywhere in the gallery's memory, rows no longer used included."""
    return any(vector.tobytes() in block.vectors.tobytes() for block in gallery._rows._blocks)


class FewPeople:
    """What a Gallery reads of a vault, for as many galleries as hypothesis wants to try."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def templates(self) -> Self:
        return self

    def revision(self) -> int:
        return self.count

    def lookalikes(self) -> dict[str, frozenset[str]]:
        return {}

    def sealed(self, _pack: str, gallery: int) -> list[SealedTemplate]:
        assert gallery == VISITORS
        return []


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1), st.integers(0, 150), st.integers(1, 40), st.integers(0, 10))
def test_the_search_is_exact_against_comparing_one_by_one(seed: int, rows: int, people: int, struck: int) -> None:
    rng = np.random.default_rng(seed)
    vault = FewPeople()
    gallery = Gallery(vault, PACK)  # type: ignore[arg-type]
    owners = [f"p{rng.integers(people)}" for _ in range(rows)]
    vectors = [random_unit(rng) for _ in range(rows)]
    for number, (owner, vector) in enumerate(zip(owners, vectors, strict=True)):
        vault.count += 1
        gallery.add(StoredTemplate(number, owner, owners.index(owner), vector))
    asked = random_unit(rng)
    excluded = frozenset(f"p{i}" for i in range(struck)) | {"nobody-we-know"}
    best: dict[str, float] = {}
    for owner, vector in zip(owners, vectors, strict=True):
        if owner not in excluded:
            best[owner] = max(best.get(owner, -2.0), float(vector @ asked))
    ranked = sorted(best.items(), key=lambda item: -item[1])

    match = gallery.search(probe(asked), excluded)

    assert match.people == len(best)
    assert len(gallery) == len(set(owners))
    if not ranked:
        assert (match.best, match.second, match.similarity, match.margin, match.elder) == (None,) * 5
        return
    assert match.best is not None
    assert match.similarity == pytest.approx(ranked[0][1], abs=1e-5)
    assert match.best.person_id == ranked[0][0]
    if len(ranked) == 1:
        assert match.second is None
        assert match.margin is None
        assert match.twins == -1.0
        return
    assert match.second is not None
    assert match.second.person_id == ranked[1][0]
    assert match.margin == pytest.approx(ranked[0][1] - ranked[1][1], abs=1e-5)
    of = {name: [v for o, v in zip(owners, vectors, strict=True) if o == name] for name in (ranked[0][0], ranked[1][0])}
    first, second = of.values()
    assert match.twins == pytest.approx(max(float(a @ b) for a in first for b in second), abs=1e-5)
    assert match.elder == min(of, key=owners.index)


def test_the_stored_people_are_searched_the_provisional_and_other_packs_are_not(vault: Vault, ledger: Ledger) -> None:
    rng = np.random.default_rng(1)
    known, provisional, foreign = (random_unit(rng) for _ in range(3))
    store(vault, ledger, "p-1", known)
    store(vault, ledger, "p-2", provisional, searchable=False)
    store(vault, ledger, "p-3", foreign, pack="other@000000000000")
    gallery = Gallery(vault, PACK)
    assert len(gallery) == 1
    match = gallery.search(probe(provisional), frozenset())
    assert match.best is not None
    assert match.best.person_id == "p-1"
    assert "p-1" in gallery
    assert "p-2" not in gallery


def test_two_people_who_look_alike_name_the_one_enrolled_first(vault: Vault, ledger: Ledger) -> None:
    rng = np.random.default_rng(2)
    face, stranger = random_unit(rng), random_unit(rng)
    nearly = unit(face + 0.05 * stranger)
    store(vault, ledger, "p-elder", nearly)
    store(vault, ledger, "p-stranger", stranger)
    store(vault, ledger, "p-newer", face)
    match = Gallery(vault, PACK).search(probe(face), frozenset())
    assert match.best is not None
    assert match.second is not None
    assert (match.best.person_id, match.second.person_id, match.elder) == ("p-newer", "p-elder", "p-elder")
    assert match.twins == pytest.approx(float(nearly @ face), abs=1e-6)


def test_striking_everybody_leaves_nobody_to_compare(vault: Vault, ledger: Ledger) -> None:
    vector = random_unit(np.random.default_rng(3))
    store(vault, ledger, "p-1", vector)
    match = Gallery(vault, PACK).search(probe(vector), frozenset({"p-1"}))
    assert (match.best, match.people) == (None, 0)


def test_another_process_s_people_are_followed_and_the_erased_leave_memory(
    home: Home, vault: Vault, ledger: Ledger
) -> None:
    rng = np.random.default_rng(4)
    first, second, third = (random_unit(rng) for _ in range(3))
    store(vault, ledger, "p-1", first)
    gallery = Gallery(vault, PACK)
    with opened(home.database, home.keys_database) as other:
        store(other, ledger, "p-2", second)
        gallery.refresh()
        assert "p-2" in gallery
        # somebody else writes between our own addition and the look: neither may be lost
        store(vault, ledger, "p-3", third)
        other.destroy_keys(["p-1"])
        with ledger.transaction() as transaction:
            other.forget(transaction.connection, "p-1")
        gallery.add(newest(vault))
        gallery.refresh()
    assert "p-1" not in gallery
    assert {"p-2", "p-3"} == {p for p in ("p-1", "p-2", "p-3") if p in gallery}
    match = gallery.search(probe(first), frozenset())
    assert match.people == 2
    assert match.similarity is not None
    assert match.similarity < 0.99
    assert not holds(gallery, first)


def test_a_refresh_with_nothing_new_reads_nothing_and_the_own_addition_is_not_read_twice(
    vault: Vault, ledger: Ledger
) -> None:
    rng = np.random.default_rng(5)
    gallery = Gallery(vault, PACK)
    vectors = [random_unit(rng) for _ in range(5)]
    for index, vector in enumerate(vectors):
        store(vault, ledger, f"p-{index}", vector)
        gallery.add(newest(vault))
        asked_for: list[str] = []
        vault._safe._database.set_trace_callback(asked_for.append)
        gallery.refresh()
        vault._safe._database.set_trace_callback(None)
        assert asked_for == ["SELECT revision FROM gallery_revision"]
    fresh = Gallery(vault, PACK)
    asked = probe(random_unit(rng))
    assert fresh.search(asked, frozenset()).best == gallery.search(asked, frozenset()).best


def test_a_probe_of_another_pack_is_a_programming_error(vault: Vault) -> None:
    gallery = Gallery(vault, PACK)
    with pytest.raises(ValueError, match="other@000000000000"):
        gallery.search(probe(np.ones(DIM), "other@000000000000"), frozenset())


def test_a_gallery_too_far_behind_reads_everybody_anew(
    home: Home, vault: Vault, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.people.templates._CHANGES_KEPT", 1)
    rng = np.random.default_rng(7)
    vectors = {f"p-{index}": random_unit(rng) for index in range(4)}
    store(vault, ledger, "p-0", vectors["p-0"])
    gallery = Gallery(vault, PACK)
    with opened(home.database, home.keys_database) as other:
        for person_id in ("p-1", "p-2", "p-3"):
            store(other, ledger, person_id, vectors[person_id])
        with ledger.transaction() as transaction:
            other.forget(transaction.connection, "p-0")
    gallery.refresh()
    assert {p for p in vectors if p in gallery} == {"p-1", "p-2", "p-3"}
    assert not holds(gallery, vectors["p-0"])


def test_removals_in_any_order_keep_the_search_exact(vault: Vault, ledger: Ledger) -> None:
    rng = np.random.default_rng(6)
    vectors = {f"p-{index}": random_unit(rng) for index in range(12)}
    for person_id, vector in vectors.items():
        store(vault, ledger, person_id, vector)
    gallery = Gallery(vault, PACK)
    for person_id in rng.permutation(list(vectors))[:-1]:
        with ledger.transaction() as transaction:
            vault.forget(transaction.connection, str(person_id))
        gone = vectors.pop(str(person_id))
        gallery.refresh()
        assert len(gallery) == len(vectors)
        assert not holds(gallery, gone)
        for kept, vector in vectors.items():
            match = gallery.search(probe(vector), frozenset())
            assert match.best is not None
            assert match.best.person_id == kept


def test_the_nearest_people_are_those_of_comparing_everybody(vault: Vault, ledger: Ledger) -> None:
    rng = np.random.default_rng(5)
    vectors = {f"p-{number}": random_unit(rng) for number in range(40)}  # more rows than two people may have
    for person_id, vector in vectors.items():
        store(vault, ledger, person_id, vector)
    asked = probe(random_unit(rng))
    ranked = sorted(vectors, key=lambda person_id: -float(vectors[person_id] @ asked.vector))
    gallery = Gallery(vault, PACK)
    assert [near.person_id for near in gallery.nearest(asked, frozenset(), 2)] == ranked[:2]
    assert [near.person_id for near in gallery.nearest(asked, frozenset(ranked[:1]), 2)] == ranked[1:3]
    assert [near.person_id for near in gallery.nearest(asked, frozenset(), 40)] == ranked
