"""Which open party a visitor's form most likely belongs to, by the clock alone: a proposal, never a binding."""

from collections.abc import Iterable
from dataclasses import dataclass

from edge.desk.parties import ShownParty

# reasoned, not measured: a form is filled in while its sender waits for the desk, and a code that hangs at the
# entrance may be scanned before the camera has them
LONGEST_BEFORE_US = 45 * 60 * 1_000_000
LONGEST_AFTER_US = 2 * 60 * 1_000_000
ALIKE_US = 60 * 1_000_000  # two parties so close to each other fit equally well


@dataclass(frozen=True, slots=True)
class Fit:
    """The party that came nearest to a form. gap_us: from its arrival to the form, under 0 where it came later.

    alike: how many other parties fit about as well, and are as likely the right one.
    """

    party: ShownParty
    gap_us: int
    alike: int


def fitting(received_us: int, parties: Iterable[ShownParty]) -> Fit | None:
    """The open party whose arrival is nearest to when a form came in; None where none is near."""
    near = [
        (abs(received_us - party.arrived_us), party)
        for party in parties
        if party.open and -LONGEST_AFTER_US <= received_us - party.arrived_us <= LONGEST_BEFORE_US
    ]
    if not near:
        return None
    best_us, best = min(near, key=lambda one: one[0])
    alike = sum(away_us - best_us <= ALIKE_US for away_us, _ in near) - 1
    return Fit(best, received_us - best.arrived_us, alike)
