"""What the allocator does with memory that is given back to it: malloc of glibc, where that is the C library."""

import ctypes
import resource

_M_PERTURB = -6  # glibc's malloc.h
_FILL = 0x5A
_LIBC = ctypes.CDLL(None)  # the C library this process already has


def overwrite_freed_memory() -> None:
    """Have this process's allocator overwrite what is given back to it, and let no core dump be made of it.

    A picture is copied often on its way (decoder, array, chip, JPEG), and a copy dropped would lie in free memory until
    something else needs that place. mallopt(3), M_PERTURB: glibc fills what is freed; blocks from 128 KiB on may be
    handed back to the kernel instead. Without glibc nothing is overwritten; Debian has it.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    mallopt = getattr(_LIBC, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_PERTURB, _FILL)


def hand_back_freed_memory() -> None:
    """Hand what lies free in the allocator back to the kernel, between what is in use too: malloc_trim(3).

    Else a process keeps the most that it ever held at once, in each of its threads' arenas, and a new most comes along
    for weeks. Costs some milliseconds. Without glibc nothing is handed back.
    """
    trim = getattr(_LIBC, "malloc_trim", None)
    if trim is not None:
        trim(0)
