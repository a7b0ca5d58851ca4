"""7. Wrong clocks: set by an hour, back to 1970, left by NTP, and a reboot while offline."""

import time
from dataclasses import dataclass

from sync.certificate.timeline import Timeline
from sync.format.messages import Ack
from sync.format.records import Record, parse
from tests.faults.checker import check
from tests.faults.clocks import ClockSetting
from tests.faults.journal import Place
from tests.faults.mutants import claims_are_believed
from tests.faults.scenario import Result, Scenario, Work
from tests.faults.site import NodeUnderTest, Site, reading, site

TITLE = "clock +-1 h, 1970, NTP lost, offline reboot"
HOUR_US = 3_600_000_000
KERNEL_LIMIT_US = 16_000_000  # what the kernel reports once somebody has set the clock
ROUNDING_US = 50_000  # between the stamp's reading and the journal's line


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the run under one clock; online: whether the broker is there. grades: what its records may have."""

    name: str
    clock: ClockSetting
    grades: str
    online: bool = True
    reboot: bool = False


def phases(true_us: int) -> list[Phase]:
    """In the order they happen to one machine; true_us: now, from which 1970 is counted back."""
    unsynced = {"maxerror_us": KERNEL_LIMIT_US, "synced": False}
    rebooted = {"boot_id": "c" * 32, "boot_offset_us": 60_000_000}
    return [
        Phase("synchronised", ClockSetting(), "AB"),
        Phase("+1 h", ClockSetting(wall_offset_us=HOUR_US, **unsynced), "BC"),  # type: ignore[arg-type]
        Phase("-1 h", ClockSetting(wall_offset_us=-HOUR_US, **unsynced), "BC"),  # type: ignore[arg-type]
        Phase("1970", ClockSetting(wall_offset_us=-true_us, **unsynced), "BC"),  # type: ignore[arg-type]
        Phase("NTP lost", ClockSetting(wall_offset_us=300_000, maxerror_us=2_000_000, synced=False), "BC"),
        Phase(
            "offline reboot",
            ClockSetting(wall_offset_us=-HOUR_US * 5, **unsynced, **rebooted),  # type: ignore[arg-type]
            "BC",  # B: of what went up in the first frames afterwards, whose acks end in that boot
            online=False,
            reboot=True,
        ),
        Phase("back online", ClockSetting(boot_id="d" * 32, boot_offset_us=120_000_000), "AB", reboot=True),
    ]


def run(work: Work) -> Result:
    """Feed through every phase; then hold each stamp's interval against the time the harness saw."""
    result, spans = Result(), list[tuple[Phase, int, int]]()
    stretch_s = work.times(25, 3)
    with site(work.root) as tested:
        node = tested.node
        node.rate_per_s, node.clock = 10.0, work.root / "clock"
        node.mutants = work.mutants("wall-clock-is-true")
        ClockSetting().write(node.clock)
        tested.start_broker()
        tested.start_central()
        tested.start_node()
        for phase in phases(time.time_ns() // 1000):
            _enter(tested, node, phase)
            began_ns = time.time_ns()
            time.sleep(stretch_s)
            if phase.online:
                _all_acked(tested, node)
            spans.append((phase, began_ns, time.time_ns()))
        tested.drain()
        tally = check(tested)
        result.problems += tally.problems
        inside, grades = _judge(node, spans, result, believing=bool(node.mutants))
    result.figures = f"{inside} stamps, true time inside the interval of each; grades {grades}; {tally.figures()}"
    return result


def _enter(tested: Site, node: NodeUnderTest, phase: Phase) -> None:
    assert node.clock is not None
    if phase.reboot:
        tested.kill(node.node_id)
    if not phase.online:
        tested.kill("broker")
    phase.clock.write(node.clock)
    if phase.reboot:
        tested.start_node()
    if phase.online and not tested.running("broker"):
        # only once the node records again: what it recorded offline then shares a frame with what it records in a later
        # boot, and an ack that ends in another boot than a record leaves it C
        tested.start_broker()


def _all_acked(tested: Site, node: NodeUnderTest) -> None:
    """Go on until what was recorded in this phase has been acknowledged in it."""
    head, deadline_s = node.head(), time.monotonic() + 30.0
    while node.acked_upto() < head and time.monotonic() < deadline_s and tested.running(node.node_id):
        time.sleep(0.1)


def _judge(
    node: NodeUnderTest, spans: list[tuple[Phase, int, int]], result: Result, believing: bool
) -> tuple[int, str]:
    records, acks = _evidence(node)
    timeline = Timeline(records, acks)
    if believing:  # the other half of the mutant: who reads the stamp believes it too
        claims_are_believed()
    true_ns: dict[Place, int] = {place: at_ns for (place, _), at_ns in node.account.attempted.items()}
    inside, grades = 0, dict[str, set[str]]()
    outside, misgraded = list[str](), dict[str, list[int]]()
    for record in records:
        at_ns = true_ns.get((record.epoch, record.seq))
        if at_ns is None:  # of `init`, before there was a journal
            continue
        moment, true_us = timeline.of(record), at_ns // 1000
        holds = all(
            (span.lo_us is None or span.lo_us <= true_us + ROUNDING_US)
            and (span.hi_us is None or true_us - ROUNDING_US <= span.hi_us)
            for span in (moment.signed, moment.carried, moment.whole)
        )
        inside += holds
        phase = next((phase for phase, began, ended in spans if began <= at_ns <= ended), None)
        if not holds:
            outside.append(f"seq {record.seq} ({phase.name if phase else 'between'})")
        if phase is not None:
            grades.setdefault(phase.name, set()).add(moment.grade)
            if moment.grade not in phase.grades:
                misgraded.setdefault(f"{phase.name}: grade {moment.grade}", []).append(record.seq)
    if "C" not in grades.get("offline reboot", ""):
        result.problems.append("no record of the offline reboot fell to grade C")
    if outside:
        result.problems.insert(0, f"{len(outside)} stamps without true time inside: {', '.join(outside[:3])}")
    result.problems += [f"{what} from seq {seqs[0]} on, {len(seqs)} records" for what, seqs in misgraded.items()]
    order = [place for place, _ in sorted(true_ns.items(), key=lambda one: one[1])]
    if order != sorted(order):
        result.problems.append("the order of the chain is not the order of time")
    steps = max(record.fields["at"]["steps"] for record in records)
    if steps < 3:
        result.problems.append(f"only {steps} steps of the clock were noticed")
    return inside, ", ".join(f"{name} {''.join(sorted(found))}" for name, found in grades.items())


def _evidence(node: NodeUnderTest) -> tuple[list[Record], list[Ack]]:
    """The chain and the acks as they lie in the HOME; that they verify is the checker's to say."""
    from sync.node.trust import Trust

    key = Trust(node.home.path).keys().keys["ack"]
    with reading(node.home.database) as connection:
        rows = connection.execute("SELECT body, signature FROM ledger ORDER BY epoch, seq").fetchall()
        acks = connection.execute("SELECT data FROM acks ORDER BY rowid").fetchall()
    return [parse(*row) for row in rows], [Ack.parse(row[0], key) for row in acks]


SCENARIO = Scenario(7, TITLE, run, {"wall-clock-is-true": "without true time inside"})
