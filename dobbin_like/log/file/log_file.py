"""The open file of one instance: descriptor, header page and words.

Nothing is created before the first commit: until then the path may lead nowhere, and
readers see an empty log. Once attached, the same file stays open until close().
Knows no frames.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Final

from dobbin_like.exc import LogMovedError, NotALogError, ReadOnlyStorageError
from dobbin_like.log.file import disk
from dobbin_like.log.file.range_lock import check_system
from dobbin_like.log.file.status import Status, status_of, status_reader
from dobbin_like.log.file.words import Words
from dobbin_like.log.format import header
from dobbin_like.log.format.header import Page
from dobbin_like.processes.interrupts import reentrant_lock
from dobbin_like.processes.refusals import if_possible

NO_FILE = -1

_FOLLOWS = (
    "it follows another log and is for reading; open with read_only=True, or make a log of its "
    "own of it by dobbin restore"
)

_owners: Final[weakref.WeakValueDictionary[int, LogFile]] = weakref.WeakValueDictionary()
"""Who has opened each descriptor last, by its number."""

_CLOSED = "the program has closed its descriptor, by os.closerange() or going to the background"


def check_regular(path: str) -> None:
    """Raise NotALogError, or IsADirectoryError, unless there is a regular file. Raises OSError.

    Before it is opened: opening a pipe waits for its other end.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode):
        raise NotALogError(path, "it is no regular file")


