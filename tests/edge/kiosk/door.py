"""Writes real visits into a HOME, as the node's own process does: signed, chained, with encrypted crops.

Run as a program it is that other process: door.py HOME SECONDS_AGO appends one first visit.
"""

import secrets
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.clock import Clock
from edge.home import Home
from edge.people.vault import opened
from edge.recognition.gallery import Candidate
from edge.visits.explanation import Explanation, ShotFacts

PACK = "mobilefacenet@b7120c095d60"
CONFIG = """
version = 1
[site]
id = "puxi-01"
[node]
id = "puxi-01-a"
[capture]
mode = "ephemeral"
legal_basis = "test"
[[camera]]
id = "entrance"
uri = "rtsp://127.0.0.1/none"
[[camera]]
id = "side-door"
uri = "rtsp://127.0.0.1/none"
"""


def blank_face() -> bytes:
    """A picture of nobody, as JPEG."""
    picture = np.full((160, 160, 3), (140, 170, 205), np.uint8)
    cv2.circle(picture, (80, 80), 50, (90, 110, 150), -1)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def _nobody() -> NDArray[np.float32]:
    vector = np.random.default_rng().normal(size=128).astype(np.float32)
    return vector / np.linalg.norm(vector)


class Door:
    """The node's writing hand, for one thread."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.ledger = home.open_ledger("node", Clock())
        self.gallery_since_us = round((datetime.now(UTC) - timedelta(days=20)).timestamp() * 1e6)

    def close(self) -> None:
        self.ledger.close()

    def arrive(
        self,
        decision: str,
        *,
        ago_s: float = 0,
        person: str | None = None,
        crop: bytes | None = None,
        camera: str = "entrance",
        similarity: float | None = None,
        candidates: tuple[tuple[str, float], ...] = (),
        gallery_n: int = 126,
        grade: str = "B",
        source: str = "rtsp",
        face: NDArray[np.float32] | None = None,
        pack: str = PACK,
        **more: Any,
    ) -> tuple[str, str]:
        """Append a visit of a person (a new one without `person`); returns (visit_id, person_id).

        face: (D,) float32, L2 norm 1, of `pack`; none: of nobody.
        """
        visit_id, known = f"v{secrets.token_hex(8)}", person is not None
        person_id = person or f"p{secrets.token_hex(8)}"
        now = datetime.now(UTC)
        arrived_us = round((now - timedelta(seconds=ago_s)).timestamp() * 1e6)
        fields: dict[str, Any] = {
            "visit": visit_id,
            "site": "puxi-01",
            "camera": camera,
            "source": source,
            "source_hash": "0" * 64,
            "arrived_us": arrived_us,
            "shots": 4,
            "quality_e6": 712_000,
            "person": person_id,
            "pack": pack,
            "upper_e6": 520_000,
            "lower_e6": 380_000,
            "gallery_n": gallery_n,
            "gallery_since_us": self.gallery_since_us,
            "unconsented_horizon_s": 86_400,
            "grade": grade,
            **more,
        }
        if similarity is not None:
            fields["similarity_e6"] = round(similarity * 1e6)
        if candidates:
            fields["candidates"] = [{"person": p, "similarity_e6": round(s * 1e6)} for p, s in candidates]
        with opened(self.home.database, self.home.keys_database) as vault:
            if not known:
                vault.create_key(person_id)
            with self.ledger.transaction() as transaction:
                transaction.append(f"visit.{decision}", fields)
                if not known:
                    vector = _nobody() if face is None else face
                    vault.add_person(transaction.connection, person_id, pack, vector, now, decision == "first")
                vault.of_visits.add_crop(transaction.connection, visit_id, person_id, crop or blank_face(), now)
                shots = tuple(ShotFacts(arrived_us + i * 300_000, 0.712 - i / 50, 84.0, 0.03, None) for i in range(4))
                kept = Explanation(shots, tuple(Candidate(*near) for near in candidates), ("liveness_unknown",))
                vault.of_visits.add_explanation(transaction.connection, visit_id, person_id, kept.encoded(), now)
        return visit_id, person_id

    def see(self, *, ago_s: float = 0, party: int = 1, party_id: str | None = None) -> str:
        """Append an arrival of somebody who was not compared."""
        visit_id = f"v{secrets.token_hex(8)}"
        self.ledger.append(
            "visit.seen",
            {
                "visit": visit_id,
                "site": "puxi-01",
                "camera": "entrance",
                "source": "rtsp",
                "source_hash": "0" * 64,
                "arrived_us": round((time.time() - ago_s) * 1e6),
                "shots": 3,
                "quality_e6": 600_000,
                "party": party,
                "grade": "C",
                **({} if party_id is None else {"party_id": party_id}),
            },
        )
        return visit_id


if __name__ == "__main__":
    door = Door(Home(Path(sys.argv[1])))
    print(door.arrive("first", ago_s=float(sys.argv[2]))[0])
    door.close()
