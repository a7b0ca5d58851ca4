"""9. Somebody with the node's real key rewrites its ledger."""

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from edge.home import Home
from sync.format.canonical import Fields, encode
from sync.format.records import parse, seal
from sync.verify.verdict import Verdict
from sync.verify.verify import verify
from tests.faults.mutants import apply
from tests.faults.scenario import Result, Scenario, Work
from tests.faults.site import site, wait_until

TITLE = "tampering with the real key"


def run(work: Work) -> Result:
    """Alter a copy in every way, before and behind the last ack; verify it."""
    result = Result()
    times = work.times(60, 12, 6)
    with site(work.root / "site") as tested:
        node = tested.node
        node.rate_per_s = 20.0
        tested.start_broker()
        tested.start_central()
        tested.start_node()
        wait_until(lambda: node.acked_upto()[1] > 40, "some are acknowledged")
        tested.kill("broker")
        head = node.head()[1]
        wait_until(lambda: node.head()[1] > head + 30, "some are not")
        tested.terminate(node.node_id)
        home, acked, last = node.home, node.acked_upto()[1], node.head()[1]
    if work.mutant:
        apply(work.mutant)
    flagged = window = 0
    for number in range(times):
        for way, alter in WAYS.items():
            copy = work.root / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(home.path, copy)
            within = number % 2 == 0  # what central has acknowledged, or what it has not
            at = work.rng.randrange(3, acked) if within else work.rng.randrange(acked + 2, last - 1)
            end = alter(Home(copy), at, work.rng)
            verdict = verify(copy, home.node_pub)
            if within or way in UNSIGNED:
                flagged += not verdict.ok
                if verdict.ok:
                    result.problems.append(f"{way} at seq {at} of {acked} acknowledged is not flagged")
            elif (why := _window_is_told(verdict, acked, end)) is not None:
                result.problems.append(f"{way} at seq {at} behind the last ack {acked}: {why}")
            else:
                window += 1
    result.figures = (
        f"{flagged} of {flagged + window} alterations flagged, the other {window} lay in the window that is reported:"
        f" seq {acked + 1}..{last}"
    )
    return result


def _window_is_told(verdict: Verdict, acked: int, end: int) -> str | None:
    """Behind the last ack whoever has the key can rewrite: the verdict must name just that window."""
    if not verdict.ok:
        return f"bad ({verdict.why}), though nothing anchors it"
    wanted = f"unanchored: seq {acked + 1}..{end}" if end > acked else "unanchored: none"
    told = [line for line in verdict.lines if line.startswith("unanchored")]
    return None if told == [wanted] else f"says {told}, not {wanted!r}"


@contextmanager
def _open(home: Home) -> Iterator[sqlite3.Connection]:
    """A ledger opened by somebody who knows SQLite and owns the box."""
    with closing(sqlite3.connect(home.database, isolation_level=None)) as connection:
        yield connection


def _edit(home: Home, at: int, rng: random.Random) -> int:
    """Change a body and nothing else."""
    with _open(home) as connection:
        (body,) = connection.execute("SELECT body FROM ledger WHERE seq = ?", (at,)).fetchone()
        fields = parse(body, bytes(64)).fields
        _lie(fields, rng)
        connection.execute("UPDATE ledger SET body = ? WHERE seq = ?", (encode(fields), at))
    return _last(home)


def _resign_one(home: Home, at: int, rng: random.Random) -> int:
    """Change a body and sign it again; the next one follows another."""
    with _open(home) as connection:
        (body,) = connection.execute("SELECT body FROM ledger WHERE seq = ?", (at,)).fetchone()
        fields = parse(body, bytes(64)).fields
        _lie(fields, rng)
        record = seal(fields, home.signer("node"))
        connection.execute(
            "UPDATE ledger SET body = ?, hash = ?, signature = ? WHERE seq = ?",
            (record.body, record.hash, record.signature, at),
        )
    return _last(home)


def _delete(home: Home, at: int, _rng: random.Random) -> int:
    with _open(home) as connection:
        connection.execute("DELETE FROM ledger WHERE seq = ?", (at,))
    return _last(home)


def _resign_suffix(home: Home, at: int, rng: random.Random) -> int:
    """Change a record and sign it and everything behind it again: a chain as good as the true one."""
    _rewrite(home, at, lambda bodies: [_lied(bodies[0], rng), *bodies[1:]])
    return _last(home)


def _delete_resigned(home: Home, at: int, _rng: random.Random) -> int:
    """Leave a record out and number what follows anew."""
    _rewrite(home, at, lambda bodies: bodies[1:])
    return _last(home)


def _insert_resigned(home: Home, at: int, rng: random.Random) -> int:
    """Put one more in and number what follows anew."""
    _rewrite(home, at, lambda bodies: [_lied(bodies[0], rng), *bodies])
    return _last(home)


def _truncate(home: Home, at: int, _rng: random.Random) -> int:
    with _open(home) as connection:
        connection.execute("DELETE FROM ledger WHERE seq >= ?", (at,))
    return _last(home)


WAYS: dict[str, Callable[[Home, int, random.Random], int]] = {
    "edit": _edit,
    "re-sign one": _resign_one,
    "delete": _delete,
    "re-sign the suffix": _resign_suffix,
    "delete and re-sign": _delete_resigned,
    "insert and re-sign": _insert_resigned,
    "truncate": _truncate,
}
UNSIGNED = ("edit", "re-sign one", "delete")  # flagged wherever they are done


def _rewrite(home: Home, at: int, change: Callable[[list[Fields]], list[Fields]]) -> None:
    """Replace everything from `at` on by what `change` makes of it, numbered, chained and signed with the real key."""
    signer = home.signer("node")
    with _open(home) as connection:
        rows = connection.execute("SELECT body, acked FROM ledger WHERE seq >= ? ORDER BY seq", (at,)).fetchall()
        marked = sum(acked for _, acked in rows)
        (before,) = connection.execute("SELECT hash FROM ledger WHERE seq = ?", (at - 1,)).fetchone()
        connection.execute("DELETE FROM ledger WHERE seq >= ?", (at,))
        for number, fields in enumerate(change([parse(body, bytes(64)).fields for body, _ in rows])):
            record = seal({**fields, "seq": at + number, "prev": before.hex()}, signer)
            before = record.hash
            connection.execute(
                "INSERT INTO ledger (epoch, seq, kind, body, hash, prev_hash, signature, acked)"
                " VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
                (record.seq, record.kind, record.body, record.hash, record.prev_hash, record.signature,
                 int(number < marked)),
            )  # fmt: skip


def _lied(fields: Fields, rng: random.Random) -> Fields:
    changed = dict(fields)
    _lie(changed, rng)
    return changed


def _lie(fields: Fields, rng: random.Random) -> None:
    """Make a record say something else, and nothing that its form forbids."""
    stamp = dict(fields["at"])
    stamp["wall_us"] += rng.choice((-1, 1)) * rng.randrange(1, 3_600_000_000)
    fields["at"] = stamp


def _last(home: Home) -> int:
    with _open(home) as connection:
        return int(connection.execute("SELECT max(seq) FROM ledger").fetchone()[0])


SCENARIO = Scenario(9, TITLE, run, {"acks-are-not-compared": "is not flagged"})
