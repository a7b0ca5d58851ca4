"""An erasure goes all the way: from one node to central, from there to the other that knows the number, and back."""

import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from edge.clock import Clock, wall_us
from edge.desk.checkin import Arrival
from edge.desk.consents import Consent, ConsentTexts, forget_face, give
from edge.home import Home, create_home
from edge.orders import Orders
from edge.people.contacts import contact_of
from edge.people.pepper import take_pepper, write_pepper
from edge.people.vault import opened
from edge.rights.receipts import newest_receipts, receipt
from edge.rights.retention import confirm_reached, erase
from edge.settings import new_config, set_broker
from sync.central.enrol import enrol
from sync.format.records import Record
from sync.node.trust import join
from sync.node.uplink_thread import UplinkThread
from sync.transport.broker import mosquitto
from sync.transport.session import parse_uplink
from sync.verify.verify import verify
from tests.edge.kiosk.door import PACK, Door, blank_face
from tests.edge.rights.office import ACCOUNT, NUMBER, Office, request
from tests.sync.broker_process import BrokerProcess
from tests.sync.uplink_site import Central, free_port


class Node:
    """A HOME that has joined, its uplink, and what its loop does of a second for people's rights."""

    def __init__(self, home: Home, central: Central, url: str, stack: ExitStack) -> None:
        join(home.path, central.public)
        enrol(central.directory, home.node_pub)
        set_broker(home.config, url)
        vault = stack.enter_context(opened(home.database, home.keys_database))
        node, desk, door = home.open_ledger("node", Clock()), home.open_ledger("desk", Clock()), Door(home)
        for each in (node, desk, door):
            stack.callback(each.close)
        self.office = Office(home, vault, node, desk, door)
        self._orders = Orders(home, home.settings())
        uplink = UplinkThread(home.path, home.writer("node", Clock()), parse_uplink(url), random.Random(1))
        uplink.start()
        stack.callback(uplink.stop)

    def beat(self) -> None:
        self._orders.erase(self.office.node, self.office.vault, datetime.now(UTC))
        self._orders.seal_phones(self.office.node, self.office.vault)
        confirm_reached(self.office.node, self.office.vault)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Central, list[Node]]]:
    broker = BrokerProcess(free_port(), "mosquitto" if mosquitto() else "amqtt")
    with ExitStack() as stack:
        broker.start()
        stack.callback(broker.stop)
        central = Central(tmp_path / "central")
        central.start(broker.url)
        stack.callback(central.stop)
        made = []
        for site in ("puxi-01", "pudong-02"):
            capture = {"mode": "ephemeral", "legal_basis": "test"}
            config = new_config(site=site, node=f"{site}-a", place={"datum": "wgs84"}, capture=capture)
            made.append(Node(create_home(tmp_path / site, config, None), central, broker.url, stack))
        yield central, made


def share_pepper(one: Node, two: Node, folder: Path) -> None:
    write_pepper(one.office.vault, folder / "pepper.key")
    take_pepper(two.office.desk, two.office.vault, two.office.home.keys_database, folder / "pepper.key")


def held(central: Central) -> int:
    with central.store() as store:
        return store.sidecar_count()


def prove_phone(office: Office, visit: str) -> Record:
    """The privacy officer sends a code to the phone of a visit, and types what came back."""
    contact = contact_of(office.desk.connection, office.vault, visit)
    assert contact is not None
    officer = office.officer()
    officer.ask(contact.contact_id, "consent_withdrawn", request(), ACCOUNT)
    code = officer.send(contact.contact_id, request(), ACCOUNT).code
    assert code is not None
    return officer.prove(contact.contact_id, code, request(), ACCOUNT)


