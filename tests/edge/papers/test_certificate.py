"""The certificate as people get it: two pages that say what they prove and what not, and a code that verifies."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from edge import cli
from edge.home import Home
from edge.papers.certificate import NoCertificate, issue_file
from edge.settings import new_config
from sync import SyncError
from sync.certificate.found import bundle_of
from sync.verify.verify import verify
from tests.sync.a_site import DAY_US, HOUR_US, SECOND_US, ASite

Pages = Callable[[Path], list[str]]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ASite]:
    """A HOME as `init` and `join` leave it, a day old, with the evidence of a_site in it."""
    site = ASite(tmp_path / "home")
    config = new_config(
        site="puxi-01", node=site.node_id, place={"datum": "wgs84"}, capture={"mode": "ephemeral", "legal_basis": "t"}
    )
    (site.path / "firstvisit.toml").write_text(config)
    (site.path / "keys").mkdir()
    for role, key in (("node", site.node_key), ("desk", site.desk_key)):
        path = site.path / "keys" / f"{role}.key"
        path.touch(mode=0o600)
        path.write_text(f"firstvisit-key-v1 ed25519 {bytes(key.key).hex()}\n")
    site.ack()
    site.watch(DAY_US)
    site.ack(checkpoint=True)
    yield site
    site.close()


@pytest.fixture
def text_of() -> Pages:
    """The text of each page, as a reader's program finds it."""
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext on this machine (poppler-utils)")

    def read(pdf: Path) -> list[str]:
        told = subprocess.run(["pdftotext", "-layout", pdf, "-"], capture_output=True, check=True, timeout=60)
        return told.stdout.decode().split("\f")[:-1]

    return read


def confirmed_visit(site: ASite, kind: str = "first", **more: object) -> str:
    visit = site.visit(kind, **more)
    site.ack()
    site.watch(60 * SECOND_US)
    site.ack(checkpoint=True)
    return visit


def exports(site: ASite) -> list[dict[str, object]]:
    return [record.fields for record in site.node.records(("export.made",))]


def call(*arguments: object) -> int:
    sys.argv = ["firstvisit", *map(str, arguments)]
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


# -- the files -----------------------------------------------------------------------------------------------------


def test_the_zip_holds_evidence_paper_and_a_verifier_and_is_recorded(site: ASite, tmp_path: Path) -> None:
    visit, out = confirmed_visit(site), tmp_path / "visit.zip"
    assert call("certificate", visit, "--home", site.path, "-o", out) == 0
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == ["bundle.json", "certificate.pdf", "README.txt", "verify_standalone.py"]
        assert archive.testzip() is None
        assert site.node_key.public.fingerprint in archive.read("README.txt").decode()
    (made,) = exports(site)
    assert {key: made[key] for key in ("what", "visit", "sha256")} == {
        "what": "certificate", "visit": visit, "sha256": sha256(out.read_bytes()).hexdigest()
    }  # fmt: skip
    assert call("verify", out, "--public-key", site.path / "node.pub") == 0
    assert call("verify", out, "--public-key", site.path / "central.pub") == 0
    assert call("verify", site.path) == 0
    with zipfile.ZipFile(out) as archive:
        data = archive.read("bundle.json")
    for at in (0.1, 0.5, 0.9):
        changed = bytearray(data)
        changed[int(at * len(data))] ^= 4
        (tmp_path / "bundle.json").write_bytes(changed)
        assert call("verify", tmp_path / "bundle.json") != 0


def test_what_the_desk_says_later_of_the_visit_and_its_person_is_in_the_bundle_and_both_verifiers_take_it(
    site: ASite, tmp_path: Path
) -> None:
    visit, out = site.visit(), tmp_path / "visit.zip"
    person = next(one for one in site.node.records(("visit.first",)) if one.fields["visit"] == visit).fields["person"]
    sent = {"request": "0" * 32, "account": "acc-li"}
    on = {"off_site": {"at_us": 5, "epoch": 1, "seq": 9}, "joined_by_agent": {"at_us": 6, "agents": ["p-a"]}}
    registered = {"visit": visit, "state": "registered", "way": "walk_in", "facts": sorted(on), "facts_on": on}
    kept = [
        site.desk.append("visit.checkin", {**registered, **sent}),
        site.desk.append("visit.checkin", {"visit": visit, "state": "open", "reason": "undone", **sent}),
        site.desk.append("visit.assigned", {"visit": visit, "consultant": "acc-li", "turn": "next", **sent}),
        site.desk.append("person.merged", {"persons": ["p-old", person], "person": "p-old", "alias": person, **sent}),
        site.desk.append("person.split", {"persons": ["p-old", person], "reason": "lookalike", **sent}),
    ]
    site.ack()
    site.watch(60 * SECOND_US)
    site.ack(checkpoint=True)
    assert call("certificate", visit, "--home", site.path, "-o", out) == 0
    with zipfile.ZipFile(out) as archive:
        archive.extractall(tmp_path)
    bodies = {record["body"] for record in json.loads((tmp_path / "bundle.json").read_bytes())["records"]}
    assert {record.body.decode() for record in kept} <= bodies
    assert call("verify", out, "--public-key", site.path / "node.pub") == 0
    alone = [sys.executable, "-I", tmp_path / "verify_standalone.py", out, "--public-key", site.path / "node.pub"]
    assert subprocess.run(alone, capture_output=True, timeout=120, check=False).returncode == 0


