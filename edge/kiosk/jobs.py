"""What the kiosk does by the clock, beside its pages: APScheduler keeps the times and does the work."""

from collections.abc import Callable
from zoneinfo import ZoneInfo

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

Job = Callable[[], object]


class Jobs:
    """Jobs on threads of their own, in the site's time; one that fails is logged and runs again when it is next due.

    A job must bear being run late, or twice for one time: wall clocks are moved.
    """

    def __init__(self, timezone: str) -> None:
        """timezone: an IANA name, site.timezone."""
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

    def stop(self) -> None:
        """Begin no further job; one that runs is waited for."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)
