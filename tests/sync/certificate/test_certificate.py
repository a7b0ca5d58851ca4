"""A certificate bundle proves what it says of one visit, and nothing in it can be changed unseen."""

import json
import random
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from sync import SyncError, verify_standalone
from sync.audit.chain_audit import Bad
from sync.audit.export import write_export
from sync.certificate.bundle import Bundle, read_bundle, zipped
from sync.certificate.certified import Certificate
from sync.certificate.compact import Compact
from sync.certificate.examine import examine
from sync.certificate.found import bundle_of
from sync.certificate.paper_code import code
from sync.format import canonical
from sync.format.messages import Ack, Notice
from sync.format.public_keys import CentralKeys, Enrolment
from sync.format.rotation import Rotation
from sync.format.wire import SignedBody
from sync.node.ledger import Ledger, Writer
from sync.verify.verify import verify
from tests.sync.a_site import DAY_US, HOUR_US, SECOND_US, ACentral, ASite, made_key

MINUTE_US = 60 * SECOND_US


@pytest.fixture
def site(tmp_path: Path):
    site = ASite(tmp_path / "home")
    yield site
    site.close()


@pytest.fixture
def visit(site: ASite) -> str:
    """A first visit on the third day, acknowledged a second later, in central's log a minute after that."""
    site.ack()
    site.watch(2 * DAY_US)
    site.ack(checkpoint=True)
    site.visit()
    visit = site.visit()
    site.visit()
    site.ack()
    site.watch(MINUTE_US)
    site.ack(checkpoint=True)
    site.watch(600 * SECOND_US)
    return visit


def certificate_of(site: ASite, visit: str) -> Certificate:
    return examine(bundle_of(site.path, visit))


def with_record(bundle: Bundle, number: int, record: SignedBody | None) -> Bundle:
    records = list(bundle.records)
    records[number : number + 1] = [record] if record else []
    return replace(bundle, records=tuple(records))


# -- what is in it -------------------------------------------------------------------------------------------------


def test_it_proves_the_visit_its_neighbours_its_ack_and_its_place_in_the_log(site: ASite, visit: str) -> None:
    found = certificate_of(site, visit)
    assert found.fields["visit"] == visit
    assert found.settled.decision == "first"
    assert found.before is not None
    assert found.after is not None
    assert (found.before.seq, found.after.seq) == (found.record.seq - 1, found.record.seq + 1)
    assert found.confirmed is not None
    assert found.confirmed.upto_seq == found.record.seq + 1
    assert found.log is not None
    assert found.log.size == len(site.central.log.entries)
    assert found.arrival.moment.grade == "A"
    assert found.arrival.moment.whole.holds(found.fields["arrived_us"])
    assert found.custody == "tpm2"
    assert found.refusal() is None


def test_a_bundle_survives_its_file(site: ASite, visit: str, tmp_path: Path) -> None:
    bundle = bundle_of(site.path, visit)
    assert Bundle.parse(bundle.encode()) == bundle
    (tmp_path / "one.zip").write_bytes(zipped(bundle.encode(), {"README.txt": b"read me"}))
    (tmp_path / "two.zip").write_bytes(zipped(bundle.encode(), {"README.txt": b"read me"}))
    assert read_bundle(tmp_path / "one.zip") == bundle
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    (tmp_path / "bundle.json").write_bytes(bundle.encode())
    assert read_bundle(tmp_path / "bundle.json") == bundle


def test_verify_reads_it_with_and_without_a_key_kept_elsewhere(site: ASite, visit: str, tmp_path: Path) -> None:
    path = tmp_path / "visit.zip"
    path.write_bytes(zipped(bundle_of(site.path, visit).encode(), {}))
    verdict = verify(path)
    assert verdict.ok, verdict.why
    assert verdict.what == "certificate"
    assert "consistent with the key found here, origin not proven" in verdict.lines
    assert any(line.startswith("origin proven") for line in verify(path, site.path / "node.pub").lines)
    assert any(line.startswith("acks proven") for line in verify(path, site.path / "central.pub").lines)
    json.dumps(verdict.fields())


