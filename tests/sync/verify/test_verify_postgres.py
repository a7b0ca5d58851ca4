"""The verifier over a central whose store lies in PostgreSQL: what it finds in SQLite it finds there."""

from pathlib import Path

import psycopg
import pytest

from sync.verify.verdict import Verdict
from sync.verify.verify import verify
from sync.verify.verify_both import verify_both
from tests.sync.filled_central import central_of


@pytest.fixture
def place(postgres) -> str:
    return postgres.fresh()


@pytest.fixture
def central(filled_home, tmp_path: Path, place: str) -> Path:
    return central_of(filled_home, tmp_path / "central", place)


def _sql(place: str, *statements: str) -> None:
    with psycopg.connect(place, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _bad(verdict: Verdict, seq: int | None, why: str) -> None:
    assert not verdict.ok, verdict.lines
    assert verdict.first_bad == seq, verdict.lines
    assert why in (verdict.why or ""), verdict.lines


def test_a_store_in_postgres_is_good_and_ends_where_the_home_ends(central: Path, filled_home) -> None:
    verdict = verify(central)
    assert verdict.ok, verdict.lines
    assert (verdict.what, verdict.checked) == ("central", 40)
    head = filled_home.ledger().head().hash.hex()
    assert f"node gate-1: 40 records verified, seq 1..40, head {head}" in verdict.lines
    assert not any("s3cret" in line for line in verdict.lines)


def test_both_ends_are_compared(central: Path, filled_home, place: str) -> None:
    assert verify_both(filled_home.path, central).ok
    _sql(place, *(f"DELETE FROM {table} WHERE seq > 20" for table in ("records", "visits", "corrections")))
    assert not verify_both(filled_home.path, central).ok


def test_a_given_node_key_proves_that_nodes_chain(central: Path, filled_home) -> None:
    verdict = verify(central, filled_home.node_pub)
    assert verdict.ok
    assert any(line.startswith("origin of node gate-1 proven") for line in verdict.lines)


@pytest.mark.parametrize("column", ["body", "hash", "prev_hash", "signature"])
def test_one_changed_byte_is_named_with_its_node(central: Path, place: str, column: str) -> None:
    _sql(place, f"UPDATE records SET {column} = set_byte({column}, 3, get_byte({column}, 3) # 1) WHERE seq = 17")
    verdict = verify(central)
    _bad(verdict, 17, "")
    assert any(line.startswith("bad: node gate-1: seq 17: ") for line in verdict.lines)


def test_a_record_removed_or_swapped_is_named(central: Path, place: str) -> None:
    _sql(
        place,
        "UPDATE records SET seq = 999 WHERE seq = 20",
        "UPDATE records SET seq = 20 WHERE seq = 21",
        "UPDATE records SET seq = 21 WHERE seq = 999",
    )
    _bad(verify(central), 20, "")
    _sql(place, "DELETE FROM records WHERE seq = 17")
    _bad(verify(central), 17, "missing")


@pytest.mark.parametrize(
    ("statements", "why"),
    [
        (["DELETE FROM nodes WHERE node_id = 'gate-1'"], "not enrolled"),
        (
            [
                "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
                "CREATE TRIGGER t BEFORE INSERT ON records FOR EACH ROW EXECUTE FUNCTION f()",
            ],
            "holds the trigger 't'",
        ),
        (["CREATE RULE r AS ON INSERT TO records DO INSTEAD NOTHING"], "holds the rule 'r'"),
        (["CREATE VIEW v AS SELECT 1"], "holds the view or foreign table 'v'"),
        (["ALTER TABLE records ENABLE ROW LEVEL SECURITY"], "holds the row policy of table 'records'"),
        (["DROP INDEX visits_arrivals"], "table visits: its index on order_us, tie is missing"),
        (["ALTER TABLE records ADD COLUMN note TEXT"], "table records: not as FirstVisit makes it"),
        (["ALTER TABLE records ALTER COLUMN seq TYPE numeric"], "table records: not as FirstVisit makes it"),
        (["DROP TABLE corrections"], "table corrections: lacks node gate-1 epoch 1 seq 10"),
        (["DELETE FROM visits WHERE seq = 17"], "table visits: does not list node gate-1 epoch 1 seq 17 as it is"),
        (["UPDATE visits SET order_us = 4 WHERE seq = 17"], "does not list node gate-1 epoch 1 seq 17 as it is"),
        (["DELETE FROM corrections WHERE seq = 20"], "table corrections: lacks node gate-1 epoch 1 seq 20"),
        (["UPDATE log_tiles SET data = set_byte(data, 3, get_byte(data, 3) # 1)"], ""),
    ],
)
def test_a_store_that_is_not_what_its_records_make_it_is_bad(
    central: Path, place: str, statements: list[str], why: str
) -> None:
    _sql(place, *statements)
    verdict = verify(central)
    assert not verdict.ok
    assert why in " ".join(verdict.lines), verdict.lines


def test_names_in_the_database_are_never_statements(central: Path, place: str) -> None:
    _sql(
        place,
        """CREATE TABLE "x"" UNION SELECT 1; --" (at timestamptz)""",
        'CREATE TABLE "RECORDS" AS SELECT * FROM records',
        "CREATE TABLE notes (at timestamptz, said jsonb)",
        "INSERT INTO notes VALUES (now(), '{}')",
        """ALTER TABLE quarantine ADD COLUMN "x""); DROP TABLE records; --" bigint""",
    )
    verdict = verify(central)
    assert verdict.ok, verdict.lines


def test_an_index_that_hides_a_row_is_found(central: Path, place: str) -> None:
    # what a damaged index looks like from above: complete for the planner, one row short
    _sql(
        place,
        "DROP INDEX visits_arrivals",
        "CREATE INDEX visits_arrivals ON visits (order_us, tie) WHERE seq <> 17",
        "UPDATE pg_index SET indpred = NULL WHERE indexrelid = 'visits_arrivals'::regclass",
    )
    _bad(verify(central), None, "table visits: its index on order_us, tie does not show every row")


def test_a_quarantined_record_is_reported(central: Path, place: str) -> None:
    _sql(place, "INSERT INTO quarantine VALUES ('gate-1', 1, 17, '', '', '', 5, 'FORK')")
    verdict = verify(central)
    assert verdict.ok
    assert "quarantined: node gate-1 epoch 1 seq 17: FORK" in verdict.lines
