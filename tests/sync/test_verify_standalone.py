"""The verifier that shares no code with the rest comes to the same verdicts as the rest."""

import ast
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sync import SyncError, verify_standalone
from sync.audit.export import write_export
from sync.audit.origin import enrolments_of
from sync.central.log import enrolled, epoch_opened
from sync.certificate.bundle import zipped as packed
from sync.certificate.compact import Compact
from sync.certificate.examine import examine
from sync.certificate.found import bundle_of
from sync.format import canonical
from sync.format.messages import Ack, Statement
from sync.format.notices import AccountWord
from sync.format.public_keys import Enrolment
from sync.format.records import Record, parse
from sync.format.rotation import Rotation
from sync.format.signing import Domain, PublicKey, es256_signature, tagged
from sync.format.source import UNDO_US
from sync.format.wire import SignedBody
from sync.node.purge import purge
from sync.node.trust import Trust
from sync.node.witness import witness
from sync.verify.verify import verify
from sync.verify_standalone import Given
from tests.sync.a_revocation import rekey, revoke, rotate
from tests.sync.a_site import DAY_US, HOUR_US, SECOND_US, START_US, ASite, made_key
from tests.sync.conftest import BuiltHome

FILE = Path(verify_standalone.__file__)


@pytest.fixture
def exported(filled_home: BuiltHome, tmp_path: Path) -> Path:
    """An export of 40 records, acknowledged up to 30."""
    out = tmp_path / "ledger.jsonl"
    ledger = filled_home.ledger()
    write_export(ledger, filled_home.node_pub.read_text(), filled_home.central_pub.read_text(), out)
    ledger.close()
    return out


def ours(path: Path, key: Path | None = None) -> tuple[str, int | None]:
    """What the project's own verifier says: good, bad or unreadable, and the first bad seq."""
    try:
        verdict = verify(path, key)
    except SyncError:
        return "unreadable", None
    return ("good", None) if verdict.ok else ("bad", verdict.first_bad)


def theirs(path: Path, key: Path | None = None) -> tuple[str, int | None]:
    """The same of the standalone one."""
    try:
        verify_standalone.verify(path, Given(key))
    except verify_standalone.At as at:
        return "bad", at.place[1]
    except verify_standalone.Bad:
        return "bad", None
    except verify_standalone.Unreadable:
        return "unreadable", None
    return "good", None


