"""A phone is erased by the privacy officer: proven by a code, restricted while disputed, gone from every byte."""

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge import EdgeError
from edge.clock import wall_us
from edge.desk.checkin import Arrival, CheckIn, Registration
from edge.desk.undo import undo
from edge.orders import Orders
from edge.people.phones import parse_phone
from edge.people.restricted import all_restricted, number_of
from edge.rights.claims import disputed
from edge.rights.phone_erasure import CODE_LIFE_S, MOST_CODES, MOST_FAILED, MOST_TRIES, EnoughToday, NotProven
from edge.rights.receipts import receipt
from edge.rights.retention import confirm_reached, erase, expire
from edge.rights.send_code import Sender
from sync.central.keys import create_keys, key_path, load_unsealing
from sync.format.notices import Erase
from sync.format.sidecar import Opened
from sync.format.signing import load_key_file
from sync.node import sidecars
from sync.node.ledger import Ledger
from sync.node.trust import Trust, join
from sync.verify.verify import verify
from tests.edge.rights.office import ACCOUNT, E164, NUMBER, Office, request
from tests.edge.test_orders import Central

FindBytes = Callable[[Path, bytes], list[str]]


@pytest.fixture
def outbox(tmp_path: Path) -> tuple[Path, Sender]:
    """A command that sends: it writes what it was given into a file."""
    file = tmp_path / "sent.json"
    program = f"import sys; open({str(file)!r}, 'w').write(sys.stdin.read())"
    return file, Sender((sys.executable, "-c", program), "puxi-01")


def code_in(file: Path) -> str:
    sent = json.loads(file.read_text())
    assert sent["phone"] == E164
    return str(sent["text"]).rsplit(": ", 1)[1]


def states(ledger: Ledger, contact: str) -> list[str]:
    kinds = ("consent.withdrawn", "person.erased")
    return [one.fields.get("state", "erased") for one in ledger.naming(contact, kinds)]


def test_a_phone_goes_only_when_a_code_sent_to_it_comes_back_and_then_from_every_byte(
    office: Office, outbox: tuple[Path, Sender], find_bytes: FindBytes
) -> None:
    file, sender = outbox
    visit, person, contact = office.check_in()
    left = office.secrets_of(contact)
    assert all(find_bytes(office.home.path, one) for one in left[:-1]), "the search finds what is there"
    assert erase(office.desk, office.vault, person, "request", None).complete
    assert office.shown(visit), "only the face was to go at the desk"
    officer = office.officer(sender)
    officer.ask(contact, "request", request(), ACCOUNT)
    with pytest.raises(NotProven, match="none"):
        officer.prove(contact, "000000", request(), ACCOUNT)
    sent = officer.send(contact, request(), ACCOUNT)
    assert (sent.number, sent.code) == (None, None), "nobody here sees a code that a command sends"
    code = code_in(file)
    wrong = f"{(int(code) + 1) % 10**6:06}"
    with pytest.raises(NotProven, match="wrong"):
        officer.prove(contact, wrong, request(), ACCOUNT)
    assert office.shown(visit)
    form = request()
    record = officer.prove(contact, code, form, ACCOUNT)
    assert (record.kind, record.fields["person"], record.fields["reached"]) == ("person.erased", contact, [contact])
    assert officer.prove(contact, code, form, ACCOUNT).hash == record.hash, "the same form twice is one record"
    assert not office.shown(visit)
    assert [one for one in left if find_bytes(office.home.path, one)] == []
    assert states(office.desk, contact) == ["asked", "proven", "erased"]
    assert [(one.stage, one.masked) for one in officer.requests()] == [("erased", None)]
    verdict = verify(office.home.path)
    assert verdict.ok, verdict.why


