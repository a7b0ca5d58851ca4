"""What the node does by the clock: APScheduler keeps the times, the node's own loop does the work."""

import queue
from collections.abc import Callable
from datetime import UTC

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

Job = Callable[[], None]

ALIVE_EVERY_S = 600  # protocol.md: node.alive every 10 minutes
RETENTION_EVERY_S = 60
PLACE_EVERY_S = 60
MEMORY_EVERY_S = 60  # 3 ms for 40 MB: measured, camera/README.md


class Jobs:
    """Puts each job into a queue when it is due, so that only one thread ever writes the ledger."""

    def __init__(self, alive: Job, retention: Job, place: Job, memory: Job) -> None:
        self._due: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._scheduler = BackgroundScheduler(timezone=UTC)
        for job, every_s in (
            (alive, ALIVE_EVERY_S),
            (retention, RETENTION_EVERY_S),
            (place, PLACE_EVERY_S),
            (memory, MEMORY_EVERY_S),
        ):
            trigger = IntervalTrigger(seconds=every_s, timezone=UTC)
            self._scheduler.add_job(self._due.put, trigger, args=(job,), coalesce=True, misfire_grace_time=None)

    def start(self) -> None:
        self._scheduler.start()

    def realign(self) -> None:
        """The wall clock was moved: count each interval anew from now, or a clock set back would silence the jobs."""
        for job in self._scheduler.get_jobs():
            job.reschedule(IntervalTrigger(seconds=job.trigger.interval_length, timezone=UTC))

    def stop(self) -> None:
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def run_due(self) -> None:
        """Do what has fallen due, on the calling thread."""
        while not self._due.empty():
            self._due.get()()
