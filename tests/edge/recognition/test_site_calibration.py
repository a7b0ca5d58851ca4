"""Thresholds learnt from the site's own people: what counts as strangers, what is recorded, what the node takes up."""

import json
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edge import EdgeError
from edge.cli import app
from edge.home import Home
from edge.orders import Orders
from edge.recognition.decision import Strictness
from edge.recognition.site_calibration import SiteCalibration, in_force, learn, record
from models.calibration import Calibration
from models.pack import Pack
from models.store import Store
from sync.format import canonical
from sync.format.records import parse
from sync.node.ledger import Ledger
from tests.edge.visiting import DIM, PACK, T0, Node, after

# what unit vectors at random in 128 dimensions come to: a normal distribution of deviation 1 / sqrt(128)
RANDOM = Calibration(
    ((1e-1, 0.1133), (1e-2, 0.2056), (1e-3, 0.2731), (1e-4, 0.3287), (1e-6, 0.4201)), "random directions"
)
STRICTNESS = Strictness(0.003, 0.10, 0.5)


def crowd(count: int, alike: float = 0.0, seed: int = 5) -> np.ndarray:
    """Random faces (count, DIM) that share a part: any two are `alike` more similar than chance."""
    rng = np.random.default_rng(seed)
    faces = rng.normal(size=(count, DIM)) / np.sqrt(DIM)
    shared = rng.normal(size=DIM) / np.sqrt(DIM)
    faces = np.sqrt(1 - alike) * faces + np.sqrt(alike) * shared
    return (faces / np.linalg.norm(faces, axis=1, keepdims=True)).astype(np.float32)


def remember(node: Node, faces: np.ndarray, pack: str = PACK) -> list[str]:
    people = [f"p-{secrets.token_hex(10)}" for _ in faces]
    for person_id in people:
        node.vault.create_key(person_id)
    with node.ledger.transaction() as transaction:
        for person_id, face in zip(people, faces, strict=True):
            node.vault.add_person(transaction.connection, person_id, pack, face, T0, searchable=True)
    return people


def learnt(node: Node, table: Calibration = RANDOM) -> SiteCalibration:
    return learn(node.ledger, node.vault, PACK, table, STRICTNESS)