class LogFile:
    """The log file at one path.

    Guarded by ``_opening``: descriptor, page and words. They are set once, the words last, and are
    cleared by close(): readers look at the words first and need no lock. ``joined``: this instance
    counts among those that may write to it. ``sync_turn`` and ``is_syncing`` belong to
    :mod:`dobbin_like.log.writing.syncing`; the latter: the thread that has the turn syncs, or
    waits for that. ``follows``: a log that follows another may be written to, and a new file is
    one; otherwise such a log is read only. ``gone`` belongs to
    :mod:`dobbin_like.log.writing.writer`: how many transactions, at most, were lost when this
    instance repaired the file.
    """

    def __init__(self, path: str, *, read_only: bool, follows: bool = False) -> None:
        check_system(path)
        self.path = path
        self.read_only = read_only
        self.follows = follows
        self.fd: int = NO_FILE
        self.page: Page | None = None
        self.words: Words | None = None
        self.joined: bool = False
        self.key: tuple[int, int] = (0, 0)  # Device and inode.
        # Whether the descriptor was closed and its number may belong to another file by now:
        # locking or unlocking by it would affect that file.
        self.is_given_away: bool = False
        # Whether the thread that closes it is using it: a signal handler, which may open others.
        self.is_in_use: bool = False
        # For the holder of the lock, which asks slowly until get_ready() was called.
        self.status: Callable[[], Status] = partial(status_of, path)
        self.is_ready: bool = False
        self._opening = reentrant_lock()
        # Before the sync lock, which all threads have that use the descriptor.
        self.sync_turn: threading.RLock = reentrant_lock()
        self.is_syncing: bool = False
        self.gone: int = 0

    def open(self) -> bool:
        """Open the file if it is there; return whether it is a log that was begun.

        Raises:
            FileNotFoundError: It is not there, and is to be read only; or its directory is not.
            IsADirectoryError, PermissionError: As the system says.
            ReadOnlyStorageError: It may be read and not written; or it follows another log.
            NotALogError, FormatVersionError, IntegrityError: See decode_page().
        """
        try:
            check_regular(self.path)
        except FileNotFoundError:
            if self.read_only:
                raise
            return False
        return self.attach()

    def attach(self) -> bool:
        """Read the header if the file is a log by now; return whether it is."""
        with self._opening:
            if self.words is not None:
                return True
            fd = self.fd
            if fd == NO_FILE:
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
        """Return the descriptor; create an empty file if there is none. Raises OSError.

        A new file is for its owner: it may hold what others must not read.
        """
        with self._opening:
            if self.fd == NO_FILE:
                fd = disk.open_file(self.path, os.O_RDWR | os.O_CREAT)
                try:
                    self._adopt(fd)
                finally:
                    if self.fd != fd:
                        os.close(fd)
            return self.fd

    def create(self) -> None:
        """Write the header page unless another has; read it.

        Killed before the end, it leaves a file that counts as not created yet, or one whose
        name is not on stable storage, and says so.

        Requires: The commit lock.
        """
        with disk.named(self.path):
            start = os.pread(self.fd, header.PAGE_SIZE, 0)
        words = Words(self.fd, self.path)
        if header.is_unwritten(start, disk.status(self.fd, self.path).st_size):
            page, _ = header.new_page(inode=self.key[1], follows=self.follows)
            try:
                # To size 0 first: a reader must never see a page that is half written over zeros.
                disk.cut(self.fd, self.path, 0)
                disk.write(self.fd, self.path, page, 0)
            except disk.DiskError:
                disk.cut(self.fd, self.path, 0)
                raise
            self._sync_page(words)
        elif words.find(header.STATE) == header.UNNAMED:
            # Its writer may have died in a sync that failed. Nothing follows it yet.
            disk.write(self.fd, self.path, start[: header.WORDS_OFFSET], 0)
            self._sync_page(words)
        self.attach()

    def _sync_page(self, words: Words) -> None:
        try:
            # Before the file grows: zeros up to a page were never begun, more are no log.
            disk.sync(self.fd, self.path)
        except disk.DiskError:
            # Others may use the page by now: it stays, and is to be repaired.
            words.put(header.FAILURES, (words.find(header.FAILURES) or 0) | 1)
            raise

    @property
    def inode(self) -> int:
        """What the word INODE is to say of this file."""
        return header.inode_value(self.key[1])

    def get_ready(self) -> None:
        """Do, without any lock, what takes time when a file is written to for the first time.

        It imports a module. In a child that was forked while another thread imported it, the
        import would wait forever; with the commit lock, all other processes would wait, too.
        """
        reader = status_reader(self.path)
        if reader is not None:
            self.status = reader
            self.is_ready = True

    def looks_begun(self) -> bool:
        """Return whether attach() is worth while. Cost: one system call."""
        with if_possible():
            return os.stat(self.path).st_size >= header.PAGE_SIZE
        return False

    def forget(self) -> None:
        """Let go of a file that was opened for creation and is not at the path."""
        with self._opening:
            if self.words is None:
                self._close_descriptor()

    def close(self) -> None:
        """Give everything back. Idempotent."""
        with self._opening:
            self.words = None
            self._close_descriptor()

    def __del__(self) -> None:
        # Of a file that was replaced: the last reader of it has come to its end.
        self._close_descriptor()

    def _close_descriptor(self) -> None:
        fd = getattr(self, "fd", NO_FILE)
        if fd != NO_FILE and self._is_descriptor(fd):
            nothing = self._open_nothing() if self.is_in_use else NO_FILE
            try:
                # First: the next file with this number marks its former owner, which may be open
                # again by then.
                _owners.pop(fd, None)
                # Without a call: an interrupt comes before both, to be repeated, or after both.
                self.is_given_away = True
                if nothing == NO_FILE:
                    os.close(fd)
                else:
                    os.dup2(nothing, fd, inheritable=False)
            except OSError as error:
                # It is closed all the same. What must stay was synced before, and this must not
                # hide the error because of which the file is closed.
                if error.errno is None:
                    raise
            finally:
                if nothing != NO_FILE:
                    os.close(nothing)
            if nothing != NO_FILE:
                weakref.finalize(self, os.close, fd)
        self.fd = NO_FILE

    def _open_nothing(self) -> int:
        """Open what takes the number of a file that is closed while another call may use it.

        Such calls fail then, so that nothing is written to another file.
        """
        try:
            return disk.open_file(os.devnull, os.O_RDONLY)
        except OSError as error:
            if error.errno is None:
                raise
            return NO_FILE

    def _is_descriptor(self, fd: int) -> bool:
        """Return whether the number is still that of the file, as this instance has opened it.

        A program may have closed all descriptors, to go to the background, and opened others; the
        same file too, which then has locks of its own.
        """
        try:
            status = os.fstat(fd)
        except OSError as error:
            if error.errno is None:
                raise
            # Otherwise it is open: a program that closed it would get another answer.
            return error.errno != errno.EBADF and not self.is_given_away
        return not self.is_given_away and (status.st_dev, status.st_ino) == self.key

    def check_descriptor(self) -> None:
        """Raise LogMovedError if the descriptor was closed: its number may be another file's."""
        fd = self.fd
        if fd != NO_FILE and not self._is_descriptor(fd):
            raise LogMovedError(self.path, _CLOSED)

    def after_fork_in_child(self) -> None:
        """Have an open file of this process in place of the inherited one.

        The inherited one shares the locks of the parent: unlocking it here would unlock it there,
        and keeping it here would keep the file locked when the parent dies (I4).

        Raises:
            OSError: It can't be opened. What is open can still be read, but must not be locked;
                to be called again.
        """
        self._opening = reentrant_lock()
        self.sync_turn = reentrant_lock()
        self.is_syncing = False
        self.joined = False
        if self.fd == NO_FILE or self.is_given_away:
            return
        # By the descriptor: a file that was replaced is not at the path any more.
        own = f"/proc/self/fd/{self.fd}"
        path = own if os.path.exists(own) else self.path
        fd = NO_FILE
        try:
            with disk.named(self.path):
                fd = disk.open_file(path, os.O_RDONLY if self.read_only else os.O_RDWR)
            status = disk.status(fd, self.path)
            if (status.st_dev, status.st_ino) != self.key:
                raise LogMovedError(self.path, "another file is there")
            # The number stays the same, so that reads that use it go on.
            os.dup2(fd, self.fd, inheritable=False)
        finally:
            if fd != NO_FILE:
                os.close(fd)

    def _attach(self, fd: int) -> bool:
        with disk.named(self.path):
            size = os.fstat(fd).st_size  # First: another process may be creating it.
            start = os.pread(fd, header.PAGE_SIZE, 0)
        if header.is_unwritten(start, size):
            return False
        page = header.decode_page(self.path, start)
        if page.follows and not (self.follows or self.read_only):
            raise ReadOnlyStorageError(self.path, _FOLLOWS)
        self.page = page
        if self.fd != fd:
            self._adopt(fd)
        self.words = Words(fd, self.path)
        return True

    def _adopt(self, fd: int) -> None:
        status = disk.status(fd, self.path)
        self.key = (status.st_dev, status.st_ino)
        before = _owners.get(fd)
        if before is not None and before is not self:
            before.is_given_away = True
        _owners[fd] = self
        self.is_given_away = False
        self.fd = fd

    def _open_descriptor(self) -> int:
        if self.read_only:
            return disk.open_file(self.path, os.O_RDONLY)
        try:
            return disk.open_file(self.path, os.O_RDWR)
        except OSError as error:
            if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS}:
                raise
            os.close(disk.open_file(self.path, os.O_RDONLY))
            reason = "it may be read and not written; open with read_only=True"
            raise ReadOnlyStorageError(self.path, reason) from error