# -- the paper -----------------------------------------------------------------------------------------------------


def test_the_paper_says_what_it_is_in_both_languages(site: ASite, tmp_path: Path, text_of: Pages) -> None:
    visit, out = confirmed_visit(site), tmp_path / "visit.pdf"
    issued = issue_file(Home(site.path), visit, out)
    pages = text_of(out)
    assert len(pages) == 2
    one, two = pages
    assert "首访（比对范围内：1,234 人" in one
    assert "First visit as compared with 1,234 people" in one
    for told in ("时间等级", "31.230400", "mobilefacenet@1", "此前 30 天", "before the device began"):
        assert told in one
    for told in ("本证书不能证明什么", "What this does not prove", "没有更正", site.node_key.public.fingerprint):
        assert told in two
    assert issued.certificate.record.hash.hex() in two
    assert issued.certificate.central.root.fingerprint in two


def test_first_is_never_said_without_what_it_was_compared_with(site: ASite, tmp_path: Path, text_of: Pages) -> None:
    unsure = confirmed_visit(site, "unsure")
    site.correct(unsure, "first", "p-0002")
    issue_file(Home(site.path), unsure, tmp_path / "two.pdf")
    issue_file(Home(site.path), confirmed_visit(site, gallery_n=0), tmp_path / "three.pdf")
    for name in ("two", "three"):
        text = "".join(text_of(tmp_path / f"{name}.pdf"))
        assert re.findall(r"首访(?!（比对范围内|证书（比对范围内)", text) == []
        assert "首访（比对范围内：" in text


def test_the_code_on_the_page_reads_back_and_verifies(site: ASite, tmp_path: Path) -> None:
    zxingcpp = pytest.importorskip("zxingcpp")
    image_module = pytest.importorskip("PIL.Image")
    if shutil.which("pdftoppm") is None:
        pytest.skip("no pdftoppm on this machine (poppler-utils)")
    visit, out = confirmed_visit(site), tmp_path / "visit.pdf"
    issued = issue_file(Home(site.path), visit, out)
    subprocess.run(["pdftoppm", "-r", "200", "-f", "2", "-png", out, tmp_path / "page"], check=True, timeout=60)
    (page,) = tmp_path.glob("page*.png")
    (code,) = zxingcpp.read_barcodes(image_module.open(page))
    (tmp_path / "code.txt").write_text(code.text)
    verdict = verify(tmp_path / "code.txt", site.path / "node.pub")
    assert verdict.ok, verdict.why
    assert any(visit in line for line in verdict.lines)
    assert any(issued.certificate.record.hash.hex() in line for line in verdict.lines)


def test_the_fullest_certificate_still_fits_two_pages(site: ASite, tmp_path: Path, text_of: Pages) -> None:
    for _ in range(12):
        site.camera("down", "timeout")
        site.watch(2 * HOUR_US, 2 * HOUR_US, 1)
        site.camera("up")
        site.reboot(off_us=20 * SECOND_US)
        site.watch(HOUR_US)
    site.ack()
    site.append_alive()
    site.kernel = site.kernel.__class__(0, site.kernel.boot_us, site.kernel.boot_id, 16_000_000, False)
    visit = site.visit("unsure")
    for _ in range(15):
        site.correct(visit, "first", "p-0001")
    out = tmp_path / "visit.pdf"
    issue_file(Home(site.path), visit, out)
    pages = text_of(out)
    assert len(pages) == 2
    assert "尚未经中心确认" in pages[0]
    assert "另有" in pages[0]
    assert "另有 8 条" in pages[1]
    boxes = subprocess.run(
        ["pdftotext", "-bbox", out, "-"], capture_output=True, check=True, timeout=60
    ).stdout.decode()
    for page in boxes.split("<page ")[1:]:
        bottoms = sorted({float(y) for y in re.findall(r'yMax="([\d.]+)"', page)})
        assert bottoms[-1] < 841  # the sheet
        assert bottoms[-2] < 815  # and above the footer's line
        assert max(float(x) for x in re.findall(r'xMax="([\d.]+)"', page)) < 555  # and inside the right margin


