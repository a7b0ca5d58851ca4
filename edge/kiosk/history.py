"""Where in a long chain to begin reading, and the few older visits that a question needs."""

from itertools import islice

from edge.desk.arrivals import FEED
from edge.desk.folding import FORGETTING, KINDS, OF_TWO
from sync.format.records import Record
from sync.format.visit_fields import CORRECTED, DECISION_OF_KIND, settles
from sync.node.ledger import Ledger
from sync.node.moments import place_before

_SHORTEST_S = 3 * 86_400
_DAY_S = 86_400
MOST_WAITING = 200
"""Questions from before the window that the pages hold: a desk that leaves more to wait answers the oldest first."""
_LOOKED_BACK = 4096  # records read first for somebody's last visit


def window_us(ledger: Ledger) -> int:
    """How far back the pages look: a day more than who has not consented is remembered, three days at least.

    Questions about somebody who has consented wait longer: `waiting_before`.
    """
    policy = ledger.last_of("policy.changed")
    horizon_s = policy.fields.get("unconsented_horizon_s", 0) if policy is not None else 0
    return max(_SHORTEST_S, horizon_s + _DAY_S) * 1_000_000


def begin_behind(ledger: Ledger, window_us: int) -> tuple[int, int]:
    """(epoch, seq) behind which the last visits lie: a window's, counted from the newest record, or a feed full."""
    head = ledger.head()
    newest = ledger.record(head.epoch, head.seq) if head is not None else None
    if newest is None:
        return 0, 0
    while True:
        place = place_before(ledger, newest.stamp.wall_us - window_us)
        if place == (0, 0) or len(list(islice(ledger.records(DECISION_OF_KIND, place), FEED))) == FEED:
            return place
        window_us *= 4


def waiting_before(ledger: Ledger, place: tuple[int, int]) -> list[Record]:
    """The records up to a place of visits that ask the desk something still, the longest waiting first.

    Whoever is not remembered any more is nobody to ask about: a question lapses with the face. At most MOST_WAITING.
    """
    remembered = {row[0] for row in ledger.connection.execute("SELECT person_id FROM people")}
    settled = {one.fields["visit"] for one in ledger.records((CORRECTED,)) if settles(one.fields)}
    said = [frozenset(one.fields.get("persons", ())) for one in ledger.records(OF_TWO)]
    asking = [
        one
        for one in ledger.records(("visit.unsure",))
        if one.fields["visit"] not in settled and one.fields.get("person") in remembered
    ]
    asking += [
        one
        for one in ledger.naming("merge", ("visit.return",))
        if remembered.issuperset(one.fields["merge"]) and frozenset(one.fields["merge"]) not in said
    ]
    older = sorted(((one.epoch, one.seq), one.fields["visit"]) for one in asking if (one.epoch, one.seq) <= place)
    found: list[Record] = []
    for _, visit_id in older[:MOST_WAITING]:
        told = ledger.naming(visit_id, KINDS)
        found += [one for one in told if one.fields.get("visit") == visit_id and (one.epoch, one.seq) <= place]
    return sorted(found, key=lambda one: (one.epoch, one.seq))


def last_boot(ledger: Ledger) -> tuple[int, int]:
    """(epoch, seq) just before the newest node.boot; before the chain where there is none."""
    boot = ledger.last_of("node.boot")
    return (boot.epoch, boot.seq - 1) if boot is not None else (0, 0)


def last_visit(ledger: Ledger, person_id: str, before: tuple[int, int]) -> list[Record]:
    """The records of the newest visit of a person decided before (epoch, seq), in chain order; none: an empty list."""
    epoch, seq = before
    back = _LOOKED_BACK
    while True:  # further and further back: most were here a few days ago
        after = (epoch, seq - back) if back < seq else (0, 0)
        named = ledger.naming(person_id, (*DECISION_OF_KIND, CORRECTED), after)
        theirs = [r for r in named if r.fields.get("person") == person_id and (r.epoch, r.seq) < before]
        if theirs or after == (0, 0):
            break
        back *= 4
    if not theirs:
        return []
    newest = theirs[-1]
    decided = (0, 0) if newest.kind == CORRECTED else (newest.epoch, newest.seq - 1)
    visit_id = newest.fields.get("visit", "")
    about = ledger.about(visit_id, KINDS, decided)
    forgetting = ledger.naming(person_id, FORGETTING, decided)
    about += [one for one in forgetting if "earlier" not in one.fields]  # those are of one visit, and named by it
    return sorted(about, key=lambda record: (record.epoch, record.seq))
