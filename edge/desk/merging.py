"""What the desk says of two ids: one person, not one after all, or two people who look alike; a record each."""

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edge import EdgeError
from edge.home import Home
from edge.people.aliases import mark_lookalikes, merge, split
from edge.people.person_keys import VaultError
from edge.people.vault import Vault, opened
from sync.format.canonical import Fields
from sync.format.records import Record
from sync.node.ledger import Ledger

MERGED, SPLIT = "person.merged", "person.split"
Word: TypeAlias = Literal["merged", "lookalike", "not_same"]


class BadPair(EdgeError):
    """Two ids of which this cannot be said."""


@dataclass(frozen=True, slots=True)
class Said:
    """The record that stands. news: this very word made it. word: what it says."""

    record: Record
    news: bool
    word: Word


class Merging:
    """Writes merges and splits under the desk key, and has the vault follow in the same transaction.

    The first answer to a proposal stands: a second one, whoever gives it, gets that one back. Every method raises
    BadPair, and KeyNotInForce where the desk's key may sign no more; nothing is recorded then.
    """

    def __init__(self, open_ledger: Callable[[], Ledger], home: Home) -> None:
        """open_ledger: opens the ledger of HOME under the desk key."""
        self._open_ledger = open_ledger
        self._home = home

    def one_person(self, persons: tuple[str, str], visit_id: str, request: str, account_id: str) -> Said:
        """Record that two ids are one person, by the one that was there first; visit_id: whose record proposed it."""
        with closing(self._open_ledger()) as ledger, self._vault() as vault:
            with ledger.transaction() as transaction:
                if (said := _said_of(ledger, persons)) is not None:
                    return said
                older, newer = _by_age(vault, persons)
                fields: Fields = {"persons": [older, newer], "person": older, "alias": newer, "reason": "same_person"}
                sent: Fields = {"proposed_by": visit_id, "request": request, "account": account_id}
                record = transaction.append(MERGED, fields | sent)
                try:
                    merge(transaction.connection, vault, older, newer)
                except VaultError as error:
                    raise BadPair(f"{newer} and {older}: {error}") from error
            vault.destroy_keys([newer])  # what it opened is sealed anew under the other's
        return Said(record, news=True, word="merged")

    def look_alike(self, persons: tuple[str, str], visit_id: str, request: str, account_id: str) -> Said:
        """Record that two ids are two people, of whom the desk alone says who it is from here on."""
        with closing(self._open_ledger()) as ledger, self._vault() as vault, ledger.transaction() as transaction:
            if (said := _said_of(ledger, persons)) is not None:
                return said
            pair = _by_age(vault, persons)
            fields: Fields = {"persons": list(pair), "reason": "lookalike"}
            sent: Fields = {"proposed_by": visit_id, "request": request, "account": account_id}
            record = transaction.append(SPLIT, fields | sent)
            mark_lookalikes(transaction.connection, *pair)
        return Said(record, news=True, word="lookalike")

    def not_same(self, alias: str, request: str, account_id: str) -> Said:
        """Take a merge back: the alias is a person of their own again, with what was theirs and is still kept."""
        with closing(self._open_ledger()) as ledger, self._vault() as vault:
            told = [one for one in ledger.records((MERGED, SPLIT)) if one.fields.get("alias") == alias]
            if told and told[-1].kind == SPLIT:
                return Said(told[-1], news=False, word="not_same")
            older = vault.standing(alias)
            if not told or older == alias or not vault.remembers(older):
                raise BadPair(f"person {alias!r}: not merged, or forgotten since")
            vault.create_key(alias)  # a crash before the rest leaves a key that opens nothing; the node sweeps it
            with ledger.transaction() as transaction:
                if vault.standing(alias) == alias:
                    raise BadPair(f"person {alias!r}: split meanwhile")
                fields: Fields = {"persons": [older, alias], "person": older, "alias": alias, "reason": "not_same"}
                record = transaction.append(SPLIT, {**fields, "request": request, "account": account_id})
                split(transaction.connection, vault, alias)
        return Said(record, news=True, word="not_same")

    def _vault(self) -> AbstractContextManager[Vault]:
        return opened(self._home.database, self._home.keys_database)


def _said_of(ledger: Ledger, persons: tuple[str, str]) -> Said | None:
    """What stands of two ids: the newest word, unless that took the one before it back."""
    told = [one for one in ledger.records((MERGED, SPLIT)) if set(one.fields.get("persons", ())) == set(persons)]
    if not told or told[-1].fields.get("reason") in ("not_same", "visit"):
        return None
    word: Word = "merged" if told[-1].kind == MERGED else "lookalike"
    return Said(told[-1], news=False, word=word)


def _by_age(vault: Vault, persons: tuple[str, str]) -> tuple[str, str]:
    """The two, whoever was known first first; raises BadPair where they are not two people who are remembered."""
    standing = [vault.standing(person_id) for person_id in persons]
    known = [(since_us, who) for who in standing if (since_us := vault.known_since_us(who)) is not None]
    if len(known) != 2 or standing[0] == standing[1]:
        raise BadPair(f"{persons[0]!r} and {persons[1]!r}: not two people who are remembered here")
    (_, older), (_, newer) = sorted(known)
    return older, newer
