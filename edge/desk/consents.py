"""Consent to be recognised: the text agreed to, what was signed, how it is kept, and how it is withdrawn."""

import hashlib
import re
import tomllib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeAlias

from edge import EdgeError
from edge.minted import new_id, new_salt
from edge.people.forgetting import forget, reached_fields
from edge.people.vault import Vault, opened
from sync.format.canonical import Fields
from sync.format.records import Record
from sync.format.signing import commitment
from sync.format.stamp import from_us
from sync.format.visit_fields import CORRECTED, DECISION_OF_KIND, text_of
from sync.node.append import Transaction
from sync.node.ledger import Ledger

GIVEN, WITHDRAWN, ERASED = "consent.given", "consent.withdrawn", "person.erased"
By: TypeAlias = Literal["visitor", "guardian"]
"""Who agrees: the visitor, or for one under 14 a guardian (个人信息保护法 31)."""
Because: TypeAlias = Literal["withdrawn", "undone", "child", "error"]
"""Why a face is forgotten at the desk.

The consent is taken back; so is the registration that it came with; it is a child's; it is not that of who consented.
"""
Confirmed: TypeAlias = Literal["signature", "phone", "desk"]
"""By what, beside the desk's word: a signature; a phone that this very face has given before; desk: by nothing, for
that the phone on which it was ticked is this visitor's is the word of whoever bound them."""
MAX_SIGNATURE = 20_000  # letters: some 3,000 points of a finger
_SIGNATURE = re.compile(r"\d{1,4} \d{1,4}(;\d{1,4},\d{1,4}( \d{1,4},\d{1,4})*)+")
_TEXTS = tomllib.loads((Path(__file__).parent / "consent_texts.toml").read_text(encoding="utf-8"))


class BadSignature(EdgeError):
    """What came as a signature is no drawing."""


class NothingToForget(EdgeError):
    """There is no face, or no consent, that could be taken back."""


class AgreedBefore(EdgeError):
    """Somebody has agreed at another visit too: what goes then is for the desk to ask them, face to face."""


@dataclass(frozen=True, slots=True)
class ConsentText:
    """A text as it is shown: by whom it is agreed to, in which language."""

    by: By
    version: str
    language: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Consent:
    """What somebody agrees to. signature: the drawing as `read_signature` takes it; confirmed: how, beside the word."""

    shown: ConsentText
    signature: bytes | None = None
    confirmed: Confirmed | None = None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A face forgotten, on record. pending: where the person's key may lie still, for people."""

    record: Record
    pending: tuple[str, ...]


class ConsentTexts:
    """The texts of one site, in Chinese and English."""

    def __init__(self, operator: str, kept: timedelta) -> None:
        """operator: who answers for the data, empty: the sales office; kept: how long a consented face is kept."""
        self._operator = operator
        self._days = kept.days

    def text(self, by: By, language: str) -> ConsentText:
        """The text in force."""
        named = self._operator or ("本售楼处" if language == "zh" else "this sales office")
        section = _TEXTS[by]
        return ConsentText(by, section["version"], language, section[language].format(operator=named, days=self._days))

    def shown_as(self, version: str, language: str) -> ConsentText | None:
        """The text in force of a version, None where it is none (any more)."""
        found = (self.text(by, language) for by in ("visitor", "guardian") if _TEXTS[by]["version"] == version)
        return next(found, None)


def read_signature(drawn: str) -> bytes:
    """Check a drawing: `WIDTH HEIGHT;X,Y X,Y …;X,Y …`, a stroke each in canvas pixels; raises BadSignature."""
    if len(drawn) > MAX_SIGNATURE or not _SIGNATURE.fullmatch(drawn):
        raise BadSignature("signature: not a drawing")
    return drawn.encode()


