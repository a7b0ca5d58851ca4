"""The capture policy is a record whenever it changes, and only then."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

from edge.clock import Clock
from edge.consent import CapturePolicy, Horizon, declare
from edge.home import Home
from edge.settings import Settings, parse_settings
from sync.format import canonical
from sync.format.signing import digest

BASE = '[site]\nid = "s"\n[node]\nid = "n"\n'
OPINION = "counsel's opinion of 2026-07-01"


def settings(capture: str = "", retention: str = "") -> Settings:
    return parse_settings(f"{BASE}[capture]\n{capture}\n[retention]\n{retention}\n", "x")


def ephemeral(hours: int = 24, basis: str = OPINION) -> CapturePolicy:
    return CapturePolicy.of(settings(f'mode = "ephemeral"\nlegal_basis = "{basis}"', f"unconsented_h = {hours}"))


def declared(home: Home) -> list[dict[str, object]]:
    ledger = home.open_ledger()
    found = [
        {key: value for key, value in record.fields.items() if key in ("mode", "unconsented_horizon_s")}
        for record in ledger.records(("policy.changed",))
    ]
    ledger.close()
    return found


def test_only_ephemeral_embeds() -> None:
    assert not CapturePolicy.of(settings()).embeds
    assert ephemeral().embeds
    assert ephemeral(hours=2).horizon_s == 7200


def test_the_legal_basis_is_free_text_so_only_its_digest_is_in_the_chain(home: Home) -> None:
    ledger = home.open_ledger("node", Clock())
    declare(ephemeral(), ledger, home.path)
    last = ledger.last_of("policy.changed")
    ledger.close()
    assert last is not None
    assert len(last.fields["legal_basis_sha256"]) == 64
    assert OPINION.encode() not in last.body


def test_a_policy_is_declared_when_any_part_of_it_changes_and_not_again(home: Home) -> None:
    ledger = home.open_ledger("node", Clock())
    count = len(declared(home))
    for policy in (
        ephemeral(),
        ephemeral(hours=48),
        ephemeral(basis="another opinion"),
        CapturePolicy.of(settings()),
        CapturePolicy.of(settings('legal_basis = "kept for later"')),
        CapturePolicy.of(settings()),  # a basis taken back is a change too
    ):
        declare(policy, ledger, home.path)
        count += 1
        assert len(declared(home)) == count
        declare(policy, ledger, home.path)
        assert len(declared(home)) == count
    ledger.close()
    assert declared(home)[-1] == {"mode": "after_consent", "unconsented_horizon_s": 86400}


def test_a_policy_that_somebody_wrote_into_the_database_neither_counts_nor_lengthens_what_first_reaches(
    home: Home,
) -> None:
    now = datetime.now(UTC)
    ledger = home.open_ledger("node", Clock())
    declare(ephemeral(hours=720), ledger, home.path)
    first = ledger.last_of("policy.changed")
    assert first is not None
    stranger = ledger.append("visit.left", {"visit": "v-1"})
    body = {**canonical.decode(stranger.body), "kind": "policy.changed", **ephemeral(hours=24).fields()}
    written = canonical.encode(body)
    with closing(sqlite3.connect(home.database)) as database, database:
        database.execute(
            "UPDATE ledger SET kind = 'policy.changed', body = ?, hash = ? WHERE seq = ?",
            (written, digest("record-hash", written), stranger.seq),
        )
    count = len(declared(home))
    declare(ephemeral(hours=24), ledger, home.path)
    assert len(declared(home)) == count + 1, "the row that says so already is nobody's word"
    assert Horizon(ephemeral(hours=24), ledger, home.path).seconds(now + timedelta(hours=1)) <= 3600
    ledger.close()


def test_a_stricter_policy_made_lax_in_the_database_still_shortens_what_first_reaches(home: Home) -> None:
    now = datetime.now(UTC)
    ledger = home.open_ledger("node", Clock())
    declare(CapturePolicy.of(settings()), ledger, home.path)
    strict = ledger.last_of("policy.changed")
    assert strict is not None
    month = ephemeral(hours=720)
    declare(month, ledger, home.path)
    lax = canonical.encode({**canonical.decode(strict.body), **month.fields()})
    with closing(sqlite3.connect(home.database)) as database, database:
        database.execute("UPDATE ledger SET body = ? WHERE seq = ?", (lax, strict.seq))
    assert Horizon(month, ledger, home.path).seconds(now + timedelta(hours=1)) <= 3600
    ledger.close()
