"""The system calls that write, read and sync, with errors that name the file.

Each call does all that it was asked for, or raises a DiskError. Any other OSError (a TimeoutError,
say) was raised by a signal handler; it is passed on, and nothing has failed. Knows no format.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from typing import Final

from dobbin_like.exc import IntegrityError, LogMovedError
from dobbin_like.processes.refusals import if_possible

_PIECE: Final = 1 << 20
"""Bytes that are read without asking whether they are there."""

_LAST_STANDARD: Final = 2

_datasync: Final = getattr(os, "fdatasync", os.fsync)


class DiskError(OSError):
    """What a system call on the log has failed with; any other OSError is an interrupt."""


def open_file(path: str, flags: int, mode: int = 0o600) -> int:
    """Return a descriptor of a file, above 2. Raises OSError.

    If a program has closed 0, 1 and 2, as some daemons do, a file that got one of these numbers
    would receive whatever is printed. No interrupt loses the descriptor: the caller has it, or it
    is closed.
    """
    fds: list[int] = []
    try:
        # All of it in C: an interrupt comes before, or when the descriptor is in the list.
        fds.extend(map(os.open, (path,), (flags,), (mode,)))
        if fds[0] <= _LAST_STANDARD:
            fds.extend(map(fcntl.fcntl, fds[:1], (fcntl.F_DUPFD_CLOEXEC,), (_LAST_STANDARD + 1,)))
            low = fds[0]
            del fds[0]
            os.close(low)
        return fds[0]
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise


@contextlib.contextmanager
def named(path: str) -> Iterator[None]:
    """Make a DiskError, with the path of the file, of what system calls fail with."""
    try:
        yield
    except OSError as error:
        if error.errno is None or (isinstance(error, DiskError) and error.filename):
            raise
        raise DiskError(error.errno, error.strerror, path) from error


def status(fd: int, path: str) -> os.stat_result:
    """Return what ``fstat`` tells of a file."""
    with named(path):
        return os.fstat(fd)


def read_ahead(fd: int, path: str, offset: int, size: int, ahead: int) -> bytes:
    """Return *size* bytes at *offset* or more, up to *ahead* if they are there.

    Raises:
        IntegrityError: The file ends before *size*, or the disk does not give them.
    """
    if ahead > size:
        # It may be the bytes after them that the disk can't read.
        with if_possible():
            data = os.pread(fd, ahead, offset)
            if len(data) >= size:
                return data
    return read_exactly(fd, path, offset, size)


def read_exactly(fd: int, path: str, offset: int, size: int) -> bytes:
    """Return *size* bytes at *offset*.

    Raises:
        IntegrityError: The file ends before, or the disk does not give them.
        OSError: Reading failed for another reason.
    """
    # A length that is damaged must not take more memory than there are bytes.
    if size > _PIECE and offset + size > (end := status(fd, path).st_size):
        raise IntegrityError(path, end, "the end of the file", f"{size} bytes from {offset} on")
    data = _read(fd, path, offset, size)
    if len(data) == size:
        return data
    parts = [data]  # The system reads 2 GiB at once at most.
    at = offset + len(data)
    while data and at < offset + size:
        data = _read(fd, path, at, offset + size - at)
        parts.append(data)
        at += len(data)
    if at < offset + size:
        raise IntegrityError(path, at, "the end of the file", f"{size} bytes from {offset} on")
    return b"".join(parts)


def _read(fd: int, path: str, offset: int, size: int) -> bytes:
    try:
        return os.pread(fd, size, offset)
    except OSError as error:
        if error.errno is None:
            raise
        if error.errno != errno.EIO:
            raise DiskError(error.errno, error.strerror, path) from error
        found = "bytes that the disk does not give"
        raise IntegrityError(path, offset, found, f"{size} bytes") from error


def first_not_zero(fd: int, path: str, start: int, end: int) -> int | None:
    """Return where the first byte is that is not zero, of those from *start* to *end*.

    Raises:
        IntegrityError: The disk does not give them.
    """
    for at in range(start, end, _PIECE):
        data = _read(fd, path, at, min(_PIECE, end - at))
        if any(data):
            return at + len(data) - len(data.lstrip(b"\0"))
    return None


def write(fd: int, path: str, data: bytes, offset: int) -> None:
    """Write all of *data* at *offset*: one call, or more if the system takes a part.

    Raises:
        OSError: A part may have been written.
    """
    try:
        written = os.pwrite(fd, data, offset)
        while written < len(data):
            # A full disk takes a part first; the next call says why.
            written += os.pwrite(fd, memoryview(data)[written:], offset + written)
    except OSError as error:
        if error.errno is None:
            raise
        raise DiskError(error.errno, error.strerror, path) from error


def sync(fd: int, path: str) -> None:
    """Wait until data and size of the file are on stable storage."""
    try:
        _datasync(fd)
    except OSError as error:
        if error.errno is None:
            raise
        raise DiskError(error.errno, error.strerror, path) from error
    except ValueError as error:  # Below 0: a signal handler has closed the file.
        raise DiskError(errno.EBADF, os.strerror(errno.EBADF), path) from error


def cut(fd: int, path: str, size: int) -> None:
    """Let the file end after *size* bytes."""
    with named(path):
        os.ftruncate(fd, size)


def drop_cache(fd: int, start: int) -> None:
    """Let the system read again from the disk what is after *start*, if it supports that."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, start, 0, os.POSIX_FADV_DONTNEED)


def sync_directory(path: str) -> None:
    """Wait until the name of the file at *path* is on stable storage.

    Raises LogMovedError if its directory is gone.
    """
    try:
        fd = open_file(os.path.dirname(os.path.realpath(path)), os.O_RDONLY)
    except FileNotFoundError:
        raise LogMovedError(path, "the file is gone") from None
    except PermissionError:  # It may be written and not read.
        os.sync()
        return
    try:
        with named(path):
            os.fsync(fd)
    finally:
        os.close(fd)