def test_another_nodes_or_centrals_key_is_a_mismatch(site: ASite, visit: str, tmp_path: Path) -> None:
    path = tmp_path / "visit.zip"
    path.write_bytes(zipped(bundle_of(site.path, visit).encode(), {}))
    other = ASite(tmp_path / "other", ACentral("elsewhere"))
    other.close()
    (tmp_path / "same-name.pub").write_text(
        Enrolment(site.node_id, "s", other.desk_key.public, other.node_key.public).text(other.desk_key)
    )
    assert not verify(path, tmp_path / "same-name.pub").ok
    assert not verify(path, other.path / "central.pub").ok


def test_it_is_small_though_a_month_lies_behind_it(site: ASite) -> None:
    site.watch(40 * DAY_US)
    visit = site.visit()
    site.ack(checkpoint=True)
    data = bundle_of(site.path, visit).encode()
    assert len(data) < 6_000_000
    assert examine(Bundle.parse(data)).coverage.share == 1.0


def test_an_export_gives_the_same_certificate(site: ASite, visit: str, tmp_path: Path) -> None:
    keys = [(site.path / name).read_text() for name in ("node.pub", "central.pub")]
    write_export(site.desk, keys[0], keys[1], tmp_path / "x")
    assert bundle_of(tmp_path / "x", visit) == bundle_of(site.path, visit)


# -- what is not there, and what is refused -----------------------------------------------------------------------


def test_an_unconfirmed_visit_is_said_to_be_one_and_never_grade_a(site: ASite) -> None:
    site.ack()
    visit = site.visit()
    found = certificate_of(site, visit)
    assert found.confirmed is None
    assert found.arrival.moment.grade == "B"


def test_a_file_a_seen_and_an_unanswered_visit_get_none(site: ASite) -> None:
    film = site.visit(source="file")
    seen, unsure = site.visit("seen"), site.visit("unsure")
    site.ack()
    assert [certificate_of(site, one).refusal() for one in (film, seen, unsure)] == ["file", "seen", "unsure"]
    site.correct(unsure, "first", "p-0003")
    answered = certificate_of(site, unsure)
    assert answered.refusal() is None
    assert (answered.settled.decision, answered.settled.original) == ("first", "unsure")


def test_corrections_and_what_came_later_are_in_it(site: ASite, visit: str) -> None:
    site.node.append("visit.reentry", {"visit": visit, "camera": "door", "at_us": 1, "out_us": 9, "company_before": []})
    site.correct(visit)
    site.node.append("visit.left", {"visit": visit, "reason": "gap"})
    site.desk.append("person.erased", {"person": "p-0002", "reason": "request"})
    site.correct("somebody else")
    found = certificate_of(site, visit)
    assert [one.kind for one in found.later] == ["visit.reentry", "visit.corrected", "visit.left", "person.erased"]
    assert (found.settled.decision, found.settled.original) == ("first", "first"), "the node had left nothing open"
    assert found.settled.corrected


def test_a_correction_of_the_party_is_in_it_and_changes_no_decision(site: ASite, visit: str) -> None:
    visit = site.visit("unsure")
    site.correct(visit)
    split = {"visit": visit, "party_id": "g-2", "reason": "party_split", "account": "u-1"}
    site.desk.append("visit.corrected", split)
    found = certificate_of(site, visit)
    assert [one.kind for one in found.later] == ["visit.corrected", "visit.corrected"]
    assert (found.settled.decision, found.settled.person_id) == ("return", "p-0001")


def test_an_unknown_visit_and_a_node_without_central_are_refused_in_one_line(site: ASite, visit: str) -> None:
    with pytest.raises(SyncError, match="not in this ledger"):
        bundle_of(site.path, "v-nobody")
    (site.path / "central.pub").unlink()
    with pytest.raises(SyncError, match="has joined no central"):
        bundle_of(site.path, visit)


def test_a_damaged_row_never_becomes_a_certificate(site: ASite, visit: str) -> None:
    record = certificate_of(site, visit).record
    body = record.body.replace(b'"gallery_n":1234', b'"gallery_n":9234')
    site.node.connection.execute("UPDATE ledger SET body = ? WHERE seq = ?", (body, record.seq))
    with pytest.raises((Bad, SyncError)):
        certificate_of(site, visit)


