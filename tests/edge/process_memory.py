"""Searches the memory of another process for bytes, as somebody would who has got hold of the machine."""

from collections.abc import Iterable, Iterator
from pathlib import Path

_PIECE = 1 << 24


def found_in(pid: int, needles: Iterable[bytes]) -> set[bytes]:
    """Which of these lie in memory that the process can write; raises OSError where this one may not look."""
    wanted, found = set(needles), set[bytes]()
    overlap = max((len(needle) for needle in wanted), default=1) - 1
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for start, end in _written(pid):
            tail = b""
            for at in range(start, end, _PIECE):
                try:
                    memory.seek(at)
                    piece = memory.read(min(_PIECE, end - at))
                except OSError:  # unmapped meanwhile, or never backed by a page
                    tail = b""
                    continue
                data = tail + piece
                found |= {needle for needle in wanted - found if needle in data}
                tail = data[-overlap:] if overlap else b""
    return found


def _written(pid: int) -> Iterator[tuple[int, int]]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, rights, *_ = line.split()
        if rights.startswith("rw") and not line.endswith(("[vvar]", "[vsyscall]")):
            start, end = (int(bound, 16) for bound in span.split("-"))
            yield start, end
