"""The facts for a personal-information-protection impact assessment (PIPL 55, 56), from real settings and counts.

What an appliance cannot know (why the operator needs faces at all, who the operator's processors are, how visitors were
asked) is left open in the report, marked as the operator's to write.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edge.consent import CapturePolicy
from edge.home import Home
from edge.people.restricted import all_restricted
from edge.rights.claims import open_claims
from edge.rights.volume import DUTY, SOON, faces_stored
from edge.settings import Settings
from sync.format.visit_fields import face_withdrawn
from sync.node.ledger import Ledger

_TEMPLATES = Path(__file__).parent / "templates"
_COUNTED = (
    *("visit.seen", "visit.first", "visit.return", "visit.unsure"),
    *("consent.given", "export.made", "access.digest"),
)


@dataclass(frozen=True, slots=True)
class Impact:
    """What the report says.

    records: how many of each kind the chain holds. erased: people and phones, by reason. withdrawn: consents to be
    recognised that were taken back.
    """

    made_us: int
    site_id: str
    node_id: str
    program: str
    policy: CapturePolicy
    ledger_days: int
    cameras: tuple[tuple[str, str], ...]
    withdrawn: int
    joined: bool
    by_command: bool
    faces: int
    roster: int
    phones: int
    restricted: int
    claims: int
    waiting: int
    sealed: int
    looks: int
    records: dict[str, int]
    erased: Counter[str]
    expired: int
    since_us: int | None


def gather(home: Home, settings: Settings, ledger: Ledger, now_us: int) -> Impact:
    """Read everything from HOME as it is now."""
    connection = ledger.connection
    first = ledger.record(1, 1)
    runs = list(ledger.records(("retention.run",)))
    return Impact(
        now_us,
        settings.site.id,
        settings.node.id,
        f"firstvisit {version('firstvisit')}",
        home.policy(settings),
        home.ledger_days(settings),
        tuple((camera.id, camera.zone) for camera in settings.camera),
        sum(face_withdrawn(one.fields) is not None for one in ledger.records(("consent.withdrawn",))),
        home.joined,
        bool(settings.rights.send_command),
        faces_stored(connection),
        _count(connection, "SELECT count(*) FROM roster"),
        _count(connection, "SELECT count(*) FROM contacts"),
        len(all_restricted(connection)),
        len(open_claims(connection)),
        _count(connection, "SELECT count(*) FROM phone_requests WHERE done_us IS NULL"),
        _count(connection, "SELECT count(*) FROM sidecars"),
        _count(connection, "SELECT count(*) FROM access_log"),
        {kind: _count(connection, "SELECT count(*) FROM ledger WHERE kind = ?", kind) for kind in _COUNTED},
        Counter(str(one.fields.get("reason")) for one in ledger.records(("person.erased",))),
        sum(len(one.fields.get("expired", ())) for one in runs),
        first.stamp.wall_us if first is not None else None,
    )


def report(found: Impact, moment: Callable[[int], str]) -> str:
    """The report as one HTML page, Chinese with English beside it; it prints on A4.

    moment: writes microseconds as people of the site read them.
    """
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("impact.html").render(i=found, moment=moment, soon=SOON, duty=DUTY)


def _count(connection: sqlite3.Connection, query: str, *values: str) -> int:
    ((count,),) = connection.execute(query, values).fetchall()
    return int(count)
