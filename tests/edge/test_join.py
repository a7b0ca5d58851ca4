"""Joining by invitation as two people do it, each at a command line, with central really running."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import tomlkit

from edge.home import Home
from tests.sync.uplink_site import free_port, wait_for

FIRSTVISIT = [sys.executable, "-m", "edge"]


def firstvisit(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FIRSTVISIT, *map(str, arguments)], input=stdin, capture_output=True, text=True, check=False, timeout=120
    )


def said(*arguments: object) -> str:
    done = firstvisit(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def central(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running central whose API listens on a free port; it finds no broker, which joining does not need."""
    directory = tmp_path_factory.mktemp("central") / "central"
    said("central", "init", directory, "--id", "hq", "--name", "127.0.0.1", "--broker", "mqtts://127.0.0.1:1")
    config, port, console = directory / "central.toml", free_port(), free_port()
    document = tomlkit.parse(config.read_text())
    assert document["api"]["url"] == "https://127.0.0.1:8700"  # type: ignore[index]
    document["api"] = {"host": "127.0.0.1", "port": port, "url": f"https://127.0.0.1:{port}"}
    config.write_text(tomlkit.dumps(document))
    process = subprocess.Popen(
        [*FIRSTVISIT, "central", "run", "--dir", str(directory), "--port", str(console)], stderr=subprocess.DEVNULL
    )

    def answers() -> bool:
        assert process.poll() is None
        try:
            return httpx.get(f"https://127.0.0.1:{port}/v1/ca", verify=False).status_code == 200
        except httpx.TransportError:
            return False

    wait_for(answers, "the API answers")
    yield directory
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def a_home(folder: Path, node: str) -> Home:
    said("init", folder / node, "--site", "s1", "--node", node)
    return Home(folder / node)


@pytest.fixture(scope="module")
def unjoined(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return a_home(tmp_path_factory.mktemp("unjoined"), "n3")


def invitation(central: Path, *options: str) -> str:
    printed = said("central", "invite", "--dir", central, *options)
    found = re.search(r"^fv1-invite:[A-Za-z0-9_-]+$", printed, re.MULTILINE)
    assert found, printed
    return found[0]


class Join:
    """`firstvisit join` in a process of its own, as long as it waits."""

    def __init__(self, home: Home, text: str) -> None:
        command = [*FIRSTVISIT, "join", "--home", str(home.path), "--invite", text]
        self.log = home.path.with_name(f"{home.path.name}.join.log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def fingerprint(self) -> str:
        """What a person reads off the node's screen."""
        wait_for(lambda: bool(self._read() or self.process.poll()), "a fingerprint is shown")
        found = self._read()
        assert found, self.log.read_text()
        return found[1].strip()

    def _read(self) -> re.Match[str] | None:
        return re.search(r"^ +((?:[0-9a-f]{4} ?){8})$", self.log.read_text(), re.MULTILINE)


def test_a_node_joins_by_a_text_and_a_fingerprint_read_out(central: Path, tmp_path: Path) -> None:
    home = a_home(tmp_path, "n1")
    join = Join(home, invitation(central, "--node", "n1"))
    fingerprint = join.fingerprint()
    assert "n1" in said("central", "pending", "--dir", central)
    assert fingerprint not in said("central", "pending", "--dir", central), "it is to be read off the node"
    wrong = firstvisit("central", "confirm", "--dir", central, "n1", *("0000 " * 8).split())
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1
    assert not home.joined
    assert "let in n1 of site s1" in said("central", "confirm", "--dir", central, "n1", *fingerprint.split())
    assert join.process.wait(30) == 0
    assert home.joined
    assert home.settings().uplink.broker == "mqtts://127.0.0.1:1"
    assert "joined hq" in join.log.read_text()
    assert "n1" in said("central", "certificates", "--dir", central)
    revoked = said("central", "revoke-certificate", "--dir", central, "n1")
    assert "revoked 1 of n1" in revoked


def test_a_join_killed_while_it_waits_goes_on_with_the_same_text_and_a_rejected_one_ends(
    central: Path, tmp_path: Path
) -> None:
    home, text = a_home(tmp_path, "n2"), invitation(central)
    first = Join(home, text)
    shown = first.fingerprint()
    first.process.kill()
    first.process.wait()
    again = Join(home, text)
    assert again.fingerprint() == shown
    said("central", "reject", "--dir", central, "n2")
    assert again.process.wait(30) == 2
    assert "turned this node away" in again.log.read_text()
    third = Join(home, invitation(central, "--uplink", f"https://127.0.0.1:{free_port()}"))
    said("central", "confirm", "--dir", central, "n2", third.fingerprint())
    assert third.process.wait(30) == 0
    assert (home.settings().uplink.broker or "").startswith("https://")


def test_a_node_whose_keys_were_rotated_before_it_joins_is_let_in_under_the_new_ones(
    central: Path, tmp_path: Path
) -> None:
    home = a_home(tmp_path, "n4")
    enrolled = home.signer("node").public
    for role in ("node", "desk", "node"):
        said("keys", "rotate", "--home", home.path, "--role", role)
    join = Join(home, invitation(central))
    fingerprint = join.fingerprint()
    assert fingerprint == home.signer("node").public.fingerprint != enrolled.fingerprint
    said("central", "confirm", "--dir", central, "n4", *fingerprint.split())
    assert join.process.wait(30) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--invite", "fv1-invite:AAAA"), "damaged"),
        (("--invite", "nonsense"), "it begins with fv1-invite:"),
        ((), "either --invite, or --central-key and --broker"),
        (("--invite", "x", "--central-key", "y"), "either --invite"),
        (("--central-key", "central.pub"), "either --invite"),
    ],
)
def test_what_is_no_way_to_join_is_said_in_one_line(unjoined: Home, arguments: tuple[str, ...], says: str) -> None:
    refused = firstvisit("join", "--home", unjoined.path, *arguments)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert says in refused.stderr
    assert not unjoined.joined


def test_a_central_without_an_api_or_with_a_password_of_its_own_gives_out_no_invitation(tmp_path: Path) -> None:
    said("central", "init", tmp_path / "c", "--broker", "mqtt://hq:secret@broker.example")
    refused = firstvisit("central", "invite", "--dir", tmp_path / "c")
    assert refused.returncode == 2
    assert "api.url is missing" in refused.stderr
    with (tmp_path / "c/central.toml").open("a") as config:
        config.write('\n[api]\nurl = "https://central.example:8700"\n')
    refused = firstvisit("central", "invite", "--dir", tmp_path / "c")
    assert refused.returncode == 2
    assert "--uplink" in refused.stderr
    assert "secret" not in refused.stderr + refused.stdout
    assert "mqtts://b.example" in said("central", "invite", "--dir", tmp_path / "c", "--uplink", "mqtts://b.example")


def test_a_bad_name_leaves_no_half_made_central(tmp_path: Path) -> None:
    refused = firstvisit("central", "init", tmp_path / "c", "--name", "not a name")
    assert refused.returncode == 2
    assert "neither an address nor a host's name" in refused.stderr
    assert not (tmp_path / "c").exists()
