"""The kiosk's jobs go on whatever is done to the wall clock."""

import threading
from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from edge.clock import KernelTime, read_kernel
from edge.kiosk.jobs import Jobs

NINE_YEARS_US = 9 * 365 * 86_400_000_000


def test_jobs_that_a_clock_set_to_another_year_has_put_off_run_again_once_it_is_right() -> None:
    moved = threading.Event()

    def read() -> KernelTime:
        now = read_kernel()
        return now if moved.is_set() else replace(now, wall_us=now.wall_us + NINE_YEARS_US)

    jobs, ran = Jobs("Asia/Shanghai", read, look_s=0.05), threading.Event()
    jobs.every(ran.set, 0.2)
    jobs.daily(ran.set, 3)
    jobs.start()
    try:
        put_off = datetime.now(ZoneInfo("Asia/Shanghai")) + timedelta(days=9 * 365)
        for job in jobs._scheduler.get_jobs():  # what is left when the clock has been there
            job.modify(next_run_time=put_off)
        ran.clear()
        assert not ran.wait(0.6)
        moved.set()
        assert ran.wait(20)
        tomorrow = datetime.now(ZoneInfo("Asia/Shanghai")) + timedelta(days=1)
        assert all(job.next_run_time <= tomorrow for job in jobs._scheduler.get_jobs())
    finally:
        jobs.stop()
