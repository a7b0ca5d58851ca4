"""The set checker itself: it must see what it is there to see."""

import hashlib

from tests.faults.checker import Held, check_acked, check_node
from tests.faults.journal import Account, Place, quantile


def _held(seq: int) -> tuple[Place, Held]:
    body = f"record {seq}".encode()
    return (1, seq), Held(body, hashlib.sha256(body).hexdigest(), bytes(64))


def _account(upto: int, acked: int) -> Account:
    keys = {(place, held.hash): place[1] for place, held in map(_held, range(1, upto + 1))}
    return Account(dict(keys), dict(keys), {key: at for key, at in keys.items() if at == acked}, [])


def test_a_whole_ledger_has_no_problems() -> None:
    rows = dict(map(_held, range(1, 6)))
    tally = check_node(_account(5, 3), rows)
    assert tally.problems == []
    assert (tally.shown, tally.acked) == (5, 3)


def test_a_shown_record_that_is_gone_is_named() -> None:
    rows = dict(map(_held, range(1, 5)))
    assert check_node(_account(5, 3), rows).problems == ["1 shown and not in the ledger: 1:5"]


def test_a_record_replaced_by_another_at_its_place_is_gone() -> None:
    rows = dict(map(_held, range(1, 6)))
    rows[1, 2] = Held(b"another", hashlib.sha256(b"another").hexdigest(), bytes(64))
    assert check_node(_account(5, 3), rows).problems == ["1 shown and not in the ledger: 1:2"]


def test_an_acknowledged_record_that_central_lacks_is_named() -> None:
    assert check_acked(_account(5, 5), dict(map(_held, range(1, 5)))) == ["1 acknowledged and not at central: 1:5"]


def test_a_record_shown_that_nobody_attempted_is_named() -> None:
    account = _account(5, 3)
    account.attempted.pop(next(iter(account.attempted)))
    assert check_node(account, dict(map(_held, range(1, 6)))).problems == ["1 shown, but never attempted: 1:1"]


def test_the_latency_of_a_record_runs_to_the_first_ack_that_covers_it() -> None:
    account = Account({}, {((1, n), "h"): n * 10**9 for n in (1, 2, 3)}, {((1, 2), "h"): 4 * 10**9}, [])
    assert account.latencies_s() == [3.0, 2.0]


def test_the_quantile_is_the_nearest_rank() -> None:
    assert quantile([float(n) for n in range(100)], 0.99) == 99.0
    assert quantile([], 0.5) == 0.0
