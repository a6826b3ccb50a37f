"""What the system tells of the locks of files: which process holds one, and which wait.

Linux has that in ``/proc``. For people: no decision rests on it. What can't be read is left out:
the system hides processes of other users, and those outside a container.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, NamedTuple

from dobbin_like.processes.refusals import if_possible

__all__ = ["FileLock", "flock_of", "locks_of_descriptor", "process_with"]

_LINE: Final = re.compile(
    r"\d+: (?P<waits>-> )?(?P<kind>\w+) +\w+ +(?P<mode>\w+) +(?P<process>-?\d+) "
    r"(?P<file>\S+) (?P<start>\d+) "
)


class FileLock(NamedTuple):
    """One lock of a file, held or waited for."""

    waits: bool
    kind: str  # FLOCK; OFDLCK: of a range, of an open file.
    exclusive: bool
    process: int  # That took it; -1 if a lock belongs to an open file only.
    file: str  # As the system calls it: not always by the device that stat() tells.
    start: int


def locks_of_descriptor(fd: int, process: int | str = "self") -> list[FileLock]:
    """Return the locks that are held by an open file. Raises OSError: it can't be asked."""
    text = Path(f"/proc/{process}/fdinfo/{fd}").read_text("utf-8")
    return [lock for line in text.splitlines() if (lock := _parsed(line)) is not None]


def flock_of(file: str) -> tuple[int | None, tuple[int, ...]]:
    """Return the process that holds the flock of a file, None if none, and those that wait.

    Args:
        file: As the system calls it, in another lock of the same file.
    """
    text = ""
    with if_possible():
        text = Path("/proc/locks").read_text("utf-8")
    found = [lock for line in text.splitlines() if (lock := _parsed(line)) is not None]
    flocks = [lock for lock in found if lock.kind == "FLOCK" and lock.file == file]
    holder = next((lock.process for lock in flocks if not lock.waits), None)
    return holder, tuple(lock.process for lock in flocks if lock.waits)


def process_with(fd: int, start: int) -> int | None:
    """Return another process that holds the lock of the byte *start* of the open file *fd*.

    None: there is none, or it is not shown.
    """
    # By their names: a call on the file itself may have to wait for the disk.
    name = None
    with if_possible():
        name = os.readlink(f"/proc/self/fd/{fd}")
    if name is None:
        return None
    for descriptors in Path("/proc").glob("[0-9]*/fd"):
        process = int(descriptors.parent.name)
        # Its process has ended meanwhile, or is another user's.
        with if_possible():
            for each in descriptors.iterdir() if process != os.getpid() else ():
                if os.readlink(each) == name:
                    locks = locks_of_descriptor(int(each.name), process)
                    if any(lock.exclusive and lock.start == start for lock in locks):
                        return process
    return None


def _parsed(line: str) -> FileLock | None:
    match = _LINE.search(line)
    if match is None:
        return None
    waits, kind, mode, process, file, start = match.groups()
    return FileLock(bool(waits), kind, mode == "WRITE", int(process), file, int(start))
