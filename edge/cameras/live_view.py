"""What a camera sees and what the node makes of it, live: over a socket beside the databases, and in no file.

A watcher sends a camera's id and a line feed; back come pictures, each its length as 4 bytes, most significant first,
and a JPEG. Nothing is drawn, encoded or kept while nobody watches.
"""

import asyncio
import contextlib
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from camera.pipeline import Ended, Step
from camera.source import Frame
from edge import EdgeError
from sync.format.records import Record

_log = logging.getLogger(__name__)

SOCKET = "live.sock"
LOOK = "look "  # before a camera's id: one look at whoever is before it, instead of pictures
EVERY_S = 0.2
WIDTH_PX = 960
WATCHERS = 4  # each has a thread and encodes for itself
PATIENCE_S = 5.0  # with a watcher that does not read, and with a node that has nothing to show
_ID_BYTES = 256
_LENGTH = struct.Struct(">I")
_JPEG_QUALITY = 75
_UNDECIDED = (160, 160, 160)  # BGR, as the pages' colours of the decisions
# what stands at a face besides its colour; the page says what each means, in its reader's language
_SIGNS = {"first": "+", "return": "=", "unsure": "?", "seen": "o"}
_COLOURS = {"first": (71, 102, 11), "return": (156, 71, 42), "unsure": (0, 120, 230), "seen": (79, 83, 71)}


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    number: int
    image: NDArray[np.uint8]
    marks: tuple[tuple[NDArray[np.float32], str, tuple[int, int, int]], ...]  # box_xyxy, text, BGR


class LiveView:
    """The node's end: the loop hands it frames that somebody wants, threads of its own draw and send them."""

    def __init__(self, folder: Path, look: Callable[[NDArray[np.uint8]], bytes] | None = None) -> None:
        """folder: where the socket lies, beside the databases. look: what a watcher who asks for one is answered."""
        self._folder = folder
        self._look = look
        self._listening: socket.socket | None = None
        self._changed = threading.Condition()
        self._watched: dict[str, int] = {}
        self._pictures: dict[str, _Picture] = {}
        self._due_s: dict[str, float] = {}
        self._labels: dict[tuple[str, int], tuple[str, tuple[int, int, int]]] = {}
        self._places = threading.BoundedSemaphore(WATCHERS)
        self._stopped = False

    def start(self) -> None:
        """Listen; a folder that allows no socket costs the view, never the watch."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with within_reach(self._folder) as path:
                path.unlink(missing_ok=True)  # of a run that was killed; run.lock says that no other one is there
                os.fchmod(listening.fileno(), 0o660)  # before it has a name: others may write the folder too
                listening.bind(str(path))
            listening.listen(WATCHERS)
        except OSError as error:
            listening.close()
            _log.warning("no live view: %s: %s", self._folder / SOCKET, error.strerror)
            return
        self._listening = listening
        threading.Thread(target=self._accept, args=(listening,), name="live-view", daemon=True).start()

    def stop(self) -> None:
        """Send everybody away."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._listening is not None:
            with contextlib.suppress(OSError):  # not connected, says Linux, and wakes accept() all the same
                self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            (self._folder / SOCKET).unlink(missing_ok=True)

    def decided(self, camera_id: str, track_id: int, record: Record | None) -> None:
        """What was said of a track; None: it goes on with a visit, or is nobody's."""
        if record is None:
            self._labels[camera_id, track_id] = (_SIGNS["seen"], _COLOURS["seen"])
            return
        decision = record.kind.removeprefix("visit.")
        similarity = record.fields.get("similarity_e6")
        sign = _SIGNS.get(decision, "")
        text = sign if similarity is None else f"{sign} {similarity / 1e6:.2f}"
        self._labels[camera_id, track_id] = (text, _COLOURS.get(decision, _UNDECIDED))

    def ended(self, ended: Ended) -> None:
        self._labels.pop((ended.camera_id, ended.track_id), None)

    def follow(self, frame: Frame, step: Step) -> None:
        """Show a frame just analysed, where somebody watches and the last one shown is EVERY_S old."""
        camera_id, now_s = frame.camera_id, time.monotonic()
        if camera_id not in self._watched or now_s < self._due_s.get(camera_id, 0.0):
            return
        self._due_s[camera_id] = now_s + EVERY_S
        marks = []
        for sighting in step.sightings:
            text, colour = self._labels.get((camera_id, sighting.track_id), ("", _UNDECIDED))
            marks.append((sighting.face.box_xyxy, f"#{sighting.track_id} {text}".rstrip(), colour))
        with self._changed:
            before = self._pictures.get(camera_id)
            number = 1 if before is None else before.number + 1
            self._pictures[camera_id] = _Picture(number, frame.image, tuple(marks))
            self._changed.notify_all()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                watcher, _ = listening.accept()
            except OSError:  # stop() has closed it
                return
            if not self._places.acquire(blocking=False):  # whoever has not said a camera yet has a place too
                watcher.close()
                continue
            watcher.settimeout(PATIENCE_S)
            threading.Thread(target=self._serve, args=(watcher,), name="live-watcher", daemon=True).start()

    def _serve(self, watcher: socket.socket) -> None:
        with self._place(), watcher:
            try:
                camera_id = watcher.makefile("rb").readline(_ID_BYTES).decode().rstrip("\n")
            except (OSError, ValueError) as error:
                _log.warning("live view: a watcher said no camera: %s", error)
                return
            if self._look is not None and camera_id.startswith(LOOK):
                self._looked(watcher, camera_id.removeprefix(LOOK), self._look)
                return
            with self._watching(camera_id):
                shown = 0
                while (picture := self._next(camera_id, shown)) is not None:
                    shown = picture.number
                    data = _drawn(picture)
                    try:
                        watcher.sendall(_LENGTH.pack(len(data)) + data)
                    except OSError:  # gone, or not reading: either is the end of watching
                        return

    def _looked(self, watcher: socket.socket, camera_id: str, look: Callable[[NDArray[np.uint8]], bytes]) -> None:
        with self._watching(camera_id):
            picture = self._next(camera_id, 0)
            answer = b"" if picture is None else look(picture.image)
            with contextlib.suppress(OSError):  # gone: nobody is waiting for it
                watcher.sendall(_LENGTH.pack(len(answer)) + answer)

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._places.release()

    @contextlib.contextmanager
    def _watching(self, camera_id: str) -> Iterator[None]:
        with self._changed:
            self._watched[camera_id] = self._watched.get(camera_id, 0) + 1
        try:
            yield
        finally:
            with self._changed:
                self._watched[camera_id] -= 1
                if not self._watched[camera_id]:
                    del self._watched[camera_id]
                    self._pictures.pop(camera_id, None)  # a picture of people is kept for nobody

    def _next(self, camera_id: str, after: int) -> _Picture | None:
        """The next picture of a camera, None after PATIENCE_S without or when stopped."""

        def there() -> bool:
            picture = self._pictures.get(camera_id)
            return self._stopped or (picture is not None and picture.number != after)

        with self._changed:
            there_in_time = self._changed.wait_for(there, PATIENCE_S)
            return self._pictures.get(camera_id) if there_in_time and not self._stopped else None


