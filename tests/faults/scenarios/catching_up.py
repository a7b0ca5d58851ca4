"""4. A node that was offline for thirty days catches up while another one is live."""

import time
from dataclasses import dataclass

from edge.clock import Clock, KernelTime
from edge.home import Home
from tests.faults.checker import check
from tests.faults.journal import quantile
from tests.faults.scenario import Result, Scenario, Work
from tests.faults.site import site, wait_until

TITLE = "30 days offline, then back"
DAYS = 30
AT_ONCE = 2_000  # records a transaction, while the month is made up
LIVE_PER_S = 5.0
LIVE_P99_S = 2.0  # the bar
ABOVE_RATE, BELOW_RATE = 1.2, 0.5  # how far from the set rate the drain may be


@dataclass(slots=True)
class _MonthClock:
    """A machine's clocks on their way through the month; unsynchronised, for there is no network."""

    wall_us: int
    boot_us: int

    def read(self) -> KernelTime:
        return KernelTime(self.wall_us, self.boot_us, "a" * 32, 16_000_000, False)

    def advance(self, by_us: int) -> None:
        self.wall_us += by_us
        self.boot_us += by_us


def run(work: Work) -> Result:
    """Make up the month, measure the live node alone, then let the other one come back."""
    records = work.times(60_000, 4_000)
    rate_per_s = work.times(1_000, 400)
    result = Result()
    with site(work.root, ("live", "month")) as tested:
        live, month = tested.nodes["live"], tested.nodes["month"]
        made_s = _make_month(month.home, records)
        month.baseline = month.head()
        with (tested.central / "central.toml").open("a") as config:
            config.write(f"\n[ingest]\nbackfill_per_s = {rate_per_s}\n")
        tested.central_mutants = work.mutants("nobody-is-paced")
        live.rate_per_s, month.rate_per_s = LIVE_PER_S, 0.0001
        tested.start_broker()
        tested.start_central()
        tested.start_node(live)
        quiet_ns = time.time_ns()
        time.sleep(work.times(15, 6))
        quiet = quantile(live.account.latencies_s(quiet_ns), 0.99)
        back_ns, began_s = time.time_ns(), time.monotonic()
        tested.start_node(month)
        ready_s = time.monotonic() - began_s
        patience_s = 3.0 * records / rate_per_s + 60.0
        wait_until(lambda: month.acked_upto() >= month.baseline, "the month is at central", patience_s)
        drained_s = time.monotonic() - began_s - ready_s
        latencies = live.account.latencies_s(back_ns)
        tested.drain(month)
        tested.drain(live)
        tallies = check(tested, live), check(tested, month)
    for tally in tallies:
        result.problems += tally.problems
    p99, rate = quantile(latencies, 0.99), records / drained_s
    if p99 > LIVE_P99_S:
        result.problems.append(f"the live node's ack p99 was {p99:.2f} s")
    if not BELOW_RATE * rate_per_s <= rate <= ABOVE_RATE * rate_per_s:
        result.problems.append(f"drained at {rate:.0f} records/s, {rate_per_s} are set")
    result.figures = (
        f"{records} records of {DAYS} days (made in {made_s:.0f} s) drained in {drained_s:.0f} s, {rate:.0f}/s of"
        f" {rate_per_s} set; live ack p99 {p99:.2f} s of {len(latencies)}, {quiet:.2f} s before; {tallies[1].central}"
        " at central"
    )
    return result


def _make_month(home: Home, records: int) -> float:
    """Append a month of records with the node's own key and a clock that runs through it; returns seconds."""
    began_s = time.monotonic()
    span_us = DAYS * 86_400_000_000
    clock = _MonthClock(time.time_ns() // 1000 - span_us, 86_400_000_000)
    ledger = home.open_ledger("node", Clock(clock.read))
    made = 0
    while made < records:
        with ledger.transaction() as transaction:
            for number in range(made, min(records, made + AT_ONCE)):
                clock.advance(span_us // records)
                transaction.append("camera.up", {"camera": "door", "at_us": clock.wall_us, "number": number})
        made += AT_ONCE
    ledger.close()
    return time.monotonic() - began_s


SCENARIO = Scenario(4, TITLE, run, {"nobody-is-paced": "are set"}, alone=True)
