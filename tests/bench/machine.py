"""What the figures were measured on."""

import os
import platform
from pathlib import Path


def machine() -> str:
    cpus = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    load = os.getloadavg()[0]
    python = platform.python_version()
    return f"{cpus[0]}, {len(cpus)} cores, {memory_gib:.0f} GiB, Python {python}, load before {load:.1f}"
