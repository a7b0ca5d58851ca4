"""Whatever comes before the cameras: each visit begins once and ends once, and staff are no visitors."""

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync.format.records import Record
from tests.edge.visiting import T0, Node, like, person

CAMERAS = ("door", "side", "table", "flat", "desks")
STAFF, AGENT, VISITORS = 0, 1, (2, 3, 4, 5)
BEGINS = {"visit.first", "visit.return", "visit.unsure"}


@dataclass(frozen=True)
class Coming:
    """Somebody comes before a camera, `later_s` after the one before, and their track ends `stays_s` after that.

    swept: the node has swept just before.
    """

    who: int
    camera: str
    later_s: int
    stays_s: int
    likeness: float
    beside: bool
    swept: bool


coming = st.builds(
    Coming,
    who=st.sampled_from((STAFF, AGENT, *VISITORS)),
    camera=st.sampled_from(CAMERAS),
    later_s=st.sampled_from((0, 1, 4, 40, 299, 301, 3600, 5 * 3600)),
    stays_s=st.sampled_from((0, 2, 100, 6 * 3600)),
    likeness=st.sampled_from((1.0, 0.9, 0.9, 0.4)),
    beside=st.booleans(),
    swept=st.booleans(),
)


def live_through(node: Node, day: list[Coming]) -> None:
    """Bring them before the node, and close it at the end; asserts of each what its own arrival must be."""
    now = T0
    in_view: dict[tuple[str, int], tuple[int, float]] = {}  # track -> who, until when
    for track, one in enumerate(day, 1):
        now += timedelta(seconds=one.later_s)
        for key, (_, until_s) in list(in_view.items()):
            if until_s <= now.timestamp():
                node.leave(key[1], now, key[0])
                del in_view[key]
            else:
                node.visits.seen(key[0], (key[1],), now)
        if one.swept:
            node.visits.sweep(now)
        others = [key[1] for key, (who, _) in in_view.items() if key[0] == one.camera and who != one.who]
        face = person(one.who) if one.likeness == 1.0 else like(person(one.who), one.likeness, spare=100 + one.who)
        record = node.arrive(face, track, now, camera=one.camera, together=tuple(others) if one.beside else ())
        if one.who in (STAFF, AGENT) and one.likeness >= 0.9:
            assert record is None, "staff is a visitor"
        in_view[(one.camera, track)] = (one.who, now.timestamp() + one.stays_s)
    node.visits.close("stopped")


def hold(records: list[Record], roster: set[str]) -> None:
    """Assert what must hold of any chain of visits."""
    begun = Counter(record.fields["visit"] for record in records if record.kind in BEGINS)
    left = Counter(record.fields["visit"] for record in records if record.kind == "visit.left")
    assert set(begun.values()) <= {1}
    assert begun == left
    here: dict[str, str] = {}  # person -> the visit they are in
    who: dict[str, str] = {}
    for record in records:
        visit_id = record.fields["visit"]
        if record.kind in BEGINS:
            who[visit_id] = record.fields["person"]
            assert who[visit_id] not in roster
            assert who[visit_id] not in here, "somebody is here twice"
            here[who[visit_id]] = visit_id
        elif record.kind == "visit.left":
            assert here.pop(who[visit_id]) == visit_id
            until_us = [stay["until_us"] for stay in record.fields["path"]]
            assert record.fields["path"]
            assert record.fields["end_us"] == max(until_us)
            assert all(stay["from_us"] <= stay["until_us"] for stay in record.fields["path"])
        else:
            assert here[who[visit_id]] == visit_id, "somebody comes back into a visit that is over"
            assert record.fields["camera"] in ("door", "side")
            assert record.fields["out_us"] >= 300_000_000
        assert set(record.fields.get("agents", ())) <= roster


def test_any_sequence_of_arrivals(node: Node) -> None:
    @settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
    @given(st.lists(coming, max_size=16))
    def any_day(day: list[Coming]) -> None:
        forget_everybody(node)
        node.start()
        roster = {node.enrol(person(STAFF)), node.enrol(person(AGENT), "agent")}
        node.staff.refresh()
        head = node.ledger.head()
        assert head is not None
        live_through(node, day)
        kinds = (*BEGINS, "visit.reentry", "visit.left")
        hold(list(node.ledger.records(kinds, (head.epoch, head.seq))), roster)

    any_day()


def forget_everybody(node: Node) -> None:
    """A HOME as new: making another for each example would take longer than the example."""
    everybody = [one.person_id for one in node.vault.people()]
    node.vault.destroy_keys(everybody)
    with node.ledger.transaction() as transaction:
        for person_id in everybody:
            node.vault.forget(transaction.connection, person_id)
