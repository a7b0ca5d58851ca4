"""From arrivals at a camera to visits in the ledger: who is here, since when, and for the first time or not."""

import logging
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from camera.pipeline import Arrival, Ended
from edge.consent import Horizon
from edge.decision import Rule, Strictness, Verdict, decide, grade
from edge.gallery import Gallery, Match
from edge.vault import Vault
from models.calibration import Calibration
from models.faces import Template
from sync.format.canonical import Fields
from sync.format.records import Record
from sync.format.stamp import from_us, to_us
from sync.format.visit_fields import CORRECTED, DECISION_OF_KIND
from sync.node.append import Transaction
from sync.node.ledger import Ledger

log = logging.getLogger(__name__)

StopReason: TypeAlias = Literal["source_end", "stopped", "error", "storage_full"]
"""Why watching ended: the sources did, somebody stopped it, a source failed, or nothing more can be recorded."""

SHORTEST_VISIT_GAP = timedelta(seconds=3)
REENTRY_AFTER = timedelta(minutes=5)
MAX_COMPANY = 16  # ids named in one record, to keep its body far under 8 KiB


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """How a record names a camera's source; kind: rtsp, usb or file; digest: SHA-256 of the URI without credentials."""

    kind: str
    digest: str

    @property
    def live(self) -> bool:
        return self.kind != "file"


@dataclass(slots=True)
class _Visit:
    visit_id: str
    person_id: str | None  # None under after_consent
    last_seen: datetime
    left: bool = False  # a visit.left has been written; within the gap the person may still come back into it
    watched_from: datetime | None = None  # after a crash: nobody knows whether they were out before
    tracks: set[tuple[str, int]] = field(default_factory=set)  # every one; who was seen with an ended one still was
    live: set[tuple[str, int]] = field(default_factory=set)
    company: set[str] = field(default_factory=set)


