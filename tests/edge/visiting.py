"""Arrivals without cameras and networks: the visits of one HOME with everything else real."""

import secrets
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from camera.pipeline import Arrival, Ended
from camera.quality import BestShot
from edge.clock import Clock
from edge.consent import CapturePolicy, Horizon, declare
from edge.home import Home
from edge.people.enrolled import Role
from edge.people.vault import Vault
from edge.recognition.decision import Rule, Strictness
from edge.recognition.enrolment import enrolled_fields
from edge.recognition.gallery import Gallery
from edge.recognition.passes import Passes
from edge.recognition.roster import Roster
from edge.recognition.staff import Staff
from edge.visits.visit_records import SourceFacts
from edge.visits.visits import Visits
from models.calibration import Calibration
from models.faces import Template
from sync.format.records import Record
from sync.node.alarms import Alarms
from sync.node.ledger import Ledger

PACK = "test@000000000000"
SHANGHAI = ZoneInfo("Asia/Shanghai")
T0 = datetime(2026, 7, 1, 2, tzinfo=UTC)
DIM = 128
CHIP = np.random.default_rng(99).integers(0, 256, (16, 16, 3), np.uint8)
CROP = b"\xff\xd8\xff\xe0 the crop of a test, found by its bytes \xff\xd9"
# 0.1 a decade: upper 0.452, lower 0.298, margin 0.077 among 1,000 at FPIR 0.3 % and 10 %
STRANGERS = Calibration(((1e-1, 0.0), (1e-2, 0.1), (1e-6, 0.5)), "made up for these tests")
RULE = Rule(upper=0.5, lower=0.25, margin=0.125)  # exact in binary, so that the edges can be tried
PLACE = {"lat_e7": 1, "lon_e7": 2, "accuracy_e6": 3, "source": "installer", "inside": "unknown"}


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def person(number: int) -> np.ndarray:
    """The face of a person: people's vectors are at right angles."""
    return np.eye(DIM, dtype=np.float32)[number]


def like(first: np.ndarray, similarity: float, spare: int = DIM - 1) -> np.ndarray:
    """A face that is this similar to another one."""
    return (similarity * first + np.sqrt(1 - similarity**2) * person(spare)).astype(np.float32)


def arrival(
    track: int,
    at: datetime,
    *,
    camera: str = "door",
    together: tuple[int, ...] = (),
    shots: int = 3,
    quality: float = 0.8,
    masked: float | None = None,
    live: tuple[float, ...] = (),
) -> Arrival:
    taken = tuple(
        BestShot(camera, track, at + timedelta(seconds=0.3 * i), CHIP, CROP, quality - i / 100, 80.0, masked, alive)
        for i, alive in zip(range(shots), (*live, *[None] * shots), strict=False)
    )
    return Arrival(camera, track, at, taken, frozenset(together))


@dataclass
class Node:
    """Visits of one HOME with everything real but the camera and the networks."""

    home: Home
    ledger: Ledger
    vault: Vault
    gap: timedelta = timedelta(hours=4)
    policy: CapturePolicy = CapturePolicy("ephemeral", "test", timedelta(hours=24))  # noqa: RUF009  # frozen
    place: dict[str, Any] | None = None
    visits: Visits = field(init=False)
    gallery: Gallery = field(init=False)
    staff: Staff = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self, gap: timedelta | None = None, today: date = T0.date()) -> None:
        """Begin as a new run does."""
        self.gap = self.gap if gap is None else gap
        declare(self.policy, self.ledger, self.home.path)
        self.gallery = Gallery(self.vault, PACK)
        self.staff = Staff(
            self.vault,
            Roster(self.home.path, self.ledger),
            Alarms(self.home.database),
            PACK,
            Passes(self.ledger, SHANGHAI, today),
        )
        sources = {
            "door": SourceFacts("rtsp", "a" * 64),
            "side": SourceFacts("usb", "b" * 64),
            "film": SourceFacts("file", "c" * 64),
            "table": SourceFacts("rtsp", "d" * 64, "model"),
            "flat": SourceFacts("rtsp", "e" * 64, "showflat"),
            "desks": SourceFacts("rtsp", "f" * 64, "talks"),
        }
        self.visits = Visits(
            self.ledger,
            self.vault,
            self.gallery,
            STRANGERS,
            Horizon(self.policy, self.ledger, self.home.path),
            self.staff,
            site_id="puxi-01",
            pack_id=PACK,
            sources=sources,
            place=self.place,
            gap=self.gap,
            strictness=Strictness(0.003, 0.10, 0.5),
        )

    def enrol(
        self,
        who: np.ndarray,
        role: Role = "staff",
        visitor_id: str | None = None,
        pack: str = PACK,
        *,
        told: bool = True,
    ) -> str:
        """Put somebody on the roster, as the desk does; told: with its records. Returns their id."""
        person_id = f"p-{secrets.token_hex(10)}"
        self.vault.create_key(person_id)
        with closing(self.home.open_ledger("desk", Clock())) as desk, desk.transaction() as transaction:
            if told:
                fields = enrolled_fields(self.vault, person_id, role, pack, who[None], visitor_id)
                proposal = transaction.append("person.enrolled", {**fields, "state": "proposed"})
                approval = {"person": person_id, "state": "approved", "proposal": proposal.hash.hex()}
                outside = {"account": "acc-zhao", "office": "head_office"}
                transaction.append("person.enrolled", approval | outside)
            self.vault.enrolled.add(
                transaction.connection, person_id, role, pack, who[None], T0, visitor_id=visitor_id, label=None
            )
        return person_id

    def arrive(self, who: np.ndarray, track: int, at: datetime, **more: Any) -> Record | None:
        return self.visits.arrived(arrival(track, at, **more), Template(who, PACK), at + timedelta(seconds=1))

    def leave(self, track: int, at: datetime, camera: str = "door") -> None:
        self.visits.ended(Ended(camera, track, at))

    def recover(self, now: datetime) -> int:
        """What `run` does at its start."""
        with self.ledger.transaction() as transaction:
            closed = self.visits.recover(transaction, now)
            transaction.append("node.boot", {})
        return closed

    def records(self, *kinds: str) -> list[Record]:
        wanted = kinds or ("visit.seen", "visit.first", "visit.return", "visit.unsure", "visit.reentry", "visit.left")
        return list(self.ledger.records(wanted))

    def kinds(self) -> list[str]:
        return [record.kind.removeprefix("visit.") for record in self.records()]


def must(record: Record | None, kind: str) -> dict[str, Any]:
    assert record is not None
    assert record.kind == f"visit.{kind}"
    return record.fields
