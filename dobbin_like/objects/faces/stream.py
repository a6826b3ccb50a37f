"""Bytes stored beside the objects: ``PersistentFile`` becomes ``PersistentStream``.

The bytes lie in the log and are served from there, a range at a time.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from dobbin_like.exc import ClassNotSupported, ClosedError, StreamMovedError
from dobbin_like.objects.faces.base import Persistent
from dobbin_like.objects.faces.elsewhere import telling_getattr
from dobbin_like.objects.faces.lookup import left_unread
from dobbin_like.objects.values.refs import State, native_dict, ref_of

CHUNK_BYTES: Final = 64 * 1024
"""What iteration yields at a time."""

_OF_FILES: Final = dict.fromkeys(
    ("readable", "readinto", "readline", "readlines", "seekable", "size", "writable"),
    "open() returns a file, which has it",
)
"""What only the file of a stream has."""

_CHANGED: Final = (
    "a stream that is stored does not change; let the attribute be a new PersistentFile(file)"
)
_OF_BLOBS: Final = {
    "committed": "open() returns a file, which is read from the log; it has no name",
    "consumeFile": _CHANGED,
    "truncate": _CHANGED,
    "write": _CHANGED,
    "writelines": _CHANGED,
}
"""What streams and blobs elsewhere have."""

_OF_STREAMS: Final = dict.fromkeys(
    (*_OF_FILES, "close", "closed", "open", "read", "seek", "tell"),
    "it is stored by the commit, and can be read from then on",
)
"""What only a stream has that is stored, or its file."""


class _Positions(threading.local):
    def __init__(self) -> None:
        self.by_stream: weakref.WeakKeyDictionary[PersistentStream, int]
        self.by_stream = weakref.WeakKeyDictionary()


_here = _Positions()

_Read = Callable[[int, int], bytes]
"""Reads from a position on so many bytes."""

slow_files: dict[int, weakref.ref[PersistentFile]] = {}
"""The files of this process, by id, that are not stored yet and may be slow to read."""

_used_up: weakref.WeakSet[BinaryIO] = weakref.WeakSet()
"""Sources that were read to their end and can't be read again."""


