"""install.sh, really run under a root of its own: what it puts where, twice, handed over, and removed again."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SYSTEMD = CHECKOUT / "systemd"
INSTALL = SYSTEMD / "install.sh"
HOME = "var/lib/firstvisit/home"
AS_ROOT = os.geteuid() == 0 and shutil.which("systemd-sysusers") and shutil.which("systemd-tmpfiles")


def sh(script: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run an installer; without the dependencies, which are hundreds of megabytes and pip's to install."""
    return subprocess.run(
        ["sh", str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"FIRSTVISIT_PIP_ARGS": "--no-deps"},
    )


def good(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def bad(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert done.returncode == code, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("install.sh: ")
    return line


def tree(root: Path) -> dict[str, tuple[int, int]]:
    """Every file and directory with its mode and time of change, but for what Python caches."""
    return {
        str(path.relative_to(root)): (path.lstat().st_mode, path.lstat().st_mtime_ns)
        for path in root.rglob("*")
        if "__pycache__" not in path.parts and path.is_file()
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, CHECKOUT], check=True
    )
    (built,) = folder.glob("firstvisit-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with node and central installed; tests that change it take a copy."""
    root = tmp_path_factory.mktemp("root")
    said = good(sh(INSTALL, "node", "--wheel", wheel, "--root", root))
    assert "Done:" in said
    good(sh(INSTALL, "central", "--wheel", wheel, "--root", root))
    return root


@pytest.fixture
def copy(installed: Path, tmp_path: Path) -> Path:
    root = tmp_path / "root"
    shutil.copytree(installed, root, symlinks=True, copy_function=shutil.copy2)
    return root


def test_the_wheel_carries_units_installer_and_configuration(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        members = set(archive.namelist())
    for folder in ("systemd", "config"):
        for file in (CHECKOUT / folder).iterdir():
            if file.is_file():
                assert f"edge/share/{folder}/{file.name}" in members


def test_an_installation_puts_everything_where_the_guide_says(installed: Path) -> None:
    for path in (
        "opt/firstvisit/bin/firstvisit",
        "usr/local/bin/firstvisit",
        "usr/local/sbin/firstvisit-setup",
        "usr/local/share/doc/firstvisit/installer.md",
        "usr/local/share/doc/firstvisit/configuration.md",
        "etc/firstvisit/node.example.toml",
        "etc/firstvisit/central.example.toml",
        "etc/sysusers.d/firstvisit.conf",
        "etc/tmpfiles.d/firstvisit.conf",
        "etc/systemd/system/firstvisit-node.service",
        "etc/systemd/system/firstvisit-kiosk.service",
        "etc/systemd/system/firstvisit-central.service",
    ):
        assert (installed / path).is_file(), path
    assert os.access(installed / "usr/local/bin/firstvisit", os.X_OK)


def test_the_next_commands_name_real_commands_and_paths(installed: Path, wheel: Path) -> None:
    said = good(sh(INSTALL, "node", "--wheel", wheel, "--root", installed))
    for command in (
        "firstvisit models install",
        "firstvisit init /var/lib/firstvisit/home --site ",
        "firstvisit-setup adopt",
        "firstvisit join --home /var/lib/firstvisit/home --invite ",
        "systemctl enable --now firstvisit-node firstvisit-kiosk",
    ):
        assert command in said
    said = good(sh(INSTALL, "central", "--wheel", wheel, "--root", installed))
    assert "firstvisit central init /var/lib/firstvisit-central" in said
    assert "firstvisit central invite --dir /var/lib/firstvisit-central" in said
    assert "firstvisit central confirm --dir /var/lib/firstvisit-central" in said


def test_a_second_run_changes_nothing_and_says_so(installed: Path, wheel: Path) -> None:
    before = tree(installed)
    said = good(sh(INSTALL, "node", "--wheel", wheel, "--root", installed))
    assert "Nothing to do: everything is in place already." in said
    assert tree(installed) == before


def test_a_unit_changed_by_hand_is_put_back(copy: Path, wheel: Path) -> None:
    unit = copy / "etc/systemd/system/firstvisit-node.service"
    unit.write_text("[Service]\n")
    said = good(sh(INSTALL, "node", "--wheel", wheel, "--root", copy))
    assert f"installed {unit}" in said
    assert "Done: 1 things changed." in said
    assert unit.read_bytes() == (SYSTEMD / unit.name).read_bytes()


def test_the_installed_wheel_can_install_without_a_checkout(installed: Path) -> None:
    (script,) = (installed / "opt/firstvisit").glob("lib/python*/site-packages/edge/share/systemd/install.sh")
    said = good(sh(script, "node", "--root", installed))
    assert "Nothing to do" in said
    setup = (installed / "usr/local/sbin/firstvisit-setup").read_text()
    assert str(script).removeprefix(str(installed)) in setup


def test_adopt_moves_the_configuration_and_hands_each_key_to_its_service(copy: Path) -> None:
    home = copy / HOME
    home.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, "-c", "from edge.cli import main; main()", "init", str(home), "--site", "lakeside"],
        check=True,
        capture_output=True,
    )
    written = (home / "firstvisit.toml").read_bytes()
    said = good(sh(INSTALL, "adopt", "--root", copy))
    assert f"moved     {home / 'firstvisit.toml'}" in said
    assert (home / "firstvisit.toml").readlink() == Path("/etc/firstvisit/node.toml")
    config = copy / "etc/firstvisit/node.toml"
    assert config.read_bytes() == written
    assert config.stat().st_mode & 0o777 == 0o640
    assert "moved" not in good(sh(INSTALL, "adopt", "--root", copy)), "once is enough"
    if AS_ROOT:
        accounts = [line.split(":") for line in (copy / "etc/passwd").read_text().splitlines()]
        uid = {fields[0]: int(fields[2]) for fields in accounts}
        for name, owner in (("node", "firstvisit-node"), ("desk", "firstvisit-kiosk")):
            state = (home / f"keys/{name}.key").stat()
            assert (state.st_uid, state.st_mode & 0o777) == (uid[owner], 0o400)
        assert home.stat().st_mode & 0o7777 == 0o2750, "who may write it may replace the configuration"
        assert (home / "databases").stat().st_mode & 0o7777 == 0o2770, "SQLite makes its files beside the databases"
        assert (home / "keys").stat().st_mode & 0o7777 == 0o750
        for database in ("firstvisit.db", "keys.db"):
            assert (home / database).readlink() == Path("databases", database)
            assert (home / database).stat().st_mode & 0o777 == 0o660


def test_adopt_with_a_name_gives_the_kiosk_a_certificate_and_keeps_its_authority_s_key_from_the_services(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = copy / HOME
    home.parent.mkdir(parents=True, exist_ok=True)
    init = [sys.executable, "-c", "from edge.cli import main; main()", "init", str(home), "--site", "lakeside"]
    subprocess.run(init, check=True, capture_output=True)
    monkeypatch.setenv("PYTHONPATH", sysconfig.get_path("purelib"))  # the installation under test has no libraries
    said = good(sh(INSTALL, "adopt", "--name", "kiosk.local", "--name", "192.168.1.5", "--root", copy))
    assert "SHA-256" in said
    assert 'tls = {cert = "kiosk-tls/kiosk.crt"' in (copy / "etc/firstvisit/node.toml").read_text()
    folder = home / "kiosk-tls"
    assert {path.name for path in folder.iterdir()} == {"ca.crt", "ca.key", "kiosk.crt", "kiosk.key"}
    assert (folder / "ca.key").stat().st_mode & 0o777 == 0o600
    if AS_ROOT:
        accounts = [line.split(":") for line in (copy / "etc/passwd").read_text().splitlines()]
        uid = {fields[0]: int(fields[2]) for fields in accounts}
        assert (folder / "ca.key").stat().st_uid == 0
        state = (folder / "kiosk.key").stat()
        assert (state.st_uid, state.st_mode & 0o777) == (uid["firstvisit-kiosk"], 0o400)
        assert folder.stat().st_mode & 0o777 == 0o750
    assert "neither an address nor" in bad(sh(INSTALL, "adopt", "--name", "a b", "--root", copy), 2)
    assert "goes with adopt" in bad(sh(INSTALL, "node", "--name", "kiosk.local", "--root", copy), 2)


@pytest.mark.skipif(not AS_ROOT or not shutil.which("setpriv"), reason="only root can become the services' users")
def test_neither_service_can_replace_what_it_may_not_write_and_both_share_the_databases(copy: Path) -> None:
    home = copy / HOME
    home.parent.mkdir(parents=True, exist_ok=True)
    init = [sys.executable, "-c", "from edge.cli import main; main()", "init", str(home), "--site", "lakeside"]
    subprocess.run(init, check=True, capture_output=True)
    (home / "central.pub").write_text("pinned")
    good(sh(INSTALL, "adopt", "--root", copy))
    users = {line.split(":")[0]: line.split(":")[2] for line in (copy / "etc/passwd").read_text().splitlines()}
    groups = {line.split(":")[0]: line.split(":")[2] for line in (copy / "etc/group").read_text().splitlines()}
    outside = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    try:
        outside.chmod(0o755)
        moved = outside / "home"
        subprocess.run(["cp", "-a", str(home), str(moved)], check=True)
        before = {path.name: path.lstat().st_ino for path in moved.iterdir()}

        def become(user: str, command: list[str]) -> subprocess.CompletedProcess[str]:
            ids = ["--reuid", users[user], "--regid", groups["firstvisit"], "--clear-groups"]
            return subprocess.run(["setpriv", *ids, *command], capture_output=True, text=True, cwd=moved)

        for user in ("firstvisit-kiosk", "firstvisit-node"):
            for attack in (
                "rm -f firstvisit.toml",
                "ln -sfn /dev/null firstvisit.toml",
                "mv central.pub x",
                "echo evil >central.pub",
                "mv keys keys.old",
                "rm -f run.lock",
                "mv node.pub x",
                "mv databases x",
                "ln -sfn /dev/null keys.db",
                "touch fence.geojson",
            ):
                assert become(user, ["sh", "-c", attack]).returncode != 0, f"{user}: {attack}"
        assert {path.name: path.lstat().st_ino for path in moved.iterdir()} == before
        write = (
            "import os, sqlite3; os.umask(0o007); d = sqlite3.connect('firstvisit.db', isolation_level=None)\n"
            "d.execute('PRAGMA journal_mode = WAL'); d.execute('CREATE TABLE IF NOT EXISTS both (who)')\n"
            "d.execute('INSERT INTO both VALUES (?)', (os.getuid(),))\n"
            "os._exit(0)"  # as a kill: the -wal and -shm it made stay for the other
        )
        for user in ("firstvisit-node", "firstvisit-kiosk", "firstvisit-node"):
            done = become(user, ["/usr/bin/python3", "-c", write])
            assert done.returncode == 0, done.stderr
        assert (moved / "databases/firstvisit.db-wal").exists()
    finally:
        shutil.rmtree(outside)


def test_adopt_keeps_a_configuration_that_it_replaces(copy: Path) -> None:
    home = copy / HOME
    home.mkdir(parents=True)
    (home / "firstvisit.toml").write_text("version = 1\n")
    (copy / "etc/firstvisit/node.toml").write_text("# of another HOME\n")
    good(sh(INSTALL, "adopt", "--root", copy))
    assert (copy / "etc/firstvisit/node.toml").read_text() == "version = 1\n"
    assert (copy / "etc/firstvisit/node.toml.before-adopt").read_text() == "# of another HOME\n"


def test_adopt_without_a_home_says_what_to_do_first(copy: Path) -> None:
    assert "run firstvisit init" in bad(sh(INSTALL, "adopt", "--root", copy), 2)


def test_uninstall_removes_the_program_keeps_the_data_and_says_where(copy: Path) -> None:
    home = copy / HOME
    home.mkdir(parents=True)
    (home / "firstvisit.db").write_bytes(b"evidence")
    (copy / "etc/firstvisit/node.toml").write_text("version = 1\n")
    said = good(sh(INSTALL, "--uninstall", "--root", copy))
    assert f"Kept: {copy}/var/lib/firstvisit\n" in said
    assert f"Kept: {copy}/etc/firstvisit\n" in said
    left = sorted(str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file())
    ours = [path for path in left if not path.startswith(("etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"))]
    assert [path for path in ours if path != "etc/.pwd.lock"] == [
        "etc/firstvisit/central.example.toml",
        "etc/firstvisit/node.example.toml",
        "etc/firstvisit/node.toml",
        f"{HOME}/firstvisit.db",
    ]
    assert "Nothing to do: FirstVisit is not installed" in good(sh(INSTALL, "--uninstall", "--root", copy))


def test_wrong_arguments_end_in_one_line(tmp_path: Path) -> None:
    assert "node or central" in bad(sh(INSTALL), 2)
    assert "kiosk: not understood" in bad(sh(INSTALL, "kiosk"), 2)
    assert "not both" in bad(sh(INSTALL, "node", "central"), 2)
    assert "--wheel wants a value" in bad(sh(INSTALL, "node", "--wheel"), 2)
    assert "no such directory" in bad(sh(INSTALL, "node", "--root", tmp_path / "none"), 2)
    assert "no such wheel" in bad(sh(INSTALL, "node", "--root", tmp_path, "--wheel", tmp_path / "none.whl"), 2)
    assert "no checkout" in bad(sh(INSTALL, "node", "--root", tmp_path, "--from", tmp_path), 2)


def test_a_wheel_that_pip_refuses_ends_in_one_line(tmp_path: Path) -> None:
    wheel = tmp_path / "firstvisit-0.2.0-py3-none-any.whl"
    wheel.write_bytes(b"no wheel at all")
    line = bad(sh(INSTALL, "node", "--root", tmp_path, "--wheel", wheel), 1)
    assert line.startswith("install.sh: pip install failed: ERROR: ")


def test_a_copy_away_from_any_checkout_asks_for_a_wheel(tmp_path: Path) -> None:
    shutil.copytree(SYSTEMD, tmp_path / "share" / "systemd")
    (tmp_path / "root").mkdir()
    script = tmp_path / "share" / "systemd" / "install.sh"
    assert "give --wheel FILE or --from DIR" in bad(sh(script, "node", "--root", tmp_path / "root"), 2)


def test_shellcheck_finds_nothing_in_the_installer() -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed (Debian package shellcheck)")
    done = subprocess.run([shellcheck, str(INSTALL)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