def give(
    consent: Consent,
    ledger: Ledger,
    vault: Vault,
    transaction: Transaction,
    *,
    visit_id: str,
    at: tuple[int, int],
    person_id: str | None,
    account_id: str | None,
    request: str,
    now_us: int,
) -> tuple[Record, str] | None:
    """Record that a visitor has consented, in the ledger's transaction; returns the record and whom it is of.

    at: (epoch, seq) of the visit's first record. person_id: None where nobody was compared: they are somebody new until
    the node has compared them. Nothing is recorded of a person who is forgotten already (None).
    """
    if person_id is None and (standing := _standing(ledger, visit_id, at)) is not None:
        person_id = text_of(standing.fields, "person")
    if person_id is not None:
        person_id = vault.standing(person_id)
    if person_id is None:
        person_id = new_id("p")
        vault.create_key(person_id)
        vault.expect(transaction.connection, person_id, now_us)
    elif not vault.expects(transaction.connection, person_id):
        return None
    fields: Fields = {
        "visit": visit_id,
        "person": person_id,
        "purpose": "visitor",
        "version": consent.shown.version,
        "language": consent.shown.language,
        "text_sha256": consent.shown.sha256,
        "request": request,
    }
    if account_id is not None:
        fields["account"] = account_id
    if consent.shown.by == "guardian":
        fields["guardian"] = 1
    if consent.confirmed is not None:
        fields["confirmed"] = consent.confirmed
    if consent.signature is not None:
        salt = new_salt()
        fields["signature"] = commitment(salt, consent.signature).hex()
        signed = salt + consent.signature
        vault.of_visits.add_signature(transaction.connection, visit_id, person_id, signed, from_us(now_us))
    vault.keep_consent(transaction.connection, person_id, consent.shown.version, now_us)
    return transaction.append(GIVEN, fields), person_id


def forget_face(
    open_ledger: Callable[[], Ledger],
    database: Path,
    keys_database: Path,
    *,
    visit_id: str,
    at: tuple[int, int],
    person_id: str | None,
    because: Because,
    request: str,
    account_id: str | None,
    given_with: str | None = None,
) -> Forgotten:
    """Forget face, pictures and signature of a visit's person at once; the visits stay, and so does a phone.

    at: (epoch, seq) of the visit's first record. person_id: as the page has it, None where nobody has been compared
    yet. request: the same form again gets the record of the first time back. account_id: None where the visitor takes
    it back themselves, by the phone that gave it: a form may have been bound to somebody else's arrival, so that only
    what was agreed to with it can go, by the request of its registration (given_with); raises AgreedBefore where
    anything else was agreed to. Raises NothingToForget where there is no face, or, to take a consent back, none that
    stands.
    """
    consent = because in ("withdrawn", "undone")
    kind = WITHDRAWN if consent else ERASED
    with closing(open_ledger()) as ledger, opened(database, keys_database) as vault:
        while True:
            told = ledger.about(visit_id, (kind,), at)
            if same := [record for record in told if record.fields.get("request") == request]:
                return Forgotten(same[0], tuple(vault.unreached()))
            named = _person(ledger, visit_id, at, person_id)
            person = None if named is None else vault.standing(named)
            if person is None or not vault.remembers(person):
                raise NothingToForget(f"visit {visit_id}: no face is kept")
            if consent and vault.consented_us(person) is None:
                raise NothingToForget(f"visit {visit_id}: no consent stands")
            if account_id is None:
                _hold_to_form(ledger, vault, person, visit_id, given_with)
            earlier = _earlier_consent(ledger, vault, person, visit_id)
            if because == "undone" and account_id is not None and earlier is not None:
                with ledger.transaction() as transaction:
                    if _person(ledger, visit_id, at, person_id) != named:
                        continue
                    record = _only_of_visit(vault, transaction, visit_id, person, earlier, account_id, request)
                vault.scrub()
                return Forgotten(record, ())
            # first: a crash between the two leaves ciphertext that nothing opens
            reached = vault.destroy_keys([person])
            with ledger.transaction() as transaction:
                if _person(ledger, visit_id, at, person_id) != named:
                    continue  # the node has said meanwhile who it is
                forget(vault, transaction, person)
                said: Fields = {"purpose": "visitor"} if consent else {}
                if because != "withdrawn":
                    said["reason"] = because
                if account_id is not None:
                    said["account"] = account_id
                fields: Fields = {"visit": visit_id, "person": person, "request": request}
                record = transaction.append(kind, {**fields, **said, **reached_fields(transaction, person, reached)})
            return Forgotten(record, tuple(vault.unreached()))


