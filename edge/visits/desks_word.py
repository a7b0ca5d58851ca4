"""What the desk has answered, followed by the running node: a visit may be somebody else's than the node thought."""

import logging

from edge.visits.open_visit import MERGED, SPLIT, follow_merges
from edge.visits.visit_book import VisitBook
from sync.format.records import Record
from sync.format.visit_fields import CORRECTED, settles
from sync.node.ledger import Ledger

log = logging.getLogger(__name__)


class DesksWord:
    """Follows the answers of one ledger into one book, each once."""

    def __init__(self, ledger: Ledger, book: VisitBook) -> None:
        self._ledger = ledger
        self._book = book
        self._heard = (0, 0)  # (epoch, seq) of the last record followed

    def heard_until(self, record: Record) -> None:
        """Everything up to this record is in the book already."""
        self._heard = (record.epoch, record.seq)

    def hear(self) -> None:
        """Follow what the desk has answered since."""
        for record in self._ledger.records((CORRECTED, MERGED, SPLIT), self._heard):
            self._heard = (record.epoch, record.seq)
            if record.kind != CORRECTED:
                self._hear_of_people(record)
                continue
            if not settles(record.fields):
                continue
            visit_id, person_id = record.fields.get("visit"), record.fields.get("person")
            if not isinstance(visit_id, str) or not isinstance(person_id, str):
                log.warning("answer not understood seq=%d", record.seq)  # signed, so it stays; the node goes on
                continue
            visit = self._book.get(visit_id)
            if visit is None:
                continue
            visit.unanswered = False
            if visit.person_id != person_id:
                self._book.rename(visit, person_id)

    def _hear_of_people(self, record: Record) -> None:
        named = follow_merges({}, record)
        if named is None:
            return  # a pair that only looks alike: the gallery knows
        alias, person_id = named
        if record.kind == MERGED:
            self._book.merge(alias, person_id)
        else:
            self._book.split(alias)
