"""One visit of two records: the arrival as it was seen, and the decision once the visitor had consented."""

from dataclasses import replace
from pathlib import Path

import pytest

from sync import verify_standalone
from sync.audit.chain_audit import Bad
from sync.certificate.bundle import Bundle, zipped
from sync.certificate.certified import lines
from sync.certificate.examine import examine
from sync.certificate.found import bundle_of
from sync.certificate.paper_code import code
from sync.format.records import Record
from sync.verify.verify import verify
from tests.sync.a_site import HOUR_US, SECOND_US, ASite

MINUTE_US = 60 * SECOND_US
DECISION = {
    "person": "p-1", "pack": "mobilefacenet@1", "upper_e6": 450_000, "lower_e6": 350_000, "gallery_n": 12,
    "gallery_since_us": 1_790_000_000_000_000, "unconsented_horizon_s": 0, "consent": "c" * 64, "grade": "B",
}  # fmt: skip


@pytest.fixture
def site(tmp_path: Path):
    site = ASite(tmp_path / "home")
    site.watch(HOUR_US)
    site.ack(checkpoint=True)
    yield site
    site.close()


def seen(site: ASite) -> Record:
    """Somebody comes in, and central hears of it within the minute."""
    site.visit("seen")
    record = site.node.last_of("visit.seen")
    assert record is not None
    site.ack()
    return record


def decided(site: ASite, arrival: Record, kind: str = "visit.first", **changed: object) -> Record:
    """A quarter of an hour later they consent."""
    site.watch(15 * MINUTE_US)
    told = {name: value for name, value in arrival.fields.items() if name not in ENVELOPE}
    return site.node.append(kind, told | DECISION | {"seen": arrival.hash.hex()} | changed)


ENVELOPE = {"v", "node", "epoch", "seq", "prev", "kind", "key", "at", "anchor"}


def checked(bundle: Bundle, folder: Path) -> str | None:
    """Why both verifiers call it bad, None where both call it good."""
    path = folder / "b.zip"
    path.write_bytes(zipped(bundle.encode(), {}))
    ours, theirs = verify(path, None), None
    try:
        verify_standalone.verify(path, verify_standalone.Given(None))
    except verify_standalone.Bad as bad:
        theirs = str(bad)
    assert (ours.why is None) == (theirs is None)
    return ours.why


def test_it_is_certified_as_one_visit_that_arrived_when_it_was_seen(site: ASite, tmp_path: Path) -> None:
    arrival = seen(site)
    decision = decided(site, arrival)
    site.desk.append("visit.checkin", {"visit": arrival.fields["visit"], "state": "registered", "account": "u-1"})
    site.ack(checkpoint=True)
    bundle = bundle_of(site.path, arrival.fields["visit"])
    found = examine(bundle)
    assert found.settled.decision == "first"
    assert found.record.hash == decision.hash
    assert found.seen is not None
    assert found.seen.hash == arrival.hash
    assert found.refusal() is None
    assert found.confirmed is not None
    moment = found.arrival.moment
    assert moment.grade == "A"
    assert moment.whole.holds(arrival.fields["arrived_us"])
    assert moment.carried.hi_us is not None  # central had heard of the arrival long before the decision
    assert moment.carried.hi_us < decision.stamp.wall_us - 10 * MINUTE_US
    assert any("only seen" in line for line in lines(found))
    assert [one.kind for one in found.later] == ["visit.checkin"]
    assert checked(bundle, tmp_path) is None
    printed = code(found)
    assert printed is not None
    assert "consented" in "\n".join(printed.check(None))


def test_what_the_desk_wrote_before_the_decision_is_of_the_visit_too(site: ASite) -> None:
    arrival = seen(site)
    site.desk.append("visit.checkin", {"visit": arrival.fields["visit"], "state": "registered", "account": "u-1"})
    decided(site, arrival)
    site.ack()
    assert [one.kind for one in examine(bundle_of(site.path, arrival.fields["visit"])).later] == ["visit.checkin"]


def test_a_decision_is_bad_without_the_arrival_that_it_names_or_with_another(site: ASite, tmp_path: Path) -> None:
    arrival = seen(site)
    decided(site, arrival)
    site.ack()
    visit = arrival.fields["visit"]
    bundle = bundle_of(site.path, visit)
    without = replace(bundle, records=tuple(one for one in bundle.records if one.body != arrival.body))
    with pytest.raises(Bad, match="record of its arrival is not here"):
        examine(without)
    assert "record of its arrival is not here" in (checked(without, tmp_path) or "")

    other = seen(site)
    earlier = decided(site, other, arrived_us=other.fields["arrived_us"] - HOUR_US)
    site.ack()
    with pytest.raises(Bad, match="another arrival than was recorded"):
        examine(bundle_of(site.path, earlier.fields["visit"]))
    assert "another arrival" in (checked(bundle_of(site.path, earlier.fields["visit"]), tmp_path) or "")


def test_two_decisions_of_one_visit_are_bad(site: ASite, tmp_path: Path) -> None:
    arrival = seen(site)
    decided(site, arrival)
    decided(site, arrival, "visit.return")
    site.ack()
    with pytest.raises(Bad, match="3 records decide it"):
        examine(bundle_of(site.path, arrival.fields["visit"]))
    assert checked(bundle_of(site.path, arrival.fields["visit"]), tmp_path) is not None
