"""What each node online is to be told next: its notices in order, a bounded number at a time, until it has answered."""

from collections.abc import Callable
from dataclasses import dataclass

from sync.central.store.rows import NoticeRow
from sync.central.store.store import Store

BATCH = 32  # notices under way to one node: some 10 KB


@dataclass(slots=True)
class _Line:
    """How far one node is. sent: the last nseq sent. has: the last it is known, or says, to have."""

    sent: int = 0
    has: int = 0


class Outbox:
    """Notices on their way; what it remembers is only what need not be sent again at once.

    A node says in its status which notice it had last. That word is unsigned, so it only chooses where to begin:
    `remind` sends the first unanswered ones all the same. One from before what was answered is a node restored from a
    copy: it gets everything behind it again, and what it was told to erase is erased again.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lines: dict[str, _Line] = {}

    def greet(self, node_id: str, has: int | None) -> list[bytes]:
        """A node is online and says which notice it had last; None where it does not say."""
        if has is None:
            first = self._store.open_notices(node_id, 1)
            if not first:
                return []
            has = first[0].nseq - 1
        line = self._lines[node_id] = _Line(has, has)
        return self._send(node_id, line)

    def answered(self, node_id: str, nseq: int) -> list[bytes]:
        """A node's answer to a notice is committed: what follows the ones under way may go."""
        line = self._lines.get(node_id)
        if line is None:
            return []
        line.has = max(line.has, nseq)
        line.sent = max(line.sent, nseq)
        return self._send(node_id, line)

    def look(self, has: Callable[[str], bool]) -> list[tuple[str, bytes]]:
        """What was written since for nodes online, with its node; has: whose."""
        found = []
        for node_id, newest in self._store.owed_online():
            if not has(node_id):
                continue
            line = self._lines.setdefault(node_id, _Line())
            if newest > line.sent:
                found += [(node_id, data) for data in self._send(node_id, line)]
        return found

    def remind(self, has: Callable[[str], bool]) -> list[tuple[str, bytes]]:
        """For every node online that owes an answer: what it says it lacks, and the first it has not answered."""
        found = []
        for node_id, _ in self._store.owed_online():
            if not has(node_id):
                continue
            line = self._lines.setdefault(node_id, _Line())
            line.sent = line.has
            again = {row.nseq: row.data for row in self._store.open_notices(node_id, BATCH)}
            again |= {row.nseq: row.data for row in self._rows(node_id, line)}
            found += [(node_id, again[nseq]) for nseq in sorted(again)]
        return found

    def _send(self, node_id: str, line: _Line) -> list[bytes]:
        return [row.data for row in self._rows(node_id, line)]

    def _rows(self, node_id: str, line: _Line) -> list[NoticeRow]:
        room = BATCH - (line.sent - line.has)
        rows = self._store.notices(node_id, line.sent, room) if room > 0 else []
        line.sent = rows[-1].nseq if rows else line.sent
        return rows
