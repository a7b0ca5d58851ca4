"""The HOME that the desk's bench is measured on: a month of arrivals, each day closed, and a central that is away."""

import random
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from edge.clock import read_kernel
from edge.desk.arrivals import Arrivals
from edge.desk.day import closed_fields, count
from edge.desk.desk_secrets import desk_secret
from edge.desk.rota import set_order
from edge.desk.shifts import Shifts
from edge.home import Home, create_home
from sync.central.codes import issue
from sync.central.enrol import enrol
from sync.format.records import Record, Role
from sync.format.stamp import Stamp
from sync.node.append import Writer
from sync.node.ledger import Ledger
from sync.node.trust import join
from sync.web.accounts import Accounts
from tests.edge.kiosk.door import CONFIG
from tests.sync.uplink_site import Central

TABLETS = 5
DAYS, HOURS, AN_HOUR = 30, 10, 60
PASSWORD, PIN = "a password for the bench", "258046"
AGENT = "agt-" + "0b" * 8
_US = 1_000_000


@dataclass(frozen=True, slots=True)
class LivedIn:
    """hosts: the accounts' ids, a manager's first; each has a PIN. central: the folder whose keys sign codes."""

    home: Home
    hosts: tuple[str, ...]
    central: Path

    def report(self, phone: str) -> str:
        """The text of a report's code for a phone of eleven digits."""
        return issue(self.central, "report", 30, ("puxi-01",), AGENT, digits=phone[:3] + phone[-4:])[0].text()


def lived_in(folder: Path) -> LivedIn:
    """Make it; days begin ten hours before each midnight of now, and today's is still going on."""
    home = create_home(folder / "home", CONFIG, None)
    accounts = Accounts(home.database, pin_secret=desk_secret(home.keys_database, "pin"))
    hosts = tuple(
        accounts.add(f"host{number}", PASSWORD, "manager" if number == 0 else "front_desk", PIN).account_id
        for number in range(TABLETS)
    )
    now_us = time.time_ns() // 1000
    clock = [now_us]
    node, desk = _writing(home, "node", clock), _writing(home, "desk", clock)
    drawn = random.Random(1)
    told: list[Record] = []
    for day in range(DAYS, -1, -1):
        opened_us = now_us - day * 86_400 * _US - HOURS * 3600 * _US
        seen: list[tuple[str, int]] = []
        with node.transaction() as transaction:
            for number in range(HOURS * AN_HOUR):
                clock[0] = opened_us + number * 3600 * _US // AN_HOUR
                visit = f"v{secrets.token_hex(8)}"
                seen.append((visit, clock[0]))
                told.append(transaction.append("visit.seen", _arrival(visit, clock[0], number)))
        with desk.transaction() as transaction:
            for visit, arrived_us in seen[: -8 if day == 0 else None]:
                clock[0] = arrived_us + 60 * _US
                said = {"state": "registered", "way": "walk_in"} if drawn.random() < 0.6 else {"state": "left"}
                body = {"visit": visit, "request": secrets.token_hex(16), "account": drawn.choice(hosts)}
                body |= {"arrived_us": arrived_us, "since_us": 60 * _US, **said}
                told.append(transaction.append("visit.checkin", body))
    clock[0] = now_us
    settings = home.settings()
    shifts = Shifts(settings.desk.shift, settings.site.timezone)
    _close_days(desk, told, shifts)
    set_order(home.database, shifts.day(now_us), list(hosts))
    node.close()
    desk.close()
    central = Central(folder / "central").directory
    enrol(central, home.node_pub)
    join(home.path, central / "central.pub")
    return LivedIn(home, hosts, central)


def _close_days(desk: Ledger, told: Iterable[Record], shifts: Shifts) -> None:
    arrivals = Arrivals()
    for record in told:
        arrivals.add(record)
    today = shifts.day(time.time_ns() // 1000)
    with desk.transaction() as transaction:
        for ago in range(DAYS, 0, -1):
            day = today - timedelta(days=ago)
            from_us, until_us = shifts.span_us(day)
            of_day = [visit for visit in arrivals.since(from_us) if visit.arrived_us < until_us]
            transaction.append("day.closed", closed_fields(count(of_day, day, shifts), shifts, (1, 1)))


def _writing(home: Home, role: Role, now: list[int]) -> Ledger:
    boot_id = read_kernel().boot_id

    def stamp(_before: Stamp | None) -> Stamp:
        return Stamp(now[0], now[0] % 10**12, boot_id, 1500, "synced", 0)

    return Ledger(home.database, Writer("puxi-01-a", role, home.signer(role), stamp))


def _arrival(visit_id: str, arrived_us: int, number: int) -> dict[str, Any]:
    return {
        "visit": visit_id, "site": "puxi-01", "camera": "entrance", "source": "rtsp", "source_hash": "0" * 64,
        "arrived_us": arrived_us, "shots": 3, "quality_e6": 600_000, "party": 1, "grade": "C",
        "party_id": f"g-{arrived_us // (86_400 * _US)}-{number // 2}",
    }  # fmt: skip
