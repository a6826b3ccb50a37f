"""The open file of one instance: descriptor, header page and mapping.

Nothing is created before the first commit: until then the path may lead nowhere, and
readers see an empty log. Once attached, the same file stays open until close().
Knows no frames.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

from dobbin_like.exc import LogError, LogMovedError, NotALogError, ReadOnlyStorageError
from dobbin_like.log.file import disk
from dobbin_like.log.file.status import Status, status_reader
from dobbin_like.log.file.words import Words, new_page
from dobbin_like.log.format import header
from dobbin_like.log.format.header import Page

__all__ = ["LogFile"]

_NO_FILE = -1


class LogFile:
    """The log file at one path.

    Guarded by ``_opening``: descriptor, page and words. They are set once, the words
    last, and are cleared by close(): readers look at the words first and need no lock.
    """

    def __init__(self, path: str, *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self.fd = _NO_FILE
        self.page: Page | None = None
        self.words: Words | None = None
        self._key = (0, 0)
        self._status: Callable[[], Status] | None = None  # Of the holder of the lock.
        self.moved = False
        self._opening = threading.Lock()

    def open(self) -> bool:
        """Open the file if it is there; return whether it is a log that was begun.

        Raises:
            FileNotFoundError: It is not there, and is to be read only.
            IsADirectoryError, PermissionError: As the system says.
            ReadOnlyStorageError: It may be read and not written.
            NotALogError, FormatVersionError, IntegrityError: See decode_page().
        """
        try:
            mode = Path(self.path).stat().st_mode
        except FileNotFoundError:
            if self.read_only:
                raise
            return False
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.path)
        if not stat.S_ISREG(mode):
            # Before opening: opening a pipe waits for its other end.
            raise NotALogError(self.path, "it is no regular file")
        return self.attach()

    def attach(self) -> bool:
        """Map the header if the file is a log by now; return whether it is."""
        with self._opening:
            if self.words is not None:
                return True
            fd = self.fd
            if fd == _NO_FILE:
                try:
                    fd = self._open_descriptor()
                except FileNotFoundError:
                    return False
            try:
                return self._attach(fd)
            finally:
                if self.fd != fd:
                    os.close(fd)

    def open_for_writing(self) -> int:
        """Return the descriptor; create an empty file if there is none.

        Raises:
            LogMovedError: After a fork the file could not be opened anew.
        """
        with self._opening:
            if self.moved:
                raise LogMovedError(self.path, "another file is there")
            if self.fd == _NO_FILE:
                self._adopt(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666))
            return self.fd

    def create(self, boot: int) -> None:
        """Write the header page unless another has; map it.

        Killed before the end, it leaves a file that counts as not created yet.

        Requires: The commit lock.
        """
        start = os.pread(self.fd, header.PAGE_SIZE, 0)
        if header.is_unwritten(start, os.fstat(self.fd).st_size):
            page, _ = new_page(boot)
            disk.create_synced(self.fd, self.path, page)
        self.attach()

    def size_at_path(self) -> int:
        """Return the size of the file, in bytes, if the path still leads to it.

        A commit to a file that was replaced or deleted would be lost.

        Requires: The commit lock.

        Raises:
            LogMovedError: It does not.
        """
        try:
            if self._status is None:
                self._status = status_reader(self.path)
            device, inode, size = self._status()
        except FileNotFoundError:
            raise LogMovedError(self.path, "the file is gone") from None
        if (device, inode) != self._key:
            raise LogMovedError(self.path, "another file is there")
        return size

    def is_replaced(self) -> bool:
        """Return whether another file of the same log is at the path: it was packed."""
        page = self.page
        try:
            fd = os.open(self.path, os.O_RDONLY)
        except OSError:
            return False
        try:
            status = os.fstat(fd)
            start = os.pread(fd, header.PAGE_SIZE, 0)
        finally:
            os.close(fd)
        if page is None or (status.st_dev, status.st_ino) == self._key:
            return False
        try:
            found = header.decode_page(self.path, start)
        except LogError:
            return False
        return found.store_id == page.store_id and found.generation > page.generation

    def looks_begun(self) -> bool:
        """Return whether attach() is worth while. Cost: one system call."""
        try:
            return Path(self.path).stat().st_size >= header.PAGE_SIZE
        except OSError:
            return False

    def forget(self) -> None:
        """Let go of a file that was opened for creation and is not at the path."""
        with self._opening:
            if self.words is None and self.fd != _NO_FILE:
                os.close(self.fd)
                self.fd = _NO_FILE

    def close(self) -> None:
        """Give everything back. Idempotent."""
        with self._opening:
            words, self.words = self.words, None
            fd, self.fd = self.fd, _NO_FILE
            try:
                if words is not None:
                    words.close()
            finally:
                if fd != _NO_FILE:
                    os.close(fd)

    def __del__(self) -> None:
        # Of a file that was replaced: the last reader of it has come to its end. The
        # mapping, which keeps it open too, goes first: what takes long waits for nobody.
        words = getattr(self, "words", None)
        if words is not None:
            with contextlib.suppress(BufferError):
                words.close()
        fd, self.fd = getattr(self, "fd", _NO_FILE), _NO_FILE
        if fd != _NO_FILE:
            os.close(fd)

    def after_fork_in_child(self) -> None:
        """Have an open file of this process in place of the inherited one.

        The inherited one carries the lock of the parent: to unlock it here takes the
        lock away there, and to keep it here keeps the file locked when the parent dies
        (I4). The mapping has a duplicate of it, so it is made anew as well.
        """
        self._opening = threading.Lock()
        if self.fd == _NO_FILE:
            return
        if self.words is not None:
            with contextlib.suppress(BufferError):
                self.words.close()
            self.words = None
        try:
            fd = self._open_descriptor()
        except OSError:
            fd = _NO_FILE
        status = None if fd == _NO_FILE else os.fstat(fd)
        if status is None or (status.st_dev, status.st_ino) != self._key:
            # What is open can still be read; writing is refused, for it needs the lock.
            self.moved = True
            if fd != _NO_FILE:
                os.close(fd)
        else:
            # The number stays: whoever reads with it goes on.
            os.dup2(fd, self.fd, inheritable=False)
            os.close(fd)
        if self.page is not None:
            self.words = Words(self.fd, writable=not self.read_only)

    def _attach(self, fd: int) -> bool:
        start = os.pread(fd, header.PAGE_SIZE, 0)
        if header.is_unwritten(start, os.fstat(fd).st_size):
            return False
        self.page = header.decode_page(self.path, start)
        words = Words(fd, writable=not self.read_only)
        if self.fd != fd:
            self._adopt(fd)
        self.words = words
        return True

    def _adopt(self, fd: int) -> None:
        status = os.fstat(fd)
        self._key = (status.st_dev, status.st_ino)
        self.fd = fd

    def _open_descriptor(self) -> int:
        if self.read_only:
            return os.open(self.path, os.O_RDONLY)
        try:
            return os.open(self.path, os.O_RDWR)
        except OSError as error:
            if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS}:
                raise
            os.close(os.open(self.path, os.O_RDONLY))
            reason = "it may be read and not written; open with read_only=True"
            raise ReadOnlyStorageError(self.path, reason) from error
