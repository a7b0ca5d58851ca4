"""What the kiosk's templates are given."""

import shutil
from collections import Counter
from collections.abc import Hashable
from functools import cache
from typing import Any

from edge.clock import read_kernel, wall_us
from edge.desk.arrivals import Arrivals
from edge.desk.shown import PossiblePerson, ShownVisit
from edge.desk.standing import closed_by, states
from edge.home import Home
from edge.kiosk.health import SILENT_AFTER_S, Health
from edge.kiosk.live import LedgerWatch
from edge.nightly import Checks
from edge.place.attestation import read_standing
from sync.node.alarms import Alarms
from sync.web.accounts import Accounts
from sync.web.times import Times, lasting

_PANEL = 3
_LISTED = 50  # questions of a page; those behind them come up as these are answered


class View:
    """Of one kiosk: what stands in memory and in HOME, as the pages name it."""

    def __init__(
        self,
        home: Home,
        times: Times,
        arrivals: Arrivals,
        health: Health,
        watch: LedgerWatch,
        accounts: Accounts,
        site_id: str,
        node_id: str,
    ) -> None:
        self._home = home
        self.times = times
        self._arrivals = arrivals
        self._health = health
        self._watch = watch
        self._accounts = accounts
        self._site_id = site_id
        self._node_id = node_id
        self._checks, self._alarms = Checks(home.database), Alarms(home.database)

    def common(self) -> dict[str, Any]:
        return {
            "times": self.times,
            "now_us": wall_us(),
            "lasting": lasting,
            "named": cache(self._named),  # a page asks for one name in many rows
            "site_id": self._site_id,
            "node_id": self._node_id,
            "count": len(self._arrivals.questions()) + len(self._arrivals.proposals()),
            "acked": self._watch.delivery.acked,
            "refused_certificate": self.refused,
            "void": self._watch.void,
        }

    def refused(self, visit: ShownVisit) -> str:
        """Why a visit gets no certificate, as the texts name it; empty where it gets one."""
        if not self._home.joined:
            return "alone"
        if visit.source == "file":
            return "file"
        if self._watch.void(visit):
            return "void"
        return visit.decision if visit.decision in ("seen", "unsure") else ""

    def state(self) -> Hashable:
        """Another value after anything that the desk's pages show has been recorded or delivered."""
        return self._arrivals.revision, self._watch.delivery

    def midnight_us(self) -> int:
        """When this day began, by the site's clock."""
        return self.times.midnight_us(wall_us())

    def today(self) -> dict[str, Any]:
        today = self._arrivals.since(self.midnight_us())
        return {
            "total": len(today),
            "counts": Counter(visit.decision for visit in today),
            "states": states(today),
        }

    def questions(self) -> list[dict[str, Any]]:
        """The open questions that have waited longest, each with its candidates' newest earlier visits.

        Of merged ids the one that stands.
        """
        return [
            {
                "visit": visit,
                "candidates": [
                    (candidate, self._arrivals.last_of(candidate.person_id, visit.arrived_us))
                    for candidate in self._distinct(visit.candidates)
                ],
            }
            for visit in self._arrivals.questions()[:_LISTED]
        ]

    def _distinct(self, candidates: tuple[PossiblePerson, ...]) -> list[PossiblePerson]:
        """Candidates, each person once, by whom they are likest as."""
        distinct: dict[str, PossiblePerson] = {}
        for candidate in candidates:
            distinct.setdefault(self._arrivals.standing(candidate.person_id), candidate)
        return list(distinct.values())

    def proposals(self) -> list[dict[str, Any]]:
        """Each two ids that may be one person, with the newest visit of each beside the one that asks."""
        return [
            {
                "visit": visit,
                "pair": [(who, self._arrivals.last_of(who, visit.arrived_us)) for who in visit.merge],
            }
            for visit in self._arrivals.proposals()[:_LISTED]
        ]

    def panels(self) -> dict[str, Any]:
        questions = self._arrivals.questions()
        today = self._arrivals.since(self.midnight_us())
        return {
            "waiting": questions[:_PANEL],
            "waiting_count": len(questions),
            "closed": closed_by(today),
            **self.node(),
        }

    def node(self) -> dict[str, Any]:
        state = self._health.read()
        silent = state.heard_us is not None and wall_us() - state.heard_us > SILENT_AFTER_S * 1e6
        disk = shutil.disk_usage(self._home.database.resolve().parent)
        condition = "never" if state.since_us is None else "stopped"
        if state.running:
            condition = "silent" if silent else "running"
        return {
            "state": state,
            "condition": condition,
            "delivery": self._watch.delivery,
            "night": self._checks.last(),
            "alarms": self._alarms.all(),
            "joined": self._home.central_pub.exists(),
            "kernel": read_kernel(),
            "standing": read_standing(self._home.database),
            "disk_free_gb": disk.free / 1e9,
            "disk_total_gb": disk.total / 1e9,
        }

    def _named(self, account_id: str) -> str:
        return self._accounts.named(account_id) or account_id
