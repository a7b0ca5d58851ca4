"""A host takes their own registration back for ten minutes: both records stay, and nothing hangs on it any more."""

import re
import secrets
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial

import httpx
import pytest

from edge.clock import Clock, KernelTime, read_kernel
from edge.desk.approvals import Approvals, Change
from edge.desk.checkin import NotNow, Registration
from edge.desk.consents import Consent, ConsentTexts
from edge.desk.undo import UNDO_US, TooLate, undo
from edge.desk.visitor_forms import BOUND_US
from edge.people.vault import opened
from sync.format.records import Record
from sync.format.stamp import Stamp
from sync.node.ledger import Ledger
from sync.verify.verify import verify
from tests.edge.kiosk.conftest import Desk, until_shown
from tests.edge.kiosk.door import Door
from tests.edge.kiosk.test_facts import NUMBER, OTHER, Host, report

ACCOUNT = "acc-li"


@pytest.fixture
def host(desk: Desk, door: Door) -> Host:
    return Host(desk, door)


def taken_back(
    host: Host, visit: str, request: str = "", account: str = ACCOUNT, read: Callable[[], KernelTime] = read_kernel
) -> list[Record]:
    home = host.desk.home
    return undo(
        lambda: home.open_ledger("desk", Clock(read)),
        home,
        host.arrival(visit),
        request or secrets.token_hex(16),
        account,
        read=read,
    )


def later(
    elapsed_us: int, jump_us: int = 0, boot_us: int | None = None, boot_id: str | None = None
) -> Callable[[], KernelTime]:
    """The machine's clocks after a while, its wall clock moved too, or as another boot reads them."""

    def read() -> KernelTime:
        now = read_kernel()
        return replace(
            now,
            wall_us=now.wall_us + elapsed_us + jump_us,
            boot_us=now.boot_us + elapsed_us if boot_us is None else boot_us,
            boot_id=boot_id or now.boot_id,
        )

    return read


def held(host: Host, table: str) -> int:
    with closing(host.desk.home.open_ledger()) as ledger:
        (count,) = ledger.connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count)


def test_an_undone_registration_is_open_again_and_both_records_stay(host: Host, door: Door) -> None:
    visit, person = door.arrive("first", ago_s=60)
    registered = host.register(visit, NUMBER, report(1))
    (record,) = taken_back(host, visit)
    assert record.kind == "visit.checkin"
    assert {name: record.fields[name] for name in ("visit", "person", "state", "reason", "undoes", "account")} == {
        "visit": visit,
        "person": person,
        "state": "open",
        "reason": "undone",
        "undoes": registered.hash.hex(),
        "account": ACCOUNT,
    }
    assert [one.seq for one in door.ledger.records(("visit.checkin",))] == [registered.seq, record.seq]
    assert (held(host, "contacts"), held(host, "contact_visits"), held(host, "code_uses")) == (0, 0, 0)
    with opened(host.desk.home.database, host.desk.home.keys_database) as vault:
        assert vault.sweep_keys() == 0, "the key went with the number"
        assert vault.remembers(person), "the face was not what was registered"
    assert verify(host.desk.home.path).ok


def test_it_can_be_registered_anew_and_a_phone_that_others_gave_stays(host: Host, door: Door) -> None:
    first, visit = door.see(ago_s=600), door.see(ago_s=60)
    host.register(first, NUMBER)
    host.register(visit, NUMBER)
    taken_back(host, visit)
    assert (held(host, "contacts"), held(host, "contact_visits")) == (1, 1)
    again = host.register(visit, OTHER)
    assert again.fields["state"] == "registered"
    assert "earlier" not in again.fields
    assert "dismissed_before" not in again.fields.get("facts", []), "an undo is no dismissal"


def test_the_same_form_twice_undoes_once(host: Host, door: Door) -> None:
    visit, request = door.see(), secrets.token_hex(16)
    host.register(visit)
    assert taken_back(host, visit, request)[0].seq == taken_back(host, visit, request)[0].seq
    with pytest.raises(NotNow):
        taken_back(host, visit)