class Visits:
    """The visits of one node that are open, or recent enough to be resumed."""

    def __init__(
        self,
        ledger: Ledger,
        vault: Vault,
        gallery: Gallery,
        calibration: Calibration,
        horizon: Horizon,
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
        self._gallery = gallery
        self._calibration = calibration
        self._horizon = horizon
        self._site_id = site_id
        self._pack_id = pack_id
        self._sources = sources
        self._place = place
        self._gap = max(gap, SHORTEST_VISIT_GAP)
        self._gap_over_restarts = gap  # the end of a source ended its visits, unless the gap says otherwise
        self._strictness = strictness
        self._visits: dict[str, _Visit] = {}
        self._current: dict[str, str] = {}  # person -> their newest visit
        self._of_track: dict[tuple[str, int], str] = {}
        self._heard = (0, 0)  # (epoch, seq) of the desk's last answer followed

    def follow(self, horizon: Horizon) -> None:
        """The policy has changed: from now on "first" reaches back this far."""
        self._horizon = horizon

    def stand(self, place: Fields | None) -> None:
        """From now on records name this place."""
        self._place = place

    def rule(self) -> Rule:
        """The thresholds for the gallery as it stands."""
        return self._strictness.rule(self._calibration, len(self._gallery))

    def recover(self, transaction: Transaction, now: datetime) -> int:
        """Close the visits a crash left open, and remember those that may still be resumed; returns how many closed.

        transaction: the one that appends this run's node.boot, so that behind every boot nothing is open. It reads no
        further back than the last boot from before the gap.
        """
        known: dict[str, _Visit] = {}
        after = self._last_boot_before(now - self._gap_over_restarts)
        for record in self._ledger.records((*DECISION_OF_KIND, CORRECTED, "visit.reentry", "visit.left"), after):
            self._heard = (record.epoch, record.seq)
            fields = record.fields
            if not isinstance(fields.get("visit"), str):
                continue
            visit = known.setdefault(fields["visit"], _Visit(fields["visit"], None, now, left=True))
            if record.kind == "visit.left":
                visit.left = True
                if "end_us" in fields:
                    visit.last_seen = from_us(fields["end_us"])
                else:
                    visit.watched_from = from_us(record.stamp.wall_us)
            elif record.kind == "visit.reentry":
                visit.left, visit.last_seen = False, from_us(fields["at_us"])
            elif record.kind == CORRECTED:
                visit.person_id = fields["person"] if isinstance(fields.get("person"), str) else visit.person_id
            else:
                visit.person_id, visit.last_seen, visit.left = (
                    fields.get("person"), from_us(fields["arrived_us"]), False
                )  # fmt: skip
        abandoned = [visit for visit in known.values() if not visit.left]
        for visit in abandoned:
            transaction.append("visit.left", {"visit": visit.visit_id, "reason": "crash"})
            visit.left, visit.watched_from = True, now
        for visit in known.values():
            if visit.person_id is not None and max(now - visit.last_seen, timedelta(0)) < self._gap_over_restarts:
                self._visits[visit.visit_id] = visit
                self._make_current(visit)
        return len(abandoned)

    def _last_boot_before(self, moment: datetime) -> tuple[int, int]:
        """(epoch, seq) of the newest boot stamped before a moment, (0, 0) where there is none."""
        boots = reversed(list(self._ledger.records(("node.boot",))))
        moment_us = to_us(moment)
        return next(((boot.epoch, boot.seq) for boot in boots if boot.stamp.wall_us < moment_us), (0, 0))

    # -- what the cameras tell -----------------------------------------------------------------------------------

    def seen(self, camera_id: str, track_ids: Iterable[int], at: datetime) -> None:
        """These arrived tracks are visible at `at`."""
        for track_id in track_ids:
            visit_id = self._of_track.get((camera_id, track_id))
            if visit_id is not None:
                visit = self._visits[visit_id]
                visit.last_seen = max(visit.last_seen, at)

    def shift(self, jump: timedelta) -> None:
        """The wall clock was moved: move what was seen with it, or everybody in view would seem to have been out."""
        for visit in self._visits.values():
            visit.last_seen += jump
            if visit.watched_from is not None:
                visit.watched_from += jump

    def unwatched_until(self, now: datetime) -> None:
        """Nobody was watched for a while: whoever is seen again may have been in view all along."""
        for visit in self._visits.values():
            visit.watched_from = now

    def arrived_unnamed(self, arrival: Arrival) -> Record:
        """Record an arrival that nobody may be compared for."""
        visit_id = _new_id("v")
        company = self._company(arrival)
        record = self._ledger.append(
            "visit.seen",
            {**self._envelope(visit_id, arrival, company), "party": 1 + len(arrival.together), "grade": "C"},
        )
        self._open(visit_id, None, arrival, company)
        return record

    def arrived(self, arrival: Arrival, probe: Template, now: datetime) -> Record | None:
        """Decide an arrival and record it; None where it continues a visit that is already recorded."""
        self._gallery.refresh()
        self._hear_the_desk()
        company = self._company(arrival)
        present = frozenset(p for v in company if (p := self._visits[v].person_id) is not None)
        match = self._gallery.search(probe, present)
        rule = self.rule()
        verdict = decide(match, rule)
        if verdict.person_id is not None:
            resumed = self._resumable(verdict.person_id, arrival.first_seen_at)
            if resumed is not None:
                return self._resume(resumed, arrival, company)
        return self._record(arrival, probe, match, rule, verdict, company, now)

    def ended(self, ended: Ended) -> None:
        """A track is over; an unnamed visit is over with it."""
        visit_id = self._of_track.get((ended.camera_id, ended.track_id))
        if visit_id is None:
            return
        visit = self._visits[visit_id]
        visit.live.discard((ended.camera_id, ended.track_id))
        visit.last_seen = max(visit.last_seen, ended.last_seen_at)
        if visit.person_id is None:
            self._leave([visit], "track_end")

    def sweep(self, now: datetime) -> None:
        """Close the visits whose gap has passed, and forget those that can no longer be resumed."""
        over = [v for v in self._visits.values() if not v.live and now - v.last_seen > self._gap]
        self._leave([v for v in over if not v.left], "gap")
        for visit in over:
            self._forget(visit)

    def close(self, reason: StopReason) -> None:
        """Close every open visit."""
        self._leave([v for v in self._visits.values() if not v.left], reason)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _hear_the_desk(self) -> None:
        """Follow what the desk has answered since: a visit may be somebody else's than the node thought."""
        for record in self._ledger.records((CORRECTED,), self._heard):
            self._heard = (record.epoch, record.seq)
            visit_id, person_id = record.fields.get("visit"), record.fields.get("person")
            if not isinstance(visit_id, str) or not isinstance(person_id, str):
                log.warning("answer not understood seq=%d", record.seq)  # signed, so it stays; the node goes on
                continue
            visit = self._visits.get(visit_id)
            if visit is None or visit.person_id == person_id:
                continue
            if visit.person_id is not None and self._current.get(visit.person_id) == visit.visit_id:
                del self._current[visit.person_id]
            visit.person_id = person_id
            self._make_current(visit)

    def _make_current(self, visit: _Visit) -> None:
        """Let a visit be the one its person comes back into, unless they have a newer one."""
        assert visit.person_id is not None
        newest = self._visits.get(self._current.get(visit.person_id, ""))
        if newest is None or newest.last_seen <= visit.last_seen:
            self._current[visit.person_id] = visit.visit_id

    def _resumable(self, person_id: str, at: datetime) -> _Visit | None:
        visit_id = self._current.get(person_id)
        visit = self._visits.get(visit_id) if visit_id else None
        return visit if visit and at - visit.last_seen <= self._gap else None

    def _resume(self, visit: _Visit, arrival: Arrival, company: set[str]) -> Record | None:
        out = arrival.first_seen_at - max(visit.last_seen, visit.watched_from or visit.last_seen)
        record = None
        if out >= REENTRY_AFTER:
            record = self._ledger.append(
                "visit.reentry",
                {
                    "visit": visit.visit_id,
                    "camera": arrival.camera_id,
                    "at_us": to_us(arrival.first_seen_at),
                    "out_us": round(out.total_seconds() * 1e6),
                    "company_before": sorted(visit.company)[:MAX_COMPANY],
                    "company_after": sorted(company)[:MAX_COMPANY],
                },
            )
            visit.company = set()  # from here on it is the company they came back in
        visit.left, visit.watched_from = False, None
        self._attach(visit, arrival, company)
        return record

    def _record(
        self,
        arrival: Arrival,
        probe: Template,
        match: Match,
        rule: Rule,
        verdict: Verdict,
        company: set[str],
        now: datetime,
    ) -> Record:
        source = self._sources[arrival.camera_id]
        visit_id, known = _new_id("v"), verdict.person_id
        person_id = known or _new_id("p")
        fields = self._envelope(visit_id, arrival, company)
        fields |= {
            "person": person_id,
            "pack": self._pack_id,
            "upper_e6": _e6(rule.upper),
            "lower_e6": _e6(rule.lower),
            "gallery_n": match.people,
            "unconsented_horizon_s": self._horizon.seconds(now),
            "grade": grade(verdict.decision, match, rule, arrival, source.live),
        }
        # an empty gallery begins with this very person
        since_us = self._vault.gallery_since_us(self._pack_id)
        fields["gallery_since_us"] = since_us if since_us is not None else to_us(now)
        if match.best is not None:
            fields["similarity_e6"] = _e6(match.best.similarity)
        if match.margin is not None:
            fields["margin_e6"] = _e6(match.margin)
        if verdict.decision == "unsure":
            fields["candidates"] = [
                {"person": candidate.person_id, "similarity_e6": _e6(candidate.similarity)}
                for candidate in (match.best, match.second)
                if candidate is not None and candidate.similarity >= rule.lower
            ]
        if verdict.merge is not None:
            fields["merge"] = list(verdict.merge)
        searchable = verdict.decision != "unsure"
        if known is None:
            self._vault.create_key(person_id)
        with self._ledger.transaction() as transaction:
            record = transaction.append(f"visit.{verdict.decision}", fields)
            connection, vector = transaction.connection, probe.vector
            template_id: int | None
            if known is None:
                template_id = self._vault.add_person(connection, person_id, self._pack_id, vector, now, searchable)
            else:
                template_id = self._vault.add_template(connection, person_id, self._pack_id, vector, now)
            self._vault.add_crop(connection, visit_id, person_id, arrival.shots[0].crop, now)
        stored = self._vault.template(template_id) if template_id is not None and searchable else None
        if stored is not None:
            self._gallery.add(stored)
        self._open(visit_id, person_id, arrival, company)
        return record

    def _envelope(self, visit_id: str, arrival: Arrival, company: set[str]) -> Fields:
        source = self._sources[arrival.camera_id]
        fields: Fields = {
            "visit": visit_id,
            "site": self._site_id,
            "camera": arrival.camera_id,
            "source": source.kind,
            "source_hash": source.digest,
            "arrived_us": to_us(arrival.first_seen_at),
            "shots": len(arrival.shots),
            "quality_e6": _e6(arrival.shots[0].quality),
        }
        if company:
            fields["company"] = sorted(company)[:MAX_COMPANY]
        if self._place is not None:
            fields["place"] = self._place
        return fields

    def _company(self, arrival: Arrival) -> set[str]:
        together = (self._of_track.get((arrival.camera_id, track_id)) for track_id in arrival.together)
        return {visit_id for visit_id in together if visit_id is not None}

    def _open(self, visit_id: str, person_id: str | None, arrival: Arrival, company: set[str]) -> None:
        visit = self._visits[visit_id] = _Visit(visit_id, person_id, arrival.first_seen_at)
        if person_id is not None:
            self._current[person_id] = visit_id
        self._attach(visit, arrival, company)

    def _attach(self, visit: _Visit, arrival: Arrival, company: set[str]) -> None:
        track = (arrival.camera_id, arrival.track_id)
        self._of_track[track] = visit.visit_id
        visit.tracks.add(track)
        visit.live.add(track)
        visit.company |= company
        visit.last_seen = max(visit.last_seen, *(shot.captured_at for shot in arrival.shots))
        for other in company:
            self._visits[other].company.add(visit.visit_id)

    def _leave(self, visits: list[_Visit], reason: str) -> None:
        if not visits:
            return
        with self._ledger.transaction() as transaction:
            for visit in visits:
                transaction.append(
                    "visit.left", {"visit": visit.visit_id, "end_us": to_us(visit.last_seen), "reason": reason}
                )
        for visit in visits:
            visit.left = True
            if visit.person_id is None:
                self._forget(visit)

    def _forget(self, visit: _Visit) -> None:
        for track in visit.tracks:
            self._of_track.pop(track, None)
        self._visits.pop(visit.visit_id, None)
        if visit.person_id is not None and self._current.get(visit.person_id) == visit.visit_id:
            del self._current[visit.person_id]


def _new_id(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(10)}"


def _e6(value: float) -> int:
    return round(value * 1e6)
