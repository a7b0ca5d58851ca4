"""The part of the check-in page that says who serves, and whose turn it would be."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from edge.clock import wall_us
from edge.desk.rota import SKIPS, Proposal, Skip, assignments_since, earlier_consultant, order_of, propose, queue
from edge.desk.shown import ShownVisit
from sync.node.ledger import Ledger
from sync.web.times import Times

_SKIPPED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63}):(" + "|".join(SKIPS) + ")")


@dataclass(frozen=True, slots=True)
class Serving:
    """What the page shows: waiting, the day's consultants, the next first; skipped: as the form brings them back."""

    proposal: Proposal
    waiting: tuple[str, ...]
    skipped: Mapping[str, Skip]

    @property
    def sent(self) -> str:
        return ",".join(f"{consultant}:{reason}" for consultant, reason in self.skipped.items())


def skipped_of(sent: str) -> dict[str, Skip]:
    """Read `Serving.sent` back; whatever is none of it is left out."""
    found = (_SKIPPED.fullmatch(one) for one in sent.split(","))
    return {one[1]: reason for one in found if one is not None for reason in SKIPS if reason == one[2]}


def today(times: Times) -> tuple[date, int]:
    """The site's day, and when it began."""
    now_us = wall_us()
    return times.local(now_us).date(), times.midnight_us(now_us)


def serving(ledger: Ledger, times: Times, visit: ShownVisit, skipped: Mapping[str, Skip]) -> Serving:
    """Whose turn a visit is."""
    day, from_us = today(times)
    waiting = queue(order_of(ledger.connection, day), assignments_since(ledger, from_us))
    earlier = earlier_consultant(ledger.connection, visit.visit_id, visit.person_id)
    return Serving(propose(waiting, earlier, skipped), waiting, skipped)
