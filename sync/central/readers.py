"""The processes that read frames for an ingest: libsodium needs no Python, but its callers wait for Python's one lock.

Central reads what they do not: what is too little to hand over, and what a process held that has died.
"""

import logging
import marshal
import select
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from sync.central.reading import Finding, Keys, Read, read_found, read_frame

log = logging.getLogger(__name__)

MAX_PROCESSES = 8
TASK_BYTES = 32 * 1024  # some 30 records
WORTH_BYTES = 20 * 1024  # some 18 records; handing fewer over costs what it saves
_HELD_BYTES = 160 * 1024  # with one process at most, unless it is a single task: its socket takes them without a wait
_BUFFER_BYTES = 212_992  # Linux counts double what is asked for, and gives no more than this by default
_STUCK_S = 10.0  # a full task is read in 0.05 s
_RESTART_PAUSE_S = 5.0


@dataclass(slots=True, eq=False)
class Task:
    """Frames that one process reads together. said: as it is told of them. findings: what it found, None: nothing."""

    said: bytes
    frames: int
    done: bool = False
    findings: list[list[Finding] | None] | None = None


@dataclass(slots=True, eq=False)
class Reading:
    """A frame that is being read, or is read when it is asked for. task: who reads it, None for nobody."""

    node_id: str
    payload: bytes
    keys: Keys = field(default_factory=dict)
    task: Task | None = None
    place: int = 0  # in the task

    @property
    def ready(self) -> bool:
        """Whether nobody reads it just now."""
        return self.task is None or self.task.done

    def result(self) -> list[Read]:
        """Everything in the frame, once it is ready; raises BadFrame."""
        findings = self.task.findings[self.place] if self.task and self.task.findings else None
        return read_frame(self.payload) if findings is None else read_found(self.payload, self.keys, findings)


@dataclass(slots=True, eq=False)
class _Process:
    running: "subprocess.Popen[bytes]"
    connection: "Connection[bytes, bytes]"
    tasks: deque[Task] = field(default_factory=deque)  # in the order in which it answers them


class Readers:
    """A number of processes, started at once. For one thread."""

    def __init__(self, count: int) -> None:
        """count: how many, at most MAX_PROCESSES; with 0 nothing is ever handed over."""
        self._count = min(count, MAX_PROCESSES)
        self._processes: list[_Process] = []
        self._waiting: deque[Task] = deque()
        self._restart_at_s = 0.0
        self._poll = select.poll()
        self._fill()

    def submit(self, readings: Sequence[Reading]) -> None:
        """Let these be read, where that is worth handing them over."""
        self._fill()
        if not self._processes:
            return
        tasks = list(_tasks(readings))
        self._waiting += tasks
        self._hand_over()

    def look(self, until: Reading | None = None) -> None:
        """Take in what has been found; until: wait for this one."""
        while self._processes:
            self._hand_over()
            waits = until is not None and not until.ready
            ready = {handle for handle, _ in self._poll.poll(_STUCK_S * 1000 if waits else 0)}
            for process in [one for one in self._processes if one.connection.fileno() in ready]:
                self._hear(process)
            if not ready:
                if not waits:
                    return
                for process in [one for one in self._processes if one.tasks]:
                    self._lose(process, f"no answer for {_STUCK_S:.0f} s")

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            self._poll.unregister(process.connection.fileno())
            process.connection.close()
        for process in self._processes:
            try:
                process.running.wait(1.0)
            except subprocess.TimeoutExpired:
                process.running.kill()
                process.running.wait()
        self._processes.clear()
        self._count = 0
        self._give_back()

    # -- inside ------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Start the processes that are missing; after a death with a pause."""
        while len(self._processes) < self._count and time.monotonic() >= self._restart_at_s:
            try:
                self._processes.append(_start())
                self._poll.register(self._processes[-1].connection.fileno(), select.POLLIN)
            except OSError as error:
                log.error("no process to read with error=%s", error)
                self._restart_at_s = time.monotonic() + _RESTART_PAUSE_S

    def _hand_over(self) -> None:
        """Give what waits to who has least to do, and to nobody more than its socket holds: a send never waits."""
        while self._waiting and self._processes:
            process = min(self._processes, key=lambda one: sum(len(task.said) for task in one.tasks))
            task = self._waiting[0]
            if process.tasks and sum(len(one.said) for one in process.tasks) + len(task.said) > _HELD_BYTES:
                return
            try:
                process.connection.send_bytes(task.said)
            except OSError as error:
                self._lose(process, str(error))
                continue
            process.tasks.append(self._waiting.popleft())

    def _hear(self, process: _Process) -> None:
        try:
            findings = marshal.loads(process.connection.recv_bytes())
        except (EOFError, OSError) as error:
            self._lose(process, str(error) or "hung up")
            return
        task = process.tasks.popleft()
        task.findings, task.done = findings, True

    def _lose(self, process: _Process, why: str) -> None:
        """A process is no more: what it held is read here, and after a pause there is another one."""
        self._processes.remove(process)
        self._poll.unregister(process.connection.fileno())
        self._restart_at_s = time.monotonic() + _RESTART_PAUSE_S
        process.connection.close()
        process.running.kill()
        status = process.running.wait()
        log.error("reader lost status=%s frames=%d error=%s", status, sum(one.frames for one in process.tasks), why)
        for task in process.tasks:
            task.done = True
        if not self._processes:
            self._give_back()

    def _give_back(self) -> None:
        for task in self._waiting:
            task.done = True
        self._waiting.clear()


def _start() -> _Process:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):  # it may stop halfway through a message
            ours.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(_STUCK_S), 0))
        command = [sys.executable, "-m", "sync.central.reader", str(theirs.fileno())]
        try:
            running = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=(theirs.fileno(),)
            )
        except OSError:
            ours.close()
            raise
    return _Process(running, Connection(ours.detach()))


def _tasks(readings: Sequence[Reading]) -> Iterator[Task]:
    """Frames in tasks worth handing over, as they come; what is too little for one is left where it is."""
    some, size = list[Reading](), 0
    for reading in readings:
        some.append(reading)
        size += len(reading.payload)
        if size >= TASK_BYTES:
            yield _task(some)
            some, size = [], 0
    if size >= WORTH_BYTES:
        yield _task(some)


def _task(readings: Sequence[Reading]) -> Task:
    texts = dict[tuple[str, ...], tuple[str, ...]]()  # marshal writes an object once: not the keys with every frame
    said = list[tuple[bytes, tuple[str, ...]]]()
    for one in readings:
        keys = tuple(map(str, one.keys.values()))
        said.append((one.payload, texts.setdefault(keys, keys)))
    task = Task(marshal.dumps(said), len(said))
    for place, reading in enumerate(readings):
        reading.task, reading.place = task, place
    return task
