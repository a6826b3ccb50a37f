"""A new file that is written beside its place and put there when it is complete.

It is written under ``<path>.part``. If the writer is killed at any moment, the path has either
what was there before, or the complete new file. The next writer removes a ``.part`` that was left
over, unless it is a log in use: then it refuses to write.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import time
import weakref
from collections.abc import Callable
from typing import Final, Self

from dobbin_like.exc import CopyError, Error, PackError, PackRunningError
from dobbin_like.log.file import disk
from dobbin_like.log.file.disk import named, open_file, sync_directory
from dobbin_like.log.file.file_lock import try_lock, unlock
from dobbin_like.log.file.rights import take_over
from dobbin_like.log.format import header
from dobbin_like.processes.children import in_children
from dobbin_like.processes.interrupts import finish_despite_interrupts
from dobbin_like.processes.refusals import if_possible

PACKED = ".pack"
"""What a packed log has behind its name while it is written."""

_WRITTEN: Final = ".part"
"""What any other new file has behind its name until it is at its place."""

_LOOKS: Final = 20
_LOOK_SECONDS: Final = 0.005
"""How often, and after which pause, a pack tries to lock its file until another one is running."""


_written: weakref.WeakSet[NewFile] = weakref.WeakSet()
"""The new files of this process, for the children it forks."""


def _after_fork_in_child() -> None:
    for file in list(_written):
        file.after_fork_in_child()


in_children(_after_fork_in_child)


class NewFile:
    """The file that is to be at *path*; a context manager. One thread.

    If the block ends without :meth:`put`, the file is removed. It is locked while it is written,
    so that two processes that write to one path do not mix their bytes. It gets the owner and the
    permissions of the file that is at *path*.

    Args:
        mode: Its permissions if there is none.

    Raises:
        CopyError: Another process writes a file for this path, or no regular file is there; or the
            ``.part`` is a log in use, or no regular file.
        OSError: The file can't be made.
    """

    # Closes the descriptor in one step, even if it is interrupted.
    _file: io.FileIO | None = None

    def __init__(self, path: str, mode: int) -> None:
        # Resolved: a new file beside a symbolic link would replace the link.
        self._place = os.path.realpath(path)
        self.path: str = self._place + _WRITTEN
        self._mode = mode
        self._pid = os.getpid()
        _written.add(self)

    @property
    def fd(self) -> int:
        """The descriptor, open for reading and writing."""
        assert self._file is not None
        return self._file.fileno()

    def __enter__(self) -> Self:
        check_place(self._place)
        try:
            while not self._open():
                self._close()
            with named(self.path):
                self._set_rights()
        except BaseException:
            self._drop()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            finish_despite_interrupts(self._drop)
        except BaseException:
            self._drop()  # It may have come before the first step.
            raise

    def put(self, *, replace: bool) -> None:
        """Bring all to stable storage, and the file to its place, in one step.

        Args:
            replace: Whether a file with something in it may be there already.

        Raises:
            FileExistsError: There is one, and it must not be replaced.
            OSError: Syncing failed, or the like. The new file is not there, unless it is the sync
                of the directory that has failed.
        """
        with named(self.path):
            os.fsync(self.fd)
        if replace or not self._link():
            self._replace()
        sync_directory(self._place)

    def _replace(self) -> None:
        try:
            os.replace(self.path, self._place)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            reason = (
                "it is a mount point by itself, so that no file can take its place; mount its "
                "directory instead"
            )
            raise CopyError(self._place, reason) from error

    def _set_rights(self) -> None:
        try:
            take_over(self.fd, self.path, self._place)
        except FileNotFoundError:
            os.fchmod(self.fd, self._mode)

    def _link(self) -> bool:
        """Give the file its name unless something is there; return whether that was done."""
        try:
            os.link(self.path, self._place)
        except FileExistsError:
            if os.stat(self._place).st_size:
                text = os.strerror(errno.EEXIST)
                raise FileExistsError(errno.EEXIST, text, self._place) from None
            return False
        except OSError as error:  # A file system without links.
            if error.errno is None or os.path.exists(self._place):
                raise
            return False
        return True

    def _open(self) -> bool:
        """Open and lock the file; return whether it is new, and it need not be tried again."""
        if is_no_file(self.path):
            what = "no regular file"
            raise self._refusal(what)
        try:
            self._file = io.FileIO(self.path, "r+", opener=_create)
        except BaseException:
            remove_stale(self.path, _is_empty)  # An interrupt came when it was made.
            raise
        if not try_lock(self.fd, self.path):
            self._close()
            reason = f"another is writing {self.path}; wait until it has ended"
            raise CopyError(self._place, reason)
        status = disk.status(self.fd, self.path)
        if not _leads_to(self.path, status):
            return False
        if status.st_size:
            # A file with two names: its writer was killed just when it had put it in place.
            if status.st_nlink == 1 and _is_in_use(self.fd):
                self._close()  # It is not to be removed.
                what = "a log"
                raise self._refusal(what)
            # Left by a writer that was killed. It may have its final name, too: so a new file
            # is made.
            os.unlink(self.path)
            return False
        return True

    def _refusal(self, what: str) -> Error:
        where = f"{self.path}, which it would be written to at first"
        return CopyError(self._place, f"{where}, is {what}; move it, or give another path")

    def _drop(self) -> None:
        """Close the file; remove it if it has not come to its place."""
        if self._file is None or self._file.closed:
            return
        try:
            # While it is locked, no other process puts another file there.
            if _leads_to(self.path, disk.status(self.fd, self.path)):
                os.unlink(self.path)
        except OSError as error:
            if error.errno is not None:  # After an interrupt, __del__() comes here again.
                self._close()
            raise
        self._close()

    def unlock(self) -> None:
        """Let others lock the file: it has come to its place. Nothing if it is closed."""
        if self._file is not None and not self._file.closed:
            # Closing does not suffice: a child that was forked meanwhile may have it open, too.
            with named(self.path):
                unlock(self.fd)

    def after_fork_in_child(self) -> None:
        """Let go of what the parent writes. Its lock is the parent's, and ends with it."""
        if self._file is not None:
            self._file.close()

    def _close(self) -> None:
        if self._file is not None:
            try:
                self.unlock()
            finally:
                self._file.close()

    def __del__(self) -> None:
        # A thread was interrupted in closing it. Not in a child: the parent may be writing it.
        if self._file is not None and self._pid == os.getpid():
            with if_possible():
                self._drop()