def test_nobody_undoes_somebody_elses_registration_or_an_old_one(host: Host, door: Door) -> None:
    visit, old = door.see(), door.see()
    host.register(visit)
    with pytest.raises(TooLate):
        taken_back(host, visit, account="acc-wang")
    host.register(old, OTHER)
    assert len(taken_back(host, old, read=later(UNDO_US - 60_000_000))) == 1
    host.register(old, OTHER)
    with pytest.raises(TooLate):
        taken_back(host, old, read=later(UNDO_US + 1))
    assert len(list(door.ledger.records(("visit.checkin",)))) == 4


def test_a_clock_set_back_gives_no_host_their_ten_minutes_again(host: Host, door: Door) -> None:
    visit = door.see()
    host.register(visit)
    days_us = 3 * 86_400_000_000
    with pytest.raises(TooLate):
        taken_back(host, visit, read=later(days_us, jump_us=-days_us))
    assert len(taken_back(host, visit, read=later(60_000_000, jump_us=days_us))) == 1, "nor does one set forward end it"


def test_over_a_restart_every_clock_has_to_say_that_the_ten_minutes_are_not_over(host: Host, door: Door) -> None:
    visit = door.see()
    host.register(visit)
    restarted = partial(later, boot_id="b" * 32)
    for read in (
        restarted(60_000_000, boot_us=UNDO_US),  # it has run for longer, whatever its wall clock says
        restarted(UNDO_US + 1, boot_us=20_000_000),
        restarted(-2 * UNDO_US, boot_us=20_000_000),
    ):
        with pytest.raises(TooLate):
            taken_back(host, visit, read=read)
    assert len(taken_back(host, visit, read=restarted(60_000_000, boot_us=20_000_000))) == 1


def test_over_a_restart_what_surely_is_past_holds_against_a_clock_set_back(host: Host, door: Door) -> None:
    visit = door.see()
    host.register(visit)
    home, writer = host.desk.home, host.desk.home.writer("desk", Clock())

    def tomorrow(before: Stamp | None) -> Stamp:
        stamp = writer.stamp(before)
        return replace(stamp, wall_us=stamp.wall_us + UNDO_US, boot_us=stamp.boot_us + UNDO_US)

    with closing(Ledger(home.database, replace(writer, stamp=tomorrow))) as ledger:
        ledger.append("access.digest", {})  # something was recorded since, before the restart
    with pytest.raises(TooLate):
        taken_back(host, visit, read=later(60_000_000, boot_us=20_000_000, boot_id="b" * 32))


def test_what_somebody_has_asked_to_correct_is_the_auditor_s_to_answer(host: Host, door: Door) -> None:
    visit, home = door.see(), host.desk.home
    registered = host.register(visit)
    approvals = Approvals(lambda: home.open_ledger("desk", Clock()), home.path, "puxi-01")
    at, request = host.arrival(visit).at, secrets.token_hex(16)
    approvals.ask(visit, at, Change(way="code", agent="a-17"), "wrong_source", request, host.desk.li)
    with pytest.raises(TooLate, match="asked for"):
        taken_back(host, visit)
    assert [one.seq for one in door.ledger.records(("visit.checkin",))] == [registered.seq]


def test_companions_closed_with_it_are_open_again_too(host: Host, door: Door) -> None:
    visit, friend = door.see(ago_s=60), door.see(ago_s=59)
    request = secrets.token_hex(16)
    host.checkin.register(
        host.arrival(visit), Registration("walk_in"), request, ACCOUNT, companions=[host.arrival(friend)]
    )
    records = taken_back(host, visit)
    assert [record.fields["visit"] for record in records] == [visit, friend]
    assert {record.fields["state"] for record in records} == {"open"}


def test_a_consent_given_with_the_registration_is_withdrawn_with_it_and_the_face_is_forgotten(
    host: Host, door: Door
) -> None:
    visit, person = door.arrive("first", ago_s=60)
    consent = Consent(ConsentTexts("", timedelta(days=180)).text("visitor", "zh"))
    host.checkin.register(host.arrival(visit), Registration("walk_in", consent=consent), secrets.token_hex(16), ACCOUNT)
    checkin, withdrawn = taken_back(host, visit)
    assert (checkin.fields["reason"], withdrawn.kind) == ("undone", "consent.withdrawn")
    assert withdrawn.fields["person"] == person
    with opened(host.desk.home.database, host.desk.home.keys_database) as vault:
        assert not vault.remembers(person)
        assert vault.of_visits.crop(visit) is None
        assert vault.sweep_keys() == 0
    assert verify(host.desk.home.path).ok


