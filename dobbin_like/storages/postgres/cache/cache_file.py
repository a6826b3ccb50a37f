"""A local file with versions of the objects of a log in PostgreSQL, which need not be asked for.

It has all versions up to one transaction of the log, whose position and id it knows. Whoever
opens the log compares these with the server, and appends what came since; after that, nothing is
written.
Nothing in it is more than a copy: what does not fit is not used, and the file is made anew. So
nothing is synced, and a process that is killed while it writes leaves what the next one cuts off.

The file is a header and blocks, each with a table and the states. A block that has the position of
the log ends what is complete; what follows the last of those does not count. The table of a block
and each state have checksums. Appending takes a lock, which is not waited for. Others may read
meanwhile: complete blocks never change, and a file that is not right any more is replaced.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import stat
import time
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import itemgetter
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from dobbin_like.exc import NotALogError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log.file.disk import cut, open_file, write
from dobbin_like.processes.refusals import if_possible
from dobbin_like.storages.postgres.tables import DROPPED, PostgresVersion

__all__ = ["Cache", "Place"]

_logger = logging.getLogger(__name__)

_MAGIC: Final = b"dobbin_like copy"
_VERSION: Final = 1
_HEAD: Final = Struct("<16sI16s")  # Magic, version, id of the log.
_BLOCK: Final = Struct("<4sIQqq16sI")  # Magic, rows, bytes; position, tid, id; checksum of rows.
_BLOCK_MAGIC: Final = b"BLCK"
_ROW: Final = Struct("<qqqQII")  # Oid, tid, number; offset, size, checksum.
_CRC: Final = Struct("<I")
_NO_FILE: Final = -1
_NEW: Final = ".new"  # Behind the name of a file until it is at its place.
_PATIENCE_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.01

_START: Final = _HEAD.size + _CRC.size
_BLOCK_SIZE: Final = _BLOCK.size + _CRC.size


class Place(NamedTuple):
    """A transaction of the log: what is up to it is complete."""

    position: int
    tid: Tid
    id: bytes


_NOWHERE: Final = Place(0, Tid(0), bytes(16))

Row = tuple[int, int, int, bytes]
"""Oid, tid, number and state of a version; of an object that a pack has dropped, ``DROPPED``."""


class Cache:
    """The cache of one log in one file, for one instance. Any thread may load.

    ``place`` is up to where it is complete. ``writable``: this instance has the lock.

    Args:
        store: The id of the log. That of another one is replaced.

    Raises:
        OSError: The file can't be opened or made.
        NotALogError: There is something else, or another process makes the cache of another log.
    """

    _fd = _NO_FILE

    def __init__(self, path: str, store: bytes) -> None:
        self.path: str = os.path.abspath(path)  # noqa: PTH100  links stay links
        self._head = _with_crc(_HEAD.pack(_MAGIC, _VERSION, store))
        self._newest: _Newest = _Newest()
        self._changed: set[int] = set()  # Oids that have a newer version.
        self._usable = True
        self.writable: bool = False
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        end = time.monotonic() + _PATIENCE_SECONDS
        while not self._is_ours():
            # Perhaps a process is just about to put one for this log in the place of another.
            if time.monotonic() > end:
                raise NotALogError(self.path, "another process is using it for another log")
            time.sleep(_PAUSE_SECONDS)
        if self.writable:
            self._remove_left()
        self._forget()
        if self._usable:
            self._read_on()

    def _is_ours(self) -> bool:
        """Open the file; return False if it is that of another log, and locked."""
        self._close_file()
        self._fd = open_file(self.path, os.O_RDWR | os.O_CREAT)
        is_file = stat.S_ISREG(os.fstat(self._fd).st_mode)  # A device would be replaced.
        self._lock()
        found = os.pread(self._fd, _START, 0) if is_file else b""
        if found != self._head:
            # The process that made it may have been killed.
            if not is_file or not _MAGIC.startswith(found[: len(_MAGIC)]):
                raise NotALogError(self.path, "it is not a cache; give another path for that")
            if self.writable:
                self._make_anew()
            elif found:
                return False
        return True

    def _lock(self) -> None:
        """Take the lock, if nobody has it, of the file that the path leads to."""
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.writable = self._is_at_path()

    def unlock(self) -> None:
        """Let others append. This instance goes on to load."""
        self.writable = False
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _is_at_path(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.stat(self.path), os.fstat(self._fd))  # noqa: PTH116
        return False

    def _make_anew(self) -> None:
        """Put an empty file in the place of this one; others may go on to read that.

        If it can't be written, this instance does without.
        """
        try:
            self._replace()
        except OSError as error:  # The disk is full, or the like.
            if error.errno is None:
                raise
            _logger.warning("%s is not made anew: %s", self.path, error)
            self._usable = False
            self.unlock()

    def _replace(self) -> None:
        place = self._place
        name = f"{place}.{os.urandom(4).hex()}{_NEW}"
        fd = _NO_FILE
        try:
            fd = open_file(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            fcntl.flock(fd, fcntl.LOCK_EX)
            write(fd, name, self._head, 0)
            os.replace(name, place)  # noqa: PTH105
            os.dup2(fd, self._fd, inheritable=False)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)  # noqa: PTH108
            raise
        finally:
            if fd != _NO_FILE:
                os.close(fd)

    @property
    def _place(self) -> str:
        """Where links lead to: a link stays one."""
        return os.path.realpath(self.path)

    def _remove_left(self) -> None:
        """Remove what a killed process has left in _replace(). Requires the lock, as that does."""
        place = Path(self._place)
        left = re.compile(rf"{re.escape(place.name)}\.[a-z0-9_]{{8}}{re.escape(_NEW)}")
        with if_possible():
            for name in os.listdir(place.parent):  # noqa: PTH208  without a Path for each
                if left.fullmatch(name):
                    _remove_begun(str(place.parent / name))

    def discard(self) -> None:
        """Forget everything, as it does not fit; begin anew if this instance may write."""
        self._forget()
        if self.writable:
            self._make_anew()
        else:
            self._usable = False

    def _forget(self) -> None:
        self.place: Place = _NOWHERE
        self._end = _START
        self._newest = _Newest()

    def close(self) -> None:
        """Idempotent."""
        self._usable = False
        self._close_file()

    def _close_file(self) -> None:
        fd, self._fd = self._fd, _NO_FILE
        if fd != _NO_FILE:
            os.close(fd)

    def __del__(self) -> None:
        self._close_file()

    # -- blocks --------------------------------------------------------------------

    def _read_on(self) -> None:
        """Read the tables of what follows, up to the last complete block."""
        tables: list[bytes] = []
        at = self._end
        while block := self._block(at):
            size, place, table = block
            tables.append(table)
            at += size
            if place.position > self.place.position:
                for rows in tables:
                    self._newest.update(rows)
                tables, self.place, self._end = [], place, at

    def _block(self, at: int) -> tuple[int, Place, bytes] | None:
        """Return size, place and table of the block there, if there is one and it is whole."""
        head = os.pread(self._fd, _BLOCK_SIZE, at)
        if len(head) < _BLOCK_SIZE or _with_crc(head[: _BLOCK.size]) != head:
            return None
        magic, rows, data_size, position, tid, id_, checksum = _BLOCK.unpack_from(head)
        table = os.pread(self._fd, rows * _ROW.size, at + _BLOCK_SIZE)
        size = _BLOCK_SIZE + rows * _ROW.size + data_size
        if magic != _BLOCK_MAGIC or crc32(table) != checksum or at + size > self._file_size():
            return None
        return size, Place(position, tid, id_), table

    def _file_size(self) -> int:
        return os.fstat(self._fd).st_size

    def begin(self) -> None:
        """Cut off what is not complete: add() follows. Raises OSError."""
        cut(self._fd, self.path, self._end)
        self._next = self._end

    def add(self, rows: Sequence[Row], place: Place | None = None) -> None:
        """Append versions; with *place*, all up to there is in the file. Raises OSError."""
        start = self._next + _BLOCK_SIZE + len(rows) * _ROW.size
        oids, tids, numbers, datas = zip(*rows, strict=True) if rows else ((), (), (), ())
        sizes = [*map(len, datas)]
        *offsets, at = accumulate(sizes, initial=start)
        columns = oids, tids, numbers, offsets, sizes, map(crc32, datas)
        table = b"".join(map(_ROW.pack, *columns))
        told = (len(rows), at - start, *(place or self.place))
        head = _BLOCK.pack(_BLOCK_MAGIC, *told, crc32(table))
        block = b"".join((_with_crc(head), table, *datas))
        write(self._fd, self.path, block, self._next)
        self._next = at
        if place is not None:
            self._read_on()

    # -- loading -------------------------------------------------------------------

    def note_changed(self, oids: Iterable[int]) -> None:
        """Know that there are newer versions of these than here."""
        self._changed.update(oids)

    def has(self, oid: int) -> bool:
        """Return whether the newest version is here, as far as is known."""
        return self._usable and self._newest.has(oid) and oid not in self._changed

    def load(self, oid: Oid, at: Tid | None) -> PostgresVersion | None:
        """Return the newest version of an object, or as of *at*; None: it is not known here."""
        if not self.has(oid):
            return None
        newest = self._newest
        tid = Tid(newest.tids[oid])
        if at is not None and at < tid:
            return None
        try:
            data = os.pread(self._fd, newest.sizes[oid], newest.offsets[oid])
        except OSError as error:
            if error.errno is None:
                raise
            self._give_up(oid, str(error))
            return None
        if crc32(data) != newest.checksums[oid]:
            self._give_up(oid, "it is damaged")
            return None
        return PostgresVersion(tid, newest.numbers[oid], data)

    def _give_up(self, oid: Oid, reason: str) -> None:
        """Use it no more; the next process that opens the log makes another one."""
        if self._usable:  # Not closed meanwhile.
            self._usable = False
            _logger.warning("%s is not used any more, oid %d: %s", self.path, oid, reason)
            with if_possible():
                if self._is_at_path():
                    os.unlink(self.path)  # noqa: PTH108


class _Newest:
    """The newest versions, as the tables have them, by their oids; some 30 bytes for each."""

    __slots__ = ("checksums", "numbers", "offsets", "sizes", "tids")

    def __init__(self) -> None:
        self.tids: array[int] = array("q")  # 0: There is none.
        self.numbers: array[int] = array("q")
        self.offsets: array[int] = array("Q")
        self.sizes: array[int] = array("I")
        self.checksums: array[int] = array("I")

    def has(self, oid: int) -> bool:
        return oid < len(self.tids) and self.tids[oid] > 0 and self.numbers[oid] != DROPPED

    def update(self, table: bytes) -> None:
        """Take over the rows of a table, in whatever order they are."""
        self._grow(1 + max(map(itemgetter(0), _ROW.iter_unpack(table)), default=-1))
        tids, numbers, offsets = self.tids, self.numbers, self.offsets
        sizes, checksums = self.sizes, self.checksums
        for oid, tid, number, offset, size, checksum in _ROW.iter_unpack(table):
            if tid >= tids[oid]:
                tids[oid] = tid
                numbers[oid] = number
                offsets[oid] = offset
                sizes[oid] = size
                checksums[oid] = checksum

    def _grow(self, count: int) -> None:
        for each in (self.tids, self.numbers, self.offsets, self.sizes, self.checksums):
            if count > len(each):
                each.frombytes(bytes((count - len(each)) * each.itemsize))


def _remove_begun(path: str) -> None:
    """Remove a file that nobody writes, if it has nothing but what a cache begins with."""
    with if_possible():
        fd = open_file(path, os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            data = os.pread(fd, _START + 1, 0)
            if len(data) <= _START and _MAGIC.startswith(data[: len(_MAGIC)]):
                os.unlink(path)  # noqa: PTH108
        finally:
            os.close(fd)


def _with_crc(head: bytes) -> bytes:
    return head + _CRC.pack(crc32(head))
