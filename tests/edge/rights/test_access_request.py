"""What somebody gets who asks what is held on them: all of it, nothing of anybody else, and on record."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge import EdgeError
from edge.cli import app
from edge.desk.splitting import Splitting
from edge.rights.access_request import find_subject, make_file, record_made
from edge.rights.retention import erase
from sync.web.times import Times
from tests.edge.kiosk.door import blank_face
from tests.edge.rights.office import ACCOUNT, E164, NUMBER, Office, request

NOW_US = 1_790_000_000_000_000


def held(office: Office, asked: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    subject = find_subject(office.desk, office.vault, asked)
    settings = office.home.settings()
    policy, moment = office.home.policy(settings), Times("Asia/Shanghai").moment
    made = make_file(office.desk, office.vault, subject, policy, settings.operator, moment, NOW_US)
    with zipfile.ZipFile(io.BytesIO(made.data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(files["data.json"]), files


@pytest.mark.parametrize("way", ["visit", "person", "contact", "number"])
def test_all_that_is_held_is_found_by_visit_person_or_phone(office: Office, way: str) -> None:
    jpeg = blank_face()
    visit, person, contact = office.check_in(crop=jpeg)
    other_visit, other, other_contact = office.check_in("13911112222", crop=jpeg)
    asked = {"visit": visit, "person": person, "contact": contact, "number": "138 0000 5678"}[way]
    data, files = held(office, asked)
    assert data["visits"] == [visit]
    assert files.get(f"faces/{visit}.jpg") == (jpeg if way in ("visit", "person") else None)
    kinds = {one["kind"] for one in data["records"]}
    assert {"visit.first", "visit.checkin"} <= kinds
    if way in ("visit", "contact", "number"):
        assert [(one["number"], one["contact"]) for one in data["phones"]] == [(E164, contact)]
    if way in ("visit", "person"):
        assert [one["person"] for one in data["faces"]] == [person]
        assert len(data["faces"][0]["templates"]) == 1
    whole = b"".join(files.values())
    for stranger in (other_visit, other, other_contact, "13911112222"):
        assert stranger.encode() not in whole
    page = files["index.html"].decode()
    assert "个人信息查阅结果" in page
    assert "Everything this device holds on you" in page


@pytest.mark.parametrize("way", ["contact", "number"])
def test_by_a_phone_alone_the_file_tells_the_facts_of_its_visits_and_nothing_of_any_face(
    office: Office, way: str
) -> None:
    mine, me, contact = office.check_in(crop=blank_face())
    theirs, other, _ = office.check_in(crop=blank_face())  # the same number, another face
    data, files = held(office, {"contact": contact, "number": NUMBER}[way])
    assert data["visits"] == data["visits_by_phone_alone"] == sorted((mine, theirs))
    assert (data["pictures"], data["explanations"], data["faces"]) == ([], {}, [])
    assert files.keys() == {"index.html", "data.json"}
    told = {(one["kind"], one["says"]["visit"]): one["says"] for one in data["records"] if "visit" in one["says"]}
    for visit in (mine, theirs):
        assert told["visit.checkin", visit]["way"] == "phone"
        assert told["visit.first", visit].keys() == {"visit", "site", "arrived_us"}
    whole = b"".join(files.values())
    assert me.encode() not in whole
    assert other.encode() not in whole
    page = files["index.html"].decode()
    assert "使用同一手机号的不一定是同一个人" in page
    assert "show your face at the desk" in page
    assert "No face is stored" not in page
    assert "No picture is stored" not in page


def test_of_a_number_that_two_gave_each_gets_their_own_picture_and_the_whole_of_their_visit(office: Office) -> None:
    mine, me, _ = office.check_in(crop=blank_face())
    theirs, other, _ = office.check_in(crop=blank_face())
    for own, person, shared, stranger in ((mine, me, theirs, other), (theirs, other, mine, me)):
        data, files = held(office, own)
        assert data["pictures"] == [f"faces/{own}.jpg"]
        assert list(data["explanations"]) == [own]
        assert [one["person"] for one in data["faces"]] == [person]
        assert data["visits_by_phone_alone"] == [shared]
        (first,) = [r["says"] for r in data["records"] if r["kind"] == "visit.first" and r["says"]["visit"] == own]
        assert first["person"] == person
        assert "quality_e6" in first
        assert stranger.encode() not in b"".join(files.values())


def test_ids_of_companions_agents_and_candidates_are_left_out_and_said_to_be(office: Office) -> None:
    friend, agent = "v" + "f" * 16, "p-" + "e" * 20
    visit, _ = office.door.arrive("first", company=[friend], agents=[agent])
    data, files = held(office, visit)
    whole = b"".join(files.values())
    assert friend.encode() not in whole
    assert agent.encode() not in whole
    (decided,) = [one for one in data["records"] if one["kind"] == "visit.first"]
    assert decided["left_out"] == ["agents", "company"]


def test_records_of_a_companion_and_what_facts_name_of_others_are_not_in_it(office: Office) -> None:
    before, stranger, _ = office.check_in()
    mine, person, _ = office.check_in()  # the same number by another face: a fact that names the visit before
    friend, friends_id = office.door.arrive("first", company=[mine])
    data, files = held(office, person)
    (checkin,) = [one for one in data["records"] if one["kind"] == "visit.checkin"]
    assert set(checkin["says"]["facts_on"]["phone_other_face"]) == {"at_us", "epoch", "seq"}
    whole = b"".join(files.values())
    for other in (before, stranger, friend, friends_id):
        assert other.encode() not in whole


def test_a_visit_that_the_desk_said_to_be_another_s_is_in_the_file_of_that_one_alone(office: Office) -> None:
    own, person = office.door.arrive("first", crop=blank_face())
    false, _ = office.door.arrive("return", person=person, crop=blank_face())
    corrected, _ = Splitting(office.desk_ledger, office.home).other_person(false, person, request(), ACCOUNT)
    heir = corrected.fields["person"]
    data, files = held(office, person)
    assert (data["visits"], data["pictures"]) == ([own], [f"faces/{own}.jpg"])
    assert heir.encode() not in b"".join(files.values())
    assert false.encode() not in b"".join(files.values())
    for asked in (heir, false):
        data, files = held(office, asked)
        assert (data["visits"], data["pictures"]) == ([false], [f"faces/{false}.jpg"])
        assert person.encode() not in b"".join(files.values())


def test_a_restricted_phone_is_found_by_its_number_and_an_erased_one_is_not(office: Office) -> None:
    visit, person, contact = office.check_in()
    office.claims.open(visit, "commission", request(), ACCOUNT)
    officer = office.officer()
    officer.ask(contact, "request", request(), ACCOUNT)
    code = officer.send(contact, request(), ACCOUNT).code
    assert code is not None
    officer.prove(contact, code, request(), ACCOUNT)
    data, _ = held(office, NUMBER)
    assert [(one["number"], one["restricted"]) for one in data["phones"]] == [(E164, True)]
    office.claims.close(visit, request(), ACCOUNT)
    officer.settle_all(ACCOUNT)
    erase(office.desk, office.vault, person, "request", None)
    with pytest.raises(EdgeError, match="nothing is held"):
        held(office, NUMBER)
    data, files = held(office, visit)
    assert data["phones"] == []
    assert data["pictures"] == []
    assert NUMBER.encode() not in b"".join(files.values())


def test_that_the_file_was_made_is_a_record_of_its_hash_and_no_number(office: Office) -> None:
    visit, person, contact = office.check_in()
    subject = find_subject(office.desk, office.vault, visit)
    settings = office.home.settings()
    policy, moment = office.home.policy(settings), Times("Asia/Shanghai").moment
    made = make_file(office.desk, office.vault, subject, policy, settings.operator, moment, NOW_US)
    form = request()
    record = record_made(office.desk, made, ACCOUNT, form)
    assert record_made(office.desk, made, ACCOUNT, form) == record, "the same form again writes nothing"
    assert len(list(office.desk.records(("export.made",)))) == 1
    assert record.kind == "export.made"
    assert record.fields["what"] == "access_request"
    assert record.fields["sha256"] == made.sha256
    assert (record.fields["persons"], record.fields["contacts"]) == ([person], [contact])
    assert NUMBER.encode() not in record.body


def test_the_command_writes_the_file_once_and_only_for_its_owner(office: Office, tmp_path: Path) -> None:
    visit, _, _ = office.check_in()
    out = tmp_path / "access.zip"
    command = ["rights", "export", "--home", str(office.home.path), visit, "--out", str(out)]
    told = CliRunner().invoke(app, command, catch_exceptions=False)
    assert "1 visit, 1 face, 1 phone" in told.stdout
    assert out.stat().st_mode & 0o077 == 0
    assert zipfile.ZipFile(out).testzip() is None
    with pytest.raises(EdgeError, match="already there"):
        CliRunner().invoke(app, command, catch_exceptions=False, standalone_mode=False)
    made = [one for one in office.desk.records(("export.made",)) if one.fields["what"] == "access_request"]
    assert len(made) == 1, "what nobody got was not made"


def test_it_names_who_answers_for_the_data_and_how_they_are_reached(office: Office) -> None:
    visit, _, _ = office.check_in()
    _, files = held(office, visit)
    assert "个人信息处理者：本售楼处。" in files["index.html"].decode()
    config = office.home.config
    config.write_text(config.read_text() + '[operator]\nname = "湖畔置业有限公司"\ncontact = "021-5555 0000"\n')
    data, files = held(office, visit)
    assert data["operator"] == {"name": "湖畔置业有限公司", "contact": "021-5555 0000"}
    assert "湖畔置业有限公司；联系方式：021-5555 0000" in files["index.html"].decode()
