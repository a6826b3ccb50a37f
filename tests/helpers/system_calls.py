"""The system calls on files that the package makes, one after the other: to let one of them fail.

::

    with Faults() as faults:
        database = Database(path)
        faults.begin(3, errno.EIO, for_good=False)  # The third call from here on.
        ...
        faults.end()
        assert faults.came

Those of the thread that makes the Faults are seen, and of no other. What the interpreter does
itself is not: closing an ``io.FileIO``, for instance.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from portalocker.portalocker import FlockLocker

from dobbin_like.log.file import log_file
from dobbin_like.log.format.header import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CALLS = {
    os: (
        "open close pread pwrite ftruncate fsync fdatasync fstat stat lstat replace link unlink "
        "fchmod fchown getxattr setxattr removexattr dup2 posix_fadvise sync"
    ),
    fcntl: "flock fcntl",
}

_UNLOCK = fcntl.F_UNLCK.to_bytes(2, sys.byteorder)


@contextlib.contextmanager
def watched(around: Any) -> Iterator[None]:
    """Let *around* do each system call of this thread; with its name, itself, and arguments."""
    me = threading.get_ident()

    def wrapped(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return _Watched(partial(around, name, function), function, me)

    def status_reader(path: str) -> Any:  # It calls the system by ctypes.
        read = real_reader(path)
        return None if read is None else wrapped("statx", read)

    real_reader = log_file.status_reader
    calls = [(module, name) for module, names in CALLS.items() for name in names.split()]
    real = [getattr(module, name) for module, name in calls]
    made = [wrapped(name, function) for (_, name), function in zip(calls, real, strict=True)]
    log_file.status_reader = status_reader
    _replace(calls, real, made)
    try:
        yield
    finally:
        _replace(calls, made, real)
        log_file.status_reader = real_reader


class _Watched:
    """What takes the place of a function in C: it is no method, if a class has it."""

    def __init__(self, around: Callable[..., Any], function: Callable[..., Any], me: int) -> None:
        self._around = around
        self._function = function
        self._me = me

    def __call__(self, *args: Any, **named: Any) -> Any:
        if threading.get_ident() != self._me:
            return self._function(*args, **named)
        return self._around(args, named)


def _replace(calls: list[tuple[Any, str]], old: list[Any], new: list[Any]) -> None:
    """Put *new* in the place of *old*, also where a module has a name of its own for it."""
    for (module, name), function in zip(calls, new, strict=True):
        setattr(module, name, function)
    table = {id(before): after for before, after in zip(old, new, strict=True)}
    modules = [each for name, each in sys.modules.items() if name.startswith("dobbin_like")]
    for owner in (*modules, FlockLocker):
        for key, value in list(vars(owner).items()):
            if id(value) in table:
                setattr(owner, key, table[id(value)])


def _is_unlock(args: tuple[Any, ...]) -> bool:
    """Tell whether a call gives a lock back: the system does not refuse that again and again."""
    if args[1:] == (fcntl.LOCK_UN,):
        return True
    return len(args) == 3 and isinstance(args[2], bytes) and args[2][:2] == _UNLOCK


class Faults:
    """Lets one system call of this thread fail, or all from it on. A context manager.

    ``came``: it was so far since begin(). ``failed``: the names of those that have failed.
    """

    def __init__(self) -> None:
        self.failed: list[str] = []
        self._left = 0
        self._error = 0
        self._for_good = False
        self._watched = watched(self._call)

    def __enter__(self) -> Faults:
        self._watched.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._watched.__exit__(*error)

    def begin(self, number: int, error: int, *, for_good: bool) -> None:
        """Let the *number*-th call from here on fail with *error*; all that follow, *for_good*."""
        self.failed = []
        self._left, self._error, self._for_good = number, error, for_good

    def end(self) -> None:
        """Let nothing fail any more."""
        self._left = 0

    @property
    def came(self) -> bool:
        return bool(self.failed)

    def _call(self, name: str, function: Any, args: tuple[Any, ...], named: Any) -> Any:
        if self._left != 1 or (self.failed and _is_unlock(args)):
            self._left -= self._left > 0
            return function(*args, **named)
        if not self._for_good:
            self._left = 0
        self.failed.append(name)
        if name == "close":  # It is closed all the same.
            function(*args)
        elif name == "pwrite" and args[2] >= PAGE_SIZE:  # A disk that is full takes a part.
            function(args[0], args[1][: len(args[1]) // 2], args[2])
        path = os.fspath(args[0]) if args and isinstance(args[0], (str, os.PathLike)) else None
        raise OSError(self._error, os.strerror(self._error), path)
