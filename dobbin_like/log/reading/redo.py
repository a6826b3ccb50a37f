"""The redo area: where a synced commit is made durable without waiting for metadata.

A sync of an append waits until the file system has noted that the file grew. So a log that
is synced has a frame of space that was written once: a commit goes to the end of the log,
unsynced, and a copy of its bytes into that space, synced. The space holds an **image**: the
bytes of the log from an offset on, its base. After a power cut, what the log lost is put
back from there (:mod:`dobbin_like.log.writing.recovery`).

What holds at any moment, and the whole argument rests on it:

* Every frame before DURABLE is on stable storage, in the log or in the image.
* What is before the base is on stable storage in the log: the base moves only after a sync
  of the whole file.
* A frame goes into the image only if nothing was cut off the log since the last such sync.
  So whatever whole frame a power cut leaves in the log at the place of one in the image is
  that one, and not a stream or a transaction that was given up. Whoever cuts sets the word
  REDO_BASE to 0 first; the next commit syncs the whole file, and the base is its end.
* A transaction that was in the image and is given up is overwritten there, synced, then in the
  log, synced, and then it is cut off. Killed before the second, its writer leaves it at the
  end of the log, and the next holder of the lock adopts it (I2); killed after it, a torn tail.
  After a power cut between the two, it is there or not, as the log has it; nobody was told yet.
* After a sync that failed, the system may take for written what was not. So the base is 0 then,
  and what only the image may have is written to the log once more before the next sync.
* What the image says of itself is no proof: in a copy of a log in use it may be of another
  moment than the end. Only frames that fit the last one there are believed.
* A frame in an image is believed only if it chains to the frame before it, is verified with
  all its states, and is committed. Remains of earlier images chain to nothing: the frame
  before them lies at another offset.

The image belongs to no transaction, and its bytes change: the one exception to I5. Here is
how it is found and read; who writes it is :mod:`dobbin_like.log.writing.durability`.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import Final, NamedTuple

from dobbin_like.exc import IntegrityError
from dobbin_like.log.file import disk
from dobbin_like.log.file.words import Words
from dobbin_like.log.format import frame_heads, record
from dobbin_like.log.format.frame_heads import RedoHead
from dobbin_like.log.format.header import PAGE_SIZE, REDO
from dobbin_like.log.format.record import DamagedError, LogPlace
from dobbin_like.log.reading.aside import places_like
from dobbin_like.log.reading.reader import Frame, ReadBuffer, read_frame, stored_entries

__all__ = [
    "Area",
    "Image",
    "append_area",
    "area_offset",
    "durable_in_log_end",
    "find_area",
    "read_area",
]

_ALIGN: Final = 1 << 12
_MARK: Final = re.compile(b"REDO")


class Area(NamedTuple):
    """Where the image of one log lies."""

    offset: int  # Of the frame.
    start: int  # Of the image, its head included.
    size: int  # Of the image, its head included.
    seed: int  # Of the checksum of a base.

    def head(self, base: int) -> bytes:
        """Return what the image begins with when it begins at *base* of the log."""
        return frame_heads.encode_image_head(base, self.seed)

    def base(self, fd: int, path: str) -> int | None:
        """Return the base of the image; 0 if it was never used, None if it is damaged.

        Raises:
            IntegrityError: The file ends before.
        """
        found = disk.read_exactly(fd, path, self.start, record.IMAGE_SIZE)
        if not any(found):
            return 0
        return frame_heads.decode_image_head(found, self.seed)

    def image(self, fd: int, path: str) -> Image | None:
        """Return the image; None if there is none that is whole at its head.

        Raises:
            IntegrityError: It can't be read.
        """
        base = self.base(fd, path)
        if not base:
            return None
        start, size = self.start + record.IMAGE_SIZE, self.size - record.IMAGE_SIZE
        return Image(fd, path, base, disk.read_exactly(fd, path, start, size))


class Image(ReadBuffer):
    """The bytes of an image, read at the offsets that they have in the log."""

    def __init__(self, fd: int, path: str, base: int, data: bytes) -> None:
        super().__init__(fd, path)
        self._start = self.base = base
        self._data = data
        self.end = base + len(data)

    def read(self, offset: int, size: int, limit: int) -> bytes:
        """Return *size* bytes at *offset* of the log. Raises IntegrityError."""
        if not self._start <= offset <= min(limit, self.end) - size:
            text = f"{size} bytes that are not in the image"
            raise IntegrityError(self.path, offset, text, f"some from {self.base} to {self.end}")
        return super().read(offset, size, limit)

    def beside(self) -> ReadBuffer:
        """Return this: all is in memory, and the file has other bytes at the offsets."""
        return self

    def frame(self, tail: LogPlace) -> Frame | None:
        """Return the committed transaction that follows *tail*, None unless it is whole."""
        with contextlib.suppress(IntegrityError):
            frame = read_frame(self, tail, self.end)
            if frame.logged is not None and frame.status == record.COMMITTED:
                for _ in stored_entries(self, frame.logged):
                    pass
                return frame
        return None


def area_offset(words: Words) -> int | None:
    """Return where the redo area is said to be; 0: nowhere; None: the word is damaged."""
    # A log of an earlier release has zeros there.
    return words.get(REDO) if words.view[REDO] else 0


def read_area(buffer: ReadBuffer, offset: int) -> Area | None:
    """Return the redo area at *offset*, None unless there is one that can be read."""
    with contextlib.suppress(IntegrityError):
        return _area_at(buffer, offset)
    return None


def _area_at(buffer: ReadBuffer, offset: int) -> Area | None:
    """Return the redo area at *offset*, None if there is none. Raises IntegrityError."""
    data = buffer.read(offset, record.REDO_SIZE, offset + record.REDO_SIZE)
    try:
        head: RedoHead = frame_heads.decode_redo_head(data, offset)
    except DamagedError:
        return None
    return Area(offset, offset + head.distance, head.size, head.own_checksum)


def find_area(buffer: ReadBuffer, place: LogPlace, offset: int | None) -> Area | None:
    """Return the redo area at *offset*; if there is none, the newest that can be found.

    Args:
        place: Some place of the log that was read as committed.
        offset: What area_offset() says; 0: there is none.

    Raises:
        IntegrityError: The disk does not give it.

    Cost: If the word was damaged, all frames of the log.
    """
    if offset == 0:
        return None
    if offset is not None and offset < os.fstat(buffer.fd).st_size:
        area = _area_at(buffer, offset)
        if area is not None:
            return area
    tail, found = place, None
    with contextlib.suppress(IntegrityError):
        while True:  # Up to the end of the file, which is none of the frames.
            frame = read_frame(buffer, tail, tail.end + (1 << 48))
            if frame.kind == record.KIND_REDO:
                found = read_area(buffer, tail.end) or found
            tail = frame.tail
    return found or _area_before(buffer, place)


def _area_before(buffer: ReadBuffer, place: LogPlace) -> Area | None:
    """Return the newest redo area before *place*, as far as it can be found."""
    end, before = place.end, place.frame
    with contextlib.suppress(IntegrityError):
        while True:
            # Areas lie behind a frame, among others that are aside.
            at, found = PAGE_SIZE, None
            if before:
                data = buffer.read(before, record.FRAME_SIZE, end)
                head = record.frame_head(data)
                at, previous = before + head.length, head.previous
            for offset in places_like(buffer.beside(), at, end, _MARK):
                found = read_area(buffer, offset) or found
            if found is not None or not PAGE_SIZE <= before < end:
                return found
            end, before = before, previous
    return None


def durable_in_log_end(buffer: ReadBuffer, words: Words, durable: int) -> int:
    """Return up to where the log has durable bytes itself, not in its image alone.

    Matters after a power cut and before the recovery: what is behind it may be missing.
    """
    offset = area_offset(words)
    if offset == 0:
        return durable
    area = read_area(buffer, offset) if offset else None
    base = None
    if area is not None:
        with contextlib.suppress(IntegrityError):
            base = area.base(buffer.fd, buffer.path)
    if base is None:
        return PAGE_SIZE  # Nobody knows, so that nothing is certain.
    return min(durable, base) if base else durable


def append_area(fd: int, path: str, tail: LogPlace, size: int) -> LogPlace:
    """Append a redo area with an image of *size* bytes; return the place after it.

    The image begins with a page, so that a small commit changes one.

    Raises:
        OSError: Writing failed; the caller cuts the file at ``tail.end``.
    """
    start = -(-(tail.end + record.REDO_SIZE) // _ALIGN) * _ALIGN
    distance = start - tail.end
    data = frame_heads.encode_redo_head(tail, size, distance)
    # Zeros, not a hole: overwriting them allocates nothing.
    disk.write(fd, path, data.ljust(distance + size, b"\0"), tail.end)
    return record.aside(tail, start + size)
