"""12. A person erased in the middle of the chain, a key rotated, thirty days purged."""

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edge.people.vault import opened
from sync.verify.verify import verify
from tests.faults.checker import central_rows, check_acked, node_rows
from tests.faults.rig import firstvisit
from tests.faults.scenario import Result, Scenario, Work
from tests.faults.site import NodeUnderTest, Site, command, reading, site, wait_until

TITLE = "person erased, key rotated, 30 days purged"
DAYS_AGO_S = 40 * 86_400.0
KEEP_DAYS = 30
NEEDLE_BYTES = 24
PASSPHRASE = "a passphrase of a test"


@dataclass(frozen=True, slots=True)
class Secret:
    """What must be nowhere after an erasure; pieces of each."""

    what: str
    needle: bytes


def run(work: Work) -> Result:
    """Live through it with central's clock forty days back, then come to today, and let the night purge."""
    result = Result()
    with site(work.root / "site") as tested:
        node = tested.node
        node.rate_per_s = 10.0
        node.mutants = work.mutants("purge-takes-unanchored")
        with node.home.config.open("a") as config:
            config.write(f"\n[retention]\nledger_days = {KEEP_DAYS}\n")
        tested.start_broker()
        tested.start_central(launcher=("--behind-s", str(DAYS_AGO_S)))
        tested.start_node()
        wait_until(lambda: node.acked_upto()[1] > work.times(150, 30), "the first records are acknowledged")
        proofs = _proofs(node, work.root)
        backup, copy = _back_up(node, work.root)
        person, secrets = _somebody(node)
        command("keys", "rotate", "--home", str(node.home.path), "--role", "node")
        _erase(node, person, work)
        command("keys", "rotate", "--home", str(node.home.path), "--role", "desk")
        result.problems += _found(node.home.path, secrets) + _found(copy, secrets) + _found(backup.parent, secrets)
        if work.mutant and result.problems:
            return result
        head = node.head()
        wait_until(lambda: node.acked_upto() > head, "they are acknowledged")
        tested.terminate("central")
        tested.start_central(launcher=("--behind-s", str(DAYS_AGO_S)))  # its first ack carries a checkpoint
        head = node.head()
        wait_until(lambda: node.acked_upto() > head, "a checkpoint has come")
        tested.terminate("central")
        tested.start_central()
        tested.terminate(node.node_id)
        before = node_rows(node.home.database)
        tested.start_node(node, launcher=("--night-soon",))
        wait_until(lambda: _purged(node) > 0, "the night purges")
        tested.drain()
        gone = len(before.keys() - node_rows(node.home.database).keys())
        result.problems += _all_verify(tested, node, proofs)
        result.problems += _restored(node, backup, copy, person, work.root)
        result.problems += _found(node.home.path, secrets)
        held = central_rows(tested.central / "central.db", node.node_id)
        result.problems += check_acked(node.account, held)
        if any(held.get(place) != row for place, row in node_rows(node.home.database).items()):
            result.problems.append("the node and central hold different records")
    result.figures = (
        f"{gone} records purged of {len(held)}, both keys rotated, 1 person erased: {len(proofs)} earlier proofs"
        f" verify, {len(secrets)} secrets nowhere in HOME, key copy and backup"
    )
    return result


def _proofs(node: NodeUnderTest, root: Path) -> list[Path]:
    """An export and a certificate, made before any of it happens."""
    folder = root / "proofs"
    folder.mkdir()
    export = folder / "ledger.export"
    command("ledger", "--home", str(node.home.path), "--export", str(export))
    with reading(node.home.database) as connection:
        (body,) = connection.execute(
            "SELECT body FROM ledger WHERE kind = 'visit.first' ORDER BY seq LIMIT 1"
        ).fetchone()
    certificate = folder / "visit.zip"
    done = firstvisit("certificate", json.loads(body)["visit"], "--home", str(node.home.path), "-o", str(certificate))
    return [export, certificate] if done.returncode == 0 else [export]


def _back_up(node: NodeUnderTest, root: Path) -> tuple[Path, Path]:
    """The backup's file and the folder with the copy of the person keys."""
    (root / "backup").mkdir()
    out, copy, secret = root / "backup" / "n1.backup", root / "key-copy", root / "passphrase"
    secret.write_text(PASSPHRASE + "\n")
    command(
        "backup", "--home", str(node.home.path), "--out", str(out), "--passphrase-file", str(secret),
        "--keys", str(copy),
    )  # fmt: skip
    return out, copy