def test_a_code_is_good_for_ten_minutes_and_five_tries(
    office: Office, outbox: tuple[Path, Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, sender = outbox
    _, _, contact = office.check_in()
    officer = office.officer(sender)
    officer.ask(contact, "request", request(), ACCOUNT)
    officer.send(contact, request(), ACCOUNT)
    code = code_in(file)
    wrong = f"{(int(code) + 1) % 10**6:06}"
    for _ in range(MOST_TRIES):
        with pytest.raises(NotProven, match="wrong"):
            officer.prove(contact, wrong, request(), ACCOUNT)
    with pytest.raises(NotProven, match="tries"):
        officer.prove(contact, code, request(), ACCOUNT)
    with pytest.raises(EnoughToday):
        officer.send(contact, request(), ACCOUNT)
    tomorrow_us = wall_us() + 24 * 3600 * 1_000_000
    monkeypatch.setattr("edge.rights.phone_erasure.wall_us", lambda: tomorrow_us)
    officer.send(contact, request(), ACCOUNT)
    monkeypatch.setattr("edge.rights.phone_erasure.CODE_LIFE_S", -CODE_LIFE_S)
    with pytest.raises(NotProven, match="late"):
        officer.prove(contact, code_in(file), request(), ACCOUNT)
    assert office.vault.remembers(contact)


def test_three_codes_a_day_go_to_one_phone_and_share_its_five_tries(
    office: Office, outbox: tuple[Path, Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, sender = outbox
    _, _, contact = office.check_in()
    officer = office.officer(sender)
    officer.ask(contact, "request", request(), ACCOUNT)
    for _ in range(MOST_CODES):
        officer.send(contact, request(), ACCOUNT)
        with pytest.raises(NotProven, match="wrong"):
            officer.prove(contact, f"{(int(code_in(file)) + 1) % 10**6:06}", request(), ACCOUNT)
    with pytest.raises(EnoughToday, match="3 codes and 3 tries"):
        officer.send(contact, request(), ACCOUNT)
    for _ in range(MOST_TRIES - MOST_CODES):
        with pytest.raises(NotProven, match="wrong"):
            officer.prove(contact, f"{(int(code_in(file)) + 1) % 10**6:06}", request(), ACCOUNT)
    with pytest.raises(NotProven, match="tries"):
        officer.prove(contact, code_in(file), request(), ACCOUNT)
    tomorrow_us = wall_us() + 24 * 3600 * 1_000_000
    monkeypatch.setattr("edge.rights.phone_erasure.wall_us", lambda: tomorrow_us)
    officer.send(contact, request(), ACCOUNT)
    assert officer.prove(contact, code_in(file), request(), ACCOUNT).kind == "person.erased"


def test_a_claim_that_is_opened_while_the_phone_is_being_erased_restricts_it(
    office: Office, outbox: tuple[Path, Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, sender = outbox
    visit, _, contact = office.check_in()
    officer = office.officer(sender)
    officer.ask(contact, "request", request(), ACCOUNT)
    officer.send(contact, request(), ACCOUNT)
    asked: list[bool] = []

    def first_then_claimed(connection: sqlite3.Connection, contact_id: str) -> bool:
        asked.append(disputed(connection, contact_id))
        if len(asked) == 1:
            office.claims.open(visit, "commission", request(), ACCOUNT)
        return asked[-1]

    monkeypatch.setattr("edge.rights.phone_erasure.disputed", first_then_claimed)
    record = officer.prove(contact, code_in(file), request(), ACCOUNT)
    assert (record.kind, record.fields["state"], asked[0]) == ("consent.withdrawn", "restricted", False)
    assert [one.contact_id for one in all_restricted(office.desk.connection)] == [contact]


def test_without_a_command_the_officer_sees_number_and_code_and_that_is_on_record(office: Office) -> None:
    _, _, contact = office.check_in()
    officer = office.officer()
    officer.ask(contact, "request", request(), ACCOUNT)
    form = request()
    sent = officer.send(contact, form, ACCOUNT)
    assert sent.number == E164
    assert sent.code is not None
    (made,) = office.desk.naming(contact, ("export.made",))
    assert {key: made.fields[key] for key in ("what", "person", "reason", "request", "account")} == {
        "what": "unmask",
        "person": contact,
        "reason": "erasure",
        "request": form,
        "account": ACCOUNT,
    }
    officer.prove(contact, sent.code, request(), ACCOUNT)
    proven = [one for one in office.desk.naming(contact, ("consent.withdrawn",)) if one.fields["state"] == "proven"]
    assert proven[0].fields["proof"] == "by_hand"


def test_a_command_that_fails_says_so_and_nothing_is_erased(office: Office) -> None:
    _, _, contact = office.check_in()
    officer = office.officer(Sender((sys.executable, "-c", "raise SystemExit(3)"), "puxi-01"))
    officer.ask(contact, "request", request(), ACCOUNT)
    with pytest.raises(EdgeError, match="exit 3"):
        officer.send(contact, request(), ACCOUNT)
    with pytest.raises(EdgeError, match="No such file"):
        Sender(("/nowhere/sms",), "puxi-01").send(E164, "123456")
    assert office.vault.remembers(contact)


def test_a_code_that_could_not_be_sent_is_none_of_the_three_and_failing_has_its_end_too(
    office: Office, outbox: tuple[Path, Sender]
) -> None:
    _, sender = outbox
    broken = Sender((sys.executable, "-c", "raise SystemExit(3)"), "puxi-01")
    _, _, contact = office.check_in()
    office.officer(sender).ask(contact, "request", request(), ACCOUNT)
    for _ in range(MOST_CODES):
        with pytest.raises(EdgeError, match="exit 3"):
            office.officer(broken).send(contact, request(), ACCOUNT)
    for _ in range(MOST_CODES):
        office.officer(sender).send(contact, request(), ACCOUNT)
    with pytest.raises(EnoughToday, match="3 codes"):
        office.officer(sender).send(contact, request(), ACCOUNT)
    _, _, another = office.check_in("13900001234")
    office.officer(broken).ask(another, "request", request(), ACCOUNT)
    for _ in range(MOST_FAILED):
        with pytest.raises(EdgeError, match="exit 3"):
            office.officer(broken).send(another, request(), ACCOUNT)
    with pytest.raises(EnoughToday, match="could not be sent"):
        office.officer(broken).send(another, request(), ACCOUNT)


def test_a_command_that_hangs_may_have_sent_its_code_and_counts(
    office: Office, outbox: tuple[Path, Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, sender = outbox
    monkeypatch.setattr("edge.rights.send_code.TIMEOUT_S", 0.2)
    hanging = office.officer(Sender((sys.executable, "-c", "import time; time.sleep(60)"), "puxi-01"))
    _, _, contact = office.check_in()
    hanging.ask(contact, "request", request(), ACCOUNT)
    for _ in range(MOST_CODES):
        with pytest.raises(EdgeError, match="did not end"):
            hanging.send(contact, request(), ACCOUNT)
    with pytest.raises(EnoughToday, match="3 codes"):
        office.officer(sender).send(contact, request(), ACCOUNT)


def test_while_a_visit_is_disputed_its_phone_is_restricted_and_then_erased(
    office: Office, find_bytes: FindBytes
) -> None:
    visit, _, contact = office.check_in()
    left = office.secrets_of(contact)
    office.claims.open(visit, "commission", request(), ACCOUNT)
    officer = office.officer()
    officer.ask(contact, "request", request(), ACCOUNT)
    code = officer.send(contact, request(), ACCOUNT).code
    assert code is not None
    restricting = officer.prove(contact, code, request(), ACCOUNT)
    assert (restricting.kind, restricting.fields["state"]) == ("consent.withdrawn", "restricted")
    # not shown, not found by the number or the digits that agents report, not sealed again; and still there
    assert not office.shown(visit)
    assert [find_bytes(office.home.path, digest) for digest in left[1:3]] == [[], []]
    assert number_of(office.desk.connection, office.vault, contact) == E164
    assert [one.contact_id for one in all_restricted(office.desk.connection)] == [contact]
    assert [one.stage for one in officer.requests()] == ["restricted"]
    with pytest.raises(EdgeError, match="disputed"):
        erase(office.desk, office.vault, contact, "request", None)
    # whoever comes again with the same number is somebody new to the desk
    again, _, new_contact = office.check_in()
    assert new_contact != contact
    assert office.shown(again)
    office.claims.close(visit, request(), ACCOUNT)
    (record,) = officer.settle_all(ACCOUNT)
    assert (record.kind, record.fields["person"]) == ("person.erased", contact)
    assert states(office.desk, contact) == ["asked", "proven", "restricted", "erased"]
    key, sealed = left[0], left[3]
    assert [find_bytes(office.home.path, one) for one in (key, sealed)] == [[], []]
    assert office.shown(again)
    assert verify(office.home.path).ok


def test_a_disputed_phone_whose_time_is_up_is_restricted_until_the_claim_is_closed(office: Office) -> None:
    visit, _, contact = office.check_in()
    office.claims.open(visit, "double_report", request(), ACCOUNT)
    policy = office.home.policy(office.home.settings())
    later = datetime.now(UTC) + policy.phones + timedelta(days=1)
    expire(office.node, office.vault, policy, later)
    assert office.vault.remembers(contact)
    assert not office.shown(visit)
    office.claims.close(visit, request(), ACCOUNT)
    expire(office.node, office.vault, policy, later)
    assert not office.vault.remembers(contact)
    assert all_restricted(office.desk.connection) == []
    bases = [one.fields["basis"] for one in office.node.records(("retention.run",)) if contact in one.fields["expired"]]
    assert bases == ["phone"]


def test_a_claim_is_marked_once_and_the_same_form_gives_the_same_record(office: Office) -> None:
    visit, _, _ = office.check_in()
    form = request()
    record = office.claims.open(visit, "commission", form, ACCOUNT)
    assert office.claims.open(visit, "commission", form, ACCOUNT).hash == record.hash
    with pytest.raises(EdgeError, match="already"):
        office.claims.open(visit, "identity", request(), ACCOUNT)
    with pytest.raises(EdgeError, match="one of commission"):
        office.claims.open(visit, "because", request(), ACCOUNT)
    office.claims.close(visit, request(), ACCOUNT)
    with pytest.raises(EdgeError, match="no claim is open"):
        office.claims.close(visit, request(), ACCOUNT)
    assert "decision" not in record.fields, "it changes no decision"


def test_while_a_reader_holds_the_key_the_receipt_is_pending_and_the_node_completes_it(
    office: Office, find_bytes: FindBytes
) -> None:
    _, person, _ = office.check_in()
    key = office.vault._safe.key(person)
    assert key is not None
    office.vault._safe.keys.connection.execute(
        "PRAGMA busy_timeout = 50"
    )  # it would wait five seconds for the reader each time
    with closing(sqlite3.connect(office.home.keys_database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM person_keys").fetchone()
        done = erase(office.desk, office.vault, person, "request", None)
        at = done.record.epoch, done.record.seq
        assert not done.complete
        assert find_bytes(office.home.path, key) != [], "the reader holds it in the log"
        pending = receipt(office.desk, *at, joined=False)
        assert pending is not None
        assert not pending.complete
        assert confirm_reached(office.node, office.vault) == 0
        reader.execute("COMMIT")
    assert confirm_reached(office.node, office.vault) == 1
    assert find_bytes(office.home.path, key) == []
    complete = receipt(office.desk, *at, joined=False)
    assert complete is not None
    assert complete.complete
    (said,) = [one for one in office.node.records(("retention.run",)) if one.fields["basis"] == "reached"]
    assert said.fields["reached"] == [person]
    assert confirm_reached(office.node, office.vault) == 0


def test_with_a_central_it_is_complete_only_when_central_says_that_all_have_confirmed(
    office: Office, tmp_path: Path
) -> None:
    central = Central(tmp_path / "central", office.home)
    _, person, contact = office.check_in()
    done = erase(office.desk, office.vault, contact, "request", None)
    at = done.record.epoch, done.record.seq
    pending = receipt(office.desk, *at, joined=True)
    assert pending is not None
    assert (pending.reached, pending.held, pending.others, pending.complete) == (True, False, None, False)
    central.say(Erase(contact, "request", 2))
    assert Trust(office.home.path).erasures() == [], "the word back orders nothing"
    confirmed = receipt(office.desk, *at, joined=True)
    assert confirmed is not None
    assert confirmed.others == 2
    assert not confirmed.complete, "central has acknowledged nothing yet"
    assert receipt(office.desk, 1, 1, joined=True) is None
    assert office.vault.remembers(person)


def test_centrals_order_to_erase_a_disputed_phone_waits_restricted_and_stays_open(
    office: Office, tmp_path: Path
) -> None:
    central = Central(tmp_path / "central", office.home)
    visit, _, contact = office.check_in()
    office.claims.open(visit, "commission", request(), ACCOUNT)
    central.say(Erase(contact, "request"))
    orders = Orders(office.home, office.home.settings())
    assert orders.erase(office.node, office.vault, datetime.now(UTC)) == 0
    assert not office.shown(visit)
    assert len(Trust(office.home.path).erasures()) == 1
    office.claims.close(visit, request(), ACCOUNT)
    again = Orders(office.home, office.home.settings())
    assert again.erase(office.node, office.vault, datetime.now(UTC)) == 1
    assert Trust(office.home.path).erasures() == []
    run = office.node.last_of("retention.run")
    assert run is not None
    assert (run.fields["expired"], run.fields["reached"]) == ([contact], [contact])


def test_the_running_node_seals_each_phone_to_central_once_and_drops_it_with_the_erasure(
    office: Office, tmp_path: Path
) -> None:
    visit, _, contact = office.check_in()
    assert Orders(office.home, office.home.settings()).seal_phones(office.node, office.vault) == 0, "no central"
    Central(tmp_path / "central", office.home)
    orders = Orders(office.home, office.home.settings())
    assert orders.seal_phones(office.node, office.vault) == 1
    assert orders.seal_phones(office.node, office.vault) == 0
    (made,) = sidecars.waiting(office.node.connection, (1, 10_000))
    record = office.node.record(made.epoch, made.seq)
    assert record is not None
    assert (record.kind, record.fields["visit"], record.hash) == ("visit.checkin", visit, made.record)
    assert Opened.open(made.sealed, load_unsealing(tmp_path / "central", made.seal_key)).e164 == E164
    assert made.contact == contact
    erase(office.desk, office.vault, contact, "request", None)
    assert sidecars.waiting(office.node.connection, (1, 10_000)) == []


def test_a_central_without_a_sealing_key_is_sent_no_phone(office: Office, tmp_path: Path) -> None:
    office.check_in()
    folder = tmp_path / "old"
    older = replace(create_keys(folder, "hq"), seal=None)
    (folder / "central.pub").write_text(older.text(load_key_file(key_path(folder, "root"))))
    join(office.home.path, folder / "central.pub")
    assert Orders(office.home, office.home.settings()).seal_phones(office.node, office.vault) == 0
    assert sidecars.waiting(office.node.connection, (1, 10_000)) == []


def test_a_registration_taken_back_takes_its_sealed_phone_back_and_another_is_sealed_anew(
    office: Office, tmp_path: Path
) -> None:
    visit, person, contact = office.check_in()
    Central(tmp_path / "central", office.home)
    orders = Orders(office.home, office.home.settings())
    orders.seal_phones(office.node, office.vault)
    arrival = Arrival(visit, person, round(datetime.now(UTC).timestamp() * 1e6), None, (), (1, 1))
    undo(office.desk_ledger, office.home, arrival, request(), ACCOUNT)
    assert not office.vault.remembers(contact)
    assert sidecars.waiting(office.node.connection, (1, 10_000)) == []
    check_in = CheckIn(office.desk_ledger, office.home)
    check_in.register(arrival, Registration("phone", parse_phone(NUMBER)), request(), ACCOUNT)
    assert orders.seal_phones(office.node, office.vault) == 1
