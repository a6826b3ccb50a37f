"""The header page: what a log is, and the words that readers watch.

The page identifies the file. The words in it are 8 bytes each, aligned, and read and
written in one access of the processor through a mapping that all processes share
(:mod:`dobbin_like.log.file.words`): a reader sees the old value or the new one, never a
mixture (I2), and learns of news without a system call (I3). A word carries 16 bits of check
beside 48 bits of value; one whose check is wrong is not believed, and what depends on it is
found by scanning.

Pure, and knows nothing of frames. Read :mod:`.record` next.
"""

from __future__ import annotations

import struct
import sys
from typing import Final, NamedTuple
from zlib import crc32

from dobbin_like.exc import FormatVersionError, IntegrityError, NotALogError

__all__ = ["FORMAT_VERSION", "MAGIC", "PAGE_SIZE", "Page", "decode_page", "encode_page"]

MAGIC: Final = b"\x93DobLog\n"
"""Begins with a byte that no text begins with and ends with one that text mode changes."""

FORMAT_VERSION: Final = 1
PAGE_SIZE: Final = 4096
PAGE: Final = struct.Struct("<8sII16sQQQ")
"""Magic, format version, size of the page, store id, creation in microseconds, generation
above the next oid, the tid since which every version is there."""

_OID_BITS: Final = 36
"""Of the next oid in the page: their positions alone would take 512 GiB of memory."""

_GENERATION_BITS: Final = 28
"""Packed every second, a log has enough of them for eight years."""

PAGE_CHECK: Final = struct.Struct("<I")

# Indexes of the words, in units of 8 bytes from the start of the page. Each of the first
# ones has a cache line to itself: a waiter that writes its slot does not slow down readers.
COMMITTED: Final = 8
DURABLE: Final = 16
SAVED: Final = 24
ASIDE_END: Final = 25
ASIDE: Final = 26
"""Hardly ever written, and by the same as SAVED. ASIDE first: see
:mod:`dobbin_like.log.reading.aside`."""

BOOT: Final = 32
TURN: Final = 40
RETIRED: Final = 48
"""No place of a word: COMMITTED has the check of this index when another file replaces this."""

REDO: Final = 56
REDO_BASE: Final = 80
SLOTS: Final = 64
SLOT_COUNT: Final = 16

VALUE_BITS: Final = 48
_VALUE_LIMIT: Final = 1 << VALUE_BITS
_SWAP: Final = sys.byteorder == "big"


class Page(NamedTuple):
    """What identifies a log. ``checksum`` is what the first frame is chained to.

    ``generation`` counts how often the log was packed; ``next_oid`` is the first oid that
    was never used before the last time; ``complete_since`` is the tid since which every
    version is in the file.
    """

    store_id: bytes
    created_microseconds: int
    checksum: int
    generation: int = 0
    complete_since: int = 0
    next_oid: int = 0


def raw_word(index: int, value: int) -> int:
    """Return *value* with its check as it is seen through the mapping of this machine.

    The index is part of the check: a word copied to another place is not believed.

    Raises:
        ValueError: The value does not fit (256 TiB).
    """
    if not 0 <= value < _VALUE_LIMIT:
        text = f"{value} does not fit the {VALUE_BITS} bits of a header word"
        raise ValueError(text)
    word = (crc32(value.to_bytes(6, "little"), index) & 0xFFFF) << VALUE_BITS | value
    return _swapped(word) if _SWAP else word


def word_value(index: int, raw: int) -> int | None:
    """Return the value of a word as it was read; None if its check is wrong."""
    value = (_swapped(raw) if _SWAP else raw) & (_VALUE_LIMIT - 1)
    if raw_word(index, value) == raw or (index == COMMITTED and raw_word(RETIRED, value) == raw):
        return value
    return None


def is_retired(raw: int) -> bool:
    """Tell whether COMMITTED, as it was read, says that another file takes the place of this."""
    return raw == raw_word(RETIRED, (_swapped(raw) if _SWAP else raw) & (_VALUE_LIMIT - 1))


def _swapped(word: int) -> int:
    return int.from_bytes(word.to_bytes(8, "little"), "big")


def encode_page(
    store_id: bytes,
    created_microseconds: int,
    boot: int,
    generation: int = 0,
    complete_since: int = 0,
    next_oid: int = 0,
) -> tuple[bytes, Page]:
    """Return the header page of a log without frames, and what it says.

    Raises:
        ValueError: The log was packed too often, or has too many oids, to be packed again.
    """
    if not (0 <= generation < 1 << _GENERATION_BITS and 0 <= next_oid < 1 << _OID_BITS):
        text = f"generation {generation} or next oid {next_oid} does not fit the header"
        raise ValueError(text)
    own = store_id, created_microseconds
    packed = generation << _OID_BITS | next_oid
    fields = PAGE.pack(MAGIC, FORMAT_VERSION, PAGE_SIZE, *own, packed, complete_since)
    checksum = crc32(fields)
    page = bytearray(PAGE_SIZE)
    page[: PAGE.size] = fields
    PAGE_CHECK.pack_into(page, PAGE.size, checksum)
    words = {COMMITTED: PAGE_SIZE, DURABLE: PAGE_SIZE, BOOT: boot}
    words |= dict.fromkeys((SAVED, ASIDE_END, ASIDE, REDO, REDO_BASE), 0)
    for index, value in words.items():
        page[index * 8 : index * 8 + 8] = raw_word(index, value).to_bytes(8, sys.byteorder)
    return bytes(page), Page(*own, checksum, generation, complete_since, next_oid)


def is_unwritten(start: bytes, size: int) -> bool:
    """Return whether a file was left by a creation that did not come to its end.

    Args:
        start: The first bytes of the file, a page at most.
        size: Of the whole file, in bytes.

    An empty file, or zeros up to a page (a power cut after the size was written and before
    the bytes were): no transaction was ever in it, and the first commit writes it anew. A
    part of a page that begins as ours does is a log that was cut: creation writes the page
    in one call.
    """
    return size <= PAGE_SIZE and not any(start)


def decode_page(path: str, start: bytes) -> Page:
    """Return what the header page says.

    Raises:
        NotALogError: It begins otherwise than a log.
        FormatVersionError: A newer release wrote it.
        IntegrityError: It begins as a log and is cut, or its checksum is wrong.
    """
    if len(start) < PAGE_SIZE and start[: len(MAGIC)] == MAGIC[: len(start)]:
        raise IntegrityError(path, len(start), "the end of the file", "a page of 4096 bytes")
    if start[: len(MAGIC)] != MAGIC:
        raise NotALogError(path, f"it begins with {start[:16]!r}")
    _, version, page_size, store_id, created, packed, since = PAGE.unpack_from(start)
    (found,) = PAGE_CHECK.unpack_from(start, PAGE.size)
    # The version first: another format may compute the checksum otherwise.
    if version > FORMAT_VERSION:
        raise FormatVersionError(path, version, FORMAT_VERSION)
    checksum = crc32(start[: PAGE.size])
    if found != checksum or version != FORMAT_VERSION or page_size != PAGE_SIZE:
        wanted = f"{checksum:08x} (version {FORMAT_VERSION}, pages of {PAGE_SIZE} bytes)"
        text = f"header checksum {found:08x} (version {version}, pages of {page_size} bytes)"
        raise IntegrityError(path, 0, text, wanted)
    generation, next_oid = packed >> _OID_BITS, packed & ((1 << _OID_BITS) - 1)
    return Page(store_id, created, checksum, generation, since, next_oid)