# -- nothing in it can be changed ----------------------------------------------------------------------------------


def test_every_changed_byte_of_the_evidence_is_detected(site: ASite, visit: str) -> None:
    data = bundle_of(site.path, visit).encode()
    good = examine(Bundle.parse(data)).listed()
    rng = random.Random(11)
    places = rng.sample(range(len(data)), 400)
    for at in places:
        changed = bytearray(data)
        changed[at] ^= 1 << rng.randrange(8)
        try:
            found = examine(Bundle.parse(bytes(changed)))
        except (Bad, SyncError):
            continue
        pytest.fail(f"byte {at} of {len(data)} changed unseen: {data[at - 40 : at + 40]!r} {found.listed() == good}")


def test_every_record_left_out_of_the_link_to_the_ack_is_missed(site: ASite, visit: str) -> None:
    bundle = bundle_of(site.path, visit)
    found = examine(bundle)
    at = next(i for i, one in enumerate(bundle.records) if one.body == found.record.body)
    with pytest.raises(Bad, match="0 records decide it"):
        examine(with_record(bundle, at, None))
    with pytest.raises(Bad, match="missing"):
        examine(with_record(bundle, at + 1, None))


def test_a_record_doubled_or_out_of_order_is_refused(site: ASite, visit: str) -> None:
    bundle = bundle_of(site.path, visit)
    with pytest.raises(Bad, match="not behind"):
        examine(with_record(bundle, 3, bundle.records[2]))


def test_a_visit_re_signed_with_the_real_key_does_not_fit_its_ack(site: ASite, visit: str) -> None:
    bundle = bundle_of(site.path, visit)
    found = examine(bundle)
    at = next(i for i, one in enumerate(bundle.records) if one.body == found.record.body)
    body = canonical.encode({**found.fields, "gallery_n": 99999})
    forged = SignedBody(body, site.node_key.sign("record-sig", body))
    with pytest.raises(Bad):
        examine(with_record(bundle, at, forged))


def test_a_zip_that_holds_no_bundle_or_two_is_refused(tmp_path: Path, site: ASite, visit: str) -> None:
    empty, double, cut = tmp_path / "empty.zip", tmp_path / "double.zip", tmp_path / "cut.zip"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("other.txt", "x")
    cut.write_bytes(zipped(bundle_of(site.path, visit).encode(), {}))
    with zipfile.ZipFile(double, "w") as archive:
        archive.writestr("bundle.json", b"{}")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("bundle.json", b"{}")
    data = cut.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    for path in (empty, double, cut):
        with pytest.raises(SyncError, match=path.name):
            verify(path)


# -- the code ------------------------------------------------------------------------------------------------------


def code_of(found: Certificate) -> Compact:
    made = code(found)
    assert made is not None
    return made


def test_the_code_verifies_alone_and_fits_a_qr_code(site: ASite, visit: str, tmp_path: Path) -> None:
    text = code_of(certificate_of(site, visit)).text()
    assert len(text) < 2400
    assert Compact.parse(text).text() == text
    (tmp_path / "code.txt").write_text(text + "\n")
    verdict = verify(tmp_path / "code.txt", site.path / "node.pub")
    assert verdict.ok
    assert verdict.what == "code"
    assert any(line.startswith("origin proven") for line in verdict.lines)
    assert any(visit in line for line in verdict.lines)


def test_every_changed_letter_of_the_code_is_detected(site: ASite, visit: str) -> None:
    text = code_of(certificate_of(site, visit)).text()
    rng = random.Random(5)
    for at in rng.sample(range(4, len(text)), 300):
        changed = text[:at] + rng.choice([letter for letter in "0A $%*+-./:9Z" if letter != text[at]]) + text[at + 1 :]
        with pytest.raises((Bad, SyncError)):
            Compact.parse(changed).check(None)


def test_a_code_whose_ack_is_another_records_is_bad(site: ASite, visit: str) -> None:
    found = certificate_of(site, visit)
    early = next(site.node.acks())
    code = replace(code_of(found), ack=early)
    with pytest.raises(Bad, match="does not cover"):
        code.check(None)