def test_a_site_like_the_pack_s_own_strangers_keeps_its_thresholds(node: Node) -> None:
    remember(node, crowd(300))
    found = learnt(node)
    assert (found.people, found.pairs + found.excluded) == (300, 300 * 299 // 2)
    assert found.after.upper == pytest.approx(found.before.upper, abs=0.01)
    assert found.after.lower == pytest.approx(found.before.lower, abs=0.01)


def test_where_strangers_look_more_alike_the_thresholds_rise_by_as_much(node: Node) -> None:
    remember(node, crowd(300, alike=0.08))
    found = learnt(node)
    assert found.after.upper - found.before.upper == pytest.approx(0.08, abs=0.025)
    assert found.after.lower - found.before.lower == pytest.approx(0.08, abs=0.025)


def test_one_person_enrolled_twice_is_left_out_and_counted(node: Node) -> None:
    faces = crowd(120)
    alone = remember(node, faces)
    without = learnt(node)
    twice = remember(node, faces[:5])  # the same faces under new ids
    with node.ledger.transaction() as transaction:
        transaction.append("visit.return", {"visit": "v-1", "merge": [alone[0], twice[0]]})
    node.vault.create_key("p-staff")
    with node.ledger.transaction() as transaction:
        node.vault.enrolled.add(
            transaction.connection, "p-staff", "staff", PACK, faces[9][None], T0, visitor_id=alone[9], label=None
        )
    found = learnt(node)
    assert (found.known_same, found.excluded) == (2, 4)
    assert found.after.upper == pytest.approx(without.after.upper, abs=0.01)


def test_many_templates_of_one_person_are_counted_in_the_thresholds_and_never_as_strangers(node: Node) -> None:
    people = remember(node, crowd(120))
    before = learnt(node)
    with node.ledger.transaction() as transaction:
        for face in crowd(6, alike=0.9, seed=8):
            node.vault.templates.add(transaction.connection, people[0], PACK, face, after(60))
    found = learnt(node)
    assert (found.people, found.pairs, found.excluded) == (120, before.pairs, 0)
    assert found.templates == before.templates + 6


def test_too_few_people_are_refused_in_one_line(node: Node) -> None:
    remember(node, crowd(99))
    with pytest.raises(EdgeError, match=r"^99 people are remembered with pack test@0+, at least 100 are needed$"):
        learnt(node)


def test_the_record_holds_whole_numbers_and_gives_the_same_table_back(node: Node) -> None:
    remember(node, crowd(150, alike=0.05))
    found = learnt(node)
    written = record(node.ledger, node.policy, PACK, found)
    assert written.kind == "policy.changed"
    assert written.fields["mode"] == "ephemeral"  # the policy it carries is the one in force

    def leaves(value: Any) -> set[type]:
        if isinstance(value, dict | list):
            inner = value.values() if isinstance(value, dict) else value
            return set().union(*map(leaves, inner))
        return {type(value)}

    assert leaves({k: v for k, v in written.fields["calibration"].items() if k != "pack"}) == {int}
    back = in_force(node.home, node.ledger, PACK, RANDOM)
    assert STRICTNESS.rule(back, 1000).upper == pytest.approx(found.after.upper, abs=1e-5)
    assert in_force(node.home, node.ledger, "other@1", RANDOM) == RANDOM
    record(node.ledger, node.policy, PACK, None)
    assert in_force(node.home, node.ledger, PACK, RANDOM) == RANDOM


@pytest.mark.parametrize("forger", ["nobody", "desk"])
def test_a_table_that_the_node_has_not_signed_moves_no_threshold(node: Node, forger: str) -> None:
    remember(node, crowd(150, alike=0.05))
    record(node.ledger, node.policy, PACK, learnt(node))
    honest = in_force(node.home, node.ledger, PACK, RANDOM)
    assert honest != RANDOM
    *_, last = node.ledger.rows()
    before = parse(last.body, last.signature)
    points = [{"fmr_e12": 10**11, "similarity_e6": -900_000}, {"fmr_e12": 10**6, "similarity_e6": -800_000}]
    loose = {**before.fields["calibration"], "points": points}
    fields = before.fields | {"seq": before.seq + 1, "prev": before.hash.hex(), "calibration": loose}
    signer = node.home.signer("desk")
    body = canonical.encode(fields | ({"key": signer.public.key_id} if forger == "desk" else {}))
    forged = parse(body, signer.sign("record-sig", body) if forger == "desk" else before.signature)
    with closing(sqlite3.connect(node.home.database)) as database, database:
        database.execute(
            "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
            (forged.epoch, forged.seq, forged.kind, body, forged.hash, forged.prev_hash, forged.signature),
        )
    assert node.ledger.last_of("policy.changed") == forged
    assert in_force(node.home, node.ledger, PACK, RANDOM) == honest


def test_the_next_visit_is_held_to_the_new_thresholds_and_says_so(node: Node) -> None:
    remember(node, crowd(150, alike=0.05))
    found = learnt(node)
    node.visits.recalibrate(found.calibration)
    visit = node.arrive(crowd(1, seed=11)[0], 1, T0)
    assert visit is not None
    assert visit.fields["upper_e6"] == pytest.approx(found.after.upper * 1e6, abs=1)
    assert visit.fields["lower_e6"] == pytest.approx(found.after.lower * 1e6, abs=1)


@pytest.fixture(scope="module")
def pack_root(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("packs")
    Store(root).install("mobilefacenet", from_dir=shared / "models" / "open")
    return root


def test_the_command_shows_before_and_after_and_records_only_without_dry_run(
    home: Home, node: Node, pack_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRSTVISIT_MODELS", str(pack_root))
    manifest = Store(pack_root).manifest("mobilefacenet")
    remember(node, crowd(110, alike=0.2), manifest.pack_id)
    count = len(list(node.ledger.records(("policy.changed",))))
    runner, arguments = CliRunner(), ["calibrate", "--home", str(home.path)]
    dry = runner.invoke(app, [*arguments, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    for word in ("110 people", "before", "after", "dry run"):
        assert word in dry.stdout
    assert len(list(node.ledger.records(("policy.changed",)))) == count
    done = json.loads(runner.invoke(app, [*arguments, "--json"]).stdout)
    last = node.ledger.last_of("policy.changed")
    assert last is not None
    assert done["seq"] == last.seq
    assert done["after"]["upper"] != done["before"]["upper"]
    assert in_force(node.home, node.ledger, manifest.pack_id, manifest.calibration) != manifest.calibration
    assert isinstance(runner.invoke(app, [*arguments, "--undo", "--dry-run"]).exception, EdgeError)
    assert node.ledger.last_of("policy.changed") == last
    assert runner.invoke(app, [*arguments, "--undo"]).exit_code == 0
    assert in_force(node.home, node.ledger, manifest.pack_id, manifest.calibration) == manifest.calibration
    undone = node.ledger.last_of("policy.changed")
    assert "nothing was recorded" in runner.invoke(app, [*arguments, "--undo"]).stdout
    assert node.ledger.last_of("policy.changed") == undone


def test_a_lower_upper_threshold_wants_to_be_asked_for_by_name(home: Home, node: Node, pack: Pack) -> None:
    remember(node, crowd(120), pack.pack_id)  # noise: further apart than any two people
    runner, arguments = CliRunner(), ["calibrate", "--home", str(home.path), "--pack", pack.name]
    count = len(list(node.ledger.records(("policy.changed",))))
    dry = runner.invoke(app, [*arguments, "--dry-run"])
    assert "the upper threshold falls by" in dry.stdout
    refused = runner.invoke(app, arguments).exception
    assert isinstance(refused, EdgeError)
    assert "the upper threshold would fall by 0." in str(refused)
    assert len(list(node.ledger.records(("policy.changed",)))) == count
    assert runner.invoke(app, [*arguments, "--allow-lower"]).exit_code == 0
    assert len(list(node.ledger.records(("policy.changed",)))) == count + 1


def test_the_learnt_table_is_read_again_only_once_somebody_else_has_written(home: Home, node: Node, pack: Pack) -> None:
    orders, asked = Orders(home, home.settings()), []
    before = orders.calibration(node.ledger, pack)
    node.ledger.connection.set_trace_callback(asked.append)
    assert orders.calibration(node.ledger, pack) == before
    assert asked == ["PRAGMA data_version"]
    with closing(home.open_ledger("node")) as other:
        record(other, node.policy, pack.pack_id, learn_at(other, node, pack))
    assert orders.calibration(node.ledger, pack) != before
    node.ledger.connection.set_trace_callback(None)


def learn_at(ledger: Ledger, node: Node, pack: Pack) -> SiteCalibration:
    remember(node, crowd(120, alike=0.2), pack.pack_id)
    return learn(ledger, node.vault, pack.pack_id, pack.calibration.of_tracks(), STRICTNESS)


def test_what_was_learnt_survives_in_a_ledger_that_verifies(node: Node, home: Home) -> None:
    remember(node, crowd(120))
    record(node.ledger, node.policy, PACK, learnt(node))
    result = CliRunner().invoke(app, ["verify", str(home.path)])
    assert result.exit_code == 0, result.output
