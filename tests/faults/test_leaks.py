"""What must never leave the node, searched for byte by byte on the wire and at central."""

import base64
import threading
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from edge.people.vault import opened
from edge.visits.visit_log import visit_log
from models.pack import open_pack
from models.store import Store, default_root
from tests.faults.rig import Rig, eventually

NEEDLE_BYTES = 24


class Tap:
    """Somebody who may read everything the broker carries."""

    def __init__(self, port: int) -> None:
        self.seen: list[bytes] = []
        self._ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("#", qos=1)
        self._client.loop_start()
        assert self._ready.wait(30), "the tap is not subscribed"

    def _take(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.seen.append(message.topic.encode() + b"\n" + message.payload)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def _needles(secret: bytes) -> list[bytes]:
    """A piece out of the middle, raw and in the encodings somebody might have used."""
    middle = len(secret) // 2
    piece = secret[middle : middle + NEEDLE_BYTES]
    return [piece, piece.hex().encode(), *(base64.b64encode(piece[shift:])[4:-4] for shift in range(3))]


@pytest.mark.timeout(300)
def test_faces_never_reach_the_wire_or_central(rig: Rig, film: Path, pack: str) -> None:
    rig.start_broker()
    rig.start_central()
    tap = Tap(rig.broker_port)
    run = ("--source", str(film), "--until-end", "--fast", "--allow-file", "--visit-gap", "0", "--drain", "90")
    assert rig.start_node(*run).wait(240) == 0, rig.log("node")
    eventually(lambda: any(b"/ack\n" in message for message in tap.seen), "the tap has seen an ack")
    tap.close()
    rig.terminate("central")

    store = Store(default_root())
    ledger = rig.home.open_ledger()
    visits = visit_log(ledger)
    ledger.close()
    with opened(rig.home.database, rig.home.keys_database) as vault:
        pack_id = open_pack(store, pack).pack_id
        vectors = [sealed.opened().vector.tobytes() for sealed in vault.templates.sealed(pack_id)]
        crops = [crop for visit in visits if (crop := vault.of_visits.crop(visit.visit_id))]
    assert len(vectors) >= 6
    assert len(crops) >= 6
    found = b"".join(tap.seen)
    kept = b"".join(path.read_bytes() for path in rig.central.rglob("*") if path.is_file())
    assert all(visit.visit_id.encode() in found for visit in visits), "the tap missed visits, so it proves nothing"
    for haystack, where in ((found, "on the wire"), (kept, "at central")):
        for secret in (*vectors, *crops):
            for needle in _needles(secret):
                assert needle not in haystack, f"a face {where}"
        assert b"\xff\xd8\xff" not in haystack, f"a JPEG {where}"