def rotate(site: ASite, name: str) -> None:
    """The node takes another key, as `firstvisit keys rotate` does."""
    head = site.node.head()
    assert head is not None
    new = made_key(name)
    rotation = Rotation(site.node_id, head.epoch, head.seq + 1, "node", site.node_key.public.key_id, new.public)
    site.node.append("key.rotated", rotation.fields(new, site.node_key, "file"))
    site.node_key = new
    site.node.close()
    site.node = Ledger(site.path / "firstvisit.db", Writer(site.node_id, "node", new, site.clock.stamp))


def test_the_code_leads_from_the_enrolled_key_over_a_rotation_to_the_one_in_force(site: ASite, tmp_path: Path) -> None:
    site.watch(HOUR_US)
    rotate(site, "second")
    visit = site.visit()
    site.ack()
    found = certificate_of(site, visit)
    assert found.key == made_key("second").public
    assert found.custody == "file"  # as the rotation says; the boot before it said tpm2
    made = code_of(found)
    assert len(made.rotations) == 1
    (tmp_path / "code.txt").write_text(made.text())
    assert verify(tmp_path / "code.txt", site.path / "node.pub").ok
    assert any(visit in line for line in verify_standalone.verify(tmp_path / "code.txt", verify_standalone.Given(None)))
    with pytest.raises(Bad, match="is not enrolled"):
        replace(made, rotations=()).check(None)


def test_where_keys_changed_too_often_there_is_no_code(site: ASite) -> None:
    for number in range(12):
        rotate(site, f"key-{number}")
    visit = site.visit()
    site.ack()
    assert code(certificate_of(site, visit)) is None


def test_the_code_leads_from_the_pinned_list_to_a_later_ack_key_of_central(site: ASite, tmp_path: Path) -> None:
    keys = {role: site.central.key(role).public for role in ("notice", "checkpoint", "code")}
    listed = CentralKeys("hq", site.central.key("root").public, {**keys, "ack": made_key("later").public})
    notice = Notice.seal(site.node_id, 1, bytes(32), "keys", listed.fields(), site.central.key("root"))
    visit = site.visit()
    head = site.node.head()
    assert head is not None
    site.go(SECOND_US)
    assert site.node.accept_ack(
        Ack.seal(site.node_id, 1, head.seq, head.hash, site.true_us, 8, made_key("later"))
    )  # fmt: skip
    bundle = replace(bundle_of(site.path, visit), notices=(notice.data,))
    made = code_of(examine(bundle))
    assert made.notices == (notice.data,)
    (tmp_path / "code.txt").write_text(made.text())
    verdict = verify(tmp_path / "code.txt", site.path / "central.pub")
    assert verdict.ok, verdict.why
    assert any(visit in line for line in verify_standalone.verify(tmp_path / "code.txt", verify_standalone.Given(None)))
    with pytest.raises(Bad, match="not signed by key"):
        replace(made, notices=()).check(None)


def test_the_code_stays_small_though_the_nearest_ack_proves_the_log(site: ASite) -> None:
    site.watch(HOUR_US)
    visit = site.visit()
    site.ack(checkpoint=True)
    site.visit()
    site.ack()
    found = certificate_of(site, visit)
    assert found.log is not None
    assert len(code_of(found).text()) < 2400


# -- coverage ------------------------------------------------------------------------------------------------------


