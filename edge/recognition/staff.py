"""Staff and agents before the cameras: recognised, counted by the day, and never taken for visitors."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from camera.pipeline import Arrival, Ended
from edge.clock import wall_us
from edge.people.tables import ROSTER
from edge.people.vault import Vault
from edge.recognition.decision import Rule
from edge.recognition.gallery import Gallery, Match
from edge.recognition.passes import Passes
from edge.recognition.roster import Member, Roster
from models.faces import Template
from sync.format.canonical import Fields
from sync.node.alarms import Alarms

log = logging.getLogger(__name__)

UNPROVEN = "ROSTER_UNPROVEN"  # an alarm's code
_DETAIL_CHARS = 400
_REMEMBERED = timedelta(minutes=10)  # whoever was in one frame with somebody is told so when their own track is decided


@dataclass(frozen=True, slots=True)
class Recognised:
    """Who of the roster somebody is, and who they may be where it is not certain; at most one of the two."""

    member: Member | None = None
    maybe: str | None = None


@dataclass(slots=True)
class _Track:
    member: Member
    last_seen: datetime


class Staff:
    """The roster of one pack, and its people's tracks."""

    def __init__(self, vault: Vault, roster: Roster, alarms: Alarms, pack_id: str, passes: Passes) -> None:
        self._vault = vault
        self._roster = roster
        self._alarms = alarms
        self._pack_id = pack_id
        self._passes = passes
        self._gallery = Gallery(vault, pack_id, ROSTER)
        self._members: dict[str, Member] = {}
        self._unproven: frozenset[str] = frozenset()
        self._revision = -1
        self._tracks: dict[tuple[str, int], _Track] = {}
        self.refresh()
        unknown = sum(member.pack != pack_id for member in roster.members().values())
        if unknown:
            log.warning("enrolled with another pack, not recognised: count=%d (firstvisit people enrol)", unknown)

    @property
    def templates(self) -> int:
        """How many templates of the roster are searched."""
        return self._gallery.templates

    def refresh(self) -> None:
        """Follow what others have enrolled or removed since the last look.

        Only whom a signed record names, by the faces it was signed over, and head office has approved, counts: the row
        alone, or the desk key alone, would let whoever has either hide a customer's visits.
        """
        revision = self._vault.templates.revision()
        if revision == self._revision:
            return
        self._gallery.refresh()
        signed, searched = self._roster.members(), self._gallery.faces()  # the records after the rows they came with
        self._members = {
            person_id: member
            for person_id, vectors in searched.items()
            if (member := signed.get(person_id)) is not None
            and member.pack == self._pack_id
            and member.shown_by(self._vault, vectors)
        }
        unproven = frozenset(searched.keys() - self._members.keys())
        if unproven - self._unproven:
            unconfirmed = unproven.intersection(self._roster.unconfirmed())
            told = "; ".join(
                f"on the roster {why}, not counted: {', '.join(sorted(who))}"
                for why, who in (
                    ("by an approval of no account that head office had confirmed (/approvals)", unconfirmed),
                    ("without a signed enrolment of that face", unproven - unconfirmed),
                )
                if who
            )
            log.error("%s (firstvisit people list)", told)
            self._alarms.raise_alarm(UNPROVEN, told[:_DETAIL_CHARS], wall_us())
        elif self._unproven and not unproven:
            self._alarms.forget(UNPROVEN)
        self._unproven = unproven
        self._revision = revision

    def recognise(
        self, probe: Template, arrival: Arrival, visitor: Match, rule: Rule, visitors_rule: Rule
    ) -> Recognised:
        """Say whether somebody is of the roster, `visitor` being what the visitors' gallery answers.

        Certain is a similarity at the upper threshold, but where a visitor passes as well, resembles them more and is
        plainly not that member: a customer must not be lost to a likeness. A visitor who may be that member is one who
        was missed before, and would be missed for ever. Whoever was seen in one frame with them is struck out.
        """
        present = frozenset(track.member.person_id for track in self._beside(arrival))
        best = self._gallery.search(probe, present | self._unproven).best
        if best is None or best.similarity < rule.lower or (member := self._members.get(best.person_id)) is None:
            return Recognised()
        known = visitor.best
        rival = known is not None and known.similarity >= max(visitors_rule.upper, best.similarity)
        if best.similarity < rule.upper:
            return Recognised() if rival else Recognised(maybe=best.person_id)
        other = known is not None and rival and known.person_id != member.visitor_id
        if known is not None and other and self._likeness(known.person_id, member.person_id) < rule.lower:
            return Recognised(maybe=best.person_id)
        return Recognised(member=member)

    def passed(self, arrival: Arrival, member: Member) -> None:
        """This track is theirs."""
        until_at = max(shot.captured_at for shot in arrival.shots)
        self._tracks[(arrival.camera_id, arrival.track_id)] = _Track(member, until_at)
        self._passes.passed(member.person_id, member.role, arrival.first_seen_at, until_at)

    def agents_beside(self, arrival: Arrival) -> set[str]:
        """The agents seen in one frame with an arrival."""
        return {track.member.person_id for track in self._beside(arrival) if track.member.role == "agent"}

    def seen(self, camera_id: str, track_ids: Iterable[int], at: datetime) -> None:
        """These arrived tracks are visible at `at`."""
        for track_id in track_ids:
            self._last_seen((camera_id, track_id), at)

    def ended(self, ended: Ended) -> None:
        """A track is over."""
        self._last_seen((ended.camera_id, ended.track_id), ended.last_seen_at)

    def shift(self, jump: timedelta) -> None:
        """The wall clock was moved."""
        for track in self._tracks.values():
            track.last_seen += jump
        self._passes.shift(jump)

    def sweep(self, now: datetime) -> None:
        """Forget the tracks of long ago."""
        self._tracks = {key: track for key, track in self._tracks.items() if now - track.last_seen <= _REMEMBERED}

    def counted(self) -> Fields:
        """What a node.alive says of them."""
        return self._passes.fields()

    def told(self, now: datetime) -> None:
        """That node.alive is on record."""
        self._passes.told(now)

    def _likeness(self, visitor_id: str, member_id: str) -> float:
        """How similar the two are at most, -1 where nothing is left of one of them."""
        theirs, members = (self._vault.templates.of(who, self._pack_id) for who in (visitor_id, member_id))
        return max((float(one.vector @ other.vector) for one in theirs for other in members), default=-1.0)

    def _last_seen(self, key: tuple[str, int], at: datetime) -> None:
        track = self._tracks.get(key)
        if track is not None:
            track.last_seen = max(track.last_seen, at)
            self._passes.still_seen(track.member.person_id, at)

    def _beside(self, arrival: Arrival) -> list[_Track]:
        keys = ((arrival.camera_id, track_id) for track_id in arrival.together)
        return [track for key in keys if (track := self._tracks.get(key)) is not None]
