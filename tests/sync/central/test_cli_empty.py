"""What central lists, where there is nothing yet: a line that says so, and nothing for programs."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sync.central.ca import open_authority
from sync.central.cli import app
from sync.transport.tls import utc_now
from tests.sync.uplink_site import Central


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("pending", "nobody waits: firstvisit central invite --dir "),
        ("records", "no records yet"),
        ("erasures", "nobody has asked to be forgotten"),
    ],
)
def test_an_empty_list_says_so(tmp_path: Path, command: str, says: str) -> None:
    central = Central(tmp_path / "central")
    open_authority(central.directory, "hq", utc_now())
    told = CliRunner().invoke(app, [command, "--dir", str(central.directory)], catch_exceptions=False)
    assert (told.exit_code, told.output.count("\n")) == (0, 1)
    assert told.output.startswith(says)
    if command != "pending":  # which has no form for programs
        told = CliRunner().invoke(app, [command, "--dir", str(central.directory), "--json"], catch_exceptions=False)
        assert told.output == ""
