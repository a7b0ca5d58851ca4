"""Enrolling real faces, and a real node that knows them: nine walk in, and staff are no visitors among them."""

import json
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from camera.recorded import recorded_frames
from edge import cli
from edge.demo_film import FRAMES_PER_S, HEIGHT, WIDTH
from edge.desk.staff_approvals import StaffApprovals
from edge.home import Home, create_home
from edge.node import RunOptions, run
from edge.people.vault import opened
from edge.recognition.decision import Strictness
from edge.recognition.enrolment import enrol, faces_of
from edge.recognition.photos import judge
from edge.settings import new_config
from models.calibration import Calibration
from models.faces import Image
from models.pack import Pack
from sync.format.accounts import Account
from sync.format.records import Record
from sync.format.signing import commitment
from sync.node.ledger import Ledger
from sync.verify.verify import verify
from tests.edge.visiting import T0, Node, person


@dataclass(frozen=True)
class Pictures:
    """Faces that installed packages carry: six people in a group, left to right, and one alone."""

    group: Image
    six: tuple[Image, ...]
    alone: Image


@pytest.fixture(scope="module")
def pictures(pack: Pack) -> Pictures:
    images = pytest.importorskip("insightface.data", reason="insightface, which carries the faces, is not installed")
    skimage = pytest.importorskip("skimage.data", reason="scikit-image, which carries a face, is not installed")
    group = images.get_image("t1")
    boxes = sorted((face.box_xyxy for face in pack.detector.detect(group)), key=lambda box: float(box[0]))
    six = []
    for x0, y0, x1, y1 in boxes:
        margin = int(0.35 * (x1 - x0))  # the neighbours' faces stay outside
        six.append(group[int(y0) - margin : int(y1) + margin, int(x0) - margin : int(x1) + margin])
    return Pictures(group, tuple(six), np.ascontiguousarray(skimage.astronaut()[..., ::-1]))


def test_a_picture_is_refused_with_what_is_wrong_with_it(pictures: Pictures, pack: Pack) -> None:
    alone = pictures.alone
    assert not isinstance(judge(alone, pack.detector), str)
    assert judge(np.full((400, 400, 3), 90, np.uint8), pack.detector) == "no_face"
    assert judge(pictures.group, pack.detector) == "several"
    half = cv2.resize(alone, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.uint8)
    assert judge(half, pack.detector) == "too_small"
    assert judge(cv2.GaussianBlur(alone, (0, 0), 4).astype(np.uint8), pack.detector) == "blurred"
    judged = [judge(picture, pack.detector) for picture in pictures.six]
    assert judged.count("turned") == 1, "one of the six looks aside"
    assert sum(not isinstance(one, str) for one in judged) == 5


def test_a_small_face_in_the_background_does_not_refuse_a_picture(pictures: Pictures, pack: Pack) -> None:
    picture = pictures.alone.copy()
    small = cv2.resize(pictures.six[0], (44, 52), interpolation=cv2.INTER_AREA)
    picture[: small.shape[0], -small.shape[1] :] = small
    assert not isinstance(judge(picture, pack.detector), str)


