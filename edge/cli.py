"""The command line. Every command imports what it needs when it runs: central has no use for the vision libraries."""

import json
import logging
import os
import re
import sqlite3
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camera import CameraError
from edge import EdgeError
from edge.commands.desk import app as desk_app
from edge.commands.evidence import app as evidence_app
from edge.commands.keep import app as keep_app
from edge.commands.keys import Grade
from edge.commands.keys import app as keys_app
from edge.commands.measure import app as measure_app
from edge.commands.measure import node_app
from edge.commands.people import app as people_app
from edge.commands.rights import app as rights_app
from edge.commands.screen import say, show
from edge.commands.sign import app as sign_app
from edge.kiosk.cli import app as kiosk_app
from models import ModelsError
from models.cli import app as models_app
from sync import SyncError
from sync.central.cli import app as central_app
from sync.printable import LineFormatter, printable

if TYPE_CHECKING:
    from edge.visits.visit_log import LoggedVisit

app = typer.Typer(
    name="firstvisit",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,  # a plain traceback is what a log can hold
)
models_app.add_typer(measure_app)
app.add_typer(node_app)
app.add_typer(models_app, name="models")
app.add_typer(kiosk_app, name="kiosk")
app.add_typer(people_app, name="people")
app.add_typer(evidence_app)
app.add_typer(keep_app)
app.add_typer(desk_app, name="desk")
app.add_typer(rights_app, name="rights")
app.add_typer(sign_app)
app.add_typer(keys_app)
app.add_typer(central_app, name="central")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"firstvisit {version('firstvisit')}")
        raise typer.Exit


