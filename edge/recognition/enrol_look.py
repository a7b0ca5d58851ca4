"""One look at somebody who is being enrolled: the node says whether a picture is good enough, and embeds that face.

Asked for over the live view's socket by the kiosk, which has no network of its own; nothing of it is kept here.
"""

import base64
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from camera.quality import quality
from edge import EdgeError
from edge.cameras.live_view import LOOK, PATIENCE_S, SOCKET, within_reach
from edge.recognition.decision import Strictness
from edge.recognition.enrolment import Faces
from edge.recognition.grade import LIVE
from edge.recognition.photos import judge, lives
from models.faces import Image
from models.liveness import Liveness
from models.pack import Pack

_LENGTH = struct.Struct(">I")
_MOST_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Look:
    """flaw: what is wrong with the picture, as photos.py names it, empty where nothing is. quality: 0..1.

    faces: the one face of a good picture.
    """

    flaw: str
    quality: float = 0.0
    faces: Faces | None = None


def looker(
    pack: Pack,
    strictness: Strictness,
    of_roster: Callable[[], int],
    of_visitors: Callable[[], int],
    liveness: Liveness | None,
) -> Callable[[Image], bytes]:
    """What the live view answers a look with. of_roster, of_visitors: how many templates are searched just now.

    liveness: the network against photographs held up, None where none is installed.
    """

    def look(image: Image) -> bytes:
        face = judge(image, pack.detector)
        if isinstance(face, str):
            return orjson.dumps({"flaw": face})
        live = lives(image, face, liveness)
        if live is not None and live < LIVE:
            return orjson.dumps({"flaw": "not_live"})
        tracks = pack.calibration.of_tracks()  # most of what is held is of tracks
        vector = pack.embedder.embed(pack.chip(image, face)[None])[0]
        return orjson.dumps(
            {
                "flaw": "",
                "quality": float(quality(image, face)),
                "live": live,
                "pack": pack.pack_id,
                "vector": base64.b64encode(vector.astype("<f4").tobytes()).decode(),
                "lower": strictness.rule(pack.calibration, of_roster()).lower,
                "of_roster": strictness.rule(tracks, of_roster()).upper,
                "of_visitors": strictness.rule(tracks, of_visitors()).upper,
            }
        )

    return look


def look_through(folder: Path, camera_id: str) -> Look:
    """Have the node look once through a camera; folder: where its databases lie.

    Raises EdgeError where no node runs, or its camera gives no picture.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(2 * PATIENCE_S)
            with within_reach(folder) as path:
                connection.connect(str(path))
            connection.sendall(f"{LOOK}{camera_id}\n".encode())
            stream = connection.makefile("rb")
            head = stream.read(_LENGTH.size)
            length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
            answer = stream.read(length) if 0 < length <= _MOST_BYTES else b""
    except OSError as error:
        raise EdgeError(f"{folder / SOCKET}: no node is there: {error.strerror or error}") from error
    if not answer:
        raise EdgeError(f"camera {camera_id}: no picture")
    said = orjson.loads(answer)
    if said["flaw"]:
        return Look(said["flaw"])
    vector = np.frombuffer(base64.b64decode(said["vector"]), "<f4").astype(np.float32)
    faces = Faces(said["pack"], vector[None], said["lower"], said["of_roster"], said["of_visitors"], said["live"])
    return Look("", said["quality"], faces)