# -- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Calls `firstvisit people …` in this process: exit code, standard output, standard error."""

    def run_command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["firstvisit", "people", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capfd.readouterr()  # OpenCV's own lines too
        assert isinstance(ended.value.code, int)
        return ended.value.code, captured.out, captured.err

    return run_command


def photograph(path: Path, image: Image) -> Path:
    assert cv2.imwrite(str(path), image)
    return path


def records_of(home: Home, *kinds: str) -> list[Record]:
    with closing(home.open_ledger()) as ledger:
        return list(ledger.records(kinds))


def approve(home: Home) -> None:
    """Let an auditor of the head office say yes to whoever was proposed last."""
    proposal = records_of(home, "person.enrolled")[-1].hash.hex()
    auditor = Account("acc-zhao", "zhao", "auditor", "head_office")
    approvals = StaffApprovals(lambda: home.open_ledger("desk"), home, home.settings().site.id)
    assert approvals.answer(proposal, "approved", "a" * 32, auditor).fields["state"] == "approved"


def test_an_agent_is_enrolled_listed_and_removed_and_nothing_readable_is_kept(
    home: Home, pictures: Pictures, pack: Pack, tmp_path: Path, find_bytes, call
) -> None:
    front, blurred = (
        photograph(tmp_path / "front.jpg", pictures.six[0]),
        photograph(tmp_path / "blurred.jpg", cv2.GaussianBlur(pictures.six[0], (0, 0), 3).astype(np.uint8)),
    )
    about = ("--home", home.path, "--role", "agent", "--consent", "agent-2026-1", "--agent-code", "BROKER-77-XYZ")
    code, out, err = call("enrol", *about, "--photo", blurred)
    assert (code, err) == (1, "")
    assert f"refused {blurred}: the face is blurred" in out
    assert records_of(home, "person.enrolled", "consent.given") == []

    code, out, _ = call("enrol", *about, "--photo", front, "--photo", blurred)
    assert code == 0
    assert "refused" in out
    consent, enrolled = records_of(home, "person.enrolled", "consent.given")
    member = enrolled.fields["person"]
    assert f"proposed {member} agent" in out
    assert enrolled.fields["state"] == "proposed"
    (row,) = json.loads(call("list", "--home", home.path, "--json")[1])
    assert (row["role"], row["agent_code"], row["searchable"]) == ("pending", "BROKER-77-XYZ", False)
    assert call("enrol", *about, "--photo", front)[2].count(f"proposed already as {member}") == 1
    approve(home)
    assert (consent.kind, consent.fields["person"], consent.fields["purpose"]) == ("consent.given", member, "agent")
    assert consent.fields["version"] == "agent-2026-1"
    assert (enrolled.fields["role"], enrolled.fields["pack"]) == ("agent", pack.pack_id)
    assert enrolled.fields["templates"] == 1
    assert "seen_before" not in enrolled.fields

    (row,) = json.loads(call("list", "--home", home.path, "--role", "agent", "--json")[1])
    assert (row["person_id"], row["agent_code"], row["expires_at"]) == (member, "BROKER-77-XYZ", None)
    assert json.loads(call("list", "--home", home.path, "--role", "staff", "--json")[1]) == []
    assert find_bytes(home.path, b"BROKER-77-XYZ") == []
    with opened(home.database, home.keys_database) as vault:
        label = vault.enrolled.label(member)
    assert label is not None
    assert commitment(label[:32], label[32:]).hex() == enrolled.fields["agent_code"]

    code, _, err = call("enrol", *about, "--photo", front)
    assert code == 2
    assert f"enrolled already as {member}" in err
    assert call("remove", "--home", home.path, member)[0] == 0
    assert records_of(home, "person.erased")[0].fields == records_of(home, "person.erased")[0].fields | {
        "person": member, "reason": "staff"
    }  # fmt: skip
    assert json.loads(call("--home", home.path, "--json")[1]) == []
    verdict = verify(home.path, home.node_pub)
    assert verdict.ok, verdict.why


def test_two_people_in_two_pictures_are_not_enrolled_as_one(
    home: Home, pictures: Pictures, pack: Pack, tmp_path: Path, call
) -> None:
    assert pack
    one, other = (
        photograph(tmp_path / "one.png", pictures.six[0]),
        photograph(tmp_path / "other.png", pictures.alone),
    )
    code, _, err = call(
        "enrol", "--home", home.path, "--role", "staff", "--consent", "s-1", "--photo", one, "--photo", other
    )
    assert code == 2
    assert "picture 2 shows somebody else" in err
    assert records_of(home, "person.enrolled") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--role", "staff", "--consent", "s-1"), "give --photo"),
        (("--role", "staff", "--consent", "s-1", "--photo", "none.jpg"), "none.jpg: no such file"),
        (("--role", "staff", "--consent", "signed by Wang", "--photo", "{front}"), "consent 'signed by Wang'"),
        (("--role", "staff", "--consent", "s-1", "--agent-code", "A1", "--photo", "{front}"), "--role agent"),
        (("--role", "staff", "--consent", "s-1", "--camera", "gate"), "camera 'gate': not configured"),
    ],
)
def test_bad_input_enrols_nobody_and_says_why_in_one_line(
    home: Home, pictures: Pictures, pack: Pack, tmp_path: Path, call, words: tuple[str, ...], said: str
) -> None:
    assert pack
    front = photograph(tmp_path / "front.png", pictures.alone)
    code, _, err = call("enrol", "--home", home.path, *(word.format(front=front) for word in words))
    assert code == 2
    assert err.count("\n") == 1
    assert said in err
    assert records_of(home, "person.enrolled") == []


