"""One visit that was not of the person it was taken for: two records, and the vault follows them."""

import sqlite3
from collections.abc import Callable
from contextlib import closing

from edge import EdgeError
from edge.desk.consents import GIVEN, WITHDRAWN
from edge.desk.merging import SPLIT
from edge.home import Home
from edge.minted import new_id
from edge.people.aliases import mark_lookalikes, take_out
from edge.people.handing_over import rows_of
from edge.people.person_keys import VaultError
from edge.people.vault import Vault, opened
from sync.format.canonical import Fields
from sync.format.records import Record
from sync.format.visit_fields import CORRECTED, taken_out
from sync.node.ledger import Ledger

REASON = "other_person"
UNSURE = "visit.unsure"


class NotTakenOut(EdgeError):
    """A visit that cannot be taken out of a person: none of theirs, forgotten, or without a picture."""


class Splitting:
    """Takes single visits out of people, under the desk key; each call opens the ledger for its own thread."""

    def __init__(self, open_ledger: Callable[[], Ledger], home: Home) -> None:
        """open_ledger: opens the ledger of HOME under the desk key."""
        self._open_ledger = open_ledger
        self._home = home

    def other_person(self, visit_id: str, person_id: str, request: str, account_id: str) -> list[Record]:
        """Record that a visit was somebody else's: it is of a person of its own, and the two are a pair.

        A decision of the node's own stays: that a visit was a first one moves commission, and is for an auditor.
        A face that was taken for another's once would be again, so that every visit near one of the two is a question.
        What the visit left (templates, picture, explanation, signature, consent) goes to a new id. Said before, the
        records of then. Raises NotTakenOut, KeyNotInForce; nothing is recorded then.
        """
        with closing(self._open_ledger()) as ledger, opened(self._home.database, self._home.keys_database) as vault:
            if told := _told(ledger, visit_id):
                return told
            whose, heir = vault.standing(person_id), new_id("p")
            if not vault.remembers(whose):
                raise NotTakenOut(f"visit {visit_id}: {whose} is not remembered here")
            vault.create_key(heir)  # a crash before the rest leaves a key that opens nothing; the node sweeps it
            with ledger.transaction() as transaction:
                if told := _told(ledger, visit_id):
                    return told
                try:
                    templates = take_out(transaction.connection, vault, visit_id, whose, heir)
                except VaultError as error:
                    raise NotTakenOut(f"visit {visit_id}: {error}") from error
                _settle_consents(ledger, vault, transaction.connection, visit_id, whose, heir)
                mark_lookalikes(transaction.connection, whose, heir)
                sent: Fields = {"visit": visit_id, "request": request, "account": account_id}
                said: Fields = {"person": heir, "reason": REASON}
                if ledger.about(visit_id, (UNSURE,)):  # left to the desk, whose answer it was that they are one person
                    said["decision"] = "first"
                taken: Fields = {"persons": [whose, heir], "person": whose, "reason": "visit", "templates": templates}
                return [transaction.append(CORRECTED, sent | said), transaction.append(SPLIT, sent | taken)]


def _told(ledger: Ledger, visit_id: str) -> list[Record]:
    about = ledger.about(visit_id, (CORRECTED, SPLIT))
    return [one for one in about if one.fields.get("reason") == REASON or taken_out(one.fields) is not None]


def _settle_consents(
    ledger: Ledger, vault: Vault, connection: sqlite3.Connection, visit_id: str, whose: str, heir: str
) -> None:
    """The consent given at the visit is its visitor's; the other keeps the newest of their own, or has none."""
    mine = _standing(ledger, [visit_id])
    if mine is None:
        return
    visits = {row_id for table, row_id in rows_of(connection, whose) if table != "templates"} - {visit_id}
    theirs = _standing(ledger, sorted(visits))
    if theirs is None or (theirs.epoch, theirs.seq) < (mine.epoch, mine.seq):  # theirs was overwritten by it
        connection.execute("DELETE FROM consents WHERE person_id = ?", (whose,))
        if theirs is not None:
            vault.keep_consent(connection, whose, theirs.fields["version"], theirs.stamp.wall_us)
    vault.keep_consent(connection, heir, mine.fields["version"], mine.stamp.wall_us)


def _standing(ledger: Ledger, visits: list[str]) -> Record | None:
    """The newest consent that stands of some visits."""
    newest: Record | None = None
    for visit_id in visits:
        told = [one for one in ledger.about(visit_id, (GIVEN, WITHDRAWN)) if one.fields.get("purpose") == "visitor"]
        if told and told[-1].kind == GIVEN:
            last = told[-1]
            if newest is None or (last.epoch, last.seq) > (newest.epoch, newest.seq):
                newest = last
    return newest
