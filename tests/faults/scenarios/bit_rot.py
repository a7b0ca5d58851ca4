"""8. Bit flips and lost pages in the node's database and in central's."""

import json
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

from sync import SyncError
from sync.audit.export import write_export
from sync.central.ingest import Arrived, Ingest
from sync.central.keys import load_serving_keys
from sync.central.store.location import open_store
from sync.format.messages import Ack, BadMessage
from sync.format.wire import encode_frame
from sync.node.ledger import Ledger
from sync.storage.database import DatabaseError
from sync.verify.verify import verify
from tests.faults.checker import Held, node_rows
from tests.faults.journal import Place
from tests.faults.mutants import apply
from tests.faults.scenario import Result, Scenario, Work
from tests.faults.site import Site, site, wait_until

TITLE = "bit flips and lost pages"
RECORDS = 60
SHARE_IN_EVIDENCE, SHARE_OF_PAGES = 0.7, 0.1
PAGE_BYTES = 4096
_LEDGER = "SELECT epoch, seq, kind, body, hash, prev_hash, signature, acked FROM ledger NOT INDEXED ORDER BY rowid"
_RECORDS = "SELECT node_id, epoch, seq, kind, body, hash, prev_hash, signature FROM records NOT INDEXED ORDER BY rowid"


@dataclass(slots=True)
class _Count:
    damaged: int = 0  # of all, those that altered or hid evidence
    found: int = 0


def run(work: Work) -> Result:
    """Damage a copy, verify it, send from it and export it; and so on."""
    result = Result()
    with site(work.root / "site") as tested:
        _make_evidence(tested)
        home, central = tested.node.home.path, tested.central
    if work.mutant:
        apply(work.mutant)
    true = node_rows(home / "firstvisit.db")
    _fold(home / "firstvisit.db")
    _fold(central / "central.db")
    times = work.times(500, 25, 40)
    node = _rot_node(work, home, central, true, times, result)
    if work.mutant:
        return result
    theirs = _rot_central(work, home, central, true, times, result)
    result.figures = (
        f"{times} a database: node {node.damaged} in evidence, {node.found} found;"
        f" central {theirs.damaged} in evidence, {theirs.found} found; none acked or exported as valid"
    )
    return result


def _make_evidence(tested: Site) -> None:
    tested.node.rate_per_s = 20.0
    tested.start_broker()
    tested.start_central()
    tested.start_node()
    wait_until(lambda: tested.node.head()[1] > RECORDS, "there are records")
    tested.drain()
    tested.terminate("central")