def beat_until(nodes: list[Node], true: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline_s, what
        for node in nodes:
            node.beat()
        time.sleep(0.1)


def consented(office: Office, number: str = NUMBER) -> tuple[Arrival, str]:
    """Somebody comes, gives a number and agrees to be recognised; returns the arrival and the person."""
    person = f"p-{secrets.token_hex(10)}"
    office.vault.create_key(person)
    with office.node.transaction() as transaction:
        vector = np.eye(1, 128, dtype=np.float32)[0]
        office.vault.add_person(transaction.connection, person, PACK, vector, datetime.now(UTC), True)
    visit, _, _ = office.check_in(number, person=person)
    agree(office, visit, person)
    return Arrival(visit, person, wall_us(), None, (), (1, 1)), person


def agree(office: Office, visit: str, person: str) -> None:
    with office.desk.transaction() as transaction:
        given = give(
            Consent(ConsentTexts("Hengyuan", timedelta(days=180)).text("visitor", "zh")),
            office.desk,
            office.vault,
            transaction,
            visit_id=visit,
            at=(1, 1),
            person_id=person,
            account_id=ACCOUNT,
            request=request(),
            now_us=wall_us(),
        )
    assert given is not None
    assert given[1] == person


def take_back(office: Office, arrival: Arrival) -> Record:
    return forget_face(
        office.desk_ledger,
        office.home.database,
        office.home.keys_database,
        visit_id=arrival.visit_id,
        at=arrival.at,
        person_id=arrival.person_id,
        because="withdrawn",
        request=request(),
        account_id=ACCOUNT,
    ).record


def test_who_gives_a_rivals_number_and_takes_consent_back_erases_nobody_at_the_other_site(
    nodes: tuple[Central, list[Node]], tmp_path: Path
) -> None:
    central, (one, two) = nodes
    share_pepper(one, two, tmp_path)
    rival, _ = consented(one.office)
    _, victim = consented(two.office)
    beat_until([one, two], lambda: held(central) == 2, "central has the sealed phones")
    taken = take_back(one.office, rival)

    def answered() -> bool:
        found = receipt(one.office.desk, taken.epoch, taken.seq, joined=True)
        return found is not None and found.complete

    beat_until([one, two], answered, "central has answered")
    with central.store() as store:
        assert [row.body["person"] for row in store.notices("pudong-02-a") if row.kind == "erase"] == []
    assert two.office.vault.remembers(victim)
    assert not one.office.vault.remembers(str(taken.fields["person"])), "here it is gone at once"


def test_a_face_taken_back_and_its_phone_proven_are_gone_at_the_other_site_which_spares_one_agreed_to_anew(
    nodes: tuple[Central, list[Node]], tmp_path: Path
) -> None:
    central, (one, two) = nodes
    share_pepper(one, two, tmp_path)
    here, _ = consented(one.office)
    _, theirs = consented(two.office)
    wang, _ = consented(one.office, "13911112222")
    there, anew = consented(two.office, "13911112222")
    _, stranger = consented(two.office, "13622223333")
    beat_until([one, two], lambda: held(central) == 5, "central has the sealed phones")
    withdrawn = [take_back(one.office, here), take_back(one.office, wang)]
    agree(two.office, there.visit_id, anew)  # before the other site has heard of it
    erased = [prove_phone(one.office, here.visit_id), prove_phone(one.office, wang.visit_id)]
    assert [record.fields["proof"] for record in erased] == ["by_hand", "by_hand"]

    def complete() -> bool:
        found = [receipt(one.office.desk, at.epoch, at.seq, joined=True) for at in withdrawn + erased]
        return all(one is not None and one.complete for one in found)

    assert not complete()
    beat_until([one, two], complete, "the receipts are complete")
    vault = two.office.vault
    assert not vault.remembers(theirs), "it rested on the consent that was taken back"
    assert vault.remembers(anew), "agreed to after that"
    assert vault.remembers(stranger)
    assert held(central) == 1, "the stranger's"
    (spared,) = two.office.node.naming("kept", ("retention.run",))
    assert spared.fields["kept"] == [anew]
    assert sum(r.withdrawn for r in newest_receipts(one.office.desk, 5, joined=True)) == 2
    for place in (one.office.home.path, two.office.home.path, central.directory):
        verdict = verify(place)
        assert verdict.ok, verdict.why


def test_a_phone_erased_at_one_node_is_erased_at_central_and_at_the_other_and_the_receipt_completes(
    nodes: tuple[Central, list[Node]], tmp_path: Path
) -> None:
    central, (one, two) = nodes
    share_pepper(one, two, tmp_path)
    _, _, contact = one.office.check_in(crop=blank_face())
    _, _, other = two.office.check_in(crop=blank_face())
    _, _, stranger = two.office.check_in("13911112222")

    beat_until([one, two], lambda: held(central) == 3, "central has the sealed phones")
    done = erase(one.office.desk, one.office.vault, contact, "request", None)
    at = done.record.epoch, done.record.seq

    def complete() -> bool:
        found = receipt(one.office.desk, *at, joined=True)
        assert found is not None
        assert not (found.complete and two.office.vault.remembers(other)), "complete before the other has forgotten"
        return found.complete

    assert not complete()
    beat_until([one, two], complete, "the receipt is complete")
    found = receipt(one.office.desk, *at, joined=True)
    assert found is not None
    assert found.others == 1
    assert held(central) == 1
    assert two.office.vault.remembers(stranger), "nobody else was harmed"
    for place in (one.office.home.path, two.office.home.path, central.directory):
        verdict = verify(place)
        assert verdict.ok, verdict.why
