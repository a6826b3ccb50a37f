"""Stand-ins for ``os``, ``fcntl``, ``time``, ``threading`` and the like, on a machine in memory.

What is not replaced here is that of the real module: constants, and functions that ask the system
for nothing. Read :mod:`dobbin_like.testing.patching` next.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import stat
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, Final

from dobbin_like.log.file import file_lock, lock, status
from dobbin_like.log.file.range_lock import EXCLUSIVE, SHARED
from dobbin_like.processes.interrupts import reentrant_lock
from dobbin_like.testing.disk import SimulatedFile
from dobbin_like.testing.faults import Killed
from dobbin_like.testing.schedule import Task
from dobbin_like.testing.system import Machine, the_machine

__all__ = ["SimulatedLock", "replacements"]


def _step() -> Machine:
    machine = the_machine()
    machine.process.step()
    return machine


# -- os ----------------------------------------------------------------------------


def _stat_of(file: SimulatedFile | None, names: int = 1) -> os.stat_result:
    if file is None:
        return os.stat_result((stat.S_IFDIR | 0o755, 1, 1, 2, 0, 0, 0, 0, 0, 0))
    size = len(file.data)
    return os.stat_result((stat.S_IFREG | 0o644, file.number, 1, names, 0, 0, size, 0, 0, 0))


class _Paths:
    """``os.path`` where no link is, and the directory is the current one."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os.path, name)

    def abspath(self, path: str) -> str:
        return os.fspath(path)

    def realpath(self, path: str) -> str:
        return os.fspath(path)

    def exists(self, path: str) -> bool:
        machine = _step()
        return path in machine.disk.names or machine.is_directory(path)


class _Os:
    """``os``: each call is a step of the process that runs."""

    path = _Paths()

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        return _step().open(os.fspath(path), flags)

    def close(self, fd: int) -> None:
        machine = the_machine()
        file = machine.open_files.get(fd)
        # Of a killed process, or closed by a finalizer while another one runs: at once.
        if file is not None and file.process is machine.process:
            with contextlib.suppress(Killed):
                machine.process.step()
        machine.close(fd)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        data = _step().file_of(fd).data
        return bytes(data[offset : offset + size])

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        return _step().write(fd, bytes(data), offset)

    def ftruncate(self, fd: int, size: int) -> None:
        _step().truncate(fd, size)

    def fstat(self, fd: int) -> os.stat_result:
        machine = the_machine()
        # A killed process has no file open any more: a finalizer of it is told so.
        if not machine.process.dead:
            machine.process.step()
        return _stat_of(machine.opened(fd).file)

    def stat(self, path: Any) -> os.stat_result:
        machine, path = _step(), os.fspath(path)
        if machine.is_directory(path):
            return _stat_of(None)
        file = machine.disk.at(path)
        return _stat_of(file, list(machine.disk.names.values()).count(file.number))

    def fsync(self, fd: int) -> None:
        machine = _step()
        machine.sync(fd)
        machine.take_time()

    fdatasync = fsync

    def posix_fadvise(self, fd: int, start: int, size: int, advice: int) -> None:
        _step().file_of(fd).evict(start)

    def replace(self, old: Any, new: Any) -> None:
        machine = _step()
        machine.disk.replace(os.fspath(old), os.fspath(new))
        machine.event("replace")

    def link(self, old: Any, new: Any) -> None:
        machine = _step()
        machine.disk.link(os.fspath(old), os.fspath(new))
        machine.event("link")

    def unlink(self, path: Any) -> None:
        machine = _step()
        machine.disk.unlink(os.fspath(path))
        machine.event("unlink")

    def fchmod(self, fd: int, mode: int) -> None:
        _step()

    def fchown(self, fd: int, user: int, group: int) -> None:
        _step()

    def getpid(self) -> int:
        return the_machine().process.pid

    def urandom(self, size: int) -> bytes:
        return the_machine().random.randbytes(size)

    def sched_yield(self) -> None:
        _step()


class _Path(PurePosixPath):
    """``pathlib.Path``."""

    def stat(self) -> os.stat_result:
        return _os.stat(self)

    def exists(self) -> bool:
        return bool(_os.path.exists(str(self)))

    def resolve(self) -> _Path:
        return self

    def replace(self, target: Any) -> None:
        _os.replace(self, target)


class _FileIO:
    """``io.FileIO``, of which only the descriptor is used."""

    closed = True

    def __init__(self, path: str, mode: str, *, opener: Callable[[str, int], int]) -> None:
        self._fd = opener(path, os.O_RDWR)
        self.closed = False

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            _os.close(self._fd)


# -- locks ---------------------------------------------------------------------------

_FLOCK: Final = struct.Struct("@hhqqi")


class _Fcntl:
    """``fcntl``: flock, and locks of ranges of open files."""

    def __getattr__(self, name: str) -> Any:
        return getattr(fcntl, name)

    def flock(self, fd: int, operation: int) -> None:
        if operation & fcntl.LOCK_UN:
            _step().give(fd, "flock")
            return
        wait = not operation & fcntl.LOCK_NB
        _step().take(fd, "flock", shared=bool(operation & fcntl.LOCK_SH), wait=wait)

    def fcntl(self, fd: int, command: int, request: bytes) -> bytes:
        machine = _step()
        kind, _, start, _, _ = _FLOCK.unpack_from(request)
        if command == fcntl.F_OFD_GETLK:
            held = machine.kind_held(fd, start)
            found = {"exclusive": EXCLUSIVE, "shared": SHARED, "": fcntl.F_UNLCK}[held]
            return _FLOCK.pack(found, 0, start, 1, 0).ljust(32, b"\0")
        if kind == fcntl.F_UNLCK:
            machine.give(fd, start)
        else:
            wait = command == fcntl.F_OFD_SETLKW
            machine.take(fd, start, shared=kind == SHARED, wait=wait)
        return request