@app.callback()
def firstvisit(
    show_version: Annotated[  # its callback has answered by then
        bool, typer.Option("--version", help="Show the version and end.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """FirstVisit proves who came first, when and where: cameras in, signed visits out."""


HomeOption = Annotated[Path, typer.Option("--home", help="The node's HOME.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON only.")]


def main() -> None:
    """Run the command line: exit 0 good, 1 the answer is no, 2 bad input, said in one line."""
    level = os.environ.get("FIRSTVISIT_LOG", "INFO").upper()
    if level not in logging.getLevelNamesMapping():
        print(f"firstvisit: FIRSTVISIT_LOG={level!r}: one of DEBUG, INFO, WARNING, ERROR", file=sys.stderr)
        sys.exit(2)
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    for chatty in ("apscheduler", "httpx", "fontTools"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        code = app(standalone_mode=False)
    except (EdgeError, ModelsError, CameraError, SyncError, typer.TyperException) as error:
        text = error.format_message() if isinstance(error, typer.TyperException) else str(error)
        text = text.replace(": Value error, ", ": ")  # pydantic's own words, out of typer's
        if not text:  # no command at all: the help has been shown
            sys.exit(2)
        print(f"firstvisit: {printable(' '.join(text.split()))}", file=sys.stderr)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except (sqlite3.Error, OSError) as error:
        if isinstance(error, BrokenPipeError):
            # whoever read us has gone; keep the interpreter from failing on its last flush
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        # a disk, a file or a database that fails where nobody expected it: the trace is for whoever mends that
        logging.getLogger(__name__).debug("unexpected", exc_info=True)
        print(f"firstvisit: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


@app.command()
def init(
    home: Annotated[Path, typer.Argument(help="The folder to make.", show_default=False)],
    site: Annotated[str, typer.Option(help="The sales office, e.g. puxi-01.", show_default=False)],
    node: Annotated[str | None, typer.Option(help="This box; SITE-a where left out.")] = None,
    lat: Annotated[float | None, typer.Option(help="Latitude, degrees.")] = None,
    lon: Annotated[float | None, typer.Option(help="Longitude, degrees.")] = None,
    datum: Annotated[str, typer.Option(help="wgs84, or gcj02 for positions read off Chinese maps.")] = "wgs84",
    fence: Annotated[Path | None, typer.Option(help="The site's outline, GeoJSON.")] = None,
    mode: Annotated[str, typer.Option(help="after_consent or ephemeral.")] = "after_consent",
    legal_basis: Annotated[str, typer.Option(help="Why mode ephemeral is lawful here.")] = "",
    custody: Annotated[Grade, typer.Option(help="Where the private keys are to lie.")] = Grade.FILE,
) -> None:
    """Make a node: its keys, its configuration and the first two records of its chain.

    Example: firstvisit init /var/lib/firstvisit/home --site puxi-01 --lat 31.2304 --lon 121.4737
    """
    from edge.home import FENCE_FILE, Home, create_home
    from edge.settings import SettingsError, new_config

    config = new_config(
        site=site,
        node=node or f"{site}-a",
        place={"lat": lat, "lon": lon, "datum": datum, "fence": FENCE_FILE if fence else None},
        capture={"mode": mode, "legal_basis": legal_basis},
    )
    try:
        made = create_home(home, config, fence, custody.value)
    except SettingsError as error:
        raise EdgeError(_by_option(str(error).removeprefix(f"{Home(home).config}: "))) from error
    key = made.signer("node").public
    say(str(home), "made")
    say(f"  node key  {key.fingerprint}   ({custody.value})")
    say(f"  enrolment {made.node_pub}   (hand this file to central: firstvisit central enroll)")
    say(f"  next      add a camera and [operator] to {made.config}, then: firstvisit run --home {home}")


@app.command()
def run(
    home: HomeOption,
    source: Annotated[
        list[str] | None, typer.Option(help="rtsp://…, usb:N, a video or a folder; replaces the configured cameras.")
    ] = None,
    until_end: Annotated[bool, typer.Option("--until-end", help="End when the sources end.")] = False,
    fast: Annotated[bool, typer.Option("--fast", help="Read files as fast as they are analysed, every frame.")] = False,
    pack: Annotated[str | None, typer.Option(help="The model pack to use.")] = None,
    visit_gap: Annotated[
        float | None, typer.Option(min=0, max=7 * 86400, help="Seconds; replaces visit.gap_s.")
    ] = None,
    drain: Annotated[float | None, typer.Option(min=0, help="At the end, wait this long for central's acks.")] = None,
    allow_file: Annotated[bool, typer.Option("--allow-file", help="Let a joined node read files, as tests.")] = False,
) -> None:
    """Watch the cameras and record who arrives, until SIGTERM or Ctrl-C.

    Example: firstvisit run --home demo --source walk-in.mp4 --until-end --fast
    """
    from edge.home import Home
    from edge.node import RunOptions
    from edge.node import run as run_node

    options = RunOptions(tuple(source or ()), until_end, fast, pack, visit_gap, drain, allow_file)
    if not run_node(Home(home), options):
        raise typer.Exit(1)


@app.command()
def visits(
    home: HomeOption,
    as_json: JsonOption = False,
    follow: Annotated[bool, typer.Option("--follow", help="Go on printing visits as they are decided.")] = False,
) -> None:
    """List the visits: who, when, where, and whether for the first time.

    Example: firstvisit visits --home demo --follow
    """
    from edge.home import Home
    from edge.visits.visit_log import visit_log

    opened = Home(home)
    opened.settings()
    ledger = opened.open_ledger()
    rows = visit_log(ledger)
    if not follow:
        listed = [_visit_row(row, as_json) for row in rows]
        show(listed, as_json, _VISIT_COLUMNS, "no visits yet")
        return
    after = (0, 0)
    while True:
        for row in rows:
            after = (row.record.epoch, row.record.seq)
            one = _visit_row(row, as_json)
            print(
                json.dumps(one) if as_json else "  ".join(printable(str(one[name])) for name in _VISIT_COLUMNS),
                flush=True,
            )
        time.sleep(0.5)
        rows = visit_log(ledger, after)


def _by_option(problem: str) -> str:
    """What is wrong with a configuration that no file holds yet, by the option that it came from."""
    found = re.fullmatch(r"(?P<key>[\w.]+) = (?P<value>\{.*\}|.*?): (?P<said>.*)", problem)
    option = _INIT_OPTIONS.get(found["key"]) if found else None
    if found is None or option is None:
        return problem
    return f"{option} {found['value']}: {found['said']}" if "." in found["key"] else f"{option}: {found['said']}"


def _visit_row(visit: "LoggedVisit", as_json: bool) -> dict[str, Any]:
    """A row of the list; for people a void visit says so in its decision."""
    row = visit.listed()
    return row if as_json or visit.void is None else row | {"decision": f"{visit.decision} (void)"}


@app.command("check-config")
def check_config(home: Annotated[Path, typer.Argument(help="The HOME.", show_default=False)]) -> None:
    """Read the configuration and say whether node and pages can start with it; exit 1 where they cannot.

    Example: firstvisit check-config /var/lib/firstvisit/home
    """
    from camera.source import parse_uri, redact
    from edge.config_check import operator_findings, page_findings
    from edge.consent import policy_text
    from edge.home import Home
    from edge.place.geofence import place_text
    from sync.transport.tls import utc_now

    found = Home(home)
    settings = found.settings()
    place = found.place(settings)
    cameras = []
    for number, camera in enumerate(settings.camera, 1):
        try:
            cameras.append(f"  camera {camera.id}, zone {camera.zone}: {parse_uri(camera.uri)} {redact(camera.uri)}")
        except CameraError as error:
            raise CameraError(f"{found.config}: camera[{number}].uri: {error}") from error
    say(str(found.config), "good")
    policy = found.policy(settings)
    say(f"  site {settings.site.id}, node {settings.node.id}, {policy_text(policy)}")
    say(f"  records kept {found.ledger_days(settings)} days")
    say(f"  place {'unknown' if place is None else place_text(place)}")
    for line in cameras:
        say(line)
    if not settings.camera:
        say("add a [[camera]] with id and uri", "  no camera yet:", "yellow")
    pages = list(page_findings(found.path, settings, utc_now()))
    for one in (*operator_findings(settings), *pages):
        say(f"{one.part} {one.text}", f"  {one.state}", _STYLES[one.state])
    if any(one.state == "bad" for one in pages):
        raise typer.Exit(1)


@app.command()
def doctor(
    home: HomeOption,
    as_json: JsonOption = False,
    settle: Annotated[
        list[str] | None,
        typer.Option(help="An alarm's code that you have looked into: told, but not bad until it happens again."),
    ] = None,
) -> None:
    """Look at everything a working node needs, and say what is missing; exit 1 where something is.

    Example: firstvisit doctor --home /var/lib/firstvisit/home --settle FORK
    """
    from edge.doctor import examine, settle_alarm
    from edge.home import Home

    opened = Home(home)
    for code in settle or ():
        settle_alarm(opened, code)
    findings = examine(opened)
    if as_json:
        print(json.dumps([finding.listed() for finding in findings]))
    else:
        for finding in findings:
            say(f"{finding.part:<10} {finding.text}", f"{finding.state:<4}", _STYLES[finding.state])
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(1)


@app.command()
def demo(
    source: Annotated[str | None, typer.Option(help="A camera or file to use instead of the made-up walk-in.")] = None,
    folder: Annotated[Path, typer.Option("--dir", help="Where the demo keeps its data.")] = Path("demo-data"),
) -> None:
    """Show the whole way on this machine: a face at the door, a signed visit, central's ack, verified at both ends.

    Example: firstvisit demo --source rtsp://user:password@camera/stream
    """
    from edge.demo import run_demo

    if not run_demo(folder, source):
        raise typer.Exit(1)


_STYLES = {"good": "green", "warn": "yellow", "bad": "red"}
_INIT_OPTIONS = {
    "site.id": "--site",
    "node.id": "--node",
    "place": "--lat, --lon",
    "place.lat": "--lat",
    "place.lon": "--lon",
    "place.datum": "--datum",
    "capture": "--mode, --legal-basis",
    "capture.mode": "--mode",
}
_VISIT_COLUMNS = (
    "visit_id", "person_id", "decision", "original_decision", "compared_with", "arrived_at",
    "camera_id", "zone", "party_id", "similarity", "margin", "grade", "pack",
)  # fmt: skip
