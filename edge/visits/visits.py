"""From arrivals at a camera to visits in the ledger: who is here, since when, and for the first time or not."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from camera.pipeline import Arrival, Ended
from edge.consent import Horizon
from edge.minted import new_id
from edge.people.handing_over import absorb
from edge.people.vault import Vault
from edge.recognition.decision import Rule, Strictness
from edge.recognition.gallery import Gallery
from edge.recognition.grade import clear
from edge.recognition.roster import Member
from edge.recognition.staff import Staff
from edge.visits.desks_word import DesksWord
from edge.visits.judge import Judge, Judged
from edge.visits.open_visit import TOLD_BY, OpenVisit, recalled
from edge.visits.parties import Party
from edge.visits.traces import Traces
from edge.visits.visit_book import VisitBook
from edge.visits.visit_records import (
    SourceFacts,
    arrival_fields,
    arrival_of,
    party_fields,
    reentry_fields,
    shots_fields,
)
from models.calibration import Calibration
from models.faces import Template
from sync.format.canonical import Fields
from sync.format.records import Record
from sync.format.stamp import to_us
from sync.node.append import Transaction
from sync.node.ledger import Ledger

log = logging.getLogger(__name__)

StopReason: TypeAlias = Literal["source_end", "stopped", "error", "storage_full"]
"""Why watching ended: the sources did, somebody stopped it, a source failed, or nothing more can be recorded."""

SHORTEST_VISIT_GAP = timedelta(seconds=3)
REENTRY_AFTER = timedelta(minutes=5)


class Visits:
    """The visits of one node that are open, or recent enough to be resumed."""

    def __init__(
        self,
        ledger: Ledger,
        vault: Vault,
        gallery: Gallery,
        calibration: Calibration,
        horizon: Horizon,
        staff: Staff,
        *,
        site_id: str,
        pack_id: str,
        sources: dict[str, SourceFacts],
        place: Fields | None,
        gap: timedelta,
        strictness: Strictness,
    ) -> None:
        self._ledger = ledger
        self._vault = vault
        self._staff = staff
        self._site_id = site_id
        self._pack_id = pack_id
        self._sources = sources
        self._place = place
        self._gap = max(gap, SHORTEST_VISIT_GAP)
        self._gap_over_restarts = gap  # the end of a source ended its visits, unless the gap says otherwise
        self._judge = Judge(gallery, staff, calibration, horizon, strictness, pack_id=pack_id, sources=sources)
        self._traces = Traces(ledger, vault, gallery, pack_id)
        self._book = VisitBook(sources)
        self._desk = DesksWord(ledger, self._book)

    def follow(self, horizon: Horizon) -> None:
        """The policy has changed: from now on "first" reaches back this far."""
        self._judge.follow(horizon)

    def recalibrate(self, calibration: Calibration) -> None:
        """From now on thresholds come from this table."""
        self._judge.recalibrate(calibration)

    def stand(self, place: Fields | None) -> None:
        """From now on records name this place."""
        self._place = place

    def rule(self) -> Rule:
        """The thresholds for the gallery as it stands; each template in it is one more chance of a false match."""
        return self._judge.rule()

    def recover(self, transaction: Transaction, now: datetime) -> int:
        """Close the visits a crash left open, and remember those that may still be resumed; returns how many closed.

        transaction: the one that appends this run's node.boot, so that behind every boot nothing is open. It reads no
        further back than the last boot from before the gap.
        """
        told = list(self._ledger.records(TOLD_BY, self._last_boot_before(now - self._gap_over_restarts)))
        if told:
            self._desk.heard_until(told[-1])
        known = recalled(told, now)
        abandoned = [visit for visit in known.values() if not visit.left]
        for visit in abandoned:
            transaction.append("visit.left", visit.left_fields("crash", end_known=False))
            visit.left, visit.watched_from = True, now
        for visit in known.values():
            if visit.person_id is not None and max(now - visit.last_seen, timedelta(0)) < self._gap_over_restarts:
                self._book.remember(visit)
        return len(abandoned)

    def _last_boot_before(self, moment: datetime) -> tuple[int, int]:
        """(epoch, seq) of the newest boot stamped before a moment, (0, 0) where there is none."""
        boots = reversed(list(self._ledger.records(("node.boot",))))
        moment_us = to_us(moment)
        return next(((boot.epoch, boot.seq) for boot in boots if boot.stamp.wall_us < moment_us), (0, 0))

    # -- what the cameras tell -----------------------------------------------------------------------------------

    def seen(self, camera_id: str, track_ids: Sequence[int], at: datetime) -> None:
        """These arrived tracks are visible at `at`."""
        self._book.seen(camera_id, track_ids, at)
        self._staff.seen(camera_id, track_ids, at)

    def shift(self, jump: timedelta) -> None:
        """The wall clock was moved."""
        self._book.shift(jump)
        self._staff.shift(jump)

    def unwatched_until(self, now: datetime) -> None:
        """Nobody was watched for a while."""
        self._book.unwatched_until(now)

    def arrived_unnamed(self, arrival: Arrival) -> Record | None:
        """Record an arrival that nobody may be compared for; None at an inner camera, where they came in before."""
        source = self._sources[arrival.camera_id]
        if not source.entrance:
            return None
        visit_id = new_id("v")
        beside = self._book.beside(arrival)
        party = self._book.enter(arrival, visit_id)
        fields = arrival_fields(visit_id, self._site_id, arrival, source, beside, (), self._place)
        together = {"party": max(len(party.visits) if party else 1, 1 + len(arrival.together)), "grade": "C"}
        record = self._ledger.append("visit.seen", fields | party_fields(party) | together)
        self._open(OpenVisit(visit_id, None, arrival.first_seen_at), arrival, beside, party)
        return record

    def sure(self, arrival: Arrival, probe: Template) -> bool:
        """Say whether better pictures of an arrival would hardly change what is decided."""
        beside = self._book.beside(arrival)
        judged = self._judge.judge(arrival, probe, self._book.people(beside))
        if judged.known.member is not None or judged.known.maybe is not None:
            return judged.known.member is not None
        if clear(judged.verdict.decision, judged.match.similarity, judged.rule):
            return True
        return self._resumable(judged, beside) is not None

    def stored(self, arrival: Arrival) -> bool:
        """Whether the decision on this track left a template."""
        return self._traces.left_by(arrival)

    def bettered(self, arrival: Arrival, probe: Template) -> None:
        """Put the template of better pictures in the place of the one that the decision on this track left.

        The decision and what it rested on stay as recorded. Where the two are not surely one person's, nothing changes.
        """
        self._traces.better(arrival, probe, self.rule().upper)

    def arrived(self, arrival: Arrival, probe: Template, now: datetime) -> Record | None:
        """Decide an arrival and record it.

        None where it continues a visit that is already recorded, or is one of staff or an agent, who are no visitors.
        """
        self._desk.hear()
        beside = self._book.beside(arrival)
        judged = self._judge.judge(arrival, probe, self._book.people(beside))
        if judged.known.member is not None:
            self._pass_by(arrival, judged.known.member, beside)
            return None
        resumed = self._resumable(judged, beside)
        if resumed is not None:
            return self._resume(resumed, arrival, beside)
        return self._record(judged, beside, now)

    def reach_back(
        self, seen: Record, arrival: Arrival, probe: Template, consent: Record, others: frozenset[str], now: datetime
    ) -> Record | None:
        """Decide an arrival that was recorded as seen, and whose visitor has consented since: the same visit.

        others: the people seen in one frame with it. None where the consent does not stand any more.
        """
        expected, visit_id = str(consent.fields["person"]), str(seen.fields["visit"])
        self._desk.hear()
        while True:
            judged = self._judge.judge(arrival, probe, others)
            verdict, alike = judged.verdict, judged.known
            person_id, searchable = verdict.person_id or expected, verdict.decision != "unsure"
            told, explanation = self._judge.told(judged, self._vault.templates.since_us(self._pack_id), now)
            fields = arrival_of(seen) | shots_fields(arrival) | told | {"person": person_id, "seen": seen.hash.hex()}
            fields["consent"] = consent.hash.hex()
            if (staff := alike.member.person_id if alike.member is not None else alike.maybe) is not None:
                fields["maybe_staff"] = staff
            before = self._book.newest_of(person_id)
            if before is not None and arrival.first_seen_at - before.last_seen <= self._gap:
                fields["continues"] = before.visit_id
            with self._ledger.transaction() as transaction:
                if not self._vault.expects(transaction.connection, expected):
                    return None
                if not self._vault.expects(transaction.connection, person_id):
                    continue  # erased since the search
                record = transaction.append(f"visit.{verdict.decision}", fields)
                template_id = self._traces.keep(
                    transaction, visit_id, person_id, arrival, probe, explanation, now,
                    new=person_id == expected, found=searchable,
                )  # fmt: skip
                if person_id != expected:
                    absorb(transaction.connection, self._vault, expected, person_id)
            break
        if person_id != expected:
            self._vault.destroy_keys([expected])
        if searchable:
            self._traces.find(template_id)
        self._name(visit_id, person_id, arrival, unanswered=not searchable)
        return record

    def _name(self, visit_id: str, person_id: str, arrival: Arrival, *, unanswered: bool) -> None:
        """It is known by now whose visit this is; it may be over."""
        visit = self._book.get(visit_id)
        if visit is None:
            last_seen = max(shot.captured_at for shot in arrival.shots)
            visit = OpenVisit(visit_id, None, last_seen, left=True)
        visit.unanswered = unanswered
        self._book.rename(visit, person_id)

    def ended(self, ended: Ended) -> None:
        """A track is over; an unnamed visit is over with it."""
        self._traces.ended(ended.camera_id, ended.track_id)
        self._staff.ended(ended)
        visit = self._book.ended(ended)
        if visit is not None and visit.person_id is None:
            self._leave([visit], "track_end")

    def sweep(self, now: datetime) -> None:
        """Close the visits whose gap has passed, and forget those that can no longer be resumed."""
        over = self._book.over(now, self._gap)
        self._leave([visit for visit in over if not visit.left], "gap")
        self._book.forget(over)
        self._book.forget_tracks(now)
        self._book.forget_parties(now)
        self._staff.sweep(now)

    def close(self, reason: StopReason) -> None:
        """Close every open visit."""
        self._leave(self._book.open_visits(), reason)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _pass_by(self, arrival: Arrival, member: Member, beside: set[str]) -> None:
        """Count one of staff; an agent was near whoever is in one frame or comes in within seconds."""
        self._staff.passed(arrival, member)
        if member.role != "agent":
            return
        party = self._book.enter(arrival)
        if party is not None:
            party.agents.add(member.person_id)
            beside = beside | party.visits
        self._book.met(beside, member.person_id)

    def _resumable(self, judged: Judged, beside: set[str]) -> OpenVisit | None:
        """The visit that this arrival continues: its person's newest, or one whose question the desk has not answered.

        Such a visitor is not searched, but seen at the next camera they are still in the same visit.
        """
        match, verdict, probe = judged.match, judged.verdict, judged.probe
        at, entrance = judged.arrival.first_seen_at, self._sources[judged.arrival.camera_id].entrance
        if verdict.person_id is not None:
            visit = self._book.newest_of(verdict.person_id)
            return visit if visit and at - visit.last_seen <= self._gap else None
        if match.lookalike is not None and verdict.decision == "unsure" and not entrance:
            # nobody comes in here: of the two it is the one whose visit is going on, as far as anybody can tell
            pair = (match.best, match.lookalike)
            here = (self._book.newest_of(one.person_id) for one in pair if one is not None)
            going_on = [v for v in here if v and v.visit_id not in beside and at - v.last_seen <= self._gap]
            if going_on:
                return going_on[0]
        likest, likeness = None, max(judged.rule.upper, match.similarity or -1.0)
        for visit in self._book.unanswered():
            if visit.person_id is None or visit.visit_id in beside or at - visit.last_seen > self._gap:
                continue
            for stored in self._vault.templates.of(visit.person_id, self._pack_id):
                if (similarity := float(stored.vector @ probe.vector)) >= likeness:
                    likest, likeness = visit, similarity
        return likest

    def _resume(self, visit: OpenVisit, arrival: Arrival, beside: set[str]) -> Record | None:
        """Take up a visit; at an entrance and after REENTRY_AFTER out this is a re-entry, which is a record."""
        out = arrival.first_seen_at - max(visit.last_seen, visit.watched_from or visit.last_seen)
        party = self._book.enter(arrival, visit.visit_id) if out >= REENTRY_AFTER else None
        agents = self._agents(arrival, party)
        record = None
        if party is not None:
            company = beside | party.visits - {visit.visit_id}
            fields = reentry_fields(visit, arrival, out, company, agents, party)
            record = self._ledger.append("visit.reentry", fields)
            visit.company, visit.agents = set(), set()  # from here on it is the company they came back in
        visit.left, visit.watched_from = False, None
        visit.meet(agents)
        self._book.attach(visit, arrival, beside, party)
        return record

    def _record(self, judged: Judged, beside: set[str], now: datetime) -> Record:
        arrival, verdict = judged.arrival, judged.verdict
        source = self._sources[arrival.camera_id]
        visit_id, known = new_id("v"), verdict.person_id
        person_id = known or new_id("p")
        if known is not None and (before := self._book.newest_of(known)) and not before.left:
            self._leave([before], "gap")  # before the sweep has come to it: nobody is here twice
        party = self._book.enter(arrival, visit_id)
        agents = self._agents(arrival, party)
        fields = arrival_fields(visit_id, self._site_id, arrival, source, beside, agents, self._place)
        # an empty gallery begins with this very person
        told, explanation = self._judge.told(judged, self._vault.templates.since_us(self._pack_id), now)
        fields |= party_fields(party) | told | {"person": person_id}
        if judged.known.maybe is not None:
            fields["maybe_staff"] = judged.known.maybe
        searchable = verdict.decision != "unsure"
        if known is None:
            self._vault.create_key(person_id)
        with self._ledger.transaction() as transaction:
            record = transaction.append(f"visit.{verdict.decision}", fields)
            template_id = self._traces.keep(
                transaction, visit_id, person_id, arrival, judged.probe, explanation, now,
                new=known is None, found=searchable,
            )  # fmt: skip
        if searchable:
            self._traces.find(template_id, arrival)
        visit = OpenVisit(visit_id, person_id, arrival.first_seen_at, unanswered=verdict.decision == "unsure")
        visit.meet(agents)
        self._open(visit, arrival, beside, party)
        return record

    def _agents(self, arrival: Arrival, party: Party | None) -> set[str]:
        """The agents in one frame with an arrival, or in the party it comes in with."""
        return self._staff.agents_beside(arrival) | (party.agents if party is not None else set())

    def _open(self, visit: OpenVisit, arrival: Arrival, beside: set[str], party: Party | None) -> None:
        self._book.remember(visit)
        self._book.attach(visit, arrival, beside, party)

    def _leave(self, visits: list[OpenVisit], reason: str) -> None:
        if not visits:
            return
        with self._ledger.transaction() as transaction:
            for visit in visits:
                transaction.append("visit.left", visit.left_fields(reason))
        for visit in visits:
            visit.left = True
        self._book.forget(visit for visit in visits if visit.person_id is None)
