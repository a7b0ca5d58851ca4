"""Whether a camera still sees what it was installed to see: covered, dark, frozen, against the light, or moved.

Judged on the small grey picture of `camera.motion.look`, against the reference view where there is one. The view as
installed says where the camera looks and never changes; a copy of it follows the light and says how much is seen. Both
are asked: what creeps before the lens takes the copy along, but not the view as installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from camera.motion import View
from camera.reference import Box, Displacement, Grey, Reference, without_people

BlindReason: TypeAlias = Literal["dark", "covered", "other_view", "frozen", "backlit"]
"""other_view: a sharp picture of something else: a print before the lens, or a camera turned away altogether."""
MovedReason: TypeAlias = Literal["displaced", "format"]

# Measured: camera/README.md, "The camera's own honesty".
CHECK_EVERY_S = 0.25
UNWATCHED_S = 2.0
SEEN_WITHIN_S = 5.0  # a block counts as seen for so long: people walk on, a folder stays
COVERED_SHARE = 0.15  # of the reference's blocks: the fullest frame of a crowd shows 0.14 at once, another picture 0.12
SURE_SHARE = 0.5  # from here on nobody asks whether the view is displaced
BLIND_AFTER_S = 3.0
COVERED_AFTER_S = 1.0  # after SEEN_WITHIN_S
CLEAR_AFTER_S = 1.0
BLURRED = 0.2  # of the reference's sharpness: too near to be in focus
BACKLIT_AFTER_S = 10.0
GLARE_LUMA, GLARE_SHARE = 245.0, 0.08
SHADE_LUMA, SHADE_SHARE = 45.0, 0.5
FROZEN_AFTER_S = 30.0
FROZEN_LEVELS = 0.02  # mean difference of two pictures; a sensor's noise alone is more
LOCATE_EVERY_S = 1.0
THOROUGH_EVERY_S = 2.0
ANCHOR_EVERY_S = 10.0
MOVED_AFTER_S = 5.0
MOVED_FINDINGS = 3  # that agree, none longer than FOUND_FOR_S after the one before
FOUND_FOR_S = 15.0
REFERENCE_PICTURES = 15
REFERENCE_EVERY_S = 2.0
ANCHORED_EVERY_S = 2.0
ANCHORED_WITHIN_S = 60.0  # what has been hidden from the view as installed for so long is gone, however slowly it went
FOLLOW_EVERY_S = 10.0
FOLLOW_SHARE = 0.05  # of each new picture: the copy follows within some 200 s


@dataclass(frozen=True, slots=True)
class ViewChange:
    """A state that began, or ended where reason is "clear". since: when the first picture of it was taken."""

    kind: Literal["blind", "moved"]
    reason: BlindReason | MovedReason | Literal["clear"]
    since: datetime
    displacement: Displacement | None = None


@dataclass(frozen=True, slots=True, eq=False)
class KeptView:
    """A reference view to keep: (h, w) float32 as installed, the copy that follows the light, and when it was taken."""

    installed: Grey
    followed: Grey
    taken_at: datetime


@dataclass(slots=True)
class _Spell:
    """How long something has been so."""

    since_ns: int | None = None
    since: datetime | None = None

    def feed(self, so: bool, at_ns: int, at: datetime) -> float:
        """Seconds that it has been so without a break; -1 where it is not."""
        if not so:
            self.since_ns = None
            return -1.0
        if self.since_ns is None:
            self.since_ns, self.since = at_ns, at
        return (at_ns - self.since_ns) / 1e9


class ViewWatch:
    """Watches one camera's view over time; pictures come in their order.

    kept: the reference of before, None where one is to be taken. live: whether the pictures come from a camera, which a
    frozen one can be, and not from a file.
    """

    def __init__(self, kept: KeptView | None = None, *, live: bool = False) -> None:
        self._live = live
        self._kept = kept
        self._installed = Reference(kept.installed) if kept else None
        self._followed = Reference(kept.followed) if kept else None
        self._pictures: list[Grey] = []
        self._faces: list[list[Box]] = []
        self._blind: BlindReason | None = None
        self._moved: MovedReason | None = None
        self._spells: dict[str, _Spell] = {}
        self._last: View | None = None
        self._seen_ns: NDArray[np.int64] | None = None
        self._anchored_ns: NDArray[np.int64] | None = None  # the same of the view as installed
        self._due_ns: dict[str, int] = {}
        self._compared_ns = 0
        self._found: Displacement | None = None
        self._found_ns = 0
        self._findings = 0
        self._share = self._anchored = 1.0

    @property
    def kept(self) -> KeptView | None:
        """The reference as it stands, None until one is taken."""
        if self._kept is None or self._followed is None:
            return None
        followed = self._kept.installed if self._moved else self._followed.grey
        return KeptView(self._kept.installed, followed, self._kept.taken_at)

    def retake(self) -> None:
        """Forget the reference: what is seen from now on is the view."""
        self._kept = self._installed = self._followed = self._seen_ns = self._anchored_ns = self._found = None
        self._findings, self._share, self._anchored = 0, 1.0, 1.0
        self._pictures.clear()
        self._faces.clear()

    def interrupted(self) -> None:
        """Frames stopped: a view that is still blind when they return is to be said again; one moved stays so."""
        self._blind = None
        self._last = self._seen_ns = self._anchored_ns = None
        self._spells = {name: spell for name, spell in self._spells.items() if name == "moved"}

    def update(self, view: View, at_ns: int, at: datetime) -> tuple[ViewChange, ...]:
        """Return what begins or ends with this picture."""
        changes: list[ViewChange] = []
        frozen_s = self._spell("frozen", self._live and self._repeats(view), at_ns, at)
        if self._due("check", CHECK_EVERY_S, at_ns):
            self._compare(view, at_ns)
            changes += self._judge_place(view, at_ns, at)
        changes += self._judge_sight(view, frozen_s, at_ns, at)
        self._last = view
        return tuple(changes)

    def learn(self, view: View, faces: Sequence[Box], at_ns: int, at: datetime) -> None:
        """Take the reference, or let its copy follow the light; faces: boxes xyxy as shares of the picture."""
        if self._blind is not None or view.blind:
            return
        if self._kept is None:
            if self._due("reference", REFERENCE_EVERY_S, at_ns):
                self._pictures.append(view.grey)
                self._faces.append(list(faces))
            if len(self._pictures) >= REFERENCE_PICTURES:
                grey = without_people(self._pictures, self._faces)
                self._kept = KeptView(grey, grey, at)
                self._installed = self._followed = Reference(grey)
                self._pictures.clear()
                self._faces.clear()
        elif self._follows(view) and self._due("follow", FOLLOW_EVERY_S, at_ns):
            assert self._followed is not None
            old = self._followed.grey
            new = without_people([view.grey], [faces], elsewhere=old)
            self._followed = Reference(old + np.float32(FOLLOW_SHARE) * (new - old))

    def _follows(self, view: View) -> bool:
        return self._followed is not None and self._same_shape(view) and self._share >= SURE_SHARE

    # -- how much is seen, and where -------------------------------------------------------------------------------

    def _compare(self, view: View, at_ns: int) -> None:
        followed = self._followed
        if followed is None or not followed.telling or not self._same_shape(view):
            self._share, self._anchored, self._found, self._findings = 1.0, 1.0, None, 0
            return
        agreeing = followed.agreeing(view.grey)
        if self._seen_ns is None or at_ns - self._compared_ns > UNWATCHED_S * 1e9:
            self._seen_ns = np.full(agreeing.shape, at_ns, np.int64)  # nobody knows what was to be seen meanwhile
            self._anchored_ns = self._seen_ns.copy()
        self._compared_ns = at_ns
        self._seen_ns[agreeing] = at_ns
        sure = followed.seen(agreeing) >= SURE_SHARE and self._moved is None and self._findings == 0
        if self._due("locate", ANCHOR_EVERY_S if sure else LOCATE_EVERY_S, at_ns):
            self._locate(view, at_ns, thorough=not sure)
        self._share = followed.seen(at_ns - self._seen_ns < SEEN_WITHIN_S * 1e9)
        self._hold_to_installed(view, at_ns)

    def _hold_to_installed(self, view: View, at_ns: int) -> None:
        installed = self._installed
        assert installed is not None
        if self._moved is not None or not installed.telling:
            self._anchored, self._anchored_ns = 1.0, None  # what can be covered then is another view
            return
        if not self._due("anchored", ANCHORED_EVERY_S, at_ns):
            return
        agreeing = installed.agreeing(view.grey)
        if self._anchored_ns is None:
            self._anchored_ns = np.full(agreeing.shape, at_ns, np.int64)
        self._anchored_ns[agreeing] = at_ns
        self._anchored = installed.seen(at_ns - self._anchored_ns < ANCHORED_WITHIN_S * 1e9)

    def _locate(self, view: View, at_ns: int, *, thorough: bool) -> None:
        assert self._installed is not None
        found = self._installed.located(view.grey)
        if found is None and thorough and self._due("thorough", THOROUGH_EVERY_S, at_ns):
            found = self._installed.located(view.grey, thorough=True)
        if found is None:  # people may hide what is left of it: that says nothing against an earlier finding
            if at_ns - self._found_ns > FOUND_FOR_S * 1e9 or self._at_home(view):
                self._found, self._findings = None, 0
            return
        if not found.moved:
            self._found, self._findings = None, 0
            if self._moved is None and self._seen_ns is not None:
                self._seen_ns[:] = at_ns  # a mast in the wind: all there, a few pixels off
                if self._anchored_ns is not None:
                    self._anchored_ns[:] = at_ns
            return
        again = self._found is not None and found.agrees_with(self._found)
        self._found, self._found_ns, self._findings = found, at_ns, self._findings + 1 if again else 1
        self._due_ns["locate"] = at_ns + int(LOCATE_EVERY_S * 1e9)

    def _judge_place(self, view: View, at_ns: int, at: datetime) -> list[ViewChange]:
        if self._installed is None:
            cleared = [ViewChange("moved", "clear", at)] if self._moved else []
            self._moved = None
            return cleared
        other_format = not self._same_shape(view)
        moved_s = self._spell("moved", self._findings > 0 or other_format, at_ns, at)
        if self._moved is None:
            if moved_s < MOVED_AFTER_S or not (other_format or self._findings >= MOVED_FINDINGS):
                return []
            self._moved = "format" if other_format else "displaced"
            if not other_format:
                self._followed, self._seen_ns = Reference(view.grey), None  # what can be covered from here on
            self._spell("home", False, at_ns, at)
            return [ViewChange("moved", self._moved, self._since("moved", at), self._found)]
        home_s = self._spell("home", not other_format and self._at_home(view), at_ns, at)
        if home_s < MOVED_AFTER_S:
            return []
        self._moved, self._seen_ns, self._followed = None, None, self._installed
        return [ViewChange("moved", "clear", self._since("home", at))]

    def _at_home(self, view: View) -> bool:
        installed = self._installed
        return installed is not None and installed.seen(installed.agreeing(view.grey)) >= SURE_SHARE

    # -- whether anything is seen ----------------------------------------------------------------------------------

    def _judge_sight(self, view: View, frozen_s: float, at_ns: int, at: datetime) -> list[ViewChange]:
        home = self._spells.get("home")
        lately = self._findings > 0 and at_ns - self._found_ns <= MOVED_AFTER_S * 1e9
        placed = lately if self._moved is None else home is not None and home.since_ns is not None
        unknown = not view.blind and min(self._share, self._anchored) < COVERED_SHARE and not placed
        spells: list[tuple[BlindReason, str, float, float]] = [
            (
                "dark" if view.dark else "covered",
                "nothing",
                self._spell("nothing", view.blind, at_ns, at),
                BLIND_AFTER_S,
            ),
            (self._unknown(view), "unknown", self._spell("unknown", unknown, at_ns, at), COVERED_AFTER_S),
            ("frozen", "frozen", frozen_s, FROZEN_AFTER_S),
            ("backlit", "backlit", self._spell("backlit", _backlit(view), at_ns, at), BACKLIT_AFTER_S),
        ]
        clear_s = self._spell("clear", all(held_s < 0 for _, _, held_s, _ in spells), at_ns, at)
        if self._blind is None:
            for reason, name, held_s, after_s in spells:
                if held_s >= after_s:
                    self._blind = reason
                    early = timedelta(seconds=SEEN_WITHIN_S if name == "unknown" else 0)
                    return [ViewChange("blind", reason, self._since(name, at) - early)]
        elif clear_s >= CLEAR_AFTER_S:
            self._blind = None
            return [ViewChange("blind", "clear", self._since("clear", at))]
        return []

    def _unknown(self, view: View) -> BlindReason:
        near = self._followed is not None and view.sharpness < BLURRED * self._followed.sharpness
        return "covered" if near else "other_view"

    def _repeats(self, view: View) -> bool:
        last = self._last
        if last is None or last.grey.shape != view.grey.shape or view.blind:
            return False
        return float(np.abs(view.grey - last.grey).mean()) < FROZEN_LEVELS

    # -- bookkeeping -----------------------------------------------------------------------------------------------

    def _same_shape(self, view: View) -> bool:
        return self._installed is not None and self._installed.grey.shape == view.grey.shape

    def _spell(self, name: str, so: bool, at_ns: int, at: datetime) -> float:
        return self._spells.setdefault(name, _Spell()).feed(so, at_ns, at)

    def _since(self, name: str, otherwise: datetime) -> datetime:
        return self._spells[name].since or otherwise

    def _due(self, name: str, every_s: float, at_ns: int) -> bool:
        if at_ns < self._due_ns.get(name, at_ns):
            return False
        self._due_ns[name] = at_ns + int(every_s * 1e9)
        return True


def _backlit(view: View) -> bool:
    """Whether a glaring light leaves the rest of the picture in the dark."""
    glare = int(np.count_nonzero(view.grey >= GLARE_LUMA)) / view.grey.size
    shade = int(np.count_nonzero(view.grey < SHADE_LUMA)) / view.grey.size
    return glare >= GLARE_SHARE and shade >= SHADE_SHARE
