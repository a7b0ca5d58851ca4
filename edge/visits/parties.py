"""Who came in together: people within seconds of each other at one entrance camera are proposed as a party."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from edge.minted import new_id

# Reasoned, not measured: a family passes a door within seconds, and nothing but the desk can tell two couples apart
# that come right behind each other.
PARTY_WITHIN = timedelta(seconds=5)  # of somebody who is in it
PARTY_SPAN = timedelta(seconds=20)  # from its first to its last, or a busy door would make one party of a morning
_REMEMBERED = timedelta(minutes=2)  # a track is decided, and so joins, some time after it was first seen


@dataclass(slots=True)
class Party:
    """A party as far as it has come in: the visits of its members and the agents enrolled here who were with them."""

    party_id: str
    from_at: datetime
    until_at: datetime
    visits: set[str] = field(default_factory=set)
    agents: set[str] = field(default_factory=set)

    def span_with(self, at: datetime) -> timedelta:
        return max(self.until_at, at) - min(self.from_at, at)


class Parties:
    """The parties of the last minutes, at each entrance camera."""

    def __init__(self) -> None:
        self._parties: dict[str, list[Party]] = {}

    def enter(self, camera_id: str, at: datetime) -> Party:
        """The party of whoever came in at `at`, a new one where nobody came in within seconds of them."""
        here = self._parties.setdefault(camera_id, [])
        near = (p for p in here if p.from_at - PARTY_WITHIN <= at <= p.until_at + PARTY_WITHIN)
        party = min((p for p in near if p.span_with(at) <= PARTY_SPAN), key=lambda p: p.span_with(at), default=None)
        if party is None:
            party = Party(new_id("g"), at, at)
            here.append(party)
        party.from_at, party.until_at = min(party.from_at, at), max(party.until_at, at)
        return party

    def shift(self, jump: timedelta) -> None:
        """The wall clock was moved."""
        for party in self._all():
            party.from_at += jump
            party.until_at += jump

    def forget(self, now: datetime) -> None:
        """Let go of parties that nobody can belong to any more."""
        self._parties = {
            camera_id: kept
            for camera_id, here in self._parties.items()
            if (kept := [party for party in here if now - party.until_at <= _REMEMBERED])
        }

    def _all(self) -> Iterator[Party]:
        for here in self._parties.values():
            yield from here
