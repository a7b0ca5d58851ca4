"""Who is here now: the visits that are open or may be resumed, by track, by person and by party."""

from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta

from camera.pipeline import Arrival, Ended
from edge.visits.open_visit import OpenVisit
from edge.visits.parties import Parties, Party
from edge.visits.visit_records import SourceFacts

TRACKS_REMEMBERED = timedelta(minutes=10)  # as for staff: whoever was in one frame with it is decided by then


class VisitBook:
    """The visits in memory; what becomes a record of them is for its owner to say."""

    def __init__(self, sources: dict[str, SourceFacts]) -> None:
        self._sources = sources
        self._visits: dict[str, OpenVisit] = {}
        self._newest: dict[str, str] = {}  # person -> the visit they come back into
        self._of_track: dict[tuple[str, int], str] = {}
        self._ended: deque[tuple[datetime, tuple[str, int]]] = deque()  # tracks that are over, in that order
        self._parties = Parties()

    # -- asked ---------------------------------------------------------------------------------------------------

    def get(self, visit_id: str) -> OpenVisit | None:
        return self._visits.get(visit_id)

    def newest_of(self, person_id: str) -> OpenVisit | None:
        return self._visits.get(self._newest.get(person_id, ""))

    def open_visits(self) -> list[OpenVisit]:
        """Those without a visit.left, or taken up again since."""
        return [visit for visit in self._visits.values() if not visit.left]

    def unanswered(self) -> list[OpenVisit]:
        """Those of whom the desk has still to say who they are."""
        return [visit for visit in self._visits.values() if visit.unanswered]

    def over(self, now: datetime, gap: timedelta) -> list[OpenVisit]:
        """Those that nobody can come back into any more."""
        return [visit for visit in self._visits.values() if not visit.live and now - visit.last_seen > gap]

    def beside(self, arrival: Arrival) -> set[str]:
        """The visits seen in one frame with an arrival."""
        together = (self._of_track.get((arrival.camera_id, track_id)) for track_id in arrival.together)
        return {visit_id for visit_id in together if visit_id is not None}

    def people(self, visit_ids: Iterable[str]) -> frozenset[str]:
        return frozenset(p for visit_id in visit_ids if (p := self._visits[visit_id].person_id) is not None)

    # -- told ----------------------------------------------------------------------------------------------------

    def remember(self, visit: OpenVisit) -> None:
        """Take in a visit, which becomes the one its person comes back into unless they have a newer one."""
        self._visits[visit.visit_id] = visit
        if visit.person_id is None:
            return
        newest = self.newest_of(visit.person_id)
        if newest is None or newest.last_seen <= visit.last_seen:
            self._newest[visit.person_id] = visit.visit_id

    def rename(self, visit: OpenVisit, person_id: str) -> None:
        """A visit is somebody else's than the node thought."""
        if visit.person_id is not None and self._newest.get(visit.person_id) == visit.visit_id:
            del self._newest[visit.person_id]
            for other in list(self._visits.values()):
                if other is not visit and other.person_id == visit.person_id:
                    self.remember(other)
        visit.person_id = person_id
        self.remember(visit)

    def merge(self, alias: str, person_id: str) -> None:
        """Two ids are one person: the visits of the one are the other's."""
        for visit in [one for one in self._visits.values() if one.person_id == alias]:
            visit.alias = visit.alias or alias
            self.rename(visit, person_id)

    def split(self, alias: str) -> None:
        """They are not, after all: whoever was known by this id is known by it again."""
        for visit in [one for one in self._visits.values() if one.alias == alias]:
            visit.alias = None
            self.rename(visit, alias)

    def enter(self, arrival: Arrival, visit_id: str | None = None) -> Party | None:
        """The party that a visitor, or without a visit an agent, comes in with; None at an inner camera."""
        if not self._sources[arrival.camera_id].entrance:
            return None
        party = self._parties.enter(arrival.camera_id, arrival.first_seen_at)
        if visit_id is not None:
            party.visits.add(visit_id)
        return party

    def met(self, visit_ids: Iterable[str], agent: str) -> None:
        """An agent was near those visitors."""
        for visit_id in visit_ids:
            visit = self._visits.get(visit_id)
            if visit is not None:
                visit.meet([agent])

    def attach(self, visit: OpenVisit, arrival: Arrival, beside: set[str], party: Party | None) -> None:
        """This track is of this visit: seen beside those, and where they have just come in, with that party."""
        track = (arrival.camera_id, arrival.track_id)
        self._of_track[track] = visit.visit_id
        visit.tracks.add(track)
        visit.live.add(track)
        last_shot_at = max(shot.captured_at for shot in arrival.shots)
        visit.last_seen = max(visit.last_seen, last_shot_at)
        visit.path.seen(self._sources[arrival.camera_id].zone, arrival.first_seen_at, last_shot_at)
        if not self._sources[arrival.camera_id].entrance:
            return  # around a table everybody stands in one frame with everybody
        company = beside - {visit.visit_id}
        if party is not None:
            visit.party_id = party.party_id
            company |= party.visits - {visit.visit_id}
        visit.accompanied(company)
        for other in company & self._visits.keys():
            self._visits[other].accompanied([visit.visit_id])

    def seen(self, camera_id: str, track_ids: Iterable[int], at: datetime) -> None:
        """These arrived tracks are visible at `at`."""
        for track_id in track_ids:
            visit_id = self._of_track.get((camera_id, track_id))
            if visit_id is not None:
                self._saw(self._visits[visit_id], camera_id, at)

    def ended(self, ended: Ended) -> OpenVisit | None:
        """A track is over; returns its visit."""
        track = (ended.camera_id, ended.track_id)
        visit = self._visits.get(self._of_track.get(track, ""))
        if visit is not None:
            self._ended.append((ended.last_seen_at, track))
            visit.live.discard(track)
            self._saw(visit, ended.camera_id, ended.last_seen_at)
        return visit

    def forget(self, visits: Iterable[OpenVisit]) -> None:
        for visit in visits:
            for track in visit.tracks:
                self._of_track.pop(track, None)
            self._visits.pop(visit.visit_id, None)
            if visit.person_id is not None and self._newest.get(visit.person_id) == visit.visit_id:
                del self._newest[visit.person_id]

    def forget_tracks(self, now: datetime) -> None:
        """Let go of tracks that ended long ago: a visit may last for months, as that of a poster does."""
        while self._ended and now - self._ended[0][0] > TRACKS_REMEMBERED:
            _, track = self._ended.popleft()
            visit = self._visits.get(self._of_track.pop(track, ""))
            if visit is not None:
                visit.tracks.discard(track)

    def forget_parties(self, now: datetime) -> None:
        """Let go of the parties that nobody can belong to any more."""
        self._parties.forget(now)

    def shift(self, jump: timedelta) -> None:
        """The wall clock was moved: move what was seen with it, or everybody in view would seem to have been out."""
        for visit in self._visits.values():
            visit.last_seen += jump
            visit.path.shift(jump)
            if visit.watched_from is not None:
                visit.watched_from += jump
        self._ended = deque((at + jump, track) for at, track in self._ended)
        self._parties.shift(jump)

    def unwatched_until(self, now: datetime) -> None:
        """Nobody was watched for a while: whoever is seen again may have been in view all along."""
        for visit in self._visits.values():
            visit.watched_from = now

    def _saw(self, visit: OpenVisit, camera_id: str, at: datetime) -> None:
        visit.last_seen = max(visit.last_seen, at)
        visit.path.seen(self._sources[camera_id].zone, at, at)
