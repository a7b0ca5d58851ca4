"""When somebody first came, as an auditor from outside the office has approved it since."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from edge.head_office import counted
from edge.people.vault import Vault
from edge.proven import proven
from sync.format.head_office import APPLIED
from sync.format.records import Record
from sync.format.source import APPROVED, CHECKED_IN, Proposal, answers, source_of
from sync.format.visit_fields import CORRECTED, DECISION_OF_KIND, settles, text_of
from sync.node.ledger import Ledger

_WORDS = (APPROVED, APPLIED)
_SAID = (CHECKED_IN, CORRECTED, *_WORDS)


@dataclass(frozen=True, slots=True)
class SettledFirst:
    """first_us: microseconds. proposal: what was asked for, by whom and why, with the word that approved it."""

    first_us: int
    proposal: Proposal

    @property
    def seq(self) -> int:
        """Of the record that approved it."""
        return 0 if self.proposal.decided is None else self.proposal.decided.seq


def of_visits(folder: Path, ledger: Ledger, visits: Collection[str]) -> SettledFirst | None:
    """The newest approved first arrival of whoever made these visits; folder: HOME, whose keys sign such records."""
    return _newest(folder, ledger, lambda visit_id: visit_id in visits)


def of_person(folder: Path, ledger: Ledger, vault: Vault, person_id: str) -> SettledFirst | None:
    """The same of a person, by the visits that are theirs as they stand."""

    def theirs(visit_id: str) -> bool:
        told = [one for one in ledger.naming(visit_id, DECISION_OF_KIND) if one.fields.get("visit") == visit_id]
        whose = (corrected_to(ledger, told[-1]) or text_of(told[-1].fields, "person")) if told else None
        return whose is not None and vault.standing(whose) == person_id

    return _newest(folder, ledger, theirs)


def corrected_to(ledger: Ledger, record: Record) -> str | None:
    """Whose visit the desk has said a decision's is since, None where it has said nothing; corrections are few."""
    after = (record.epoch, record.seq)
    told = ledger.naming(record.fields["visit"], (CORRECTED,), after)
    said = (one for one in reversed(told) if one.fields.get("visit") == record.fields["visit"] and settles(one.fields))
    return next((person for one in said if (person := text_of(one.fields, "person")) is not None), None)


def _newest(folder: Path, ledger: Ledger, theirs: Callable[[str], bool]) -> SettledFirst | None:
    """By the approvals, of which there are few: nobody reads a chain for it."""
    words = (one.fields for one in ledger.records(_WORDS) if answers(one))
    approved = (text_of(one, "visit") for one in words if one.get("verdict") == "approved")
    found: list[tuple[tuple[int, int], SettledFirst]] = []
    for visit_id in sorted({one for one in approved if one is not None and theirs(one)}):
        told = [one for one in ledger.naming(visit_id, _SAID) if one.fields.get("visit") == visit_id]
        source = source_of(proven(folder, ledger, told), counted(folder, ledger, filter(answers, told)))
        first_us = source.standing.get("first_us")
        for proposal in source.proposals:
            stands = proposal.verdict == "approved" and proposal.changes.get("first_us") == first_us
            if type(first_us) is int and stands and proposal.decided is not None:
                found.append((_place(proposal.decided), SettledFirst(first_us, proposal)))
    return max(found, key=lambda one: one[0])[1] if found else None


def _place(record: Record) -> tuple[int, int]:
    return record.epoch, record.seq
