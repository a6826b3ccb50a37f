"""Whether the path still leads to the file that is open, or to another one, and to which.

Any process may, at any time, pack the log (which puts a new file of it at the path), restore a
backup, or move or delete the file. A writer has to know: a commit to a file that is no longer at
the path would be lost.
"""

from __future__ import annotations

import contextlib
import os

from dobbin_like.exc import LogError, LogMovedError
from dobbin_like.log.file import disk
from dobbin_like.log.file.log_file import NO_FILE, LogFile
from dobbin_like.log.format import header
from dobbin_like.log.format.header import Page


def size_at_path(file: LogFile) -> int:
    """Return the size of the file, in bytes, if the path still leads to it.

    Requires: The commit lock.

    Raises:
        LogMovedError: It does not.
    """
    try:
        device, inode, size = file.status()
    except FileNotFoundError:
        raise LogMovedError(file.path, "the file is gone") from None
    except OSError as error:
        if error.errno is None:
            raise
        raise disk.DiskError(error.errno, error.strerror, file.path) from error
    _check_key(file, (device, inode))
    return size


def is_at_path(file: LogFile) -> bool:
    """Return whether no other file has taken the place; that none is there is told later."""
    try:
        found = os.stat(file.path)
    except FileNotFoundError:
        return True
    return (found.st_dev, found.st_ino) == file.key


def check_path(file: LogFile) -> None:
    """Raise LogMovedError if neither this file is at the path nor the log, packed since."""
    if file.words is None:  # Whatever comes to the path is what this one waits for.
        return
    try:
        found = os.stat(file.path)
        if (found.st_dev, found.st_ino) != file.key and not is_replaced(file):
            _check_key(file, (found.st_dev, found.st_ino))
    except FileNotFoundError:
        raise LogMovedError(file.path, "the file is gone") from None


def check_opened(file: LogFile, other: LogFile) -> None:
    """Raise LogMovedError unless *other* is this file, or the log, packed since.

    It was opened by the same path, later than this one, so it may be any file.
    """
    if file.page is None:  # See check_path().
        return
    if other.page is None and other.fd == NO_FILE:
        raise LogMovedError(file.path, "the file is gone")
    if other.page is None or not _goes_on_with(file, other.page):
        _check_key(file, other.key)


def check_restored(file: LogFile) -> None:
    """Raise LogMovedError if a backup has come to the path, as STATE says it would."""
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(file.path)
        _check_key(file, (found.st_dev, found.st_ino))


def is_replaced(file: LogFile) -> bool:
    """Return whether another file of the same log is at the path: it was packed.

    Raises:
        OSError: The file there can't be opened.
    """
    if _is_marked(file):
        return False
    with disk.named(file.path):
        try:
            fd = disk.open_file(file.path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            status = os.fstat(fd)
            start = os.pread(fd, header.PAGE_SIZE, 0)
        finally:
            os.close(fd)
    if (status.st_dev, status.st_ino) == file.key:
        return False
    try:
        return _goes_on_with(file, header.decode_page(file.path, start))
    except LogError:
        return False


def _goes_on_with(file: LogFile, found: Page) -> bool:
    """Return whether the file that begins with *found* is a later one of this log."""
    page = file.page
    if page is None or _is_marked(file):  # Of the same log, perhaps, and no continuation.
        return False
    return found.store_id == page.store_id and found.generation > page.generation


def _is_marked(file: LogFile) -> bool:
    return file.words is not None and file.words.find(header.STATE) == header.RESTORED


def _check_key(file: LogFile, key: tuple[int, int]) -> None:
    if key != file.key:
        why = ", restored from a backup" if _is_marked(file) else ""
        raise LogMovedError(file.path, f"another file is there{why}")
