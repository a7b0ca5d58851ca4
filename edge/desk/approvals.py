"""Corrections of a source or a first arrival: the office asks, with a reason; an auditor from outside it answers."""

import re
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from edge import EdgeError
from edge.desk.checkin import Way
from edge.head_office import confirmed, counted
from edge.proven import proven
from sync.format.accounts import Account
from sync.format.canonical import Fields
from sync.format.head_office import APPLIED
from sync.format.records import Record
from sync.format.source import APPROVED, CHECKED_IN, Proposal, Source, Verdict, answers, proposed, source_of
from sync.format.visit_fields import CORRECTED
from sync.node.ledger import Ledger

REASONS = ("typo", "wrong_source", "agent_evidence", "earlier_visit", "other")
"""Why somebody asks."""
WAYS: tuple[Way, ...] = get_args(Way)
_AGENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KINDS = (CHECKED_IN, CORRECTED, APPROVED, APPLIED)


class NotAsked(EdgeError):
    """A correction that cannot be asked for so; `fault` is the code the page shows."""

    def __init__(self, fault: str) -> None:
        super().__init__(f"correction: {fault}")
        self.fault = fault


class NotTheirs(EdgeError):
    """A word by somebody who may not give it: no auditor, of the same office, or the one who asked."""


class NotConfirmed(EdgeError):
    """A word by an account that head office has not confirmed, or that was changed since it was."""


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody wants to be on record instead; None, and no agent where empty: as it is. first_us: microseconds."""

    way: str | None = None
    agent: str | None = None
    first_us: int | None = None

    def fields(self) -> Fields:
        said: Fields = {"way": self.way, "agent": self.agent, "first_us": self.first_us}
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Asked:
    """A proposal beside what it would change."""

    visit_id: str
    proposal: Proposal
    source: Source


class Approvals:
    """Asks for corrections and answers them, under the desk key; each call opens the ledger for its own thread.

    request: a random id of the form that was sent; the same again gets its record back, and nothing is written.
    """

    def __init__(self, open_ledger: Callable[[], Ledger], folder: Path, site_id: str) -> None:
        """open_ledger: opens it under the desk key. folder: HOME, where the enrolments of its keys lie."""
        self._open_ledger = open_ledger
        self._folder = folder
        self._site_id = site_id

    def ask(
        self, visit_id: str, at: tuple[int, int], change: Change, reason: str, request: str, account: Account
    ) -> Record:
        """Ask for a correction of a registered visit; nothing changes by it. Raises NotAsked, KeyNotInForce.

        at: (epoch, seq) of the visit's first record, behind which everything said of it lies.
        """
        if reason not in REASONS or (change.way is not None and change.way not in WAYS):
            raise NotAsked("odd")
        if change.agent is not None and not _AGENT.fullmatch(change.agent):
            raise NotAsked("agent")
        with closing(self._open_ledger()) as ledger, ledger.transaction() as transaction:
            told = self._proven(ledger, ledger.about(visit_id, _KINDS, at))
            for record in told:
                if record.kind == CORRECTED and record.fields.get("request") == request:
                    return record
            source = source_of(told, counted(self._folder, ledger, filter(answers, told)))
            if not source.registered:
                raise NotAsked("open")
            if any(asked.verdict is None for asked in source.proposals):
                raise NotAsked("waiting")
            changes = {name: value for name, value in change.fields().items() if source.standing.get(name) != value}
            if not changes:
                raise NotAsked("same")
            said: Fields = {"visit": visit_id, "state": "proposed", "reason": reason, "request": request}
            checkin = next(one for one in reversed(told) if one.kind == CHECKED_IN)
            said |= {"checkin_epoch": checkin.epoch, "checkin_seq": checkin.seq}
            said |= {**changes, "account": account.account_id, **office_of(account)}
            return transaction.append(CORRECTED, said)

    def answer(self, proposal: str, verdict: Verdict, request: str, account: Account) -> Record:
        """Approve or refuse a proposal, named by its record's hash in hex; the first word on it stands.

        Raises NotTheirs, NotConfirmed, NotAsked where there is no such proposal, KeyNotInForce; nothing is recorded.
        """
        if verdict not in get_args(Verdict):
            raise NotAsked("odd")
        with closing(self._open_ledger()) as ledger, ledger.transaction() as transaction:
            asked = next((one for one in self._all(ledger) if one.proposal.record.hash.hex() == proposal), None)
            if asked is None:
                raise NotAsked("missing")
            hold_to_outside(account, asked.proposal.record.fields, self._site_id)
            hold_to_confirmed(account, self._folder, ledger)
            if asked.proposal.decided is not None:
                return asked.proposal.decided
            said: Fields = {"visit": asked.visit_id, "proposal": proposal, "verdict": verdict, "request": request}
            return transaction.append(APPROVED, {**said, "account": account.account_id, **office_of(account)})

    def asked(self, ledger: Ledger) -> list[Asked]:
        """Every proposal, the newest first; those without a word yet before the others."""
        found = sorted(self._all(ledger), key=lambda one: _place(one.proposal.record), reverse=True)
        return sorted(found, key=lambda one: one.proposal.decided is not None)

    def _all(self, ledger: Ledger) -> list[Asked]:
        """Each proposal beside the check-in it would correct, which it names: nobody reads a year for it."""
        proposals = [one for one in ledger.naming("proposed", (CORRECTED,)) if proposed(one.fields)]
        checkins = [ledger.record(*_corrects(one)) for one in proposals]
        words = [one for one in ledger.records((APPROVED, APPLIED)) if answers(one)]
        told: dict[str, list[Record]] = {}
        found = {one.hash: one for one in (*proposals, *words, *(one for one in checkins if one is not None))}
        for record in sorted(self._proven(ledger, found.values()), key=_place):
            told.setdefault(str(record.fields.get("visit")), []).append(record)
        rests = counted(self._folder, ledger, words)
        sources = ((visit_id, source_of(records, rests)) for visit_id, records in told.items())
        return [Asked(visit_id, one, source) for visit_id, source in sources for one in source.proposals]

    def _proven(self, ledger: Ledger, found: Iterable[Record]) -> list[Record]:
        return proven(self._folder, ledger, found)


def hold_to_outside(account: Account, asked: Fields, site_id: str) -> None:
    """Raise NotTheirs where this account may not answer what `asked` asks for."""
    if account.role != "auditor":
        raise NotTheirs(f"{account.account_id}: is no auditor")
    if account.account_id == asked.get("account"):
        raise NotTheirs(f"{account.account_id}: has asked for it")
    if not account.office or account.office in (site_id, asked.get("office")):
        raise NotTheirs(f"{account.account_id}: is of the office that asks")


def hold_to_confirmed(account: Account, folder: Path, ledger: Ledger) -> None:
    """Raise NotConfirmed where central has not said that this account speaks for head office."""
    if not confirmed(folder, ledger, account):
        raise NotConfirmed(f"{account.account_id}: head office has not confirmed this account as it is now")


def office_of(account: Account) -> Fields:
    """What a record says of where its account belongs."""
    return {"office": account.office} if account.office else {}


def _corrects(proposal: Record) -> tuple[int, int]:
    """(epoch, seq) of the check-in that a proposal is about."""
    return proposal.fields.get("checkin_epoch", 0), proposal.fields.get("checkin_seq", 0)


def _place(record: Record) -> tuple[int, int]:
    return record.epoch, record.seq