def _hold_to_form(ledger: Ledger, vault: Vault, person_id: str, visit_id: str, given_with: str | None) -> None:
    """Raise NothingToForget where nothing was agreed to with a form, AgreedBefore where that is not all there is.

    Whoever is known for longer than the chain reaches back may have agreed to that in a record that is purged.
    """
    of_form = [one.hash for one in ledger.about(visit_id, (GIVEN,)) if one.fields.get("request") == given_with]
    if not of_form:
        raise NothingToForget(f"visit {visit_id}: nothing was agreed to with this form")
    since_us, head = vault.known_since_us(person_id), ledger.head()
    first = next(ledger.between((0, 0), (head.epoch, head.seq)), None) if head is not None else None
    purged = first is not None and (first.epoch, first.seq) != (1, 1)
    older = purged and first is not None and since_us is not None and since_us < first.stamp.wall_us
    if older or any(one.hash not in of_form for one in _consents(ledger, vault, person_id)):
        raise AgreedBefore(f"visit {visit_id}: consented otherwise too")


def _earlier_consent(ledger: Ledger, vault: Vault, person_id: str, visit_id: str) -> Record | None:
    """The consent by which somebody is kept whatever becomes of the one given at this visit."""
    elsewhere = [one for one in _consents(ledger, vault, person_id) if one.fields.get("visit") != visit_id]
    return elsewhere[-1] if elsewhere else None


def _consents(ledger: Ledger, vault: Vault, person_id: str) -> list[Record]:
    """The consents of a person's that nothing has ended, also under ids that were merged into theirs."""
    known_as = {person_id, *vault.known_as(person_id)}
    found = {one.hash: one for name in known_as for one in ledger.naming(name, (GIVEN, WITHDRAWN, ERASED))}
    stand: list[Record] = []
    for record in sorted(found.values(), key=lambda one: (one.epoch, one.seq)):
        fields = record.fields
        if fields.get("person") not in known_as or "earlier" in fields:
            continue
        if record.kind != GIVEN:
            stand = []
        elif fields.get("purpose") == "visitor":
            stand.append(record)
    return stand


def _only_of_visit(
    vault: Vault,
    transaction: Transaction,
    visit_id: str,
    person_id: str,
    earlier: Record,
    account_id: str,
    request: str,
) -> Record:
    """Withdraw one visit's consent and what was taken at it; who consented before is kept as they agreed to then.

    Otherwise binding somebody's form to another visitor's arrival and undoing it would erase that visitor.
    """
    vault.forget_visit(transaction.connection, person_id, visit_id)
    vault.keep_consent(transaction.connection, person_id, str(earlier.fields["version"]), earlier.stamp.wall_us)
    fields: Fields = {"visit": visit_id, "person": person_id, "account": account_id, "request": request}
    said: Fields = {"purpose": "visitor", "reason": "undone", "earlier": earlier.hash.hex()}
    return transaction.append(WITHDRAWN, fields | said)


def _standing(ledger: Ledger, visit_id: str, at: tuple[int, int]) -> Record | None:
    """The consent that stands of a visit."""
    told = [one for one in ledger.about(visit_id, (GIVEN, WITHDRAWN), at) if one.fields.get("purpose") == "visitor"]
    return told[-1] if told and told[-1].kind == GIVEN else None


def _person(ledger: Ledger, visit_id: str, at: tuple[int, int], known: str | None) -> str | None:
    """Whose visit it is, by the newest record that says so."""
    told = ledger.about(visit_id, (GIVEN, *DECISION_OF_KIND, CORRECTED), at)
    named = (text_of(record.fields, "person") for record in told)
    return next((person for person in reversed(list(named)) if person is not None), known)
