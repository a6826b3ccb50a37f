"""A machine in memory: processes, their open files and locks, and stand-ins for the system calls.

Inside :func:`.simulated`, the modules under test call the stand-ins instead of ``os``, ``fcntl``,
``time``, ``threading`` and the like: their global names are replaced for that time, and nothing
in them knows of it. Each call is one step of the process that runs: there another thread may go
on, and there a process may be killed. A killed process keeps nothing: its descriptors are closed
and its locks are free, and each later call of its threads raises :class:`.Killed`.

Read :mod:`dobbin_like.testing.standins` next.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Callable, Iterator
from random import Random
from types import TracebackType
from typing import Final

from dobbin_like.testing.disk import Disk, SimulatedFile
from dobbin_like.testing.faults import FoundFault, Injected, Killed
from dobbin_like.testing.schedule import Schedule

__all__ = ["Machine", "OpenFile", "Process", "active", "the_machine"]

_numbers = itertools.count(1 << 20)
"""Of descriptors and processes. None is used twice, in any machine."""

HEADER: Final = 4096
"""Bytes at the start of a file that stay in the page cache."""


class OpenFile:
    """An open file: what locks belong to. ``file`` is None for the directory."""

    def __init__(self, process: Process, file: SimulatedFile | None, *, writable: bool) -> None:
        self.process = process
        self.file = file
        self.writable = writable
        self.sync_error = False  # Of somebody's sync; to be told here as well.


class _Lock:
    def __init__(self) -> None:
        self.exclusive: OpenFile | None = None
        self.shared: list[OpenFile] = []

    def is_free_for(self, file: OpenFile, *, shared: bool) -> bool:
        if self.exclusive not in (None, file):
            return False
        return shared or all(other is file for other in self.shared)

    def give(self, file: OpenFile) -> None:
        if self.exclusive is file:
            self.exclusive = None
        if file in self.shared:
            self.shared.remove(file)

    def take(self, file: OpenFile, *, shared: bool) -> None:
        self.give(file)
        if shared:
            self.shared.append(file)
        else:
            self.exclusive = file


class Machine:
    """A disk, and processes that use it.

    ``process`` is the one that runs now. ``events`` counts what has changed something on the
    disk; ``on_event`` is called after each, with a word for it. ``clock`` is in microseconds.

    Args:
        random: For what the system does as it likes: parts of writes, errors, the clock.
    """

    def __init__(
        self, disk: Disk | None = None, *, random: Random, faults: Injected | None = None
    ) -> None:
        self.disk: Disk = disk or Disk()
        self.random = random
        self.faults: Injected = faults or Injected(split=0.0)
        self.schedule: Schedule | None = None
        self.processes: list[Process] = []
        self.process: Process = Process(self)
        self.clock: int = 1_000_000
        self.elapsed: float = 0.0
        self.events: int = 0
        self.on_event: Callable[[str], object] | None = None
        self.steps_back = False
        self.open_files: dict[int, OpenFile] = {}
        self._locks: dict[tuple[int, object], _Lock] = {}

    def event(self, what: str) -> None:
        """Count a change of the disk."""
        self.events += 1
        if self.on_event is not None:
            self.on_event(what)

    def now(self) -> int:
        """Return the time in microseconds; the clock may step back."""
        steps = (1, 3, 50, 0, -40) if self.steps_back else (1, 3, 50)
        self.clock = max(1, self.clock + self.random.choice(steps))
        return self.clock

    def wait(self, ready: Callable[[], bool]) -> None:
        """Let others go on until something is so. Raises Killed, FoundFault."""
        process = self.process
        if self.schedule is not None:
            self.schedule.wait(ready)
        elif not ready():
            text = "it would wait for ever"
            raise FoundFault(text)
        if process.dead:
            raise Killed

    def take_time(self, *, always: bool = False) -> None:
        """Let others go on for a while, perhaps. Raises Killed."""
        process, schedule = self.process, self.schedule
        if schedule is not None and (always or self.random.random() < 0.3):
            schedule.sleep(self.random.randint(1, 200))
        if process.dead:
            raise Killed

    # -- descriptors ---------------------------------------------------------------

    def opened(self, fd: int) -> OpenFile:
        """Return the open file of a descriptor of the process that runs."""
        found = self.open_files.get(fd)
        if found is None or found.process is not self.process:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return found

    def file_of(self, fd: int) -> SimulatedFile:
        """Return the file of a descriptor."""
        file = self.opened(fd).file
        if file is None:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        return file

    def open(self, path: str, flags: int) -> int:
        """Open a file or the directory; return the descriptor."""
        writable = bool(flags & (os.O_RDWR | os.O_WRONLY))
        file: SimulatedFile | None = None
        if not self.is_directory(path):
            if flags & os.O_CREAT and path not in self.disk.names:
                self.disk.create(path)
                self.event("create")
            file = self.disk.at(path)
        fd = next(_numbers)
        self.open_files[fd] = OpenFile(self.process, file, writable=writable)
        return fd

    def is_directory(self, path: str) -> bool:
        """Return whether there are files in it."""
        return any(os.path.dirname(name) == path for name in self.disk.names)  # noqa: PTH120

    def close(self, fd: int) -> None:
        """Close a descriptor, of whichever process. Its locks are free then."""
        file = self.open_files.pop(fd, None)
        if file is not None and file not in self.open_files.values():
            for lock in self._locks.values():
                lock.give(file)

    # -- locks -----------------------------------------------------------------------

    def lock_of(self, fd: int, which: object) -> tuple[_Lock, OpenFile]:
        """Return a lock of the file of a descriptor, and its open file."""
        file = self.opened(fd)
        number = self.file_of(fd).number
        return self._locks.setdefault((number, which), _Lock()), file

    def take(self, fd: int, which: object, *, shared: bool, wait: bool) -> None:
        """Take a lock, or turn it into the other kind. Raises BlockingIOError."""
        lock, file = self.lock_of(fd, which)
        if not lock.is_free_for(file, shared=shared):
            if not wait:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            self.wait(lambda: lock.is_free_for(file, shared=shared))
        lock.take(file, shared=shared)

    def give(self, fd: int, which: object) -> None:
        """Give a lock back."""
        lock, file = self.lock_of(fd, which)
        lock.give(file)

    def kind_held(self, fd: int, which: object) -> str:
        """Return how another open file holds a lock: ``exclusive``, ``shared``, or neither."""
        lock, file = self.lock_of(fd, which)
        if lock.exclusive not in (None, file):
            return "exclusive"
        return "shared" if any(other is not file for other in lock.shared) else ""

    # -- writing -----------------------------------------------------------------------

    def write(self, fd: int, data: bytes, offset: int) -> int:
        """Write, in two parts perhaps. Raises OSError: the disk is full; a part may be there."""
        if not self.opened(fd).writable:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        file, random = self.file_of(fd), self.random
        if self.faults.full and random.random() < self.faults.full:
            # The header page is one block: it is written whole or not.
            part = random.randrange(len(data)) if data and offset >= HEADER else 0
            if part:
                file.write(offset, data[:part])
                self.event("write")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = 0
        if len(data) > 8 and offset >= HEADER and random.random() < self.faults.split:
            part = random.randint(1, len(data))
            file.write(offset, data[:part])
            self.event("write")
            self.process.step()
        if part < len(data):
            file.write(offset + part, data[part:])
            self.event("write" if offset >= HEADER else "word")
        return len(data)

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file, or let it grow."""
        self.file_of(fd).truncate(size)
        self.event("truncate")

    def sync(self, fd: int) -> None:
        """Sync a file, or the names. Raises OSError."""
        opened = self.opened(fd)
        file, faults = opened.file, self.faults
        if file is None:
            self.disk.sync_directory()
            self.event("sync names")
            return
        fails = bool(faults.sync) and self.random.random() < faults.sync
        if faults.sync_told_once and not opened.writable:
            fails = False  # To a reader: nobody would ever know.
        if fails:
            self._fail_sync(file)
            if not faults.sync_told_once:
                for other in self.open_files.values():
                    other.sync_error = other.sync_error or other.file is file
        else:
            file.sync()
            self.event("sync")
        if fails or opened.sync_error:
            opened.sync_error = False
            self.process.step()
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _fail_sync(self, file: SimulatedFile) -> None:
        file.lose()
        if self.random.random() < self.faults.evict:
            file.evict(HEADER)
        self.event("failed sync")


