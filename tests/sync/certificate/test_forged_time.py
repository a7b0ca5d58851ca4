"""Who holds a node's key today writes no visit of weeks ago: no bound is carried over what a bundle leaves out."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sync import verify_standalone
from sync.certificate.bundle import Bundle
from sync.certificate.certified import Certificate
from sync.certificate.compact import Compact
from sync.certificate.compare import compare
from sync.certificate.examine import examine
from sync.certificate.found import bundle_of
from sync.format.messages import Ack
from sync.format.records import Record, seal
from sync.format.wire import SignedBody
from sync.verify.verify import verify
from tests.sync.a_site import DAY_US, HOUR_US, SECOND_US, ASite

AGO_US = 20 * DAY_US


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ASite]:
    site = ASite(tmp_path / "home")
    yield site
    site.close()


def signed(site: ASite, before: Record, model: Record, anchor: Ack | None, **more: Any) -> Record:
    """A record behind another, signed with the real key, that says whatever its writer likes."""
    fields = model.fields | {"seq": before.seq + 1, "prev": before.hash.hex()} | more
    del fields["anchor"]
    if anchor is not None:
        fields["anchor"] = {"central_time_us": anchor.central_time_us, "ack_hash": anchor.ack_hash.hex()}
    return seal(fields, site.node_key)


def old_stamp(of: Record, later_us: int) -> dict[str, Any]:
    at: dict[str, Any] = of.fields["at"]
    return at | {"wall_us": at["wall_us"] + later_us, "boot_us": at["boot_us"] + later_us}


def acked(site: ASite, record: Record) -> Ack:
    site.go(SECOND_US)
    return Ack.seal(site.node_id, record.epoch, record.seq, record.hash, site.true_us, 8, site.central.key("ack"), None)


def bundle(like: Bundle, visit: Record, records: list[Record], acks: list[Ack]) -> Bundle:
    return replace(
        like,
        visit=visit.fields["visit"],
        records=tuple(SignedBody(one.body, one.signature) for one in records),
        acks=tuple(ack.data for ack in acks),
    )


def forged(site: ASite, *, sent: bool) -> tuple[Certificate, Certificate]:
    """A visit signed today that says it was 20 days ago, and an honest one of 10 days ago.

    sent: it is the chain's next record, and central has acknowledged it. Else it is kept back, behind an old record.
    """
    site.ack()
    site.append_alive()
    old = site.node.record(1, 4)
    assert old is not None
    then = site.ack()
    site.watch(AGO_US // 2)
    honest = site.visit()
    site.ack()
    site.watch(AGO_US // 2)
    genuine = bundle_of(site.path, honest)
    model = next(one for one in site.node.rows() if one.kind == "visit.first")
    head = site.node.head()
    assert head is not None
    last = site.node.record(1, head.seq)
    assert last is not None
    model_record = site.node.record(1, model.seq)
    assert model_record is not None
    at = old_stamp(old, 10 * SECOND_US)
    more = {"visit": "v-forged", "at": at, "arrived_us": at["wall_us"] - 2 * SECOND_US}
    if sent:
        site.ack()
        visit = signed(site, last, model_record, then, **more)
        made = bundle(genuine, visit, [old, visit], [then, acked(site, visit)])
    else:
        visit = signed(site, old, model_record, then, **more)
        made = bundle(genuine, visit, [old, visit], [then])
    return examine(made), examine(genuine)


def test_a_bundle_that_leaves_out_the_weeks_between_carries_no_bound_over_them(site: ASite) -> None:
    certificate, honest = forged(site, sent=True)
    assert certificate.confirmed is not None
    assert certificate.confirmed.central_time_us > site.true_us - HOUR_US
    upper_us = certificate.arrival.moment.carried.hi_us
    assert upper_us is not None
    assert upper_us > site.true_us - HOUR_US  # and not 20 days ago
    assert compare(certificate, honest).answer != "proven"


def test_a_visit_written_behind_an_old_record_and_never_sent_proves_nothing_of_who_came_first(site: ASite) -> None:
    certificate, honest = forged(site, sent=False)
    compared = compare(certificate, honest)
    assert (compared.answer, compared.reason) == ("likely", "unconfirmed")
    assert compared.records_first is None


def test_a_code_with_an_ack_of_a_later_record_does_not_say_that_central_confirmed_it(
    site: ASite, tmp_path: Path
) -> None:
    """The code of a record written today behind an old one, beside a genuine ack: only a bundle could tie them."""
    site.ack()
    visit = site.visit()
    site.append_alive()
    later = site.ack()
    genuine = bundle_of(site.path, visit)
    honest = examine(genuine).record
    before = site.node.record(1, honest.seq - 1)
    assert before is not None
    record = signed(site, before, honest, None, visit="v-forged", source="file")
    code = Compact(record.body, record.signature, later.data, genuine.node_pub, genuine.central_pub)
    (tmp_path / "code.txt").write_text(code.text())
    for said in (
        list(verify(tmp_path / "code.txt").lines),
        verify_standalone.verify(tmp_path / "code.txt", verify_standalone.Given(None)),
    ):
        assert any(line.startswith("confirmed by central: not by this code") for line in said)
        assert any("so it is a test" in line for line in said)