def _try_lock(fd: int, _path: str) -> bool:
    try:
        _fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unlock(fd: int) -> None:
    _fcntl.flock(fd, fcntl.LOCK_UN)


class SimulatedLock:
    """``threading.Lock`` and ``RLock`` for threads that take turns."""

    def __init__(self, *, again: bool = False) -> None:
        self._again = again
        self._owner: object = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        machine = _step()
        me = machine.process, threading.get_ident()
        if self._count and not (self._again and self._owner == me):
            if not blocking or timeout == 0:
                return False
            machine.wait(lambda: not self._count)
        self._owner = me
        self._count += 1
        return True

    def release(self) -> None:
        if not self._count or (self._again and not self._is_owned()):
            text = "cannot release un-acquired lock"
            raise RuntimeError(text)
        self._count -= 1
        if not self._count:
            self._owner = None

    def locked(self) -> bool:
        return bool(self._count)

    def _is_owned(self) -> bool:
        return self._owner == (the_machine().process, threading.get_ident())

    def _release_save(self) -> None:
        self._count, self._owner = 0, None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class _Thread:
    """``threading.Thread`` for what a log does in the background: it is done at once."""

    def __init__(self, target: Callable[[], object], **_named: object) -> None:
        self._target = target

    def start(self) -> None:
        self._target()


class _Timer:
    """``threading.Timer``: a thread of the process that goes on some calls later.

    Without a schedule it never does: the process ends before.
    """

    daemon = True
    name = ""

    def __init__(self, seconds: float, function: Callable[[], object]) -> None:
        self._function = function
        self._canceled = False
        self._task: Task | None = None

    def start(self) -> None:
        machine = the_machine()
        schedule = machine.schedule
        if schedule is not None:
            self._task = schedule.spawn(machine.process, self._run, daemon=True)
            self._task.stopped_until = schedule.calls + machine.random.randint(1, 600)

    def _run(self) -> None:
        if not self._canceled:
            self._function()

    def cancel(self) -> None:
        self._canceled = True
        if self._task is not None:
            self._task.stopped_until = 0

    def is_alive(self) -> bool:
        return self._task is not None and not self._task.ended

    def join(self) -> None:
        task = self._task
        if task is not None:
            the_machine().wait(lambda: task.ended)


class _Threading:
    Lock = SimulatedLock
    Thread = _Thread
    Timer = _Timer

    def __getattr__(self, name: str) -> Any:
        return getattr(threading, name)

    def RLock(self) -> SimulatedLock:  # noqa: N802
        return SimulatedLock(again=True)


class _Time:
    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic(self) -> float:
        machine = the_machine()
        machine.elapsed += 1e-6
        return machine.elapsed

    def sleep(self, seconds: float) -> None:
        machine = _step()
        machine.elapsed += seconds
        machine.take_time(always=True)

    def time_ns(self) -> int:
        return the_machine().now() * 1000


class _Holders(dict[object, object]):
    """What each process notes of the locks that it holds."""

    def get(self, key: object, default: object = None) -> object:
        return super().get((the_machine().process, key), default)

    def pop(self, key: object, default: object = None) -> object:
        return super().pop((the_machine().process, key), default)

    def __setitem__(self, key: object, value: object) -> None:
        super().__setitem__((the_machine().process, key), value)


_os, _fcntl, _threading = _Os(), _Fcntl(), _Threading()


def _status_reader(path: str) -> Callable[[], tuple[int, int, int]]:
    def read() -> tuple[int, int, int]:
        found = _os.stat(path)
        return found.st_dev, found.st_ino, found.st_size

    return read


# -- what stands for what --------------------------------------------------------------


def replacements() -> dict[int, Any]:
    """Return what stands for what, by the identity of the real thing."""
    pairs: list[tuple[Any, Any]] = [
        (os, _os),
        (fcntl, _fcntl),
        (time, _Time()),
        (threading, _threading),
        (reentrant_lock, _threading.RLock),
        (io, SimpleNamespace(FileIO=_FileIO, BytesIO=io.BytesIO)),
        (Path, _Path),
        (status.status_reader, _status_reader),
        (file_lock.try_lock, _try_lock),
        (file_lock.unlock, _unlock),
        (fcntl.flock, _fcntl.flock),
        (fcntl.fcntl, _fcntl.fcntl),
        (lock._holders, _Holders()),  # noqa: SLF001
    ]
    names = "open close pread pwrite ftruncate fstat stat fsync fdatasync replace link unlink"
    pairs += [(getattr(os, name), getattr(_os, name)) for name in names.split()]
    names = "Lock RLock Timer Thread"
    pairs += [(getattr(threading, name), getattr(_threading, name)) for name in names.split()]
    return {id(real): standin for real, standin in pairs}
