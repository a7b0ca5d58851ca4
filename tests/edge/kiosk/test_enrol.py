"""Staff and agents proposed at the kiosk: by a badge, or by a real face before a camera of a real node's live view."""

import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import pytest

from camera.pipeline import Step
from camera.source import Frame
from edge import EdgeError
from edge.access_log import newest
from edge.cameras.live_view import LiveView
from edge.clock import Clock
from edge.home import Home
from edge.people.vault import opened
from edge.recognition.decision import Strictness
from edge.recognition.enrol_look import look_through, looker
from edge.recognition.enrolment import Faces, agent_code
from edge.recognition.roster import Roster
from models.faces import Image
from models.liveness import Liveness, add_liveness, open_liveness
from models.pack import Pack
from sync.format.records import Record
from sync.verify.verify import verify
from tests.conftest import form_token
from tests.edge.kiosk.conftest import Desk, until
from tests.edge.kiosk.door import Door
from tests.edge.kiosk.test_browser import OpenPage, open_page
from tests.models.test_liveness import SPEC, made

__all__ = ["open_page"]  # a fixture

Visitor = Callable[..., httpx.Client]
STRICT = Strictness(0.003, 0.1, 0.5)


class _Camera:
    """Films one picture after the other into a live view, as the node's loop does."""

    def __init__(self, home: Home, pack: Pack, picture: Image, liveness: Liveness | None = None) -> None:
        self.picture = picture
        self.view = LiveView(home.database.resolve().parent, looker(pack, STRICT, lambda: 0, lambda: 0, liveness))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "_Camera":
        self.view.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.view.stop()

    def _run(self) -> None:
        number = 0
        while not self._over.wait(0.04):
            number += 1
            frame = Frame("entrance", number, datetime.now(UTC), time.monotonic_ns(), self.picture)
            self.view.follow(frame, Step(sightings=()))


pytestmark = pytest.mark.usefixtures("head_office")


@pytest.fixture(scope="module")
def alone() -> Image:
    skimage = pytest.importorskip("skimage.data", reason="scikit-image, which carries a face, is not installed")
    return np.ascontiguousarray(skimage.astronaut()[..., ::-1])


@pytest.fixture
def camera(desk: Desk, pack: Pack, alone: Image) -> Iterator[_Camera]:
    with _Camera(desk.home, pack, alone) as camera:
        yield camera


def _send(client: httpx.Client, path: str, **form: str) -> httpx.Response:
    return client.post(
        path, data={"csrf_token": form_token(client, "/node"), "request_id": secrets.token_hex(16), **form}
    )


def _proposed(desk: Desk) -> list[Record]:
    with closing(desk.home.open_ledger()) as ledger:
        return [one for one in ledger.records(("person.enrolled",)) if one.fields.get("state") == "proposed"]


def _members(desk: Desk) -> set[str]:
    with closing(desk.home.open_ledger()) as ledger:
        return set(Roster(desk.home.path, ledger).members())


def _approve(visitor: Visitor, proposal: Record, verdict: str = "approved") -> httpx.Response:
    return _send(visitor("auditor"), f"/approvals/staff/{proposal.hash.hex()}", verdict=verdict)


def test_whoever_refuses_the_face_is_registered_by_a_badge_that_stays_sealed(visitor: Visitor, desk: Desk) -> None:
    wang = visitor("wang")
    form = {"role": "staff", "by": "badge", "request_id": "a" * 32}
    page = _send(wang, "/enrol", **form)
    assert page.status_code == 200
    assert page.headers["cache-control"] == "no-store"
    shown = re.search("<code>(FVB1[A-Z2-7]{16})</code>", page.text)
    assert shown is not None
    badge = shown[1]
    assert _send(wang, "/enrol", **form).status_code == 303, "shown once"
    (proposal,) = _proposed(desk)
    assert proposal.fields["templates"] == 0
    assert re.fullmatch("[0-9a-f]{64}", proposal.fields["badge"])
    assert badge.encode() not in proposal.body
    assert proposal.fields["account"] == desk.wang.account_id
    with closing(desk.home.open_ledger()) as ledger:
        assert ledger.last_of("consent.given") is None, "no face, no consent to one"
    person_id = proposal.fields["person"]
    with opened(desk.home.database, desk.home.keys_database) as vault:
        assert agent_code(vault, person_id) == badge
        assert [one.person_id for one in vault.enrolled.all()] == []
    assert badge not in visitor("auditor").get("/approvals").text + wang.get("/enrol").text
    assert _approve(visitor, proposal).status_code == 303
    with opened(desk.home.database, desk.home.keys_database) as vault:
        assert [one.person_id for one in vault.enrolled.all()] == [person_id]
    assert "批准" in wang.get("/enrol").text