async def pictures(folder: Path, camera_id: str) -> AsyncGenerator[bytes]:
    """A camera's pictures, JPEG, as long as the node sends any; raises EdgeError where it runs no live view."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with within_reach(folder) as path:
            connection.connect(str(path))
    except OSError as error:
        connection.close()
        raise EdgeError(f"{folder / SOCKET}: no node is there: {error.strerror}") from error
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    try:
        writer.write(f"{camera_id}\n".encode())
        while True:
            try:
                async with asyncio.timeout(2 * PATIENCE_S):
                    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                    picture = await reader.readexactly(length)
            except (asyncio.IncompleteReadError, TimeoutError, OSError):
                return
            yield picture
    finally:
        writer.close()


@contextlib.contextmanager
def within_reach(folder: Path) -> Iterator[Path]:
    """The socket's path by way of an open folder: a socket's address has room for 107 bytes, whatever HOME's name."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{descriptor}") / SOCKET
    finally:
        os.close(descriptor)


def _drawn(picture: _Picture) -> bytes:
    image = picture.image
    scale = min(1.0, WIDTH_PX / image.shape[1])
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    canvas = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    for box_xyxy, text, colour in picture.marks:
        x0, y0, x1, y1 = (int(value * scale) for value in box_xyxy)
        cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, 2)
        (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
        top = max(height + base + 4, y0)
        cv2.rectangle(canvas, (x0 - 1, top - height - base - 4), (x0 + width + 8, top), colour, cv2.FILLED)
        cv2.putText(canvas, text, (x0 + 4, top - base), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