def test_it_imports_nothing_but_the_standard_library_and_pynacl() -> None:
    imported = [node for node in ast.walk(ast.parse(FILE.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name for node in imported for name in _names(node)}
    assert names - sys.stdlib_module_names == {"nacl"}


def _names(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom):
        yield (node.module or "").split(".")[0]
    else:
        yield from (alias.name.split(".")[0] for alias in node.names)


def test_as_a_program_of_its_own_it_verifies_an_export_and_names_a_bad_record(exported: Path) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", str(FILE), str(exported)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=exported.parent)

    good = run()
    assert (good.returncode, good.stderr) == (0, "")
    assert "40 records of node gate-1 verified up to seq 40" in good.stdout
    exported.write_bytes(exported.read_bytes().replace(b'\\"v17\\"', b'\\"v71\\"'))
    bad = run()
    assert bad.returncode == 1
    assert bad.stdout == "bad: seq 17: the signature does not verify\n"


# -- the same verdicts -------------------------------------------------------------------------------------------------


def mutated(whole: bytes, number: int, rng: random.Random) -> bytes:
    """The bytes changed in one of five ways, by turns."""
    mutant = bytearray(whole)
    match number % 5:
        case 0 | 1:  # a byte becomes another
            mutant[rng.randrange(len(mutant))] = rng.randrange(256)
        case 2:  # a digit becomes another digit: what is still JSON
            digits = [at for at, byte in enumerate(mutant) if byte in b"0123456789abcdef"]
            mutant[rng.choice(digits)] = rng.choice(b"0123456789abcdef")
        case 3:  # a line of an export, or a record of a bundle, goes or stands twice
            parts = re.split(rb"(?<=\n)|(?=\{.body)", whole)
            at = rng.randrange(len(parts))
            mutant[:] = b"".join(parts[:at] + parts[at : at + 1] * rng.choice((0, 2)) + parts[at + 1 :])
        case 4:  # cut short
            del mutant[rng.randrange(len(mutant)) :]
    return bytes(mutant)


def test_without_pynacl_it_says_so_and_judges_nothing(exported: Path) -> None:
    done = subprocess.run([sys.executable, "-I", "-S", str(FILE), str(exported)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("PyNaCl is missing, nothing was judged")


def test_asked_for_help_it_says_how_it_is_called() -> None:
    done = subprocess.run([sys.executable, str(FILE), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "verify_standalone.py PATH" in done.stdout


def test_both_say_that_a_pdf_is_no_evidence(tmp_path: Path) -> None:
    paper = tmp_path / "certificate.pdf"
    paper.write_bytes(b"%PDF-1.7\n\xe2\xe3\xcf\xd3\n")
    with pytest.raises(SyncError, match="a PDF is no evidence"):
        verify(paper)
    done = subprocess.run([sys.executable, str(FILE), str(paper)], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "a PDF is no evidence" in done.stderr


def test_both_judge_mutated_exports_alike(exported: Path) -> None:
    whole, rng, said = exported.read_bytes(), random.Random(11), Counter[str]()
    assert ours(exported) == theirs(exported) == ("good", None)
    for number in range(300):
        exported.write_bytes(mutated(whole, number, rng))
        expected = ours(exported)
        assert theirs(exported) == expected, f"mutant {number}"
        said[expected[0]] += 1
    assert said["bad"] > 60
    assert said["unreadable"] > 60


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ASite]:
    site = ASite(tmp_path / "site")
    yield site
    site.close()


@pytest.fixture
def visit(site: ASite) -> str:
    """A visit between two checkpoints of central's log, corrected by the desk."""
    site.ack()
    site.watch(2 * HOUR_US)
    site.ack(checkpoint=True)
    visit = site.visit()
    site.ack()
    site.desk.append("visit.corrected", {"visit": visit, "decision": "first", "reason": "new_person", "person": "p-1"})
    site.watch(HOUR_US)
    site.ack(checkpoint=True)
    return visit


def zipped(bundle: bytes, path: Path) -> Path:
    path.unlink(missing_ok=True)
    path.write_bytes(packed(bundle, {}))
    return path


def test_both_judge_a_thousand_mutated_bundles_alike(site: ASite, visit: str, tmp_path: Path) -> None:
    bundle, path, rng, said = bundle_of(site.path, visit), tmp_path / "b.zip", random.Random(12), Counter[str]()
    stated = enrolled("hq", Enrolment.parse_text(bundle.node_pub), START_US, site.central.key("notice"))
    whole = replace(bundle, statements=(stated.data,)).encode()
    zipped(whole, path)
    assert ours(path) == theirs(path) == ("good", None)
    assert any("central's log: shown to hold it" in line for line in verify_standalone.verify(path, Given(None)))
    for number in range(1000):
        zipped(mutated(whole, number, rng), path)
        expected = ours(path)
        assert theirs(path) == expected, f"mutant {number}"
        said[expected[0]] += 1
    assert said["bad"] > 200
    assert said["unreadable"] > 200


def test_both_print_what_was_asked_of_a_source_and_apply_only_what_was_approved(
    site: ASite, visit: str, tmp_path: Path
) -> None:
    def ask(way: str) -> Record:
        said = {"visit": visit, "state": "proposed", "reason": "typo", "account": "li", "way": way, "first_us": 17}
        return site.desk.append("visit.corrected", {**said, "office": "puxi-01"})

    def answer(asked: Record, verdict: str, account: str, office: str = "hq") -> Record:
        word = {"visit": visit, "proposal": asked.hash.hex(), "verdict": verdict, "account": account, "office": office}
        return site.desk.append("visit.approved", word)

    zhao, qian, sun, zhou = (f"acc-{letter * 16}" for letter in "abcd")
    site.desk.append("visit.checkin", {"visit": visit, "state": "registered", "way": "phone", "account": "li"})
    site.desk.append("visit.checkin", {"visit": visit, "state": "registered", "way": "visitor", "account": "li"})
    site.confirm(site.change_account(zhao))
    for way, verdict in (("walk_in", "approved"), ("code", "refused")):
        answer(ask(way), verdict, zhao)
    answer(ask("visitor"), "approved", zhao, "puxi-01")
    site.change_account(qian)
    answer(ask("visitor"), "approved", qian)  # central knows nothing of qian
    made = site.change_account(sun)
    site.confirm(made)
    site.change_account(sun, "password")
    answer(ask("visitor"), "approved", sun)  # whoever signs in as sun now is not whom central confirmed
    early = ask("visitor")
    told = site.change_account(zhou)
    answer(early, "approved", zhou)
    site.confirm(told)  # too late for the word before it
    outranked = ask("visitor")
    answer(outranked, "approved", zhao)
    site.tell(AccountWord("acc-" + "e" * 16, "hq", visit, outranked.hash.hex(), "refused"))
    site.tell(AccountWord("acc-" + "e" * 16, "hq", visit, ask("code").hash.hex(), "approved"))
    site.ack(checkpoint=True)
    path = zipped(bundle_of(site.path, visit).encode(), tmp_path / "b.zip")
    assert ours(path) == theirs(path) == ("good", None)
    both = (verify(path).lines, verify_standalone.verify(path, Given(None)))
    ours_said, theirs_said = (
        [line for line in said if line.startswith(("source", "correction to", "check-in at"))] for said in both
    )
    assert ours_said == theirs_said
    assert [line.partition(" asked for")[0] for line in ours_said] == [
        "source as registered: way phone",
        "correction to way walk_in, first_us 17",
        "correction to way code, first_us 17",
        *["correction to way visitor, first_us 17"] * 5,
        "correction to way code, first_us 17",
        ours_said[-2],
        "source that stands: way code, first_us 17",
    ]
    assert ours_said[-2].endswith("changes nothing, the visit was registered already")
    words = [line.rpartition("(typo): ")[2] for line in ours_said[1:-2]]
    assert [re.sub(r"seq \d+", "seq", word) for word in words] == [
        "approved at seq, on the desk's key alone",
        "refused at seq, on the desk's key alone",
        *["not approved from outside: the word at seq does not count"] * 4,
        "refused at seq, by central's own word",
        "approved at seq, by central's own word",
    ]


@pytest.mark.parametrize(
    ("off_us", "set_us", "ran_us", "late"),
    [
        (None, 0, UNDO_US - 1, False),
        (None, -3 * DAY_US, 3 * DAY_US, True),
        (None, DAY_US, 60 * SECOND_US, False),
        (20 * SECOND_US, 20 * SECOND_US, 0, False),
        (3 * DAY_US, 20 * SECOND_US, UNDO_US, True),
        (3 * DAY_US, 3 * DAY_US, 0, True),
    ],
)
def test_both_judge_an_undo_by_the_clock_that_nobody_sets(
    site: ASite, visit: str, tmp_path: Path, off_us: int | None, set_us: int, ran_us: int, late: bool
) -> None:
    said = {"visit": visit, "account": "li"}
    first = site.desk.append("visit.checkin", {**said, "state": "registered", "way": "phone"})
    if off_us is None:
        site.go(ran_us, set_us)
    else:
        site.reboot(off_us, first.stamp.wall_us + set_us)
        site.go(ran_us, -ran_us)
    site.desk.append("visit.checkin", {**said, "state": "open", "undoes": first.hash.hex()})
    site.desk.append("visit.checkin", {**said, "state": "registered", "way": "code"})
    site.ack(checkpoint=True)
    path = zipped(bundle_of(site.path, visit).encode(), tmp_path / "b.zip")
    assert ours(path) == theirs(path) == ("good", None)
    for told in (verify(path).lines, verify_standalone.verify(path, Given(None))):
        assert [line for line in told if line.startswith("source that")] == ["source that stands: way phone"] * late


@pytest.mark.parametrize("left_out", ["nothing", "another password", "a refusal"])
def test_both_say_that_an_approval_counts_only_by_the_records_of_the_bundle_where_some_are_missing(
    site: ASite, visit: str, tmp_path: Path, left_out: str
) -> None:
    site.ack(checkpoint=True)
    zhao, qian = (f"acc-{letter * 16}" for letter in "ab")
    for account in (zhao, qian):
        site.confirm(site.change_account(account))
    said = {"visit": visit, "state": "proposed", "reason": "typo", "account": "li", "way": "code", "office": "puxi-01"}
    asked = site.desk.append("visit.corrected", said)
    word = {"visit": visit, "proposal": asked.hash.hex(), "office": "hq"}
    if left_out == "a refusal":
        gone = site.desk.append("visit.approved", {**word, "account": qian, "verdict": "refused"})
    else:
        gone = site.change_account(zhao if left_out == "another password" else qian, "password")
    site.desk.append("visit.approved", {**word, "account": zhao, "verdict": "approved"})
    whole = bundle_of(site.path, visit)
    held = {
        one.body: one
        for one in (*whole.records, *(SignedBody(r.body, r.signature) for r in site.node.between((0, 0), (9, 0))))
    }
    order = sorted(held.values(), key=lambda one: (place := parse(one.body, one.signature)).epoch * 10**9 + place.seq)

    def lines_of(records: Iterable[SignedBody]) -> str:
        path = zipped(replace(whole, records=tuple(records)).encode(), tmp_path / "b.zip")
        assert ours(path) == theirs(path) == ("good", None)
        both = (verify(path).lines, verify_standalone.verify(path, Given(None)))
        ours_said, theirs_said = ([line for line in said if line.startswith("correction to")] for said in both)
        assert ours_said == theirs_said
        return ours_said[0].rpartition("(typo): ")[2]

    told = {"nothing": "approved", "another password": "not approved from outside", "a refusal": "refused"}[left_out]
    everything = lines_of(order)
    assert everything.startswith(told)
    assert "by the records" not in everything
    without = lines_of(one for one in order if one.body != gone.body)
    assert without.startswith("approved")
    assert without.endswith("on the desk's key alone, by the records that this bundle holds")


def test_both_find_a_bundle_good_though_central_s_clock_was_set_back_and_miss_no_log_that_shrank(
    site: ASite, tmp_path: Path
) -> None:
    site.watch(2 * HOUR_US)
    site.ack(checkpoint=True)
    visit = site.visit()
    site.true_us -= HOUR_US
    before = site.ack(checkpoint=True)
    path = zipped(bundle_of(site.path, visit).encode(), tmp_path / "b.zip")
    assert ours(path) == theirs(path) == ("good", None)

    # the same two acks, the later place in a log that is smaller than the earlier one's
    site.watch(HOUR_US)
    site.central.log.entries.clear()
    record = site.node.record(before.epoch, before.upto_seq)
    assert record
    site.central.log.add(record.hash)
    proof = site.central.log.proof(record.hash)
    ack = Ack.seal(site.node_id, 1, record.seq, record.hash, before.central_time_us, 8, site.central.key("ack"), proof)
    fields = canonical.decode(bundle_of(site.path, visit).encode())
    fields["acks"] = [ack.data.hex() if one == before.data.hex() else one for one in fields["acks"]]
    zipped(canonical.encode(fields), path)
    assert ours(path) == theirs(path) == ("bad", None)


def test_a_mutated_zip_is_never_good_to_one_alone(site: ASite, visit: str, tmp_path: Path) -> None:
    path, rng = zipped(bundle_of(site.path, visit).encode(), tmp_path / "b.zip"), random.Random(13)
    whole = path.read_bytes()
    for number in range(200):
        path.write_bytes(mutated(whole, number, rng))
        assert (theirs(path)[0] == "good") == (ours(path)[0] == "good"), f"mutant {number}"


def test_both_read_the_code_of_a_certificate_and_judge_its_mutants_alike(
    site: ASite, visit: str, tmp_path: Path
) -> None:
    found = examine(bundle_of(site.path, visit))
    assert found.confirmed
    pub, central = found.bundle.node_pub, found.bundle.central_pub
    code = Compact(found.record.body, found.record.signature, found.confirmed.data, pub, central).text()
    path, rng, said = tmp_path / "code.txt", random.Random(14), Counter[str]()
    path.write_text(code)
    assert ours(path) == theirs(path) == ("good", None)
    for number in range(200):
        path.write_bytes(code[:4].encode() + mutated(code[4:].encode(), number, rng))
        expected = ours(path)[0]
        assert theirs(path)[0] == expected, f"mutant {number}"
        said[expected] += 1
    assert said["unreadable"] > 100


def test_both_believe_only_the_key_they_are_given(site: ASite, visit: str, tmp_path: Path) -> None:
    path, key = zipped(bundle_of(site.path, visit).encode(), tmp_path / "b.zip"), tmp_path / "other.pub"
    other = Enrolment("puxi-01-a", "puxi-01", made_key("x").public, made_key("y").public)
    key.write_text(other.text(made_key("x")))
    for given in (site.path / "node.pub", site.path / "central.pub"):
        assert ours(path, given)[0] == theirs(path, given)[0] == "good"
    assert ours(path, key)[0] == theirs(path, key)[0] == "bad"
    key.write_text("no key\n")
    assert ours(path, key)[0] == theirs(path, key)[0] == "unreadable"


@dataclass(frozen=True, slots=True)
class Es256Signer:
    """A key as a TPM holds it, in memory."""

    key: EllipticCurvePrivateKey

    @property
    def public(self) -> PublicKey:
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        return PublicKey(point, "es256")

    def sign(self, domain: Domain, message: bytes) -> bytes:
        return es256_signature(self.key.sign(tagged(domain, message), ECDSA(SHA256())))


def export(site: ASite, out: Path) -> Path:
    node_pub, *others = enrolments_of(site.path)
    write_export(site.node, node_pub, (site.path / "central.pub").read_text(), out, others)
    return out


def test_both_read_what_central_s_log_says_of_the_node(site: ASite, visit: str, tmp_path: Path) -> None:
    bundle, path = bundle_of(site.path, visit), tmp_path / "stated.zip"
    enrolment = Enrolment.parse_text(bundle.node_pub)
    notice, stranger = site.central.key("notice"), made_key("stranger")

    def judged(*statements: Statement) -> str:
        zipped(replace(bundle, statements=tuple(one.data for one in statements)).encode(), path)
        assert theirs(path)[0] == ours(path)[0]
        return theirs(path)[0]

    good = enrolled("hq", enrolment, START_US, notice)
    assert judged(good, epoch_opened("hq", enrolment.node_id, 3, START_US, notice)) == "good"
    said = "central states in its log that it let this node in with these keys, at 2026-09-21"
    assert any(line.startswith(said) for line in verify(path).lines)
    assert any(line.startswith(said) for line in verify_standalone.verify(path, Given(None)))
    assert judged(enrolled("hq", enrolment, START_US, stranger)) == "bad"
    assert judged(enrolled("hq", replace(enrolment, node_id="puxi-02"), START_US, notice)) == "bad"
    assert judged(good, enrolled("hq", replace(enrolment, desk=stranger.public), START_US, notice)) == "bad"
    assert judged(enrolled("hq", replace(enrolment, desk=stranger.public, epoch=2), START_US, notice)) == "good"
    assert not any(line.startswith(said) for line in verify(path).lines)


def test_an_ack_under_a_key_that_central_has_replaced_covers_nothing_behind_the_node_s_answer(
    site: ASite, tmp_path: Path
) -> None:
    site.watch(HOUR_US)
    early = site.visit()
    site.ack()
    stolen = site.central.key("ack")
    answer = site.replace_central_key("ack")
    site.watch(HOUR_US)
    late = site.visit()
    bundles = [tmp_path / f"{visit}.zip" for visit in (early, late)]

    def hold(*expected: str) -> None:
        out = tmp_path / "ledger.jsonl"
        out.unlink(missing_ok=True)
        write_export(site.node, *((site.path / name).read_text() for name in ("node.pub", "central.pub")), out)
        for visit, bundle in zip((early, late), bundles, strict=True):
            zipped(bundle_of(site.path, visit).encode(), bundle)
        for path, wanted in zip((out, *bundles), expected, strict=True):
            assert ours(path)[0] == theirs(path)[0] == wanted, path
        assert ours(site.path)[0] == expected[0]

    site.ack()
    hold("good", "good", "good")
    site.replace_central_key("notice")
    hold("good", "good", "good")
    site.visit()
    head = site.node.head()
    assert head is not None
    assert (head.epoch, head.seq) > (answer.epoch, answer.seq)
    forged = Ack.seal(site.node_id, head.epoch, head.seq, head.hash, site.true_us, 8, stolen)
    assert site.node.accept_ack(forged), "whoever holds the database writes what they like into it"
    late = site.visit()
    site.watch(HOUR_US)
    hold("bad", "good", "bad")


def test_both_follow_a_key_rotated_into_a_tpm_its_revocation_and_a_purge(site: ASite, tmp_path: Path) -> None:
    site.watch(2 * HOUR_US)
    site.ack(checkpoint=True)
    new = Es256Signer(generate_private_key(SECP256R1()))
    rotate(site, new)
    visit = site.visit()
    site.ack(checkpoint=True)
    ack = Ack.parse(list(site.node.acks())[-1], site.central.key("ack").public)
    witness(ack, site.node.connection, Trust(site.path).keys())
    site.watch(HOUR_US)
    whole = export(site, tmp_path / "whole.jsonl")
    bundle = zipped(bundle_of(site.path, visit).encode(), tmp_path / "b.zip")
    site.go(2 * DAY_US)
    site.append_alive()
    site.ack(checkpoint=True)
    assert purge(site.node, 1) is not None
    purged = export(site, tmp_path / "purged.jsonl")
    for path in (whole, purged, bundle):
        assert ours(path) == theirs(path) == ("good", None), path
    header, rest = purged.read_bytes().split(b"\n", 1)
    fields = canonical.decode(header)
    for hexadecimal in (fields["purged"]["head"].upper(), " ".join(fields["purged"]["head"])):
        shouted = {**fields, "purged": {**fields["purged"], "head": hexadecimal}}
        (tmp_path / "shouted.jsonl").write_bytes(canonical.encode(shouted) + b"\n" + rest)
        assert ours(tmp_path / "shouted.jsonl") == theirs(tmp_path / "shouted.jsonl") == ("unreadable", None)

    # the new key is revoked from its third record on: to both what it signed from there is void
    notice = revoke(site, new, 22, heard=False)
    lines = whole.read_bytes().split(b"\n", 1)
    header = {**canonical.decode(lines[0]), "notices": [notice.data.hex()]}
    whole.write_bytes(canonical.encode(header) + b"\n" + lines[1])
    assert ours(whole) == theirs(whole) == ("good", None)
    assert said_void(whole) == [f"void: seq 23..23, signed after key {new.public.key_id} was revoked (compromised)"]

    # without a word of the purge, or with another record kept, neither believes the rest
    text, rng, said = purged.read_bytes(), random.Random(15), Counter[str]()
    for number in range(100):
        purged.write_bytes(mutated(text[: len(text) // 3], number, rng) + text[len(text) // 3 :])
        expected = ours(purged)
        assert theirs(purged) == expected, f"mutant {number}"
        said[expected[0]] += 1
    assert said["bad"] > 10


def said_void(path: Path) -> list[str]:
    """What both say of void records, which must be the same."""
    mine = [line for line in verify(path).lines if line.startswith("void: ")]
    assert mine == [line for line in verify_standalone.verify(path, Given(None)) if line.startswith("void: ")]
    return mine


@pytest.fixture
def revoked(site: ASite) -> tuple[str, str]:
    """A visit on either side of the place where the node's key was revoked; behind them an epoch of new keys."""
    site.watch(2 * HOUR_US)
    site.ack(checkpoint=True)
    counts = site.visit()
    head = site.node.head()
    assert head
    void = site.visit()
    site.append_alive()
    site.correct(counts)  # by the desk's key, which was not revoked
    site.node.append("visit.left", {"visit": counts, "reason": "gap"})
    rotate(site, Es256Signer(generate_private_key(SECP256R1())))
    revoke(site, site.node_key, head.seq)
    rekey(site)
    site.watch(HOUR_US)
    site.ack(checkpoint=True)
    return counts, void


def test_both_pass_over_what_is_void_and_follow_none_of_it(
    site: ASite, revoked: tuple[str, str], tmp_path: Path
) -> None:
    counts, void = revoked
    whole = export(site, tmp_path / "whole.jsonl")
    assert ours(whole) == theirs(whole) == ("good", None)
    (line,) = said_void(whole)
    key_id = site.node_key.public.key_id
    assert line == f"void: seq 17..18, 20..21, signed after key {key_id} was revoked (compromised)"
    for given in (site.path / "node.pub", site.path / "node-1.pub", site.path / "central.pub"):
        assert ours(whole, given) == theirs(whole, given) == ("good", None)

    good, bad = tmp_path / "good.zip", tmp_path / "bad.zip"
    zipped(bundle_of(site.path, counts).encode(), good)
    assert ours(good) == theirs(good) == ("good", None)
    assert said_void(good) == [line]
    printed = list(verify_standalone.verify(good, Given(None)))
    assert not any("visit.left" in line for line in printed)
    assert any("visit.corrected" in line for line in printed)
    zipped(bundle_of(site.path, void).encode(), bad)
    assert ours(bad) == theirs(bad) == ("bad", 17)

    # the same chain where nobody has heard of the revocation: the rotation counts, and the new epoch too
    header, records = whole.read_bytes().split(b"\n", 1)
    whole.write_bytes(canonical.encode({**canonical.decode(header), "notices": []}) + b"\n" + records)
    assert ours(whole) == theirs(whole) == ("good", None)
    assert said_void(whole) == []


def test_both_judge_mutants_of_void_records_alike(site: ASite, revoked: tuple[str, str], tmp_path: Path) -> None:
    path, rng, said = export(site, tmp_path / "whole.jsonl"), random.Random(16), Counter[str]()
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    begin = sum(map(len, lines[:17]))  # from the first void record on, to the epoch of new keys
    end = begin + sum(map(len, lines[17:23]))
    for number in range(250):
        path.write_bytes(whole[:begin] + mutated(whole[begin:end], number, rng) + whole[end:])
        expected = ours(path)
        assert theirs(path) == expected, f"mutant {number}"
        said[expected[0]] += 1
    assert said["bad"] > 60
    bundle, path = bundle_of(site.path, revoked[0]).encode(), tmp_path / "b.zip"
    for number in range(250):
        zipped(mutated(bundle, number, rng), path)
        expected = ours(path)
        assert theirs(path) == expected, f"mutant {number}"
        said["bundle " + expected[0]] += 1
    assert said["bundle bad"] > 50


@pytest.mark.usefixtures("revoked")
def test_both_refuse_a_void_record_that_its_key_did_not_sign(site: ASite, tmp_path: Path) -> None:
    path = export(site, tmp_path / "whole.jsonl")
    lines = path.read_bytes().splitlines()
    for seq, signer in ((17, made_key("stranger")), (20, site.desk_key)):
        fields = canonical.decode(lines[seq])
        signature = signer.sign("record-sig", fields["body"].encode()).hex()
        forged = [*lines[:seq], canonical.encode({**fields, "signature": signature}), *lines[seq + 1 :]]
        path.write_bytes(b"\n".join(forged) + b"\n")
        assert ours(path) == theirs(path) == ("bad", seq)


def test_both_refuse_to_let_a_revoked_desk_key_give_way_to_another(site: ASite, tmp_path: Path) -> None:
    head = site.node.head()
    assert head
    new = made_key("next-desk")
    rotation = Rotation(site.node_id, 1, head.seq + 1, "desk", site.desk_key.public.key_id, new.public)
    site.node.append("key.rotated", rotation.fields(new, site.desk_key, "file"))
    path = export(site, tmp_path / "whole.jsonl")
    assert ours(path) == theirs(path) == ("good", None)
    header, records = path.read_bytes().split(b"\n", 1)
    notice = revoke(site, site.desk_key, head.seq, heard=False)
    path.write_bytes(canonical.encode({**canonical.decode(header), "notices": [notice.data.hex()]}) + b"\n" + records)
    assert ours(path) == theirs(path) == ("bad", head.seq + 1)
