"""What visitors take back from the phone that they sent it with: their consent, and by a wish their number."""

import hashlib
from contextlib import closing
from dataclasses import dataclass

from edge.clock import Clock
from edge.desk.consents import GIVEN, WITHDRAWN, forget_face
from edge.home import Home
from edge.people.contacts import contact_of
from edge.people.vault import opened
from edge.rights.phone_erasure import PhoneErasures
from sync.format.records import Record
from sync.format.source import CHECKED_IN
from sync.format.visit_fields import text_of
from sync.node.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Standing:
    """What a form has become. record: the registration that carries it, None where none stands.

    consented: the consent given with it stands; withdrawn: the record by which one was taken back. phone: the number is
    kept; asked: somebody wants it erased.
    """

    record: Record | None = None
    consented: bool = False
    withdrawn: Record | None = None
    phone: bool = False
    asked: bool = False


class TakingBack:
    """Of one HOME, under the desk key; each call opens the databases for its own thread."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._clock = Clock()
        self._phones = PhoneErasures(self._desk_ledger, home.database, home.keys_database, None)

    def standing(self, form_id: str, visit_id: str) -> Standing:
        """How it stands with a form that was bound to a visit."""
        home, kinds = self._home, (CHECKED_IN, GIVEN, WITHDRAWN)
        with closing(home.open_ledger()) as ledger, opened(home.database, home.keys_database) as vault:
            told = ledger.about(visit_id, kinds)
            checkins = [one for one in told if one.kind == CHECKED_IN]
            consents = [one for one in told if one.kind != CHECKED_IN]
            if not checkins or checkins[-1].fields.get("form") != form_id:
                return Standing()
            newest = consents[-1] if consents else None
            contact = contact_of(ledger.connection, vault, visit_id)
            asked = contact is not None and any(
                one.fields.get("state") == "asked"
                for one in ledger.about(contact.contact_id, (WITHDRAWN,), key="person")
            )
        return Standing(
            checkins[-1],
            newest is not None
            and newest.kind == GIVEN
            and any(one.fields.get("request") == checkins[-1].fields.get("request") for one in consents),
            newest if newest is not None and newest.kind == WITHDRAWN else None,
            contact is not None,
            asked,
        )

    def face(self, checkin: Record) -> None:
        """Take back the consent that came with a registration; face and pictures are gone at once.

        Raises NothingToForget, AgreedBefore, KeyNotInForce.
        """
        forget_face(
            self._desk_ledger,
            self._home.database,
            self._home.keys_database,
            visit_id=str(checkin.fields["visit"]),
            at=(0, 0),
            person_id=text_of(checkin.fields, "person"),
            because="withdrawn",
            request=_request("face", checkin),
            account_id=None,
            given_with=text_of(checkin.fields, "request"),
        )

    def phone(self, checkin: Record) -> None:
        """Ask the privacy officer to erase the number of a registration; raises EdgeError, KeyNotInForce."""
        home = self._home
        with closing(home.open_ledger()) as ledger, opened(home.database, home.keys_database) as vault:
            contact = contact_of(ledger.connection, vault, str(checkin.fields["visit"]))
        if contact is not None:
            self._phones.ask(contact.contact_id, "request", _request("phone", checkin), None)

    def _desk_ledger(self) -> Ledger:
        return self._home.open_ledger("desk", self._clock)


def _request(what: str, checkin: Record) -> str:
    """The same wish twice is one record; after another registration it is another wish."""
    return hashlib.sha256(f"{what} {checkin.hash.hex()}".encode()).hexdigest()[:32]
