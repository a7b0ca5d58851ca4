"""The command line: JSON where JSON is asked for, one line and exit 2 for bad input, an example in every help."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from edge import cli
from edge.clock import Clock
from edge.home import Home
from edge.people.vault import opened
from sync.format import canonical
from sync.node.alarms import Alarms

NOW = datetime(2026, 7, 1, 2, tzinfo=UTC)
SECRET = "s3cret-pass"
BOW_TIE = '{"type":"Polygon","coordinates":[[[121.5,31.2],[121.6,31.3],[121.6,31.2],[121.5,31.3],[121.5,31.2]]]}'


@dataclass(frozen=True)
class Told:
    """How a command ended."""

    code: int
    out: str
    err: str


Call = Callable[..., Told]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls `firstvisit …` in this process, as a process costs a second."""

    def run(*arguments: object) -> Told:
        monkeypatch.setattr(sys, "argv", ["firstvisit", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Told(ended.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def lived_in(home: Home) -> Home:
    """A HOME with a first visit, a return, a visit that nobody was compared for, and one person."""
    ledger = home.open_ledger("node", Clock())
    base: dict[str, Any] = {"camera": "door", "arrived_us": round(NOW.timestamp() * 1e6), "grade": "B"}
    with opened(home.database, home.keys_database) as vault:
        vault.create_key("p-1")
        with ledger.transaction() as transaction:
            transaction.append("visit.first", base | {"visit": "v-1", "person": "p-1", "pack": "m@1"})
            vector = np.eye(1, 128, dtype=np.float32)[0]
            vault.add_person(transaction.connection, "p-1", "m@1", vector, NOW, True)
    more = {"person": "p-1", "pack": "m@1", "similarity_e6": 700_000, "margin_e6": 300_000}
    ledger.append("visit.return", base | {"visit": "v-2"} | more)
    ledger.append("visit.seen", base | {"visit": "v-3", "party": 2, "grade": "C"})
    ledger.close()
    return home


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        children = getattr(command, "commands", None)
        if not children or command.invoke_without_command:
            yield words, command
        for name, child in (children or {}).items():
            yield from walk(child, (*words, name))

    yield from walk(typer.main.get_command(cli.app), ())


def test_the_commands_are_those_that_were_promised() -> None:
    promised = {
        "demo", "init", "run", "visits", "ledger", "verify", "compare", "explain", "certificate", "join", "people",
        "people list", "people enrol", "people remove",
        "erase", "check-config", "doctor", "sign",
        "attest", "keys list", "keys rotate", "keys new-epoch", "keys subject", "backup", "restore",
        "central init", "central run", "central enroll", "central readmit", "central records", "central nodes",
        "central add-user", "central broker-config", "central certificates", "central renew-certificates",
        "central revoke-certificate",
        "central invite", "central pending", "central confirm", "central reject",
        "central revoke-key", "central policy", "central erase", "central disable-account", "central notices",
        "central rotate-keys", "central log", "central timestamp", "central unmask", "central erasures",
        "desk days", "desk code",
        "rights export", "rights impact", "rights list", "rights pepper",
        "kiosk", "kiosk ca",
        "kiosk add-user", "kiosk users", "kiosk remove-user", "kiosk set-password", "kiosk set-pin",
        "models list", "models install", "models add", "models add-liveness",
        "central code issue", "central code list", "central code revoke", "central code export", "central code tell",
        "central code desk-key", "central account list", "central account allow", "central account withdraw",
        "models verify", "models eval", "calibrate",
    }  # fmt: skip
    assert {" ".join(words) for words, _ in commands()} == promised


@pytest.mark.parametrize("words", [words for words, _ in commands()], ids=" ".join)
def test_help_shows_an_example_that_calls_the_command(call: Call, words: tuple[str, ...]) -> None:
    told = call(*words, "--help")
    assert told.code == 0
    assert told.err == ""
    assert f"Example: firstvisit {' '.join(words)}" in " ".join(told.out.replace("`", "").split())


def test_visits_people_and_ledger_are_json_of_the_documented_keys(call: Call, lived_in: Home) -> None:
    told = call("visits", "--home", lived_in.path, "--json")
    assert told.code == 0
    first, returned, seen = json.loads(told.out)
    for row in (first, returned, seen):
        assert row.keys() >= {
            "visit_id", "person_id", "decision", "original_decision", "arrived_at", "camera_id",
            "similarity", "margin", "grade", "pack",
        }  # fmt: skip
    assert (first["decision"], first["person_id"], first["similarity"]) == ("first", "p-1", None)
    assert (returned["decision"], returned["similarity"], returned["margin"]) == ("return", 0.7, 0.3)
    assert (seen["decision"], seen["person_id"], seen["pack"]) == ("seen", None, None)
    assert (seen["zone"], seen["party_id"], seen["agents"]) == (None, None, []), "a record of an earlier version"
    assert seen["arrived_at"] == "2026-07-01T02:00:00.000Z"

    (person,) = json.loads(call("people", "--home", lived_in.path, "--json").out)
    assert person == {
        "person_id": "p-1",
        "role": "visitor",
        "agent_code": None,
        "created_at": "2026-07-01T02:00:00Z",
        "expires_at": "2026-07-02T02:00:00Z",
        "searchable": True,
        "templates": 1,
        "why": None,
    }

    rows = json.loads(call("ledger", "--home", lived_in.path, "--json").out)
    assert [row["seq"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["kind"] for row in rows][2:] == ["visit.first", "visit.return", "visit.seen"]
    for row, before in zip(rows[1:], rows, strict=False):
        assert row["prev_hash"] == before["hash"]
        assert row["acked"] is False
    later = json.loads(call("ledger", "--home", lived_in.path, "--json", "--from", 4).out)
    assert later == rows[3:]


def test_nothing_to_list_is_an_empty_list(call: Call, home: Home) -> None:
    for command in (("visits",), ("people",), ("ledger", "--from", "99")):
        assert call(*command, "--home", home.path, "--json") == Told(0, "[]\n", "")
    assert "no visits yet" in call("visits", "--home", home.path).out
    assert "nobody is remembered" in call("people", "--home", home.path).out


def test_a_table_never_cuts_an_id_in_two(call: Call, lived_in: Home) -> None:
    out = call("ledger", "--home", lived_in.path).out
    rows = json.loads(call("ledger", "--home", lived_in.path, "--json").out)
    assert all(row["hash"] in out for row in rows)


def test_an_erasure_is_told_and_the_person_gone(call: Call, lived_in: Home) -> None:
    told = call("erase", "--home", lived_in.path, "p-1", "--reason", "request", "--note", "by telephone")
    assert told.code == 0
    assert "erased p-1 seq=6 complete" in told.out
    assert "the note's salt" in told.out
    assert json.loads(call("people", "--home", lived_in.path, "--json").out) == []
    assert call("erase", "--home", lived_in.path, "p-1", "--reason", "request").code == 0  # asked twice is no error
    assert len(json.loads(call("ledger", "--home", lived_in.path, "--json").out)) == 6
    verdict = call("verify", lived_in.path, "--json")
    assert verdict.code == 0
    assert json.loads(verdict.out)["ok"] is True


def test_a_broken_chain_is_exit_1_and_names_the_record(call: Call, lived_in: Home) -> None:
    ledger = lived_in.open_ledger()
    ledger.connection.execute("UPDATE ledger SET body = CAST(replace(body, 'door', 'gate') AS BLOB) WHERE seq = 4")
    ledger.close()
    told = call("verify", lived_in.path)
    assert told.code == 1
    assert "seq 4" in told.out
    assert told.err == ""


def test_what_others_wrote_is_printed_as_text(call: Call, home: Home, tmp_path: Path) -> None:
    evil = tmp_path / "evil\x1b[2J\nbad.jsonl"
    header = {"acks": [], "format": "firstvisit-ledger", "node_pub": home.node_pub.read_text(), "notices": [], "v": 1}
    record = {"body": r'{"\u001b[2J\nbad: ":1.5}', "signature": "00" * 64}
    evil.write_bytes(b"".join(canonical.encode(line) + b"\n" for line in (header, record)))
    told = call("verify", evil)
    assert told.code == 1
    assert "bad: seq 1" in told.out
    assert all(line.isprintable() for line in told.out.split("\n"))
    assert told.out.count("\n") == 3
    odd = tmp_path / "no\x1b[2J\nhome"
    told = call("visits", "--home", odd)
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert told.err.rstrip("\n").isprintable()


@pytest.mark.parametrize(("keys", "event", "part"), [(False, "ledger", "chain"), (True, "person_keys", "people")])
def test_a_trigger_in_either_database_is_told_by_doctor(
    call: Call, home: Home, keys: bool, event: str, part: str
) -> None:
    with closing(sqlite3.connect(home.keys_database if keys else home.database)) as connection:
        connection.execute(f"CREATE TRIGGER swallow BEFORE INSERT ON {event} BEGIN SELECT RAISE(IGNORE); END")
    found = {one["part"]: one for one in json.loads(call("doctor", "--home", home.path, "--json").out)}
    assert found[part]["state"] == "bad"
    assert "trigger 'swallow'" in found[part]["text"]


def test_a_trigger_in_the_ledgers_database_is_told_by_verify(call: Call, home: Home) -> None:
    with closing(sqlite3.connect(home.database)) as connection:
        connection.execute("CREATE TRIGGER swallow BEFORE INSERT ON ledger BEGIN SELECT RAISE(IGNORE); END")
    told = call("verify", home.path)
    assert told.code == 1
    assert "trigger 'swallow'" in told.out


def test_an_alarm_settled_knowingly_is_told_and_not_bad_until_it_happens_again(call: Call, home: Home) -> None:
    def told(*more: str) -> list[tuple[str, str]]:
        found = json.loads(call("doctor", "--home", home.path, "--json", *more).out)
        return [(one["state"], one["text"]) for one in found if one["part"] == "alarm"]

    alarms = Alarms(home.database)
    alarms.raise_alarm("NOT_OUR_RECORD", "seq 17", 1_760_000_000_000_000)
    assert told() == [("bad", "NOT_OUR_RECORD x1: seq 17")]
    refused = call("doctor", "--home", home.path, "--settle", "FORK")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "no alarm 'FORK' here to settle; there are: NOT_OUR_RECORD" in refused.err
    ((state, text),) = told("--settle", "NOT_OUR_RECORD")
    assert state == "good"
    assert text.startswith("NOT_OUR_RECORD x1: seq 17 (settled 20")
    assert told() == [(state, text)], "it stays, with when it was settled"
    alarms.raise_alarm("NOT_OUR_RECORD", "seq 18", 1_760_000_060_000_000)
    assert told() == [("bad", "NOT_OUR_RECORD x2: seq 18")]


def test_init_prints_the_fingerprint_and_what_comes_next(call: Call, tmp_path: Path) -> None:
    told = call("init", tmp_path / "h", "--site", "puxi-01", "--lat", "31.23", "--lon", "121.47", "--datum", "gcj02")
    assert told.code == 0
    made = Home(tmp_path / "h")
    assert made.signer("node").public.fingerprint in told.out
    settings = made.settings()
    assert (settings.node.id, settings.place.datum, settings.capture.mode) == ("puxi-01-a", "gcj02", "after_consent")
    checked = call("check-config", tmp_path / "h")
    assert checked.code == 0
    assert "[[camera]]" in checked.out


def test_check_config_shows_cameras_without_their_passwords(call: Call, home: Home) -> None:
    text = home.config.read_text()
    for camera, host in (("door", "192.0.2.10"), ("side", "[2001:db8::10]:554")):
        text += f'[[camera]]\nid = "{camera}"\nuri = "rtsp://admin:{SECRET}@{host}/stream1"\n'
    home.config.write_text(text)
    told = call("check-config", home.path)
    assert told.code == 0
    assert f"good {home.config}\n" in told.out  # in one piece
    assert "camera door, zone entrance: " in told.out
    assert "rtsp://192.0.2.10/stream1" in told.out
    assert "rtsp://[2001:db8::10]:554/stream1" in told.out
    assert SECRET not in told.out + told.err
    home.config.write_text(text + f'[[camera]]\nid = "yard"\nuri = "http://admin:{SECRET}@192.0.2.11/x"\n')
    told = call("check-config", home.path)
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert f"{home.config}: camera[3].uri: source http://192.0.2.11/x: " in told.err
    assert SECRET not in told.err


BAD = [
    (("visits", "--home", "{none}", "--json"), "no such HOME"),
    (("visits", "--home", "{empty}", "--json"), "firstvisit.toml: no configuration there"),
    (("people", "--home", "{none}", "--json"), "no such HOME"),
    (("ledger", "--home", "{none}", "--json"), "no such HOME"),
    (("ledger", "--home", "{home}", "--from", "0", "--json"), "--from"),
    (("ledger", "--home", "{home}", "--from", "99999999999999999999", "--json"), "--from"),
    (("ledger", "--home", "{home}", "--export", "{none}/x/export.jsonl"), "export.jsonl"),
    (("verify", "{none}", "--json"), "none"),
    (("verify", "{home}", "--public-key", "{none}", "--json"), "none"),
    (("doctor", "--home", "{none}", "--json"), "no such HOME"),
    (("check-config", "{none}"), "no such HOME"),
    (("run", "--home", "{none}"), "no such HOME"),
    (("run", "--home", "{home}"), "no camera: add a [[camera]]"),
    (("run", "--home", "{home}", "--source", "{none}.mp4"), "none.mp4: no such file"),
    (("run", "--home", "{home}", "--visit-gap", "-1"), "--visit-gap"),
    (("run", "--home", "{home}", "--source", "usb:0", "--visit-gap", "nan"), "--visit-gap"),
    (("run", "--home", "{home}", "--source", "usb:0", "--visit-gap", "inf"), "--visit-gap"),
    (("run", "--home", "{home}", "--source", "usb:0", "--pack", "nonesuch"), "nonesuch"),
    (("erase", "--home", "{home}", "p-9", "--reason", "request"), "person 'p-9': not remembered here"),
    (("erase", "--home", "{home}", "p-9", "--reason", "because"), "reason 'because': one of request"),
    (("erase", "--home", "{home}", "p-9"), "--reason"),
    (("join", "--home", "{home}", "--central-key", "{none}", "--broker", "mqtt://h"), "no central key file there"),
    (("join", "--home", "{home}", "--central-key", "{none}", "--broker", f"http://u:{SECRET}@h"), "mqtt"),
    (("init", "{home}", "--site", "puxi-01"), "not empty; a HOME is made once"),
    (("init", "{none}", "--site", "puxi 01"), "--site 'puxi 01': a name begins"),
    (("init", "{none}"), "--site"),
    (("init", "{none}", "--site", "s", "--lat", "131.2", "--lon", "121.5"), "firstvisit: --lat 131.2:"),
    (("init", "{none}", "--site", "s", "--lat", "nan", "--lon", "121.5"), "firstvisit: --lat nan:"),
    (("init", "{none}", "--site", "s", "--lat", "31.2"), "firstvisit: --lat, --lon: lat and lon go together"),
    (("init", "{none}", "--site", "s", "--lat", "north", "--lon", "1"), "--lat"),
    (("init", "{none}", "--site", "s", "--datum", "bd09"), "firstvisit: --datum 'bd09':"),
    (("init", "{none}", "--site", "s", "--mode", "ephemeral"), "firstvisit: --mode, --legal-basis: mode ephemeral"),
    (("init", "{none}", "--site", "s", "--mode", "always"), "firstvisit: --mode 'always':"),
    (("init", "{none}", "--site", "s", "--lat", "31.2", "--lon", "121.5", "--fence", "{bow}"), "Self-intersection"),
    (("init", "{none}", "--site", "s", "--fence", "{bow}"), "bow-tie.json"),
    (("frobnicate",), "frobnicate"),
    (("visits", "--hmoe", "{home}", "--json"), "--hmoe"),
    (("visits", "--json"), "--home"),
    (("models", "verify", "nonesuch"), "nonesuch"),
    (("central", "records", "--dir", "{none}", "--json"), "none"),
    (("central", "enroll", "--dir", "{none}", "{home}/node.pub"), "none"),
    (("kiosk", "--home", "{none}"), "none"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_line_and_exit_2(
    call: Call, home: Home, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bow-tie.json").write_text(BOW_TIE)
    named = {name: str(tmp_path / name) for name in ("none", "empty", "home")} | {"bow": str(tmp_path / "bow-tie.json")}
    told = call(*(word.format(**named) for word in words))
    assert told.code == 2
    assert told.out == ""
    assert told.err.startswith("firstvisit: ")
    assert told.err.count("\n") == 1
    assert said in told.err
    assert SECRET not in told.err
    assert not (tmp_path / "none").exists()
    assert home.path.is_dir()


@pytest.mark.parametrize("command", ["visits", "people", "ledger"])
def test_a_home_of_a_newer_version_is_refused_by_every_reader(call: Call, home: Home, command: str) -> None:
    ledger = home.open_ledger()
    ledger.connection.execute("PRAGMA user_version = 2")
    ledger.close()
    told = call(command, "--home", home.path, "--json")
    assert (told.code, told.out) == (2, "")
    assert "written by a newer FirstVisit" in told.err
    assert told.err.count("\n") == 1


def test_an_error_in_the_configuration_names_file_key_and_value(call: Call, home: Home) -> None:
    home.config.write_text(home.config.read_text() + "[visit]\nspan_s = 4\n")
    told = call("visits", "--home", home.path, "--json")
    assert (told.code, told.out) == (2, "")
    assert told.err == f"firstvisit: {home.config}: visit.span_s: no such key\n"


def test_an_unknown_log_level_is_named(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRSTVISIT_LOG", "loud")
    told = call("--help")
    assert (told.code, told.out) == (2, "")
    assert told.err == "firstvisit: FIRSTVISIT_LOG='LOUD': one of DEBUG, INFO, WARNING, ERROR\n"


def process(*arguments: object, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)


def test_as_a_process_too_stdout_holds_json_only_and_bad_input_one_line(lived_in: Home, tmp_path: Path) -> None:
    good = process("visits", "--home", lived_in.path, "--json")
    assert (good.returncode, good.stderr) == (0, "")
    assert [row["visit_id"] for row in json.loads(good.stdout)] == ["v-1", "v-2", "v-3"]
    bad = process("visits", "--home", tmp_path / "none", "--json")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == f"firstvisit: {tmp_path / 'none'}: no such HOME (firstvisit init makes one)\n"


def test_follow_prints_one_object_a_line_as_visits_are_decided(lived_in: Home) -> None:
    command = [sys.executable, "-m", "edge", "visits", "--home", str(lived_in.path), "--follow", "--json"]
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert follower.stdout is not None
        old = [json.loads(follower.stdout.readline())["visit_id"] for _ in range(3)]
        ledger = lived_in.open_ledger("node", Clock())
        fields = {"visit": "v-4", "camera": "door", "arrived_us": 1, "grade": "C", "party": 1}
        ledger.append("visit.seen", fields)
        ledger.close()
        new = json.loads(follower.stdout.readline())
    finally:
        follower.kill()
        follower.communicate(timeout=20)
    assert old == ["v-1", "v-2", "v-3"]
    assert new["visit_id"] == "v-4"
