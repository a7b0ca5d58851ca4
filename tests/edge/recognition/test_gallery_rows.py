"""The gallery's storage holds what a plain dictionary would, through any additions and removals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.recognition.gallery_rows import BLOCK_ROWS, PERSON_ID_BYTES, Rows

DIM = 4


def vector_of(template_id: int) -> np.ndarray:
    return np.array([template_id, template_id % 7, 1.0, -1.0], np.float32)


def check(rows: Rows, held: dict[int, str]) -> None:
    """Every way to read the rows tells the same as `held`: template id -> person."""
    assert len(rows) == len(held)
    assert {rows.template_id(row): rows.person_id(row) for row in range(len(rows))} == held
    assert rows.people == len(set(held.values()))
    for person_id in set(held.values()):
        own = rows.of(person_id)
        assert len(own) == len(set(own))
        assert {rows.template_id(row) for row in own} == {t for t, owner in held.items() if owner == person_id}
        assert all(rows.since_us(row) == -rows.template_id(row) for row in own)
        assert person_id in rows
    probe = np.array([1.0, 0.5, 0.25, 0.0], np.float32)
    expected = [float(vector_of(rows.template_id(row)) @ probe) for row in range(len(rows))]
    assert rows.scores(probe).tolist() == pytest.approx(expected)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=120))
def test_rows_are_what_was_added_less_what_was_removed(steps: list[tuple[bool, int]]) -> None:
    rows, held, next_id = Rows(), {}, 0
    for adds, number in steps:
        if adds or not held:
            rows.add(next_id, f"p{number % 20}", -next_id, vector_of(next_id))
            held[next_id] = f"p{number % 20}"
            next_id += 1
        else:
            row = number % len(rows)
            del held[rows.template_id(row)]
            rows.remove(row)
    check(rows, held)
    assert "p-unknown" not in rows
    assert rows.of("p-unknown") == []


def test_rows_stay_right_where_one_block_ends_and_the_next_begins() -> None:
    rng = np.random.default_rng(1)
    rows, held, next_id = Rows(), {}, 0

    def add() -> None:
        nonlocal next_id
        person_id = f"p{rng.integers(BLOCK_ROWS)}"
        rows.add(next_id, person_id, -next_id, vector_of(next_id))
        held[next_id] = person_id
        next_id += 1

    while len(rows) < BLOCK_ROWS - 5:
        add()
    for _ in range(4):
        for _ in range(12):
            add()
        assert len(rows) > BLOCK_ROWS
        for _ in range(12):
            row = int(rng.integers(len(rows)))
            gone = rows.template_id(row)
            rows.remove(row)
            del held[gone]
    while len(rows) > 40:  # and the table of people lets go of nearly all of them again
        del held[rows.template_id(len(rows) // 3)]
        rows.remove(len(rows) // 3)
    check(rows, held)
    for block in rows._blocks:
        assert not block.vectors[len(rows) :].any()


def test_a_removed_vector_is_zeroed_where_it_lay() -> None:
    rows = Rows()
    for number in range(3):
        rows.add(number, "p", 0, vector_of(number))
    rows.remove(0)
    rows.remove(1)
    (block,) = rows._blocks
    assert block.vectors[0].tolist() == vector_of(2).tolist()
    assert not block.vectors[1:].any()
    rows.clear()
    assert (len(rows), rows.people, rows.of("p")) == (0, 0, [])
    assert not block.vectors.any()


def test_an_id_that_does_not_fit_its_place_is_refused() -> None:
    with pytest.raises(ValueError, match="24 bytes"):
        Rows().add(1, "p" * (PERSON_ID_BYTES + 1), 0, vector_of(1))