def test_an_approval_under_the_desk_key_alone_is_said_not_to_count_until_the_auditor_approves(
    visitor: Visitor, desk: Desk
) -> None:
    wang, auditor = visitor("wang"), visitor("auditor")
    _send(wang, "/enrol", role="staff", by="badge")
    (proposal,) = _proposed(desk)
    said = {"person": proposal.fields["person"], "state": "approved", "proposal": proposal.hash.hex()}
    with closing(desk.home.open_ledger("desk", Clock())) as ledger:
        ledger.append("person.enrolled", {**said, "account": "acc-" + "b" * 16, "office": "head_office"})
    assert _members(desk) == set()
    for page in (wang.get("/enrol").text, auditor.get("/approvals").text):
        assert "的批准（#" in page
        assert "不算数：当时总部没有确认过这个账号" in page
    assert "does not count: head office had not confirmed" in wang.get("/enrol?lang=en").text
    assert _approve(visitor, proposal).status_code == 303
    assert _members(desk) == {proposal.fields["person"]}
    assert "不算数" not in wang.get("/enrol?lang=zh").text


def test_who_is_shown_the_people_proposed_is_written_down(visitor: Visitor, desk: Desk) -> None:
    wang = visitor("wang")
    assert _send(wang, "/enrol", role="staff", by="badge").status_code == 200
    person_id = _proposed(desk)[0].fields["person"]
    wang.get("/enrol")
    visitor("auditor").get("/approvals")
    with closing(desk.home.open_ledger()) as ledger:
        looks = [(row.account_id, row.action) for row in newest(ledger.connection, 9) if row.subject == person_id]
    assert [action for _, action in looks] == ["person", "person"], "one account's looks within minutes are one"
    assert looks[1][0] == desk.wang.account_id != looks[0][0]


@pytest.mark.parametrize(
    ("form", "status", "says"),
    [
        ({"role": "staff", "by": "badge", "code": "7"}, 422, "工牌编号由本机随机生成"),
        ({"role": "agent", "by": "badge", "code": "A-1"}, 422, "工牌编号由本机随机生成"),
        ({"role": "staff", "by": "face", "camera": "entrance", "consent": "staff-1", "code": "7"}, 422, "请把编号留空"),
        ({"role": "staff", "by": "face", "camera": "entrance"}, 422, "本人先勾选同意"),
        ({"role": "staff", "by": "face", "camera": "entrance", "consent": "agent-1"}, 422, "本人先勾选同意"),
        ({"role": "staff", "by": "face", "camera": "none", "consent": "staff-1"}, 422, "表单已失效"),
        ({"role": "agent", "by": "badge", "phone": "12"}, 422, "手机号不正确"),
        ({"role": "boss", "by": "badge"}, 422, "表单已失效"),
    ],
)
def test_what_cannot_be_proposed_is_told(
    visitor: Visitor, desk: Desk, form: dict[str, str], status: int, says: str
) -> None:
    answer = _send(visitor("wang"), "/enrol", **form)
    assert answer.status_code == status
    assert says in answer.text
    assert _proposed(desk) == []