def _fold(database: Path) -> None:
    """Bring everything into the one file."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("PRAGMA journal_mode = DELETE")  # no WAL is left beside it
    connection.close()


def _rot_node(work: Work, home: Path, central: Path, true: dict[Place, Held], times: int, result: Result) -> _Count:
    count, copy, fresh = _Count(), work.root / "rotten", work.root / "fresh"
    shutil.copytree(home, copy)
    shutil.copytree(central, fresh)
    early = work.root / "early.db"
    _emptied(central / "central.db", early)
    whole = _dump(home / "firstvisit.db", _LEDGER)
    for number, data in enumerate(_damaged(home / "firstvisit.db", true, times, work.rng)):
        database = copy / "firstvisit.db"
        _put(database, data)
        if _dump(database, _LEDGER) != whole:
            count.damaged += 1
            if _is_bad(copy, home / "node.pub"):
                count.found += 1
            else:
                result.problems.append(f"flip {number + 1} not found by verify of the HOME")
        shutil.copyfile(early, fresh / "central.db")
        result.problems += _send(copy, fresh, true)
        result.problems += _export(copy, home / "node.pub", true, work.root / "export")
    return count


def _rot_central(work: Work, home: Path, central: Path, true: dict[Place, Held], times: int, result: Result) -> _Count:
    count, copy = _Count(), work.root / "rotten-central"
    shutil.copytree(central, copy)
    whole = _dump(central / "central.db", _RECORDS)
    for number, data in enumerate(_damaged(central / "central.db", true, times, work.rng)):
        _put(copy / "central.db", data)
        if _dump(copy / "central.db", _RECORDS) != whole:
            count.damaged += 1
            if _is_bad(copy, central / "central.pub"):
                count.found += 1
            else:
                result.problems.append(f"flip {number + 1} not found by verify of central")
        result.problems += _send(home, copy, true)
    return count


def _damaged(database: Path, true: dict[Place, Held], times: int, rng: random.Random) -> Iterator[bytes]:
    """The database's bytes with one bit turned or one page lost, most of the bits inside evidence."""
    data = database.read_bytes()
    pieces = [piece for held in true.values() for piece in (held.body, bytes.fromhex(held.hash), held.signature)]
    spots = [(at, len(piece)) for piece in pieces if (at := data.find(piece[:64])) >= 0]
    for _ in range(times):
        altered = bytearray(data)
        chance = rng.random()
        if chance < SHARE_OF_PAGES:
            page = rng.randrange(1, len(data) // PAGE_BYTES) * PAGE_BYTES
            altered[page : page + PAGE_BYTES] = bytes(PAGE_BYTES)
        elif chance < SHARE_OF_PAGES + SHARE_IN_EVIDENCE:
            start, length = rng.choice(spots)
            altered[start + rng.randrange(min(length, 64))] ^= 1 << rng.randrange(8)
        else:
            altered[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        yield bytes(altered)


def _put(database: Path, data: bytes) -> None:
    for suffix in ("-wal", "-shm", "-journal"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    database.write_bytes(data)


def _dump(database: Path, query: str) -> list[tuple[object, ...]] | None:
    """The evidence as it lies in the table; None where it cannot be read."""
    connection = sqlite3.connect(f"{database.as_uri()}?immutable=1", uri=True)
    connection.text_factory = bytes
    try:
        return connection.execute(query).fetchall()
    except sqlite3.DatabaseError:
        return None
    finally:
        connection.close()


def _is_bad(path: Path, key: Path) -> bool:
    try:
        return not verify(path, key).ok
    except SyncError:
        return True


def _emptied(source: Path, to: Path) -> None:
    """A central that has never been sent anything, but knows the node."""
    shutil.copyfile(source, to)
    connection = sqlite3.connect(to, isolation_level=None)
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table in tables & {"records", "visits"}:
        connection.execute(f"DELETE FROM {table}")
    connection.close()


def _send(home: Path, central: Path, true: dict[Place, Held]) -> list[str]:
    """Send all a ledger gives to a central; whatever is acknowledged must be the true chain up to there."""
    acks: list[Ack] = []
    with ExitStack() as stack:
        try:
            store = stack.enter_context(open_store(central))
            ledger = stack.enter_context(closing(Ledger(home / "firstvisit.db")))
        except DatabaseError:
            return []  # damaged so far that nobody works with it at all
        try:
            keys = load_serving_keys(central)
            after, now_us = (0, 0), 1_800_000_000_000_000
            ingest = Ingest(store, keys, monotonic=lambda: now_us / 1e6)
            while (frame := ledger.next_frame(after)) is not None:
                after, records = frame
                now_us += 2_000_000
                for answer in ingest.take(ingest.read([Arrived("n1", encode_frame(records))]), now_us):
                    with suppress(BadMessage):
                        acks.append(Ack.parse(answer.payload, keys.ack.public))
        except (SyncError, sqlite3.Error, UnicodeDecodeError, ValueError, TypeError):
            pass  # nothing more is sent or taken; what was acknowledged until then counts
    return [
        f"acknowledged what nobody signed: seq {ack.upto_seq}"
        for ack in acks
        if (held := true.get((ack.epoch, ack.upto_seq))) is None or held.hash != ack.head_hash.hex()
    ]


def _export(home: Path, key: Path, true: dict[Place, Held], out: Path) -> list[str]:
    """Export it; a file that verifies must hold the true records and nothing else."""
    out.unlink(missing_ok=True)
    try:
        ledger = Ledger(home / "firstvisit.db")
    except DatabaseError:
        return []
    try:
        write_export(ledger, key.read_text(), (home / "central.pub").read_text(), out)
        if not verify(out, key).ok:
            return []
    except (SyncError, sqlite3.Error, UnicodeDecodeError):
        return []
    finally:
        ledger.close()
    lines = [json.loads(line) for line in out.read_text().split("\n")[1:-1]]
    exported = [(line["body"].encode(), line["signature"]) for line in lines]
    wanted = [(held.body, held.signature.hex()) for held in true.values()]
    return [] if exported == wanted else [f"exported as valid: {len(exported)} records that are not the true ones"]


SCENARIO = Scenario(8, TITLE, run, {"stored-hash-is-believed": "not found by verify"})