def test_a_look_through_a_camera_enrols_by_its_best_pictures(
    home: Home, pictures: Pictures, pack: Pack, tmp_path: Path, call
) -> None:
    assert pack
    (tmp_path / "frames").mkdir()
    for number in range(10):  # a folder's frames are a tenth of a second apart
        blur = 6.0 if number < 5 else 0.5
        photograph(tmp_path / f"frames/{number}.png", cv2.GaussianBlur(pictures.alone, (0, 0), blur).astype(np.uint8))
    home.config.write_text(home.config.read_text() + f'[[camera]]\nid = "gate"\nuri = "{tmp_path / "frames"}"\n')
    code, out, _ = call("enrol", "--home", home.path, "--role", "staff", "--consent", "s-1", "--camera", "gate")
    assert code == 0, out
    (enrolled,) = records_of(home, "person.enrolled")
    assert enrolled.fields["templates"] == 1


# -- a node that knows them ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Day:
    """A HOME with a member of staff and an agent, the two who come twice, after the film ran past two cameras."""

    home: Home
    staff: str
    agent: str


def beginning_of(film: Path, path: Path) -> Path:
    """The first five seconds, in which six walk in, as a film of its own."""
    now = datetime.now(UTC)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FRAMES_PER_S), options={"crf": "18", "preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in islice(recorded_frames("film", str(film), run_started_at=now, run_started_ns=0), 5 * FRAMES_PER_S):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, "bgr24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def day(walk_in: Path, pictures: Pictures, tmp_path_factory: pytest.TempPathFactory) -> Day:
    folder = tmp_path_factory.mktemp("day")
    config = new_config(
        site="s", node="gate", place={"datum": "wgs84"}, capture={"mode": "ephemeral", "legal_basis": "published"}
    )
    cameras = (("door", walk_in, "entrance"), ("table", beginning_of(walk_in, folder / "six.mp4"), "model"))
    config += "".join(f'[[camera]]\nid = "{name}"\nuri = "{uri}"\nzone = "{zone}"\n' for name, uri, zone in cameras)
    home = create_home(folder / "home", config, None)
    members = []
    for role, picture in (("staff", pictures.six[0]), ("agent", pictures.six[1])):
        photo = photograph(folder / f"{role}.png", picture)
        with pytest.MonkeyPatch.context() as patch:
            words = ["enrol", "--home", str(home.path), "--role", role, "--consent", "c-1", "--photo", str(photo)]
            patch.setattr(sys, "argv", ["firstvisit", "people", *words])
            with pytest.raises(SystemExit) as ended:
                cli.main()
        assert ended.value.code == 0
        members.append(records_of(home, "person.enrolled")[-1].fields["person"])
        approve(home)
    assert run(home, RunOptions(until_end=True, fast=True))
    return Day(home, *members)


def test_whoever_is_enrolled_is_no_visitor_and_the_others_are_one_visit_each_over_two_cameras(day: Day) -> None:
    visits = records_of(day.home, "visit.first", "visit.return", "visit.unsure", "visit.reentry")
    assert [record.kind for record in visits] == ["visit.first"] * 5
    people = {record.fields["person"] for record in visits}
    assert len(people) == 5
    assert not people & {day.staff, day.agent}
    left = records_of(day.home, "visit.left")
    assert sorted(record.fields["visit"] for record in left) == sorted(record.fields["visit"] for record in visits)
    paths = sorted(sorted({stay["zone"] for stay in record.fields["path"]}) for record in left)
    assert paths == [["entrance"], *[["entrance", "model"]] * 4], "who came alone was at the door only"


def test_the_agent_is_noted_on_whom_they_came_with_and_on_nobody_else(day: Day) -> None:
    opened_with = {
        record.fields["visit"]: set(record.fields.get("agents", ())) for record in records_of(day.home, "visit.first")
    }
    left = records_of(day.home, "visit.left")
    noted = [opened_with[r.fields["visit"]] | set(r.fields.get("agents", ())) for r in left]
    assert sorted(map(len, noted)) == [0, 1, 1, 1, 1], "the four of the group, and not who came alone"
    assert set().union(*noted) == {day.agent}


def test_their_passes_are_numbers_in_the_heartbeat(day: Day) -> None:
    (alive,) = records_of(day.home, "node.alive")
    (passes,) = alive.fields["passes"]
    assert passes.keys() == {"day", "staff", "agent"}
    assert (passes["staff"], passes["agent"]) == (1, 1), "twice within a minute is one pass"
    assert alive.fields["people"] == 5
    verdict = verify(day.home.path, day.home.node_pub)
    assert verdict.ok, verdict.why


def test_a_row_without_a_record_is_listed_as_unproven(node: Node, call) -> None:
    real, planted = node.enrol(person(0), "agent"), node.enrol(person(1), told=False)
    rows = json.loads(call("--home", node.home.path, "--json")[1])
    assert {row["person_id"]: row["role"] for row in rows} == {real: "agent", planted: "unproven"}


def test_who_visited_before_is_judged_by_the_thresholds_of_tracks(node: Node, desk: Ledger, pack: Pack) -> None:
    chip = np.random.default_rng(4).integers(0, 256, (pack.embedder.chip_px, pack.embedder.chip_px, 3), np.uint8)
    vector = pack.embedder.embed(chip[None])[0]
    held = like_at(vector, 0.6)
    with node.ledger.transaction() as transaction:
        node.vault.create_key("p-visitor")
        node.vault.add_person(transaction.connection, "p-visitor", pack.pack_id, held, T0, searchable=True)
    images, tracks = (((1e-1, 0.0), (1e-2, 0.1), (1e-6, upper)) for upper in (0.5, 0.7))
    strict = replace(pack, calibration=Calibration(images, "a test", tracks))
    faces = faces_of(node.vault, strict, Strictness(0.003, 0.1, 0.5), [chip])
    done = enrol(desk, node.vault, faces, role="staff", consent="s-1", agent_code=None, now=T0)
    assert "visitor" not in done.record.fields


def like_at(vector: np.ndarray, similarity: float) -> np.ndarray:
    """A vector that is this similar to another."""
    other = np.random.default_rng(6).normal(size=vector.shape)
    other -= (other @ vector) * vector
    other /= np.linalg.norm(other)
    return (similarity * vector + np.sqrt(1 - similarity**2) * other).astype(np.float32)


def test_enrolling_somebody_who_has_visited_says_so_and_records_it(
    day: Day, pictures: Pictures, tmp_path: Path, call
) -> None:
    photo = photograph(tmp_path / "hired.png", pictures.alone)
    code, out, _ = call("enrol", "--home", day.home.path, "--role", "staff", "--consent", "s-1", "--photo", photo)
    assert code == 0
    visits = records_of(day.home, "visit.first")
    alone = visits[-1].fields["visit"]
    assert f"this face has visited before: {alone}" in out
    assert records_of(day.home, "person.enrolled")[-1].fields["seen_before"] == alone
    assert [record.kind for record in records_of(day.home, "visit.first")] == ["visit.first"] * 5, (
        "nothing is rewritten"
    )