def test_a_consenting_face_before_the_camera_is_proposed_and_counts_once_approved(
    visitor: Visitor, desk: Desk, camera: _Camera
) -> None:
    wang, good = visitor("wang"), camera.picture
    camera.picture = np.full_like(good, 90)
    begun = _send(wang, "/enrol", role="agent", by="face", camera="entrance", consent="agent-1", code="A-17")
    assert begun.status_code == 303
    sitting = begun.headers["location"]
    look = f"/fragments{sitting}"
    until(lambda: "没有看到人脸" in wang.get(look).text)
    assert _send(wang, sitting).status_code == 409, "not yet"
    assert "合格的画面还不够" in _send(wang, sitting).text
    assert visitor("wang").get(sitting).status_code == 200
    camera.picture = good
    until(lambda: "可以提交了" in wang.get(look).text)
    assert _send(wang, sitting).headers["location"] == "/enrol"
    (proposal,) = _proposed(desk)
    assert (proposal.fields["role"], proposal.fields["templates"]) == ("agent", 3)
    with closing(desk.home.open_ledger()) as ledger:
        consent = ledger.last_of("consent.given")
    assert consent is not None
    assert (consent.fields["version"], consent.fields["person"]) == ("agent-1", proposal.fields["person"])
    assert wang.get(sitting).status_code == 404, "the looks are gone"
    assert _members(desk) == set()
    assert _approve(visitor, proposal).status_code == 303
    assert _members(desk) == {proposal.fields["person"]}


def _enrolled(wang: httpx.Client) -> str:
    begun = _send(wang, "/enrol", role="staff", by="face", camera="entrance", consent="staff-1")
    return begun.headers["location"]


def test_where_no_network_can_tell_page_record_and_auditor_say_that_liveness_was_not_checked(
    visitor: Visitor, desk: Desk, camera: _Camera
) -> None:
    assert camera
    wang = visitor("wang")
    sitting = _enrolled(wang)
    until(lambda: "可以提交了" in wang.get(f"/fragments{sitting}").text)
    assert "未做活体检测" in wang.get(f"/fragments{sitting}").text
    assert _send(wang, sitting).status_code == 303
    (proposal,) = _proposed(desk)
    assert proposal.fields["liveness"] == "not_checked"
    assert "live_e6" not in proposal.fields
    for page in (visitor("auditor").get("/approvals").text, wang.get("/enrol").text):
        assert "未做活体检测" in page


def test_with_a_network_a_photograph_held_up_is_refused_and_a_live_face_recorded_as_that(
    visitor: Visitor, desk: Desk, pack: Pack, alone: Image, tmp_path: Path
) -> None:
    add_liveness(tmp_path, made(tmp_path / "redder.onnx", [[8, -8], [0, 0], [-8, 8]]), SPEC)
    photograph = np.ascontiguousarray(alone[..., ::-1])  # bluer than it is red, which this network calls no face
    wang = visitor("wang")
    with _Camera(desk.home, pack, photograph, open_liveness(tmp_path)) as camera:
        sitting = _enrolled(wang)
        until(lambda: "像是照片或屏幕" in wang.get(f"/fragments{sitting}").text)
        assert _send(wang, sitting).status_code == 409
        assert look_through(desk.home.database.resolve().parent, "entrance").flaw == "not_live"
        camera.picture = alone
        until(lambda: "可以提交了" in wang.get(f"/fragments{sitting}").text)
        assert "活体检测通过" in wang.get(f"/fragments{sitting}").text
        assert _send(wang, sitting).status_code == 303
    (proposal,) = _proposed(desk)
    assert 500_000 <= proposal.fields["live_e6"] <= 1_000_000
    assert "liveness" not in proposal.fields
    assert "活体检测通过" in visitor("auditor").get("/approvals").text


def test_a_face_that_is_proposed_already_is_told_so(visitor: Visitor, desk: Desk, camera: _Camera) -> None:
    assert camera
    wang = visitor("wang")
    for expected in (303, 409):
        form = {"role": "staff", "by": "face", "camera": "entrance", "consent": "staff-1"}
        sitting = _send(wang, "/enrol", **form).headers["location"]
        until(lambda path=sitting: "可以提交了" in wang.get(f"/fragments{path}").text)
        answer = _send(wang, sitting)
        assert answer.status_code == expected
    assert "正在等待审计" in answer.text
    assert len(_proposed(desk)) == 1


