"""A HOME at whose desk a number was given, and everybody's hands: the node's, the desk's, the privacy officer's."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from edge.clock import Clock
from edge.desk.checkin import Arrival, CheckIn, Registration
from edge.home import Home
from edge.people.contacts import contact_of
from edge.people.phones import number_hmac, parse_phone, reported_hmac
from edge.people.vault import Vault
from edge.rights.claims import Claims
from edge.rights.phone_erasure import PhoneErasures
from edge.rights.send_code import Sender
from sync.node.ledger import Ledger
from tests.edge.kiosk.door import Door

NUMBER = "13800005678"
E164 = "+8613800005678"
ACCOUNT = "acc-" + "0b" * 8


def request() -> str:
    return secrets.token_hex(16)


@dataclass
class Office:
    home: Home
    vault: Vault
    node: Ledger
    desk: Ledger
    door: Door

    def desk_ledger(self) -> Ledger:
        return self.home.open_ledger("desk", Clock())

    def officer(self, sender: Sender | None = None) -> PhoneErasures:
        return PhoneErasures(self.desk_ledger, self.home.database, self.home.keys_database, sender)

    @property
    def claims(self) -> Claims:
        return Claims(self.desk_ledger)

    def check_in(self, number: str = NUMBER, *, crop: bytes | None = None, person: str | None = None) -> list[str]:
        """Somebody comes and gives a number; returns visit, person and contact."""
        visit, person_id = self.door.arrive("return" if person else "first", crop=crop, person=person)
        arrival = Arrival(visit, person_id, round(datetime.now(UTC).timestamp() * 1e6), None, (), (1, 1))
        CheckIn(self.desk_ledger, self.home).register(
            arrival, Registration("phone", parse_phone(number)), request(), ACCOUNT
        )
        contact = contact_of(self.desk.connection, self.vault, visit)
        assert contact is not None
        return [visit, person_id, contact.contact_id]

    def secrets_of(self, contact: str) -> list[bytes]:
        """Bytes that would be left of a phone: its key, its HMACs, its ciphertext, and itself."""
        phone, pepper = parse_phone(NUMBER), self.vault.pepper()
        key = self.vault._safe.key(contact)
        ((sealed,),) = self.desk.connection.execute("SELECT sealed FROM contacts WHERE person_id = ?", (contact,))
        assert key is not None
        hmacs = [number_hmac(pepper, phone), reported_hmac(pepper, phone.reported)]
        return [key, *hmacs, sealed, NUMBER.encode()]

    def shown(self, visit: str) -> bool:
        """Whether the desk's page would show the visit's phone."""
        return contact_of(self.desk.connection, self.vault, visit) is not None
