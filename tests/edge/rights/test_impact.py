"""The report for the impact assessment counts what is there; the counter of faces warns in time."""

import re
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge.cli import app
from edge.doctor import examine
from edge.orders import Orders
from edge.rights.impact import gather
from edge.rights.retention import erase
from edge.rights.volume import DUTY, SOON, faces_stored
from sync.node.alarms import Alarms
from tests.edge.rights.office import ACCOUNT, Office, request


def test_the_report_says_what_the_settings_are_and_what_is_stored(office: Office, tmp_path: Path) -> None:
    visit, person, contact = office.check_in()
    office.check_in("13911112222")
    office.claims.open(visit, "commission", request(), ACCOUNT)
    office.officer().ask(contact, "request", request(), ACCOUNT)
    erase(office.desk, office.vault, person, "child", None)
    found = gather(office.home, office.home.settings(), office.desk, time.time_ns() // 1000)
    assert (found.faces, found.phones, found.claims, found.waiting) == (1, 2, 1, 1)
    assert found.records["visit.first"] == 2
    assert dict(found.erased) == {"child": 1}
    assert found.withdrawn == 0, "asking for a phone to be erased takes no consent back"
    out = tmp_path / "impact.html"
    command = ["rights", "impact", "--home", str(office.home.path), "--out", str(out)]
    CliRunner().invoke(app, command, catch_exceptions=False)
    text = out.read_text()
    assert "个人信息保护影响评估" in text
    assert "<strong>1</strong>" in text
    assert "puxi-01" in text
    assert "child 1" in text
    assert text.count('class="open"') == 3, "what only the operator knows is marked"
    assert "13911112222" not in text
    assert "未经同意：到访后 24 小时" in text


def store_faces(office: Office, upto: int) -> None:
    """Rows as the vault has them, without their weight."""
    with closing(sqlite3.connect(office.home.database, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        there = faces_stored(connection)
        ids = [f"p-{number:020x}" for number in range(there, upto)]
        connection.executemany("INSERT INTO people VALUES (?, 1, 1)", [(one,) for one in ids])
        connection.executemany(
            "INSERT INTO templates (person_id, pack, stored_us, sealed) VALUES (?, 'x', 1, x'00')",
            [(one,) for one in ids],
        )
        connection.execute("COMMIT")


def test_at_eighty_and_a_hundred_thousand_faces_doctor_and_an_alarm_say_that_a_filing_is_due(office: Office) -> None:
    orders, alarms = Orders(office.home, office.home.settings()), Alarms(office.home.database)

    def standing() -> tuple[str, list[str]]:
        orders.count_faces(office.node, datetime.now(UTC))
        orders.count_faces(office.node, datetime.now(UTC))
        (people,) = [one for one in examine(office.home) if one.part == "people"]
        return people.state, sorted(one.code for one in alarms.all())

    store_faces(office, SOON - 1)
    assert standing() == ("good", [])
    store_faces(office, SOON)
    assert standing() == ("warn", ["FACES_80000"])
    store_faces(office, DUTY)
    assert standing() == ("bad", ["FACES_100000", "FACES_80000"])
    assert {one.count for one in alarms.all()} == {1}, "said once, not each minute"
    with closing(sqlite3.connect(office.home.database)) as connection, connection:
        connection.execute("DELETE FROM templates")
    assert standing() == ("good", [])


def test_the_report_on_paper_says_what_the_page_says_over_as_many_sheets_as_it_needs(
    office: Office, tmp_path: Path
) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext on this machine (poppler-utils)")
    office.check_in()
    page, paper = tmp_path / "impact.html", tmp_path / "impact.pdf"
    for out in (page, paper):
        command = ["rights", "impact", "--home", str(office.home.path), "--out", str(out)]
        CliRunner().invoke(app, command, catch_exceptions=False)
    found = subprocess.run(["pdftotext", "-raw", paper, "-"], capture_output=True, check=True, timeout=60)
    drawn, html = re.sub(r"\s", "", found.stdout.decode()), page.read_text()
    body = html.split("<body>")[1]
    cells = re.findall(r"<td>(.*?)</td>", body, re.DOTALL)
    assert len(cells) > 30
    for cell in cells:
        chinese = re.sub(r"<span class=\"en\">.*?</span>", "", cell, flags=re.DOTALL)
        said = re.sub(r"\s", "", re.sub(r"<[^>]+>", "", chinese))
        assert said in drawn, "each cell is on paper, as it stands on the page"
    assert drawn.count("由运营者填写") == 3
    assert paper.read_bytes().count(b"/Type /Page\n") >= 2