def test_a_visitor_who_becomes_staff_is_told_to_the_auditor_and_counts_only_from_then_on(
    open_page: OpenPage, door: Door, desk: Desk, camera: _Camera
) -> None:
    assert camera
    looked = _looked(desk)
    visit, person = door.arrive("first", ago_s=600, face=looked.vectors[0], pack=looked.pack_id)
    host, manager, auditor = open_page("li"), open_page("wang"), open_page("auditor")
    host.wait_for_selector(".party .serve")
    host.goto(f"/visits/{visit}/checkin")
    host.click("button[value=walk_in]")
    host.wait_for_selector(".notice.good.told")

    manager.goto("/enrol")
    staff = manager.locator("form:has(input[name=role][value=staff])")
    staff.locator("input[name=consent]").check()
    staff.locator("button[value=face]").click()
    manager.wait_for_selector(".notice.good:has-text('可以提交了')")
    manager.click("button:has-text('提交审计')")
    manager.wait_for_url("**/enrol")
    (proposal,) = _proposed(desk)
    assert (proposal.fields["visitor"], proposal.fields["seen_before"]) == (person, visit)
    host.reload()
    assert "此面孔登记为" not in host.inner_text("main"), "a proposal is no enrolment"

    auditor.goto("/approvals")
    assert f"以访客身份来过（到访 {visit}）" in auditor.inner_text(".asked .notice.warn")
    auditor.click("button[value=approved]")
    auditor.wait_for_selector(".asked:not(.calls)")
    manager.reload()
    manager.wait_for_selector("li:has-text('批准（#')")

    host.reload()
    assert "事实：此面孔登记为员工" in host.inner_text("main"), "what has come up since is told beside the record"
    host.goto("/arrivals")
    assert "首访" in host.inner_text(f'.card[data-id="{visit}"]'), "the visit stays what it was recorded as"
    again, _ = door.arrive("return", person=person, similarity=0.8, pack=looked.pack_id)
    host.wait_for_selector(f'.card[data-id="{again}"]')
    host.goto(f"/visits/{again}/checkin")
    host.click("button[value=walk_in]")
    host.wait_for_selector(".notice.good.told")
    with closing(desk.home.open_ledger()) as ledger:
        before, after = ledger.records(("visit.checkin",))
        assert verify(desk.home.path).ok
    assert ("facts" in before.fields, after.fields["facts"]) == (False, ["staff_face"])
    assert after.fields["facts_on"]["staff_face"]["seq"] == proposal.seq


def _looked(desk: Desk) -> Faces:
    """What the node makes of the face before its camera."""
    looks: list[Faces] = []

    def seen() -> bool:
        faces = look_through(desk.home.database.resolve().parent, "entrance").faces
        looks.extend([] if faces is None else [faces])
        return faces is not None

    until(seen)
    return looks[-1]


def test_a_look_tells_what_is_wrong_with_a_picture_and_embeds_only_a_good_one(
    desk: Desk, pack: Pack, camera: _Camera, alone: Image
) -> None:
    folder = desk.home.database.resolve().parent
    look = look_through(folder, "entrance")
    assert look.flaw == ""
    assert look.faces is not None
    assert look.faces.pack_id == pack.pack_id
    assert np.linalg.norm(look.faces.vectors[0]) == pytest.approx(1, abs=1e-4)
    camera.picture = np.ascontiguousarray(np.hstack([alone, alone]))
    until(lambda: look_through(folder, "entrance").flaw == "several")
    with pytest.raises(EdgeError, match="side-door: no picture"):
        look_through(folder, "side-door")
    camera.view.stop()
    with pytest.raises(EdgeError, match="no node is there"):
        look_through(folder, "entrance")


def test_a_sitting_without_a_node_says_that_there_is_no_picture(visitor: Visitor) -> None:
    wang = visitor("wang")
    begun = _send(wang, "/enrol", role="staff", by="face", camera="entrance", consent="staff-1")
    assert "摄像头没有画面" in wang.get(f"/fragments{begun.headers['location']}").text
    assert wang.get("/enrol/" + "0" * 32).status_code == 404


def test_a_node_without_a_camera_offers_the_badge_alone(desk: Desk, request: pytest.FixtureRequest) -> None:
    desk.home.config.write_text(desk.home.config.read_text().split("[[camera]]")[0])
    page = request.getfixturevalue("visitor")("wang").get("/enrol?lang=en").text
    assert "No camera is configured" in page
    assert 'value="badge"' in page
    assert 'value="face"' not in page