class PackFile(NewFile):
    """The file of a packed log while it is written, beside the log: ``<path>.pack``.

    Raises:
        PackRunningError: Another process, or another thread, packs the log.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, 0o600)
        self.path: str = self._place + PACKED

    def _open(self) -> bool:
        # Opening the log locks such a file for a moment, to see whether it is stale.
        for _ in range(_LOOKS):
            with contextlib.suppress(CopyError):
                return super()._open()
            time.sleep(_LOOK_SECONDS)
        raise PackRunningError(self.path)

    def _refusal(self, what: str) -> Error:
        reason = f"{self.path}, which the packed log would be written to, is {what}; move it"
        return PackError(self._place, reason)


def check_place(path: str) -> None:
    """Raise CopyError if a device, a pipe or the like is at *path*.

    A new file would replace it, and opening a pipe waits for its other end. FileNotFoundError:
    There is no such directory; the error of the next call would name another file.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        os.stat(os.path.dirname(path) or ".")
        return
    except OSError as error:  # The next call says why.
        if error.errno is None:
            raise
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise CopyError(path, "it is no regular file; give the path of one")


def is_no_file(path: str) -> bool:
    """Return whether a device, a pipe or a link lies where a new file is to be written at first.

    Writing would go to the device, or to the file the link leads to.
    """
    with if_possible():  # The next call says why, and what a directory is.
        mode = os.lstat(path).st_mode
        return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
    return False


def remove_stale(path: str, is_stale: Callable[[int], bool]) -> None:
    """Remove a new file at *path* that was left over because its writer was killed.

    Args:
        is_stale: Tells, by a descriptor of it, whether it is one.

    Cost: One system call if there is none.
    """
    with if_possible():
        fd = open_file(path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            if try_lock(fd, path):
                if _leads_to(path, os.fstat(fd)) and is_stale(fd):
                    os.unlink(path)
                unlock(fd)
        finally:
            os.close(fd)


def _is_empty(fd: int) -> bool:
    return not os.fstat(fd).st_size


def _is_in_use(fd: int) -> bool:
    """Return whether an instance has it open for writing as a log."""
    start = os.pread(fd, header.PAGE_SIZE, 0)
    word = start[header.word_offset(header.STATE) :][: header.WORD_SIZE]
    state = header.decode_word(header.STATE, word)
    return start.startswith(header.MAGIC) and state not in (None, header.UNNAMED)


def remove_left(path: str, status: os.stat_result) -> None:
    """Remove the name under which the file at *path* was written, if it still has it.

    Its writer was killed after it had given the file its final name as well. A file with two names
    can't be replaced. A live writer has it locked, and removes the name itself.
    """
    if status.st_nlink > 1:
        written = os.path.realpath(path) + _WRITTEN
        with if_possible():
            if _leads_to(written, status):  # First: opening a pipe waits for its other end.
                _unlink_left(written, status)


def _unlink_left(written: str, status: os.stat_result) -> None:
    fd = open_file(written, os.O_RDONLY)
    try:
        for _ in range(_LOOKS):  # A commit has it locked for a moment.
            if try_lock(fd, written):
                if _leads_to(written, status):
                    os.unlink(written)
                return
            time.sleep(_LOOK_SECONDS)
    finally:
        os.close(fd)


def _create(path: str, _flags: int) -> int:
    return open_file(path, os.O_RDWR | os.O_CREAT)


def _leads_to(path: str, status: os.stat_result) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (status.st_dev, status.st_ino)
