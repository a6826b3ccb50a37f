"""Bytes stored beside the objects: ``PersistentFile`` becomes ``PersistentStream``.

The bytes lie in the log and are served from there, a range at a time.
"""

from __future__ import annotations

import io
import os
import stat
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from dobbin_like.exc import ClassNotSupported, ClosedError, StreamMovedError
from dobbin_like.objects.faces.base import Persistent
from dobbin_like.objects.values.refs import State, native_dict, ref_of

CHUNK_BYTES: Final = 64 * 1024
"""What iteration yields at a time."""


class _Positions(threading.local):
    def __init__(self) -> None:
        self.by_stream: weakref.WeakKeyDictionary[PersistentStream, int]
        self.by_stream = weakref.WeakKeyDictionary()


_here = _Positions()

slow_files: dict[int, weakref.ref[PersistentFile]] = {}
"""The files of this process, by id, that are not stored yet and may be slow to read."""


class PersistentStream(Persistent):
    """A stored stream of bytes. Any thread, each with its own position.

    Made by committing a :class:`PersistentFile`. Reading needs
    :meth:`open`; iterating does not, and has a position of its own.
    """

    __module__ = "dobbin_like.persistent"  # The name that logs have for it.
    _offset: int
    _size: int

    def __new__(cls, *_args: Any, **_kwargs: Any) -> PersistentStream:
        text = "commit a PersistentFile to get one"
        raise TypeError(text)

    def open(self) -> None:
        """Let this thread read from the start."""
        self._p_read(0, 0)
        _here.by_stream[self] = 0

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
        position = self.tell()
        if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
            text = f"whence is {whence!r}, expected 0, 1 or 2"
            raise ValueError(text)
        position = offset + (0, position, self._size)[whence]
        if position < 0:
            text = f"position {position} is before the start"
            raise ValueError(text)
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
        assert ref is not None
        assert ref.jar is not None
        try:
            return ref.jar.storage.read_stream(self._offset, start, size)
        except StreamMovedError:
            # The log was packed. What is in memory stays as it is, for it may be shared
            # with views that are older.
            key = ref.jar.fresh(ref, ref.jar.serial(self, ref))["_offset"]
            return ref.jar.storage.read_stream(key, start, size)


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
    if isinstance(stream, io.BytesIO):
        return False
    raw = getattr(stream, "raw", stream)
    if not isinstance(raw, io.FileIO):
        return True
    return not stat.S_ISREG(os.fstat(raw.fileno()).st_mode)


class _Spooled:
    """A temporary copy of a stream, closed when it is garbage."""

    def __init__(self, stream: BinaryIO, directory: Path | None) -> None:
        import shutil
        import tempfile

        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115  closed in __del__
        shutil.copyfileobj(stream, self._file, 1024 * 1024)
        self._file.seek(0)
        self.read = self._file.read
        self.seek = self._file.seek
        self.tell = self._file.tell

    def __del__(self) -> None:
        self._file.close()


class PersistentFile(Persistent):
    """Wraps an open binary stream that is to be stored.

    When its transaction commits, what lies between the stream's position and its end is stored,
    and this very object becomes a :class:`PersistentStream`. The caller closes the stream, after
    the commit. A source that may be slow (a pipe, a socket, a decompressor) is copied to a
    temporary file before the commit lock is taken.
    """

    __module__ = "dobbin_like.persistent"  # The name that logs have for it.

    def __init__(self, stream: BinaryIO) -> None:
        source: Any = stream
        if not callable(getattr(stream, "read", None)) or isinstance(source, io.TextIOBase):
            text = f"expected an open binary stream, got {type(stream).__name__}"
            raise TypeError(text)
        self._v_stream = stream
        if _may_be_slow(stream):
            me = id(self)
            slow_files[me] = weakref.ref(self, lambda _: slow_files.pop(me, None))

    def __init_subclass__(cls, **_kwargs: object) -> None:
        reason = "the object becomes a PersistentStream; keep it in an attribute of your own class"
        raise ClassNotSupported(cls.__name__, reason)

    def _p_spool(self, directory: Path | None) -> None:
        """Copy the source to a temporary file, unless it is quick to read."""
        if id(self) not in slow_files:
            return
        state = native_dict(self)
        if "_v_broken" in state:
            text = "reading the stream failed before, and what was read is gone; wrap a new one"
            raise OSError(text)
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
        # A transaction that is run again stores the same bytes again.
        stream.seek(state.setdefault("_v_start", stream.tell()))
        offset, size = write(stream)
        state = {**state, "_offset": offset, "_size": size}
        return PersistentStream, state
