"""Which file is at a path, and its size, without a look at its times.

Every commit checks that. Asking for the times has a price: since Linux 6.13 a file system notes
that they were seen, gives the next write a time of its own, and a sync of that write then
waits for the inode, too: some 60 of 170 microseconds on ext4. ``os.stat`` always asks for
them. So where the system has ``statx``, it is called for the inode and the size alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from struct import Struct
from typing import Final

Status = tuple[int, int, int]
"""Device, inode, and size in bytes."""

_AT_FDCWD: Final = -100
_INODE_AND_SIZE: Final = 0x100 | 0x200
_RESULT_SIZE: Final = 256
# What was found (a mask), the inode and the size, the device: major and minor number.
_RESULT: Final = Struct("=I28xQQ88xII")


def status_of(path: str) -> Status:
    """Return device, inode and size of the file at *path*. Raises OSError."""
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size


def status_reader(path: str) -> Callable[[], Status] | None:
    """Return a function that does what status_of() does for one path.

    One thread at a time may call it. ``None``: another thread is importing what it needs. If this
    process was forked meanwhile, that thread is not in it, and waiting would never end.
    """
    spec = getattr(sys.modules.get("ctypes"), "__spec__", None)
    # What the import system itself asks, before it waits; there is no public way.
    if getattr(spec, "_initializing", False):
        return None
    try:
        # Late: it takes some milliseconds to import, and a process that only reads never asks.
        import ctypes

        statx = ctypes.CDLL(None).statx
    except (ImportError, OSError, AttributeError):
        return partial(status_of, path)
    result = ctypes.create_string_buffer(_RESULT_SIZE)
    # Converted once: in every commit, it would cost as much as the call.
    arguments = (
        ctypes.c_int(_AT_FDCWD),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.c_int(0),
        ctypes.c_uint(_INODE_AND_SIZE),
        ctypes.byref(result),
    )
    unpack, device = _RESULT.unpack_from, os.makedev

    def read() -> Status:
        if statx(*arguments) == 0:
            mask, inode, size, major, minor = unpack(result)
            if mask & _INODE_AND_SIZE == _INODE_AND_SIZE:
                return device(major, minor), inode, size
        return status_of(path)  # Raises what there is to raise.

    return read
