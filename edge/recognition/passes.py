"""How often staff and agents pass: numbers of a day, for a hundred passes a day are no hundred records."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from sync.format.canonical import Fields
from sync.node.ledger import Ledger

ONE_PASS = timedelta(minutes=1)  # seen again sooner, on any camera, somebody is still passing


class Passes:
    """Counts of each local day by role; a `node.alive` carries them, and the last of these is where a new run goes on.

    After a crash what was counted since the last heartbeat, ten minutes at most, is lost.
    """

    def __init__(self, ledger: Ledger, zone: ZoneInfo, today: date) -> None:
        self._zone = zone
        self._last_seen: dict[str, datetime] = {}
        self._days: dict[str, dict[str, int]] = {}
        alive = ledger.last_of("node.alive")
        for told in alive.fields.get("passes", ()) if alive is not None else ():
            if told["day"] == today.isoformat():  # of an earlier day that record has said all there was
                self._days[told["day"]] = {role: told[role] for role in ("staff", "agent") if role in told}

    def passed(self, person_id: str, role: str, from_at: datetime, until_at: datetime) -> None:
        """Somebody of this role was in view from one moment to another."""
        before = self._last_seen.get(person_id)
        self._last_seen[person_id] = max(before or until_at, until_at)
        if before is None or from_at - before > ONE_PASS:
            day = self._days.setdefault(from_at.astimezone(self._zone).date().isoformat(), {})
            day[role] = day.get(role, 0) + 1

    def still_seen(self, person_id: str, at: datetime) -> None:
        self._last_seen[person_id] = max(self._last_seen.get(person_id, at), at)

    def shift(self, jump: timedelta) -> None:
        """The wall clock was moved."""
        self._last_seen = {person_id: at + jump for person_id, at in self._last_seen.items()}

    def fields(self) -> Fields:
        """`passes` of a node.alive; nothing where nobody passed."""
        days = [{"day": day, **counts} for day, counts in sorted(self._days.items())]
        return {"passes": days} if days else {}

    def told(self, now: datetime) -> None:
        """What `fields` said is on record: days that are over are done with, and who passed long ago is forgotten."""
        today = now.astimezone(self._zone).date().isoformat()
        self._days = {day: counts for day, counts in self._days.items() if day >= today}
        self._last_seen = {who: at for who, at in self._last_seen.items() if now - at <= ONE_PASS}
