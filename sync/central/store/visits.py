"""The visits as lists show them, by arrival at the door, with the desk's corrections."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import orjson

from sync.central.store.batch import Batch
from sync.central.store.database import Database, Migration, Tables
from sync.central.store.evidence import Evidence
from sync.central.store.rows import VisitRow
from sync.format.canonical import Fields
from sync.format.visit_fields import CORRECTED, DECISION_OF_KIND
from sync.storage.arrivals import arrival, correction, visit_key
from sync.storage.schema import LISTS

_AT_ONCE = 1000  # rows


def _fill(database: Database) -> None:
    """List the visits among the records already held."""
    listed = (*DECISION_OF_KIND, CORRECTED)
    rows = (row for row in Evidence(database).records() if row.kind in listed)
    while some := list(islice(rows, _AT_ONCE)):
        arrivals = (arrival(row.node_id, row.fields, row.hash, row.received_us) for row in some)
        corrections = (correction(row.node_id, row.fields) for row in some)
        database.insert("visits", [one for one in arrivals if one is not None])
        database.insert("corrections", [one for one in corrections if one is not None])


MIGRATIONS = (
    Migration(
        "visits",
        (
            # what 0.1 found visits by
            "DROP INDEX IF EXISTS records_arrivals",
            "DROP INDEX IF EXISTS records_arrivals_of_node",
            "DROP INDEX IF EXISTS records_corrections",
            *LISTS,
        ),
        _fill,
    ),
)


class Visits(Tables):
    def visits(
        self, limit: int = 50, before: tuple[int, int] | None = None, node_id: str | None = None
    ) -> list[VisitRow]:
        """The newest visits by arrival at the door, newest first; `before`: the cursor of the last one seen.

        One whose arrival lies behind its receipt here, or is no number, counts by the receipt.
        """
        conditions, values = list[str](), list[Any]()
        if before is not None:
            conditions.append("(visits.order_us, visits.tie) < (?, ?)")
            values += before
        if node_id is not None:
            conditions.append("visits.node_id = ?")
            values.append(node_id)
        rows = self._db.query(
            "SELECT visits.order_us, visits.tie, records.node_id, nodes.site_id, records.epoch, records.seq,"
            " records.kind, records.body, records.hash, records.received_us"
            " FROM visits CROSS JOIN records CROSS JOIN nodes WHERE records.node_id = visits.node_id"
            " AND records.epoch = visits.epoch AND records.seq = visits.seq AND nodes.node_id = visits.node_id"
            f"{''.join(f' AND {one}' for one in conditions)}"
            " ORDER BY visits.order_us DESC, visits.tie DESC LIMIT ?",
            (*values, limit),
        )
        keys = [(row[2], visit_key(orjson.loads(row[7]))) for row in rows]
        corrections = self._newest(keys, (CORRECTED,))
        decisions = self._newest(keys, (kind for kind in DECISION_OF_KIND if kind != "visit.seen"))
        return [
            VisitRow.read(corrections.get(key), decisions.get(key), *row) for key, row in zip(keys, rows, strict=True)
        ]

    def _newest(
        self, wanted: Iterable[tuple[str, bytes]], kinds: Iterable[str]
    ) -> dict[tuple[str, bytes], tuple[Fields, bytes]]:
        """Of each (node, visit) the newest record of these kinds that changes its decision: its body and hash."""
        listed = tuple(kinds)
        newest: dict[tuple[str, bytes], tuple[Fields, bytes]] = {}
        for key in wanted:
            found = self._db.query(
                "SELECT records.body, records.hash FROM corrections CROSS JOIN records WHERE corrections.node_id = ?"
                " AND corrections.visit = ? AND records.node_id = corrections.node_id"
                " AND records.epoch = corrections.epoch AND records.seq = corrections.seq"
                f" AND records.kind IN ({', '.join('?' * len(listed))})"
                " ORDER BY corrections.epoch DESC, corrections.seq DESC LIMIT 1",
                (*key, *listed),
            )
            if found:
                newest[key] = orjson.loads(found[0][0]), found[0][1]
        return newest

    def _write_visits(self, batch: Batch) -> None:
        self._db.insert("visits", batch.arrivals)
        self._db.insert("corrections", batch.corrections)
