"""11. A hostile peer on the broker: everything it sends is refused with a reason, and its neighbours notice nothing."""

import json
import random
import shutil
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from edge.home import Home
from sync.central.broker_config import write_broker_config
from sync.central.ca import LOCAL_NAMES, Authority, open_authority, write_pair
from sync.format.canonical import encode
from sync.format.records import Record, parse, seal
from sync.format.wire import SignedBody, decode_frame, encode_frame
from sync.transport.broker import mosquitto
from sync.transport.mqtt import BrokerAddress, Link
from sync.transport.tls import TlsFiles, new_key, tls_files, utc_now
from tests.faults.checker import central_alarms, central_rows, check, node_rows
from tests.faults.journal import quantile
from tests.faults.rig import firstvisit, free_port
from tests.faults.scenario import Result, Scenario, Work
from tests.faults.site import Failed, NodeUnderTest, Site, listens, site, wait_until

TITLE = "hostile peer"
FACTOR = 2.0  # by how much a neighbour's p99 may grow, the issue's bar
LEAST_P99_S = 0.25  # under which the figure is the machine's own unrest
FLOOD_PER_S = 2_000
TEN_MB = 10_000_000


@dataclass(frozen=True, slots=True)
class Attack:
    """What is sent, and under which (node, reason) central counts its refusal; None: nothing may come of it at all."""

    name: str
    topic: str
    payload: bytes
    refused: tuple[str, str] | None


