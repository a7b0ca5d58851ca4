"""What the kiosk does by the clock, beside its pages: APScheduler keeps the times and does the work."""

import logging
import threading
from collections.abc import Callable
from zoneinfo import ZoneInfo

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from edge.clock import Clock, KernelTime, read_kernel

_log = logging.getLogger(__name__)
_LOOK_S = 5.0

Job = Callable[[], object]


class Jobs:
    """Jobs on threads of their own, in the site's time; one that fails is logged and runs again when it is next due.

    A job must bear being run late, or twice for one time: wall clocks are moved. Where one was, each job's next time is
    found anew: set forward and back again, they would else wait for the year that the clock had said.
    """

    def __init__(self, timezone: str, read: Callable[[], KernelTime] = read_kernel, look_s: float = _LOOK_S) -> None:
        """timezone: an IANA name, site.timezone. look_s: how often the clock is looked at."""
        self._clock, self._look_s = Clock(read), look_s
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._follow_clock, name="jobs-clock", daemon=True)
        self._zone = ZoneInfo(timezone)
        self._scheduler = BackgroundScheduler(
            timezone=self._zone, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )

    def every(self, job: Job, seconds: float) -> None:
        """Run a job every so often, for the first time once that long has passed."""
        self._scheduler.add_job(job, IntervalTrigger(seconds=seconds, timezone=self._zone))

    def daily(self, job: Job, hour: int, minute: int = 0) -> None:
        """Run a job each day at a time of the site's own clock."""
        self._scheduler.add_job(job, CronTrigger(hour=hour, minute=minute, timezone=self._zone))

    def once(self, job: Job) -> None:
        """Run a job as soon as the others may run."""
        self._scheduler.add_job(job)

    def start(self) -> None:
        self._scheduler.start()
        self._watch.start()

    def stop(self) -> None:
        """Begin no further job; one that runs is waited for."""
        self._stopping.set()
        if self._watch.is_alive():
            self._watch.join()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)

    def _follow_clock(self) -> None:
        while not self._stopping.wait(self._look_s):
            if (step := self._clock.step()) is not None:
                _log.warning("clock moved by_s=%.1f: the times of all jobs are found anew", step.jump_us / 1e6)
                for job in self._scheduler.get_jobs():
                    match job.trigger:  # a job to be run once has no next time, and may be gone by now
                        case CronTrigger() as daily:
                            job.reschedule(daily)
                        case IntervalTrigger() as every:  # which counts on from the start that it knows
                            job.reschedule(IntervalTrigger(seconds=every.interval_length, timezone=self._zone))
