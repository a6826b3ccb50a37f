"""What all processes together do to a log, seen from outside: for ``dobbin top``.

The log tells what was committed and what failed, and why; the system tells who has the file
open, and who holds its locks. No process has to answer, and none writes anything for this: a
process that was killed is gone from the list, and what it committed counts. What is nowhere
written is not known either: syncs, for instance, and who has made which transaction.
"""

from __future__ import annotations

import os
import stat
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from dobbin_like.log import TransactionLog
from dobbin_like.log.file.lock_table import FileLock, flock_of, locks_of_descriptor
from dobbin_like.log.file.range_lock import SYNC
from dobbin_like.processes.refusals import if_possible

__all__ = ["Activity", "LogUser", "LogWatch", "users_of"]

_CONFLICT = "conflict: "


class LogUser(NamedTuple):
    """A process that has a log open."""

    process: int
    command: str
    """Empty for a process of another user."""

    writes: bool
    """Whether it may commit; else it has opened the log with ``read_only=True``."""

    holds_lock: bool
    """The commit lock, at this moment."""

    waits_for_lock: bool
    """For another process to give it back."""

    syncs: bool

    @property
    def doing(self) -> str:
        """What it does at this moment, as people say it; mostly, nothing that is seen here."""
        doing = {
            "has the commit lock": self.holds_lock,
            "waits for the commit lock": self.waits_for_lock,
            "syncs": self.syncs,
        }
        return ", ".join(what for what, is_so in doing.items() if is_so)


@dataclass(frozen=True)
class Activity:
    """What has happened to a log since the look before, and how it is now."""

    path: str
    seconds: float
    """Since the look before."""

    commits: int
    """By any process, since then."""

    failed: int
    """Transactions that failed since then, and have recorded that."""

    bytes: int
    """In all of these transactions."""

    conflicts: Mapping[str, int]
    """Failed transactions since the watch began, by the class that was in conflict."""

    transactions: int
    """All in the log."""

    file_bytes: int
    unsynced_bytes: int
    """Appended, and not on stable storage yet."""

    users: tuple[LogUser, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as values that JSON has."""
        users = [user._asdict() for user in self.users]
        return {**vars(self), "users": users}


class LogWatch:
    """Follows the log at *path*. For one thread, and a ``with``.

    Raises what opening a log for reading raises.
    """

    def __init__(self, path: str) -> None:
        self._log = TransactionLog(path, read_only=True)
        self._conflicts: Counter[str] = Counter()
        self._looked = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._log.close()

    def look(self) -> Activity:
        """Return what has happened since the last look, or since this was made."""
        log, failed, size, count = self._log, 0, 0, 0
        while news := log.read_news() if log.has_news() else []:
            log.apply(news)
            for each in news:
                count += 1
                failed += each.failed
                size += each.end - each.offset
                if each.reason.startswith(_CONFLICT):
                    self._conflicts[_class_of(each.reason)] += 1
        now = time.monotonic()
        seconds, self._looked = now - self._looked, now
        counts = log.counts()
        return Activity(
            path=log.path,
            seconds=seconds,
            commits=count - failed,
            failed=failed,
            bytes=size,
            conflicts=dict(self._conflicts),
            transactions=len(log),
            file_bytes=counts.file_bytes,
            unsynced_bytes=counts.unsynced_bytes,
            users=users_of(log.path),
        )


def _class_of(reason: str) -> str:
    return reason.removeprefix(_CONFLICT).partition(" oid ")[0]


def users_of(path: str) -> tuple[LogUser, ...]:
    """Return the processes that have the file open, but for this one, by their numbers.

    Those of other users are known only while they hold the commit lock or wait for it.

    Cost: The open files of all processes.
    """
    opened = {process: _Opened(process, path) for process in _processes()}
    opened = {process: found for process, found in opened.items() if found.is_open}
    files = {lock.file for found in opened.values() for lock in found.locks}
    holder: int | None = None
    waiting: set[int] = set()
    for file in files:
        holder, waits = flock_of(file)
        waiting.update(waits)
    known = {*opened, *waiting, *([] if holder is None else [holder])} - {os.getpid()}
    return tuple(
        LogUser(
            process,
            _command(process) if process in opened else "",
            writes=process not in opened or opened[process].writes,
            holds_lock=process == holder,
            waits_for_lock=process in waiting,
            syncs=process in opened and opened[process].syncs,
        )
        for process in sorted(known)
    )


class _Opened:
    """How one process has a file open."""

    def __init__(self, process: int, path: str) -> None:
        self.is_open = self.writes = False
        self.locks: list[FileLock] = []
        for descriptor, writes in _descriptors(process, path):
            self.is_open = True
            self.writes |= writes
            with if_possible():  # Closed meanwhile.
                self.locks += locks_of_descriptor(descriptor, process)

    @property
    def syncs(self) -> bool:
        return any(lock.start == SYNC and lock.exclusive for lock in self.locks)


def _descriptors(process: int, path: str) -> Iterator[tuple[int, bool]]:
    """Yield the open files of a process that are that at *path*, and whether it may write."""
    with if_possible(), os.scandir(f"/proc/{process}/fd") as entries:
        wanted = os.stat(path)  # noqa: PTH116  device and inode
        for entry in entries:
            with if_possible():  # Closed meanwhile.
                found = entry.stat()
                if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                    link = entry.stat(follow_symlinks=False)
                    yield int(entry.name), bool(link.st_mode & stat.S_IWUSR)


def _processes() -> list[int]:
    with if_possible():
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208
    return []


def _command(process: int) -> str:
    words = []
    with if_possible():  # It may have ended.
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    # On one line, whatever it has: programs are given with -c, too.
    return " ".join(b" ".join(words).decode(errors="replace").split())
