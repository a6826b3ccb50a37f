"""The bytes of a damaged file, with flipped bits corrected in memory.

Bytes that the disk can't read are zeros here. The file is opened for reading only and stays
unchanged.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import Final
from zlib import crc32

from dobbin_like.exc import FormatVersionError, IntegrityError, NotALogError
from dobbin_like.log.format import header
from dobbin_like.log.format.header import DURABLE, LOOSE, PAGE_SIZE, Page
from dobbin_like.log.reading.reader import ReadBuffer
from dobbin_like.repair.bits import find_flip

_FIXED: Final = header.MAGIC + struct.pack("<II", header.FORMAT_VERSION, PAGE_SIZE)
"""The beginning of every header page of this format."""

_BLOCK: Final = 512
"""Bytes of a block, which a disk reads as a whole or not at all: no disk has smaller ones."""


class Source(ReadBuffer):
    """A damaged log; ``flips`` are the bits that are corrected on reading, by offset.

    ``refused`` are the offsets of the blocks that the disk could not read.
    """

    def __init__(self, fd: int, path: str) -> None:
        super().__init__(fd, path)
        self.flips: dict[int, int] = {}
        self.refused: set[int] = set()
        self.size: int = os.fstat(fd).st_size

    def read(self, offset: int, size: int, limit: int) -> bytes:
        try:
            data = super().read(offset, size, limit)
        except IntegrityError:
            if offset + size > self.size:
                raise
            data = self._blocks(offset, size)
        for at, mask in self.flips.items():
            if offset <= at < offset + size:
                changed = bytearray(data)
                changed[at - offset] ^= mask
                data = bytes(changed)
        return data

    def beside(self) -> Source:
        """Return a buffer over the same bytes, for a second place."""
        other = Source(self.fd, self.path)
        other.flips, other.refused = self.flips, self.refused
        return other

    def _blocks(self, offset: int, size: int) -> bytes:
        """Read block by block; what the disk can't read is zeros."""
        parts: list[bytes] = []
        first = offset - offset % _BLOCK
        for start in range(first, offset + size, _BLOCK):
            try:
                parts.append(os.pread(self.fd, _BLOCK, start).ljust(_BLOCK, b"\0"))
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                self.refused.add(start)
                parts.append(bytes(_BLOCK))
        return b"".join(parts)[offset - first : offset - first + size]

    def first_not_zero(self, offset: int) -> int | None:
        """Return where the first byte from *offset* on is that is not zero."""
        for at in range(offset, self.size, self.ahead):
            data = self.read(at, min(self.ahead, self.size - at), self.size)
            if any(data):
                return at + len(data) - len(data.lstrip(b"\0"))
        return None

    def flip(self, offset: int, mask: int) -> None:
        """From now on, read the byte at *offset* with this bit flipped."""
        self.flips[offset] = self.flips.get(offset, 0) ^ mask
        if not self.flips[offset]:
            del self.flips[offset]

    def page(self) -> Page | None:
        """Return the contents of the header page; None if too much of it is damaged."""
        start = self.read(0, min(PAGE_SIZE, self.size), self.size)
        if header.is_unwritten(start, self.size) or len(start) < PAGE_SIZE:
            raise NotALogError(self.path, "there is no transaction in it")
        (written,) = header.PAGE_CHECK.unpack_from(start, header.PAGE.size)
        version = header.PAGE.unpack_from(start)[1]
        if version > header.FORMAT_VERSION and crc32(start[: header.PAGE.size]) == written:
            raise FormatVersionError(self.path, version, header.FORMAT_VERSION)
        fields = _FIXED + start[len(_FIXED) : header.PAGE.size]
        checksum = crc32(fields)
        if (checksum ^ written).bit_count() > 1:
            flipped = find_flip(checksum ^ written, len(fields))
            if flipped is None or flipped.at < len(_FIXED):
                return None
            self.flip(*flipped)
            checksum = written
            fields = self.read(0, len(fields), PAGE_SIZE)
        whole = fields + header.PAGE_CHECK.pack(checksum)
        return header.decode_page(self.path, whole.ljust(PAGE_SIZE, b"\0"))

    def committed(self) -> int | None:
        """Return the visible end that the header has, None if it is damaged."""
        values = [self._word(index) for index in (DURABLE, LOOSE)]
        known = [value for value in values if value is not None and value >= PAGE_SIZE]
        return max(known) if len(known) == len(values) else None

    def _word(self, index: int) -> int | None:
        word = self.read(header.word_offset(index), header.WORD_SIZE, PAGE_SIZE)
        return header.decode_word(index, word)