def test_without_a_chinese_font_one_line_says_what_to_install(
    site: ASite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edge.papers import paper

    visit, out = confirmed_visit(site), tmp_path / "visit.pdf"
    monkeypatch.setattr(paper, "_FOLDERS", (tmp_path,))
    paper.font_file.cache_clear()
    assert call("certificate", visit, "--home", site.path, "-o", out) == 2
    told = capsys.readouterr().err
    assert "fonts-noto-cjk" in told
    assert told.count("\n") == 1
    assert list(tmp_path.glob("visit*")) == []
    assert exports(site) == []
    paper.font_file.cache_clear()


# -- who came first ------------------------------------------------------------------------------------------------


def test_compare_answers_for_people_and_programs(
    site: ASite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = confirmed_visit(site)
    site.watch(60 * SECOND_US)
    second = confirmed_visit(site)
    assert call("compare", second, first, "--home", site.path) == 0
    told = capsys.readouterr().out
    assert f"先到：{first}，已证明" in told
    assert f"arrived first: {first}, proven" in told
    assert call("compare", second, first, "--home", site.path, "--json") == 0
    fields = json.loads(capsys.readouterr().out)
    assert (fields["answer"], fields["first"], fields["first_recorded"]) == ("proven", first, first)
    assert [one["visit"] for one in fields["visits"]] == [second, first]
    (tmp_path / "bundle.json").write_bytes(bundle_of(site.path, first).encode())
    assert call("compare", first, second, "--home", tmp_path / "bundle.json", "--home", site.path) == 0


def test_compare_refuses_in_one_line(site: ASite, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    visit = confirmed_visit(site)
    for one, two, path, why in (
        (visit, visit, site.path, "given twice"),
        (visit, "v-nobody", site.path, "not in this ledger"),
        (visit, "v-2", tmp_path / "nowhere", "neither a HOME"),
    ):
        assert call("compare", one, two, "--home", path) == 2
        told = capsys.readouterr().err
        assert why in told
        assert told.count("\n") == 1


# -- what gets none ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "more", "why"),
    [
        ("first", {"source": "file"}, "source is a file"),
        ("seen", {}, "nobody was compared"),
        ("unsure", {}, "answer at the kiosk"),
    ],
)
def test_a_test_a_count_and_an_open_question_get_none(
    site: ASite, tmp_path: Path, kind: str, more: dict[str, object], why: str
) -> None:
    visit = confirmed_visit(site, kind, **more)
    with pytest.raises(NoCertificate, match=why):
        issue_file(Home(site.path), visit, tmp_path / "visit.zip")
    assert list(tmp_path.glob("visit*")) == []
    assert exports(site) == []


def test_a_damaged_row_gets_none(site: ASite, tmp_path: Path) -> None:
    visit = confirmed_visit(site)
    record = site.node.naming(visit, ("visit.first",))[0]
    body = record.body.replace(b'"gallery_n":1234', b'"gallery_n":9234')
    site.node.connection.execute("UPDATE ledger SET body = ? WHERE seq = ?", (body, record.seq))
    with pytest.raises((NoCertificate, SyncError)):
        issue_file(Home(site.path), visit, tmp_path / "visit.zip")
    assert exports(site) == []


def test_bad_input_ends_in_one_line(site: ASite, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    visit, taken = confirmed_visit(site), tmp_path / "taken.zip"
    taken.touch()
    for wanted, out, why in (
        ("v-nobody", tmp_path / "new.zip", "not in this ledger"),
        (visit, tmp_path / "visit.doc", ".zip or a .pdf"),
        (visit, taken, "already there"),
        (visit, tmp_path / "nowhere" / "visit.zip", "No such file"),
    ):
        assert call("certificate", wanted, "--home", site.path, "-o", out) == 2
        told = capsys.readouterr().err
        assert why in told
        assert told.count("\n") == 1
    assert exports(site) == []