class PersistentStream(Persistent):
    """A stored stream of bytes. Any thread, each with its own position.

    Made by committing a :class:`PersistentFile`. ``with stream.open() as file:`` gives a file of
    the standard kind. Iterating needs no open(), and has a position of its own. The methods of
    the stream itself read at the position of the calling thread, after open().
    """

    __module__ = "dobbin_like.persistent"  # The name that logs have for it.
    _offset: int
    _size: int

    def __new__(cls, *_args: Any, **_kwargs: Any) -> PersistentStream:
        text = "commit a PersistentFile to get one"
        raise TypeError(text)

    def __copy__(self) -> PersistentFile:
        """Return a new file with the same bytes, which are stored once more by a commit."""
        return PersistentFile(StreamReader(self._p_read, self._size))

    def __deepcopy__(self, _memo: object) -> PersistentFile:
        return self.__copy__()

    def __reduce__(self) -> tuple[Callable[[bytes], PersistentFile], tuple[bytes]]:
        """Pickle as a new file with the same bytes, which are part of the pickle."""
        return _unpickled, (self._p_read(0, self._size),)

    def open(self) -> StreamReader:
        """Return a file that reads from the start; and let this thread read the stream itself.

        Whoever takes a binary file that is open for reading, and seekable, takes it. It has a
        position of its own, and an attribute ``size``.
        """
        self._p_read(0, 0)
        _here.by_stream[self] = 0
        return StreamReader(self._p_read, self._size)

    def close(self) -> None:
        """End the reading of this thread; other threads go on."""
        _here.by_stream.pop(self, None)

    @property
    def closed(self) -> bool:
        """Whether this thread has not opened the stream, or has closed it again."""
        return self not in _here.by_stream

    def read(self, size: int | None = -1) -> bytes:
        """Return up to *size* bytes from the position on; all that is left if negative.

        Raises ClosedError if this thread has not opened the stream.
        """
        position = self.tell()
        left = max(self._size - position, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        data = self._p_read(position, wanted)
        _here.by_stream[self] = position + len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move this thread's position; return it. Arguments and errors are those of files."""
        position = _moved(offset, whence, self.tell(), self._size)
        _here.by_stream[self] = position
        return position

    def tell(self) -> int:
        position = _here.by_stream.get(self)
        if position is None:
            what = "the stream (for this thread)"
            raise ClosedError(what)
        return position

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes from the start to the end, in chunks of at most 64 KiB."""
        for position in range(0, self._size, CHUNK_BYTES):
            yield self._p_read(position, min(CHUNK_BYTES, self._size - position))

    def _p_read(self, start: int, size: int) -> bytes:
        ref = ref_of(self)
        if ref is None or ref.jar is None:  # It is gone, with its database.
            raise left_unread(self)
        try:
            return ref.jar.storage.read_stream(self._offset, start, size)
        except StreamMovedError:
            if not ref.jar.storage.has(ref.oid):
                raise  # The stream was dropped with its object.
            # The log was packed. What is in memory stays as it is, for it may be shared
            # with views that are older.
            key = ref.jar.fresh(ref, ref.jar.serial(self, ref))["_offset"]
            return ref.jar.storage.read_stream(key, start, size)

    if not TYPE_CHECKING:  # Else type checkers would find no misspelt name.
        __getattr__ = telling_getattr({**_OF_FILES, **_OF_BLOBS})


def _unpickled(data: bytes) -> PersistentFile:
    return PersistentFile(io.BytesIO(data))


class StreamReader(io.BufferedReader):
    """A stored stream as a file. Not for two threads at once: open it twice."""

    def __init__(self, read: _Read, size: int) -> None:
        self.size = size
        super().__init__(_RawReader(read, size), CHUNK_BYTES)


class _RawReader(io.RawIOBase):
    def __init__(self, read: _Read, size: int) -> None:
        self._read = read
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with memoryview(buffer).cast("B") as view:
            data = self._next(len(view))
            view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._next(self._size)

    def _next(self, wanted: int) -> bytes:
        self._check_open()
        left = max(self._size - self._at, 0)
        data = self._read(self._at, min(wanted, left))
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._check_open()
        self._at = _moved(offset, whence, self._at, self._size)
        return self._at

    def _check_open(self) -> None:
        if self.closed:
            what = "the file of a stream"
            raise ClosedError(what)


def _moved(offset: int, whence: int, position: int, size: int) -> int:
    if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
        text = f"whence is {whence!r}, expected 0, 1 or 2"
        raise ValueError(text)
    position = offset + (0, position, size)[whence]
    if position < 0:
        text = f"position {position} is before the start"
        raise ValueError(text)
    return position


class StoredBytes:
    """A stored stream, read from the start to the end."""

    def __init__(self, source: Any, key: int) -> None:
        self._source = source
        self._key = key
        self._at = 0

    def read(self, size: int) -> bytes:
        data: bytes = self._source.read_stream(self._key, self._at, size)
        self._at += len(data)
        return data


def _may_be_slow(stream: BinaryIO) -> bool:
    """Return whether reading *stream* may wait: all but memory and regular files."""
    if isinstance(stream, (io.BytesIO, StreamReader)):
        return False
    raw = getattr(stream, "raw", stream)
    if not isinstance(raw, io.FileIO):
        return True
    return not stat.S_ISREG(os.fstat(raw.fileno()).st_mode)


def _is_seekable(stream: BinaryIO) -> bool:
    seekable = getattr(stream, "seekable", None)
    return seekable is not None and seekable()


def _binary_instead(given: object) -> str:
    """Return how to make a binary stream of what was given in its place."""
    if isinstance(given, (str, os.PathLike)):
        return ": of a path, wrap open(path, 'rb'), and close it after the commit"
    if isinstance(given, (bytes, bytearray, memoryview)):
        return ": wrap io.BytesIO(data)"
    if isinstance(given, io.TextIOBase):
        return ", which is of text: open a file with 'rb', or wrap io.BytesIO(text.encode())"
    return ""


def _check_open(stream: BinaryIO) -> None:
    if getattr(stream, "closed", False) is True:
        text = (
            f"the {type(stream).__name__} of a PersistentFile is closed: its bytes are stored by "
            "the commit; close it afterwards"
        )
        raise ValueError(text)


def _is_used_up(stream: BinaryIO) -> bool:
    try:
        return stream in _used_up
    except TypeError:
        return False


class _Spooled:
    """A temporary copy of a stream, closed when it is garbage."""

    _file: Any = None

    def __init__(self, stream: Any, directory: str | None) -> None:
        import tempfile

        self._file = file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115  See __del__().
        # In a cycle of garbage, before the file complains. Not when the interpreter ends: another
        # function that it calls then may commit the file.
        weakref.finalize(self, file.close).atexit = False
        start = stream.tell() if _is_seekable(stream) else None
        while piece := stream.read(1024 * 1024):
            file.write(piece)
        if piece is None:
            text = "a stream in non-blocking mode has nothing to read yet; let it block"
            raise BlockingIOError(errno.EAGAIN, text)
        if start is not None:
            stream.seek(start)
        else:
            with contextlib.suppress(TypeError):  # It has no weak reference or hash.
                _used_up.add(stream)
        file.seek(0)
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()


class PersistentFile(Persistent):
    """Wraps an open binary stream that is to be stored.

    When its transaction commits, what lies between the stream's position and its end is stored,
    and this very object becomes a :class:`PersistentStream`. The caller closes the stream, after
    the commit; its position is then as it was, so that a transaction that is run again stores the
    same. A source that may be slow (a pipe, a socket, a decompressor) is copied to a temporary
    file before the commit lock is taken.

    Raises:
        TypeError: *stream* is not a binary stream.
        ValueError: It is closed, is open for writing only, or can't be read again and was read to
            its end by another of these. The first is raised by the commit, too.
    """

    __module__ = "dobbin_like.persistent"  # The name that logs have for it.

    def __init__(self, stream: BinaryIO) -> None:
        source: Any = stream
        if not callable(getattr(stream, "read", None)) or isinstance(source, io.TextIOBase):
            name, instead = type(stream).__name__, _binary_instead(source)
            text = f"expected an open binary stream, got {name}{instead}"
            raise TypeError(text)
        _check_open(stream)
        readable = getattr(stream, "readable", None)
        if callable(readable) and not readable():
            name = type(stream).__name__
            text = f"this {name} is not open for reading: open it with 'rb' or 'w+b'"
            raise ValueError(text)
        if _is_used_up(stream):
            text = (
                f"this {type(stream).__name__} was read to its end by another PersistentFile and "
                "can't be read again; if a transaction is run again, wrap it once, before"
            )
            raise ValueError(text)
        self._v_stream = stream
        if _may_be_slow(stream):
            me = id(self)
            slow_files[me] = weakref.ref(self, lambda _: slow_files.pop(me, None))

    def __init_subclass__(cls, **_kwargs: object) -> None:
        reason = "the object becomes a PersistentStream; keep it in an attribute of your own class"
        raise ClassNotSupported(cls.__name__, reason)

    def __reduce__(self) -> tuple[Callable[[bytes], PersistentFile], tuple[bytes]]:
        """Pickle or copy as a new file with the same bytes, which are part of the pickle."""
        state = native_dict(self)
        stream = state["_v_stream"]
        if not (isinstance(stream, _Spooled) or _is_seekable(stream)):
            text = (
                f"a PersistentFile of a {type(stream).__name__}, which can't be read again, can't "
                "be pickled or copied; commit it before"
            )
            raise TypeError(text)
        start = state.get("_v_start", stream.tell())
        stream.seek(start)
        data = stream.read()
        stream.seek(start)
        return _unpickled, (data,)

    if not TYPE_CHECKING:
        __getattr__ = telling_getattr(_OF_STREAMS)

    def _p_spool(self, directory: str | None) -> None:
        """Copy the source to a temporary file, unless it is quick to read."""
        if id(self) not in slow_files:
            return
        state = native_dict(self)
        if "_v_broken" in state:
            text = "reading the stream failed before, and what was read is gone; wrap a new one"
            raise OSError(text)
        _check_open(state["_v_stream"])
        state["_v_broken"] = True
        state["_v_stream"] = _Spooled(state["_v_stream"], directory)
        del state["_v_broken"]
        slow_files.pop(id(self), None)

    def _p_store(
        self, write: Callable[[BinaryIO], tuple[int, int]]
    ) -> tuple[type[PersistentStream], State]:
        self._p_spool(None)  # if it was hidden in an arbitrary object
        state = native_dict(self)
        stream = state["_v_stream"]
        _check_open(stream)
        # A transaction that is run again stores the same bytes again.
        start = state.setdefault("_v_start", stream.tell())
        stream.seek(start)
        offset, size = write(stream)
        stream.seek(start)
        state = {**state, "_offset": offset, "_size": size}
        return PersistentStream, state
