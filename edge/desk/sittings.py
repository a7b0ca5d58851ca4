"""Somebody before a camera, being enrolled: the best looks so far, in memory alone and not for long."""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from edge.people.enrolled import Role
from edge.people.phones import Phone
from edge.recognition.enrol_look import Look
from edge.recognition.enrolment import Faces
from edge.recognition.photos import least

ENOUGH = 3
"""Good looks for an enrolment: as many as `people enrol --camera` takes."""
APART_S = 0.8  # two pictures of one moment tell no more than one
LASTS_S = 600.0
_MOST = 8


@dataclass(frozen=True, slots=True)
class Applying:
    """What was said at the beginning. code: a badge's or an agent's."""

    account_id: str
    role: Role
    consent: str
    code: str | None
    phone: Phone | None
    camera_id: str


@dataclass(frozen=True, slots=True)
class Sitting:
    """One person's; looks: the good ones, best first. flaw: what was wrong with the last picture, empty: nothing."""

    applying: Applying
    began_s: float
    looks: tuple[Look, ...] = ()
    flaw: str = "no_face"
    looked_s: float = field(default=float("-inf"))

    @property
    def enough(self) -> bool:
        return len(self.looks) >= ENOUGH

    @property
    def faces(self) -> Faces | None:
        """The looks as one person's face; None while there are too few."""
        found = [look.faces for look in self.looks[:ENOUGH] if look.faces is not None]
        if len(found) < ENOUGH:
            return None
        live = least([faces.live for faces in found])
        return replace(found[0], vectors=np.concatenate([faces.vectors for faces in found]), live=live)

    @property
    def live_checked(self) -> bool:
        """Whether a network has held every good look to be no photograph."""
        return bool(self.looks) and all(look.faces is not None and look.faces.live is not None for look in self.looks)


class Sittings:
    """Those under way; now_s: monotonic seconds."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._sittings: dict[str, Sitting] = {}

    def begin(self, applying: Applying) -> str:
        """Returns the sitting's id; the oldest goes where too many are under way."""
        sitting_id = secrets.token_hex(16)
        with self._lock:
            self._sweep()
            while len(self._sittings) >= _MOST:
                del self._sittings[next(iter(self._sittings))]
            self._sittings[sitting_id] = Sitting(applying, self._now_s())
        return sitting_id

    def get(self, sitting_id: str, account_id: str) -> Sitting | None:
        """A sitting of this account's."""
        with self._lock:
            self._sweep()
            found = self._sittings.get(sitting_id)
        return found if found is not None and found.applying.account_id == account_id else None

    def take(self, sitting_id: str, look: Look) -> Sitting | None:
        """Take a look in, where it is good and not of the same moment as the last."""
        with self._lock:
            found, now_s = self._sittings.get(sitting_id), self._now_s()
            if found is None:
                return None
            sitting = replace(found, flaw=look.flaw)
            if look.faces is not None and now_s - found.looked_s >= APART_S:
                same = [one for one in found.looks if one.faces and one.faces.pack_id == look.faces.pack_id]
                looks = sorted((*same, look), key=lambda one: -one.quality)
                sitting = replace(sitting, looks=tuple(looks[:ENOUGH]), looked_s=now_s)
            self._sittings[sitting_id] = sitting
        return sitting

    def end(self, sitting_id: str) -> None:
        """Forget it, and the looks with it."""
        with self._lock:
            self._sittings.pop(sitting_id, None)

    def _sweep(self) -> None:
        now_s = self._now_s()
        self._sittings = {key: one for key, one in self._sittings.items() if now_s - one.began_s < LASTS_S}
