"""A HOME is made once, whole, closed to others, and run by one process at a time."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from edge import EdgeError
from edge.clock import Clock
from edge.home import Home, HomeError, create_home
from edge.place.geofence import FenceError
from edge.settings import SettingsError, new_config
from sync.format.public_keys import Enrolment
from sync.storage.database import NewerFormat
from sync.verify.verify import verify

SQUARE = '{"type":"Polygon","coordinates":[[[121.5,31.2],[121.6,31.2],[121.6,31.3],[121.5,31.3],[121.5,31.2]]]}'
BOW_TIE = '{"type":"Polygon","coordinates":[[[121.5,31.2],[121.6,31.3],[121.6,31.2],[121.5,31.3],[121.5,31.2]]]}'
MADE = {
    "firstvisit.toml": 0o640,
    "firstvisit.db": 0o640,
    "keys.db": 0o600,
    "node.pub": 0o644,
    "keys": 0o750,
    "keys/node.key": 0o600,
    "keys/desk.key": 0o600,
}
HOLD = "import sys\nfrom pathlib import Path\nfrom edge.home import Home\n"
HOLD += "with Home(Path(sys.argv[1])).running():\n    print('held', flush=True)\n    sys.stdin.read()\n"


def config(**place: object) -> str:
    return new_config(site="puxi-01", node="gate", place={"datum": "wgs84", **place}, capture={"mode": "after_consent"})


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in folder.rglob("*")}


@pytest.mark.usefixtures("umask_022")
def test_init_makes_exactly_these_files_with_these_modes(tmp_path: Path) -> None:
    create_home(tmp_path / "deep" / "home", config(), None)
    assert modes(tmp_path / "deep" / "home") == MADE
    assert (tmp_path / "deep" / "home").stat().st_mode & 0o777 == 0o750


def test_a_home_in_an_open_folder_under_no_umask_is_closed_to_others(tmp_path: Path) -> None:
    home, fence = tmp_path / "home", tmp_path / "outline.json"
    home.mkdir()
    home.chmod(0o775)
    fence.write_text(SQUARE)
    before = os.umask(0)
    try:
        create_home(home, config(lat=31.25, lon=121.55, fence="fence.geojson"), fence)
    finally:
        os.umask(before)
    assert home.stat().st_mode & 0o777 == 0o770
    assert modes(home) == {**MADE, "firstvisit.db": 0o660, "fence.geojson": 0o644}


@pytest.mark.usefixtures("umask_022")
def test_a_fence_comes_along_and_an_empty_folder_may_be_there(tmp_path: Path) -> None:
    fence = tmp_path / "outline.json"
    fence.write_text(SQUARE)
    (tmp_path / "home").mkdir()
    home = create_home(tmp_path / "home", config(lat=31.25, lon=121.55, fence="fence.geojson"), fence)
    assert modes(home.path) == {**MADE, "fence.geojson": 0o644}
    place = home.place(home.settings())
    assert place is not None
    assert place["inside"] == "in"


def test_the_chain_begins_with_the_epoch_and_the_policy(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home", config(), None)
    ledger = home.open_ledger()
    assert [row.kind for row in ledger.rows()] == ["epoch.started", "policy.changed"]
    (started,) = ledger.records(("epoch.started",))
    ledger.close()
    assert started.fields["site"] == "puxi-01"
    assert started.fields["keys"] == {role: str(home.signer(role).public) for role in ("node", "desk")}
    verdict = verify(home.path, home.node_pub)
    assert verdict.ok, verdict.why


def test_the_enrolment_file_names_both_keys_and_no_secret(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home", config(), None)
    text = home.node_pub.read_text()
    enrolment = Enrolment.parse_text(text)
    assert (enrolment.node_id, enrolment.site_id) == ("gate", "puxi-01")
    for role in ("node", "desk"):
        secret = (home.path / "keys" / f"{role}.key").read_text().split()[-1]
        assert secret not in text
    assert home.signer("node").public != home.signer("desk").public


def test_a_second_init_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home", config(), None)
    before = {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()}
    with pytest.raises(HomeError, match=r"home: not empty; a HOME is made once"):
        create_home(tmp_path / "home", config(), None)
    assert {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()} == before


def test_a_bad_configuration_or_fence_leaves_nothing_behind(tmp_path: Path) -> None:
    bow_tie = tmp_path / "bow-tie.json"
    bow_tie.write_text(BOW_TIE)
    good = config(lat=31.25, lon=121.55, fence="fence.geojson")
    with pytest.raises(SettingsError, match=r"place\.lat = 131\.2"):
        create_home(tmp_path / "home", config(lat=131.2, lon=121.5), None)
    with pytest.raises(FenceError, match=r"bow-tie\.json: .*Self-intersection"):
        create_home(tmp_path / "home", good, bow_tie)
    with pytest.raises(FenceError, match=r"none\.json: No such file"):
        create_home(tmp_path / "home", good, tmp_path / "none.json")
    assert not (tmp_path / "home").exists()


def test_a_home_where_a_file_is_or_nothing_may_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/home")):
        with pytest.raises(EdgeError, match=r"^[^\n]*$") as caught:
            create_home(path, config(), None)
        assert str(path) in str(caught.value)


def test_what_is_no_home_says_so(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match=r"none: no such HOME \(firstvisit init makes one\)"):
        Home(tmp_path / "none").settings()
    with pytest.raises(SettingsError, match=r"firstvisit\.toml: no configuration there"):
        Home(tmp_path).settings()


def test_a_second_process_cannot_run_the_same_home_until_the_first_has_gone(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home", config(), None)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(HomeError, match=rf"home: already running \(process {holder.pid}\)"), home.running():
            pass
        ledger = home.open_ledger("desk", Clock())  # the kiosk and the command line may append beside it
        ledger.append("export.made", {"what": "ledger"})
        ledger.close()
    finally:
        holder.kill()
        holder.communicate(timeout=20)
    with home.running():  # a killed process leaves no lock behind
        pass


def test_a_database_of_a_newer_version_is_refused_in_one_line(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home", config(), None)
    connection = sqlite3.connect(home.database)
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(NewerFormat, match=r"^[^\n]*firstvisit\.db: written by a newer FirstVisit \(format 7[^\n]*$"):
        home.open_ledger()


def test_what_a_later_version_adds_reaches_an_existing_home_by_migrate_alone(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home", config(), None)
    before = dump(home.database)
    with closing(sqlite3.connect(home.database)) as connection:  # a HOME of before there were accounts
        for table in ("accounts", "tablets", "web_sessions", "sign_in_failures"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("DELETE FROM _sqlite_migrations WHERE migration_set = 'web'")
        connection.commit()
    assert Home(home.path).open_ledger().head() is not None
    assert dump(home.database) != before
    home.migrate()
    assert dump(home.database) == before


def dump(database: Path) -> set[str]:
    with closing(sqlite3.connect(database)) as connection:
        return {row[0] for row in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}


def test_a_key_open_to_everyone_or_missing_is_refused(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home", config(), None)
    key = home.path / "keys" / "node.key"
    key.chmod(0o644)
    with pytest.raises(Exception, match=r"node\.key: a private key that everyone may read"):
        home.open_ledger("node")
    key.unlink()
    with pytest.raises(Exception, match=r"node\.key: no key there"):
        home.open_ledger("node")


def test_a_renamed_node_cannot_continue_the_chain(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home", config(), None)
    home.config.write_text(home.config.read_text().replace('id = "gate"', 'id = "gate-2"'))
    ledger = home.open_ledger("node")
    with pytest.raises(Exception, match="this chain is node gate's, gate-2 cannot continue it"):
        ledger.append("node.stopped", {"reason": "stopped"})
    ledger.close()


@pytest.mark.parametrize("room_bytes", [200, 20_000, 40_000])
def test_init_on_a_disk_without_room_says_so_in_one_line(tmp_path: Path, room_bytes: int) -> None:
    script = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from edge import EdgeError\nfrom edge.home import create_home\nfrom sync import SyncError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "try:\n    create_home(Path(sys.argv[1]), sys.stdin.read(), None)\n"
        "except (EdgeError, SyncError) as error:\n    print(error)\n"
    )
    made = tmp_path / "home"
    told = subprocess.run(
        [sys.executable, "-c", script, str(made), str(room_bytes)],
        input=config(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.stderr == ""
    assert str(made) in told.stdout
    assert len(told.stdout.splitlines()) == 1
    assert not made.exists(), "a HOME that could not be made leaves nothing behind"
    create_home(made, config(), None)