def test_coverage_names_its_gaps_with_their_reasons(site: ASite) -> None:
    site.watch(31 * DAY_US)
    site.node.append("node.stopped", {"reason": "stopped"})
    site.reboot(off_us=2 * HOUR_US)
    site.watch(DAY_US)
    site.camera("down", "timeout")
    site.watch(3 * HOUR_US, longest_gap_us=3 * HOUR_US, frames=1)
    site.camera("up")
    site.watch(DAY_US)
    site.camera("blind", "covered")
    site.watch(HOUR_US)
    site.camera("up", "clear")
    site.watch(DAY_US)
    site.watch(600 * SECOND_US, longest_gap_us=300 * SECOND_US)
    visit = site.visit()
    site.ack()
    found = certificate_of(site, visit).coverage
    assert [(gap.reason, gap.length_us // HOUR_US) for gap in found.gaps] == [
        ("off", 2), ("down", 3), ("blind", 1), ("silent", 0)
    ]  # fmt: skip
    assert found.gaps[-1].length_us == 600 * SECOND_US  # the whole window: nobody knows when in it
    missing_us = sum(gap.length_us for gap in found.gaps) + found.unnamed_us + found.pending_us
    assert found.covered_us == 30 * DAY_US - missing_us


def test_a_camera_that_is_moved_frozen_or_another_device_leaves_gaps_with_their_names(site: ASite) -> None:
    site.watch(31 * DAY_US)
    site.camera("blind", "frozen")
    site.watch(HOUR_US)
    site.camera("up", "clear")
    site.watch(DAY_US)
    site.camera("moved", "displaced")
    site.watch(HOUR_US)
    site.camera("blind", "covered")  # covered and uncovered meanwhile, it looks elsewhere still
    site.watch(HOUR_US)
    site.camera("up", "clear")
    site.watch(HOUR_US)
    site.node.append("camera.moved", {"camera": "door", "at_us": site.kernel.wall_us, "state": "clear"})
    site.watch(DAY_US)
    site.camera("blind", "backlit")
    site.watch(2 * HOUR_US)
    site.camera("up", "clear")
    site.watch(DAY_US)
    site.camera("changed", "device")
    site.watch(2 * HOUR_US)
    site.reboot(off_us=5 * SECOND_US)  # a restart makes it no other device
    site.camera("up")
    site.watch(2 * HOUR_US)
    site.node.append("place.changed", {"changed": [], "reason": "attested"})
    site.watch(DAY_US)
    visit = site.visit()
    site.ack()
    found = certificate_of(site, visit).coverage
    assert [(gap.reason, round(gap.length_us / HOUR_US)) for gap in found.gaps] == [
        ("frozen", 1), ("moved", 3), ("backlit", 2), ("changed", 4)
    ]  # fmt: skip
    missing_us = sum(gap.length_us for gap in found.gaps) + found.unnamed_us + found.pending_us
    assert found.covered_us == 30 * DAY_US - missing_us


def test_a_move_that_a_restart_ends_is_said_again_or_over(site: ASite) -> None:
    site.watch(31 * DAY_US)
    site.camera("moved", "displaced")
    site.watch(2 * HOUR_US)
    site.reboot(off_us=5 * SECOND_US)
    site.camera("up")
    site.watch(DAY_US)
    visit = site.visit()
    site.ack()
    found = certificate_of(site, visit).coverage
    assert [(gap.reason, round(gap.length_us / HOUR_US)) for gap in found.gaps] == [("moved", 2)]


def test_a_device_younger_than_a_month_says_so(site: ASite) -> None:
    site.watch(5 * DAY_US)
    visit = site.visit()
    found = certificate_of(site, visit).coverage
    assert [(gap.reason, gap.length_us // DAY_US) for gap in found.gaps] == [("before", 25)]


def test_restarts_shorter_than_a_minute_count_but_are_not_named(site: ASite) -> None:
    site.watch(31 * DAY_US)
    for _ in range(3):
        site.reboot(off_us=20 * SECOND_US)
        site.watch(DAY_US)
    visit = site.visit()
    found = certificate_of(site, visit).coverage
    assert (found.gaps, found.unnamed, found.unnamed_us) == ((), 3, 60 * SECOND_US)


def test_a_clock_set_forward_makes_no_window_longer(site: ASite) -> None:
    site.watch(31 * DAY_US)
    site.go(0, 3 * HOUR_US)
    site.watch(600 * SECOND_US)
    visit = site.visit()
    found = certificate_of(site, visit).coverage
    assert [(gap.reason, gap.length_us // HOUR_US) for gap in found.gaps] == [("off", 3)]


def test_the_ledger_is_not_written_by_making_a_bundle(site: ASite, visit: str) -> None:
    before = site.node.head()
    bundle_of(site.path, visit)
    assert Ledger(site.path / "firstvisit.db").head() == before