def _somebody(node: NodeUnderTest) -> tuple[str, list[Secret]]:
    """Somebody from the middle of the chain, and the bytes that would give them away."""
    with reading(node.home.database) as connection:
        rows = connection.execute(
            "SELECT p.person_id, t.template_id, t.sealed, c.visit_id FROM people p JOIN templates t USING (person_id)"
            " JOIN crops c USING (person_id) ORDER BY p.created_us"
        ).fetchall()
    person, template_id, sealed, visit_id = rows[len(rows) // 3]
    with closing(sqlite3.connect(node.home.keys_database)) as keys:
        (key,) = keys.execute("SELECT key FROM person_keys WHERE person_id = ?", (person,)).fetchone()
    with opened(node.home.database, node.home.keys_database) as vault:
        template, crop = vault.templates.one(template_id), vault.of_visits.crop(visit_id)
    assert template is not None
    assert crop is not None
    middle = len(crop) // 2
    vector = template.vector.tobytes()
    return person, [
        Secret("the person's key", key),
        Secret("the template", vector[100 : 100 + NEEDLE_BYTES]),
        Secret("the face", crop[middle : middle + NEEDLE_BYTES]),
        Secret("the sealed template", sealed[20 : 20 + NEEDLE_BYTES]),
    ]


def _erase(node: NodeUnderTest, person: str, work: Work) -> None:
    """With the command, as at the desk; a mutant of it in a process of its own."""
    mutants = [part for name in work.mutants("erased-keys-stay", "deleted-bytes-stay") for part in ("--mutant", name)]
    arguments = ["erase", "--home", str(node.home.path), person, "--reason", "request"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.launcher", *mutants, "--journal", str(node.journal), "--", *arguments],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    deadline_s = time.monotonic() + 90.0
    while done.returncode == 1 and time.monotonic() < deadline_s:  # pending: a copy or a reader in the way
        time.sleep(2.0)
        done = subprocess.run([*done.args], check=False, capture_output=True, text=True)
    assert done.returncode == 0 or work.mutant, done.stdout + done.stderr


def _found(folder: Path, secrets: list[Secret]) -> list[str]:
    """Search every byte of every file: database, log, shared memory, free pages."""
    problems = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            problems += [f"{one.what} is still in {path.name}" for one in secrets if one.needle in data]
    return problems


def _purged(node: NodeUnderTest) -> int:
    with reading(node.home.database) as connection:
        return int(
            connection.execute(
                "SELECT count(*) FROM ledger WHERE kind = 'retention.run' AND instr(body, '\"purged\"')"
            ).fetchone()[0]
        )


def _all_verify(tested: Site, node: NodeUnderTest, proofs: list[Path]) -> list[str]:
    """What was proven before is proven still, by the product's verifier and by the standalone one."""
    problems = []
    key = node.home.node_pub
    for path, trusted in (
        (node.home.path, key),
        (tested.central, tested.central / "central.pub"),
        *((p, key) for p in proofs),
    ):
        if not (verdict := verify(path, trusted)).ok:
            problems.append(f"verify of {path.name}: {verdict.why}")
    import sync.verify_standalone

    for path in proofs:
        done = subprocess.run(
            [sys.executable, str(sync.verify_standalone.__file__), str(path)],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            problems.append(f"verify_standalone of {path.name}: {done.stdout.strip()} {done.stderr.strip()}"[:300])
    return problems


def _restored(node: NodeUnderTest, backup: Path, copy: Path, person: str, root: Path) -> list[str]:
    """Bring the backup back, with every key there is: the erased one stays erased."""
    home = root / "restored"
    command(
        "restore", str(backup), "--home", str(home), "--passphrase-file", str(root / "passphrase"), "--keys", str(copy)
    )
    assert node.home.path != home
    problems = []
    with opened(home / "firstvisit.db", home / "keys.db") as vault:
        if vault.remembers(person):
            problems.append("the erased person is remembered after a restore")
        if not vault.people():
            problems.append("nobody is remembered after a restore with the key copy")
    return problems


SCENARIO = Scenario(
    12,
    TITLE,
    run,
    {
        "erased-keys-stay": "the person's key is still in",
        "deleted-bytes-stay": "is still in",
        "purge-takes-unanchored": "verify of n1",
    },
)