class Process:
    """A process of a machine. ``with process:`` lets it run, where there is no schedule.

    ``dead`` says whether it was killed; ``calls`` counts its system calls.

    Args:
        kill_after: As many system calls, then it is killed.
    """

    def __init__(self, machine: Machine, *, kill_after: int | None = None) -> None:
        self.machine = machine
        self.pid: int = next(_numbers)
        self.dead: bool = False
        self.calls: int = 0
        self.kill_after = kill_after
        machine.processes.append(self)

    def step(self) -> None:
        """Do a system call: others may go on before it. Raises Killed."""
        if self.dead:
            raise Killed
        self.calls += 1
        if self.kill_after is not None and self.calls > self.kill_after:
            self.kill()
        schedule = self.machine.schedule
        if schedule is not None:
            schedule.point()
        if self.dead:
            raise Killed

    def kill(self) -> None:
        """Kill it, as ``kill -9`` does."""
        self.dead = True
        machine = self.machine
        for fd, file in list(machine.open_files.items()):
            if file.process is self:
                machine.close(fd)

    def files(self) -> list[SimulatedFile]:
        """Return the files that it has open."""
        found = [f.file for f in self.machine.open_files.values() if f.process is self]
        return [file for file in found if file is not None]

    def __enter__(self) -> Process:
        self._before = self.machine.process
        self.machine.process = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.machine.process = self._before


_active: list[Machine] = []


@contextlib.contextmanager
def active(machine: Machine) -> Iterator[Machine]:
    """Let the stand-ins act on a machine; may be nested, and the inner one counts."""
    _active.append(machine)
    try:
        yield machine
    finally:
        _active.pop()


def the_machine() -> Machine:
    """Return the machine that the stand-ins act on."""
    return _active[-1]