def test_a_consent_bound_to_somebody_who_had_consented_before_takes_only_that_visit_with_it(
    host: Host, door: Door
) -> None:
    home, texts = host.desk.home, ConsentTexts("", timedelta(days=180))
    first, person = door.arrive("first", ago_s=7200)
    own = Consent(texts.text("visitor", "zh"))
    host.checkin.register(host.arrival(first), Registration("walk_in", consent=own), secrets.token_hex(16), ACCOUNT)
    with opened(home.database, home.keys_database) as vault:
        since_us, templates = vault.consented_us(person), held(host, "templates")
    visit, _ = door.arrive("return", person=person, similarity=0.8, crop=b"another picture")
    wrong = Consent(texts.text("visitor", "zh"), confirmed="desk")
    host.checkin.register(host.arrival(visit), Registration("walk_in", consent=wrong), secrets.token_hex(16), ACCOUNT)
    _, withdrawn = taken_back(host, visit)
    earlier, _ = door.ledger.records(("consent.given",))
    assert (withdrawn.kind, withdrawn.fields["reason"]) == ("consent.withdrawn", "undone")
    assert withdrawn.fields["earlier"] == earlier.hash.hex()
    with opened(home.database, home.keys_database) as vault:
        assert vault.remembers(person), "nobody's face goes because somebody else's form was bound to it"
        assert vault.consented_us(person) == earlier.stamp.wall_us
        assert abs(earlier.stamp.wall_us - (since_us or 0)) < 10_000_000
        assert vault.of_visits.crop(visit) is None
        assert vault.of_visits.crop(first) is not None
    assert held(host, "templates") == templates
    assert verify(home.path).ok


def test_a_form_is_kept_as_long_as_its_binding_can_be_undone() -> None:
    assert BOUND_US == UNDO_US


def test_a_consent_of_an_earlier_visit_outlives_an_undo(host: Host, door: Door) -> None:
    first, person = door.arrive("first", ago_s=7200)
    consent = Consent(ConsentTexts("", timedelta(days=180)).text("visitor", "zh"))
    host.checkin.register(host.arrival(first), Registration("walk_in", consent=consent), secrets.token_hex(16), ACCOUNT)
    visit, _ = door.arrive("return", person=person, similarity=0.8)
    host.register(visit, NUMBER)
    assert [record.kind for record in taken_back(host, visit)] == ["visit.checkin"]
    with opened(host.desk.home.database, host.desk.home.keys_database) as vault:
        assert vault.consented_us(person) is not None


def test_a_power_cut_in_the_middle_of_an_undo_leaves_the_registration_whole(host: Host, door: Door) -> None:
    visit = door.see()
    host.register(visit)
    home, writer = host.desk.home, host.desk.home.writer("desk", Clock())

    def cut(_before: Stamp | None) -> Stamp:
        raise OSError("power cut")

    with pytest.raises(OSError, match="power cut"):
        undo(lambda: Ledger(home.database, replace(writer, stamp=cut)), home, host.arrival(visit), "0" * 32, ACCOUNT)
    assert (held(host, "contacts"), held(host, "contact_visits")) == (1, 1)
    assert len(taken_back(host, visit)) == 1


def test_the_page_offers_the_host_an_undo_and_shows_it(door: Door, visitor: Callable[..., httpx.Client]) -> None:
    visit, client = door.see(), visitor("li")
    until_shown(client, visit)
    page = f"/visits/{visit}/checkin"

    def sent() -> dict[str, str]:
        found = re.findall(r'name="(csrf_token|request_id)" value="([^"]+)"', client.get(page).text)
        return dict(found)

    html = client.post(page, data={**sent(), "way": "phone", "phone": NUMBER}, follow_redirects=True).text
    assert f'action="/visits/{visit}/undo"' in html
    other = visitor("wang")
    assert f'action="/visits/{visit}/undo"' not in other.get(page).text
    html = client.post(f"/visits/{visit}/undo", data=sent(), follow_redirects=True).text
    assert "登记已撤销" in html
    assert "按手机号登记" in html, "open again"
    assert "138****5678" not in html
    late = other.post(
        f"/visits/{visit}/undo",
        data={**dict(re.findall(r'name="(csrf_token|request_id)" value="([^"]+)"', other.get(page).text))},
    )
    assert late.status_code == 409
