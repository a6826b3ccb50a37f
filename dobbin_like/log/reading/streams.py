"""Stored streams: bytes beside the objects, read in ranges from where they lie.

A stream is a frame of its own, before the transaction that refers to it. Its length need
not be known in advance: the data are written first and the fixed part last, so that a stream
whose writer died is a torn tail like any other (I2, I4). Each 64 KiB have a checksum, which is
verified when a part of them is read. Knows no objects and no lock.
"""

from __future__ import annotations

from itertools import count
from typing import BinaryIO, Final
from zlib import crc32

from dobbin_like.exc import IntegrityError
from dobbin_like.log.file import disk
from dobbin_like.log.format import record
from dobbin_like.log.format.record import DamagedError, LogPlace, StreamHead

OFFSET_BITS: Final = 48
"""Of a key of a stream; above them is the generation of the file that it lies in."""

_GENERATIONS: Final = 1 << 15
"""As many are told apart by a key, which is below 2**63."""

CHUNK_SIZE: Final = 1 << 16
"""Bytes under one checksum: what a read of one byte costs at most."""

_COPY_SIZE: Final = 1 << 20


def stream_key(generation: int, offset: int) -> int:
    """Return the number by which states refer to a stream: its place and its file."""
    return generation % _GENERATIONS << OFFSET_BITS | offset


def is_of(key: int, generation: int) -> bool:
    """Return whether a key may be that of a stream in a file of this generation."""
    return key >> OFFSET_BITS == generation % _GENERATIONS


def stream_offset(key: int) -> int:
    """Return where a stream lies in its file."""
    return key & ((1 << OFFSET_BITS) - 1)


def copy_stream(fd: int, path: str, tail: LogPlace, source: BinaryIO) -> tuple[LogPlace, int]:
    """Append a stream with what *source* yields from its position on, at ``tail.end``.

    Returns the place after the frame, and the size of the data in bytes. OSError: Writing failed;
    the file goes on behind *tail*, the caller cuts it.
    """
    start = tail.end + record.STREAM_SIZE
    # Before the data: if this writer dies, the next one sees that something is there.
    disk.write(fd, path, record.FRAME.pack(0, 0, record.KIND_STREAM, 0, 0, 0), tail.end)
    size = 0
    checksums: list[int] = []
    while data := source.read(_COPY_SIZE):
        disk.write(fd, path, data, start + size)
        _add_checksums(checksums, size, data)
        size += len(data)
    table = b"".join([record.WORD.pack(checksum) for checksum in checksums])
    length = record.align(record.STREAM_SIZE + size + len(table))
    # Up to the end of the frame: a length beyond the end of the file is not believed.
    fill = bytes(length - record.STREAM_SIZE - size - len(table))
    disk.write(fd, path, table + fill, start + size)
    own = record.stream_checksum(size, CHUNK_SIZE, table)
    head, checksum = record.encode_stream_head(tail, length, StreamHead(size, CHUNK_SIZE, own))
    disk.write(fd, path, head, tail.end)
    return LogPlace(tail.end + length, tail.end, checksum, tail.sequence, tail.tid), size


def _add_checksums(checksums: list[int], size: int, data: bytes) -> None:
    """Go on with the checksums of *size* bytes by those of *data*."""
    view = memoryview(data)
    at = 0
    begun = size % CHUNK_SIZE
    if begun:
        at = min(CHUNK_SIZE - begun, len(view))
        checksums[-1] = crc32(view[:at], checksums[-1])
    for start in range(at, len(view), CHUNK_SIZE):
        checksums.append(crc32(view[start : start + CHUNK_SIZE]))


class StoredStreams:
    """Reads ranges of streams of one file. Any thread.

    ``_last`` is (offset, fixed part, checksums) of the last stream; replaced whole.
    """

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path
        self._last: tuple[int, StreamHead, bytes] | None = None

    def size(self, offset: int) -> int:
        """Return the size of the stream at *offset* in bytes. Raises IntegrityError."""
        return self._open(offset)[1].size

    def read(self, offset: int, start: int, size: int) -> bytes:
        """Return up to *size* bytes from *start* on, fewer at the end; IntegrityError: damaged."""
        _, head, table = self._open(offset)
        start = max(start, 0)
        end = min(start + max(size, 0), head.size)
        if start >= end:
            return b""
        first = start // head.chunk_size
        from_byte = first * head.chunk_size
        last = -(-end // head.chunk_size)
        to_byte = min(last * head.chunk_size, head.size)
        begin = offset + record.STREAM_SIZE + from_byte
        data = disk.read_exactly(self._fd, self._path, begin, to_byte - from_byte)
        view = memoryview(data)
        for index, at in zip(range(first, last), count(0, head.chunk_size), strict=False):
            found = crc32(view[at : at + head.chunk_size])
            (checksum,) = record.WORD.unpack_from(table, index * 4)
            if found != checksum:
                text = f"stream checksum {checksum:08x}"
                raise IntegrityError(self._path, begin + at, text, f"{found:08x}")
        return data[start - from_byte : end - from_byte]

    def forget(self) -> None:
        """Forget the last stream: another one may be at its place by now."""
        self._last = None

    def _open(self, offset: int) -> tuple[int, StreamHead, bytes]:
        last = self._last
        if last is not None and last[0] == offset:
            return last
        try:
            head, table = self._read_head(offset)
        except DamagedError as error:
            raise IntegrityError(self._path, offset, error.found, error.expected) from None
        self._last = last = offset, head, table
        return last

    def _read_head(self, offset: int) -> tuple[StreamHead, bytes]:
        data = disk.read_exactly(self._fd, self._path, offset, record.STREAM_SIZE)
        length = record.FRAME.unpack_from(data)[4]
        head = record.decode_stream_head(data)
        table_size = 4 * -(-head.size // head.chunk_size)
        whole = record.STREAM_SIZE + head.size + table_size
        if whole > length:
            found = f"a stream of {whole} bytes"
            raise DamagedError(found, f"at most {length}")
        at = offset + record.STREAM_SIZE + head.size
        table = disk.read_exactly(self._fd, self._path, at, table_size)
        checksum = record.stream_checksum(head.size, head.chunk_size, table)
        if checksum != head.own_checksum:
            found = f"stream checksum {head.own_checksum:08x}"
            raise DamagedError(found, f"{checksum:08x}")
        return head, table


def verify_stream(fd: int, path: str, offset: int) -> None:
    """Read a whole stream. Raises IntegrityError. Cost: its bytes."""
    reader = StoredStreams(fd, path)
    for start in range(0, reader.size(offset), _COPY_SIZE):
        reader.read(offset, start, _COPY_SIZE)