class Peer:
    """A client of the broker that keeps what passes by and sends whatever it likes."""

    def __init__(self, port: int) -> None:
        self.frames: list[bytes] = []  # of n1, as sent
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._keep
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("fv1/n1/up", qos=1)
        self._client.loop_start()

    def _keep(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        if len(self.frames) < 50:
            self.frames.append(bytes(message.payload))

    def send(self, topic: str, payload: bytes, qos: int = 1) -> None:
        self._client.publish(topic, payload, qos=qos)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def run(work: Work) -> Result:
    """Measure in quiet, attack in every way, flood; nothing it sent may be at central, and each way has its reason."""
    result = Result()
    with site(work.root / "site", ("n1", "evil", "gone")) as tested:
        node = tested.nodes["n1"]
        node.rate_per_s = 10.0
        tested.central_mutants = work.mutants("signatures-are-not-checked")
        _revoke(tested, "gone")
        tested.start_broker()
        tested.start_central()
        peer = Peer(tested.broker_port)
        tested.start_node(node)
        wait_until(lambda: len(peer.frames) > 3, "frames of the neighbour pass by")
        quiet = _p99(node, work.times(20, 6))
        refused = _attack(tested, peer, work.rng, result)
        if work.mutant:
            return result
        loud = _flooded_p99(peer, node, work.times(20, 6))
        limit_s = FACTOR * max(quiet, LEAST_P99_S)
        if loud > limit_s:
            result.problems.append(f"the neighbour's p99 grew from {quiet:.2f} to {loud:.2f} s")
        peer.close()
        tested.drain(node)
        tally = check(tested, node)
        result.problems += tally.problems
        for name in ("evil", "gone"):
            if set(central_rows(tested.central / "central.db", name)) - set(
                node_rows(tested.nodes[name].home.database)
            ):
                result.problems.append(f"a forged record of {name} is at central")
        tested.close()
        refused += _small_order_key(tested, work.root, result)
        refused += _certificates(tested.central, work.root / "tls", result)
    result.figures = (
        f"{len(refused)} ways refused ({', '.join(refused)}); neighbour's ack p99 {quiet:.2f} s in quiet, {loud:.2f} s"
        f" under {FLOOD_PER_S} messages/s; {tally.figures()}"
    )
    return result


def _p99(node: NodeUnderTest, seconds: float) -> float:
    since_ns = time.time_ns()
    time.sleep(seconds)
    return quantile(node.account.latencies_s(since_ns), 0.99)


def _flooded_p99(peer: Peer, node: NodeUnderTest, seconds: float) -> float:
    """The neighbour's p99 while the peer floods: as a node of its own, as one that nobody knows, and with noise."""
    since_ns, end_s, sent = time.time_ns(), time.monotonic() + seconds, 0
    began_s = time.monotonic()
    kinds = (("fv1/evil/up", b"FV1F\x00\x01junk"), ("fv1/nobody/up", b"x" * 500), ("fv1/evil/status", b"{}"))
    while time.monotonic() < end_s:
        if sent > (time.monotonic() - began_s) * FLOOD_PER_S:
            time.sleep(0.002)
            continue
        topic, payload = kinds[sent % len(kinds)]
        peer.send(topic, payload, qos=0)
        sent += 1
    return quantile(node.account.latencies_s(since_ns), 0.99)


def _attack(tested: Site, peer: Peer, rng: random.Random, result: Result) -> list[str]:
    """One after the other; returns the names of those refused as they should be."""
    database, refused = tested.central / "central.db", []
    evil = {name: tested.nodes[name].home for name in ("evil", "gone")}
    for attack in _attacks(evil, peer.frames, tested.nodes["n1"], rng):
        before = central_alarms(database)
        peer.send(attack.topic, attack.payload)
        if attack.refused is None:
            refused.append(attack.name)  # what comes of it the checker sees
            continue
        key = attack.refused
        try:
            wait_until(lambda k=key, b=before: central_alarms(database).get(k, 0) > b.get(k, 0), attack.name, 20.0)  # type: ignore[misc]
            refused.append(attack.name)
        except Failed:
            new = {key: n for key, n in central_alarms(database).items() if n > before.get(key, 0)}
            result.problems.append(f"{attack.name}: not refused as {key}, but {new or 'not at all'}")
    return refused


def _attacks(evil: dict[str, Home], seen: list[bytes], node: NodeUnderTest, rng: random.Random) -> list[Attack]:
    own, gone = _frame_of(evil["evil"]), _frame_of(evil["gone"])
    signer = evil["evil"].signer("node")
    first = parse(*_only(decode_frame(own)[0]))
    genuine = parse(*_only(decode_frame(seen[-1])[-1]))

    def signed(body: bytes) -> bytes:
        return encode_frame([SignedBody(body, signer.sign("record-sig", body))])

    doubled = first.body.replace(b'"kind":', b'"kind":"node.boot","kind":', 1)
    huge = encode({**first.fields, "seq": 7}).replace(b'"seq":7', b'"seq":9007199254740992', 1)
    forged = seal({**genuine.fields, **_next_place(node, genuine)}, signer)
    n1, own_topic = "fv1/n1/up", "fv1/evil/up"
    return [
        Attack("its own record on another's topic", n1, own, ("n1", "not-signed")),
        Attack("a record in another's name", n1, encode_frame([_signed(forged)]), ("n1", "not-signed")),
        Attack("a replayed frame", n1, rng.choice(seen), None),
        Attack("another's frame on its own topic", own_topic, seen[0], ("evil", "not-signed")),
        Attack("a revoked key", "fv1/gone/up", gone, ("gone", "REVOKED")),
        Attack("duplicate JSON keys", own_topic, signed(doubled), ("evil", "BAD_SIG")),
        Attack("an integer of 2^53", own_topic, signed(huge), ("evil", "BAD_SIG")),
        Attack("half a frame", own_topic, own[: len(own) // 2], ("evil", "bad-frame")),
        Attack("a frame of 10 MB", own_topic, bytes(TEN_MB), None),
        Attack("a node nobody knows", "fv1/nobody/up", own, ("", "unknown-node")),
        Attack("a topic of no form", "fv1/../up", own, None),
    ]


def _next_place(node: NodeUnderTest, genuine: Record) -> dict[str, object]:
    """What follows the newest record that the neighbour's own frames show."""
    return {"seq": genuine.seq + 1, "prev": genuine.hash.hex(), "key": genuine.key_id, "node": node.node_id}


def _frame_of(home: Home) -> bytes:
    ledger = home.open_ledger()
    frame = ledger.next_frame((0, 0))
    ledger.close()
    assert frame is not None
    return encode_frame(frame[1])


def _only(signed: SignedBody) -> tuple[bytes, bytes]:
    return signed.body, signed.signature


def _signed(record: Record) -> SignedBody:
    return SignedBody(record.body, record.signature)


def _revoke(tested: Site, node_id: str) -> None:
    """Revoke all that a node's key ever signed, as an operator does."""
    key = tested.nodes[node_id].home.signer("node").public.key_id
    words = ("--key", key, "--at", "1:0", "--reason", "compromised")
    done = firstvisit("central", "revoke-key", "--dir", str(tested.central), node_id, *words)
    assert done.returncode == 0, done.stderr


def _small_order_key(tested: Site, root: Path, result: Result) -> list[str]:
    """An enrolment under a key with which a signature of anything verifies, where points are not checked."""
    identity, base_point = bytes([1, *bytes(31)]), bytes.fromhex("58" + "66" * 31)
    body = {
        "v": 1, "node": "smallorder", "site": "site",
        "keys": {"node": f"ed25519:{identity.hex()}", "desk": f"ed25519:{bytes.fromhex('aa' * 32).hex()}"},
    }  # fmt: skip
    signature = base_point + bytes([1, *bytes(31)])  # s = 1: [s]B = R + k·identity for every message
    path = root / "smallorder.pub"
    path.write_text(f"{json.dumps(body, sort_keys=True, separators=(',', ':'))}\n{signature.hex()}\n")
    done = firstvisit("central", "enroll", "--dir", str(tested.central), str(path))
    if done.returncode == 2 and done.stderr.count("\n") == 1:
        return ["a small-order key"]
    result.problems.append(f"a small-order key was enrolled: {done.stdout}{done.stderr}")
    return []


def _certificates(central: Path, folder: Path, result: Result) -> list[str]:
    """A broker as `central broker-config` sets it up: who has no certificate in force gets no session."""
    folder.mkdir()
    authority, port = open_authority(central, "central", utc_now()), free_port()
    write_broker_config(authority, folder / "broker", port, LOCAL_NAMES, utc_now())
    program = mosquitto()
    assert program is not None
    for path in (folder, folder / "broker", *(folder / "broker").iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)  # mosquitto started by root steps down to a user of its own
    folder.parent.chmod(0o755)
    folder.parent.parent.chmod(0o755)
    broker = subprocess.Popen(
        [program, "-c", str(folder / "broker" / "mosquitto.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    refused: list[str] = []
    try:
        wait_until(lambda: listens(port), "the broker with TLS listens")
        now = utc_now()
        good = _session(port, _issued(authority, central, folder / "good", now), 10.0)
        if good is not None:
            result.problems.append(f"no session with a good certificate: {good}")
        times = {"an expired certificate": now - timedelta(days=730), "one not valid yet": now + timedelta(days=365)}
        for name, at in times.items():
            if _session(port, _issued(authority, central, folder / name.replace(" ", "-"), at), 1.5) is None:
                result.problems.append(f"{name} got a session")
            else:
                refused.append(name)
    finally:
        broker.kill()
        broker.wait()
    return refused


def _issued(authority: Authority, central: Path, folder: Path, at: datetime) -> TlsFiles:
    files = TlsFiles(folder)
    folder.mkdir()
    trusted = tls_files(central)
    assert trusted is not None
    shutil.copy(trusted.ca, files.ca)
    key = new_key()
    write_pair(files, key, authority.issue_client("evil", key.public_key(), at).text)
    return files


def _session(port: int, files: TlsFiles, within_s: float) -> str | None:
    """Why there is no session within a time; None where there is one."""
    link = Link(BrokerAddress("127.0.0.1", port, tls=True), "fv1-evil", ("fv1/evil/ack",), random.Random(1), files)
    deadline_s = time.monotonic() + within_s
    while not link.connected and time.monotonic() < deadline_s:
        link.poll(0.05)
    up = link.connected
    reason = link.lost_reason or "no answer"
    link.close(0)
    return None if up else reason


SCENARIO = Scenario(11, TITLE, run, {"signatures-are-not-checked": "not refused as"}, alone=True)
