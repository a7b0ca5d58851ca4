import json
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from edge.desk.desk_secrets import desk_secret
from edge.home import create_home
from sync.web.accounts import Accounts
from sync.web.tablets import Tablets
from tests.conftest import form_token
from tests.edge.kiosk.conftest import PASSWORD, Desk
from tests.edge.kiosk.door import CONFIG

COMMAND = [sys.executable, "-c", "from edge.cli import main; main()", "kiosk"]


def _run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False)


def test_add_user_reads_password_and_pin_from_stdin(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home", CONFIG, None)
    done = _run("add-user", "--home", str(home.path), "李敏", "--pin", "--password-stdin", stdin=f"{PASSWORD}\n2580\n")
    assert done.returncode == 0, done.stderr
    (account,) = Accounts(home.database).with_pin()
    assert (account.name, account.role, account.office) == ("李敏", "front_desk", "puxi-01")


def test_whoever_belongs_outside_is_of_the_head_office_unless_said_otherwise(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home", CONFIG, None)
    arguments = ("add-user", "--home", str(home.path), "--password-stdin", "--role")
    for name, *more in (("zhao", "auditor"), ("qian", "auditor", "--office", "puxi-02"), ("sun", "privacy")):
        assert _run(*arguments, *more, name, stdin=f"{PASSWORD}\n").returncode == 0
    offices = {account.name: account.office for account in Accounts(home.database).all()}
    assert offices == {"zhao": "head_office", "qian": "puxi-02", "sun": "head_office"}
    refused = _run(*arguments, "auditor", "zhou", "--office", "puxi-01", stdin=f"{PASSWORD}\n")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "an auditor is from outside" in refused.stderr
    refused = _run(*arguments, "installer", "zhou", "--pin", stdin=f"{PASSWORD}\n2580\n")
    assert "a PIN is for front_desk and manager only, installer signs in by password" in refused.stderr


def test_passwords_and_pins_are_changed_and_accounts_removed(desk: Desk) -> None:
    home = ("--home", str(desk.home.path))
    assert _run("set-password", *home, "li", "--password-stdin", stdin="another horse battery\n").returncode == 0
    assert _run("set-pin", *home, "li", "--password-stdin", stdin="7391\n").returncode == 0
    accounts = Accounts(desk.home.database, pin_secret=desk_secret(desk.home.keys_database, "pin"))
    assert accounts.by_password("li", "another horse battery", None, "here") == desk.li
    tablets = Tablets(desk.home.database)
    tablets.register("token", "left", desk.wang.account_id)
    tablet = tablets.find("token")
    assert tablet
    assert accounts.by_pin(desk.li.account_id, "7391", tablet, "here") == desk.li
    assert _run("set-pin", *home, "li", "--remove").returncode == 0
    listed = json.loads(_run("users", *home, "--json").stdout)
    assert {row["name"]: row["pin"] for row in listed}["li"] is False
    assert _run("remove-user", *home, "li").returncode == 0
    assert "li" not in [row["name"] for row in json.loads(_run("users", *home, "--json").stdout)]
    for command in (("remove-user", "li"), ("set-pin", "nobody", "--remove"), ("set-password", "li")):
        refused = _run(*command, *home)
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "stdin", "says"),
    [
        ("chen", "short\n", "12 characters or more"),
        ("wang", f"{PASSWORD}\n", "already exists"),
        ("chen", "", "12 char"),
    ],
)
def test_a_bad_account_ends_in_one_line_and_exit_2(desk: Desk, name: str, stdin: str, says: str) -> None:
    refused = _run("add-user", "--home", str(desk.home.path), name, "--password-stdin", stdin=stdin)
    assert refused.returncode == 2
    assert says in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_add_user_without_a_terminal_asks_for_the_option(desk: Desk) -> None:
    refused = _run("add-user", "--home", str(desk.home.path), "chen", stdin=f"{PASSWORD}\n")
    assert (refused.returncode, refused.stderr) == (2, "firstvisit: no terminal: give --password-stdin\n")


@pytest.mark.parametrize("name", ["firstvisit.db", "keys.db"])
@pytest.mark.parametrize("command", [(), ("add-user", "chen", "--password-stdin")])
def test_a_home_of_a_newer_version_is_refused_and_left_as_it_is(
    desk: Desk, command: tuple[str, ...], name: str
) -> None:
    with closing(sqlite3.connect(desk.home.path / name)) as newer:
        newer.execute("PRAGMA user_version = 9")
        newer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = {path: path.read_bytes() for path in desk.home.path.rglob("*.db")}
    refused = _run(*command, "--home", str(desk.home.path), stdin=f"{PASSWORD}\n")
    assert refused.returncode == 2
    assert f"{name}: written by a newer FirstVisit" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in desk.home.path.rglob("*.db")} == before


def test_a_folder_that_is_no_home_ends_in_one_line_and_exit_2(tmp_path: Path) -> None:
    refused = _run("--home", str(tmp_path / "none"))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert str(tmp_path / "none") in refused.stderr


def test_a_port_in_use_ends_in_one_line_and_exit_2(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = _run("--home", str(desk.home.path), "--port", str(port))
    assert refused.returncode == 2
    assert f"127.0.0.1:{port}: cannot listen there: Address already in use" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_the_kiosk_tells_systemd_and_stops_within_5_seconds_under_an_open_stream(desk: Desk, tmp_path: Path) -> None:
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(60)
    process = subprocess.Popen(
        [*COMMAND, "--home", str(desk.home.path), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={"NOTIFY_SOCKET": str(tmp_path / "notify"), "PATH": "/usr/bin:/bin"},
    )
    try:
        assert process.stdout
        url = process.stdout.readline().split()[-1]
        assert url.startswith("http://127.0.0.1:"), "listens on this machine only unless told otherwise"
        assert notify.recv(100) == b"READY=1"
        assert notify.recv(100) == b"WATCHDOG=1"
        with httpx.Client(base_url=url, headers={"origin": url}, timeout=20) as client:
            client.post("/login", data={"csrf_token": form_token(client), "name": "li", "password": PASSWORD})
            with client.stream("GET", "/events") as answer:
                assert answer.status_code == 200
                lines = answer.iter_lines()
                assert next(lines) == "event: start"
                asked = time.monotonic()
                process.send_signal(signal.SIGTERM)
                assert process.wait(10) == 0
                assert time.monotonic() - asked < 5
    finally:
        process.kill()
        process.wait()
        notify.close()
