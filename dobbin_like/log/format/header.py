"""The header page: the identity of a log, and the words that all its processes read.

The page identifies the file. Its words are 8 bytes each: 48 bits of value and 16 bits of
check, so that a word that was read while it was written, or is damaged, is not believed. Each
word is stored by the holder of one lock, its guard; recovery holds all of them:

========  ===========  ==================================================================
word      guard        what it says
========  ===========  ==================================================================
STATE     commit lock  USUAL, REPLACED: the log goes on in another file, which takes the
                       place of this one, RESTORED: another log takes it, or UNNAMED: the
                       name of the file may not be on stable storage.
DURABLE   sync lock    All frames before are on stable storage, and visible.
LOOSE     commit lock  All frames before are visible: an instance that does not sync said so.
APPENDED  commit lock  All frames before are whole; the next one goes here.
SYNCING   sync lock    A sync of all before was begun; above DURABLE, it did not end well.
FAILURES  sync lock    Counts failing syncs and repairs; odd: nobody commits until a repair.
SAVED     commit lock  Where saved positions are, 0: nowhere. A shortcut.
INODE     commit lock  Of the file, its lower bits: another one in a copy.
WAITING   nobody       The process that waits for the commit lock. A hint, for fairness only.
========  ===========  ==================================================================

What is visible ends at DURABLE or LOOSE, whichever is greater: with one word and two guards, one
could set it back. Pure; knows nothing of frames. Read :mod:`.record` next.
"""

from __future__ import annotations

import functools
import os
import struct
import time
from typing import Final, NamedTuple
from zlib import crc32

from dobbin_like.exc import FormatVersionError, IntegrityError, NotALogError
from dobbin_like.mistaken.paths import what_it_is

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

FOLLOWS: Final = b"FOLL"
"""Behind the checksum if the log follows another. A copy needs the same checksum, and does not
follow."""

_MARKS: Final = {FOLLOWS: True, bytes(len(FOLLOWS)): False}

_MARK_OFFSET: Final = PAGE.size + PAGE_CHECK.size
WORDS_OFFSET: Final = 64
WORD_SIZE: Final = 8

# Indexes of the words. Those that readers need come first, and those that are stored together
# are neighbours: so each group is read or stored in one call.
STATE, DURABLE, LOOSE, APPENDED, SYNCING, FAILURES, SAVED, INODE, WAITING = range(9)
WORD_NAMES: Final = tuple(
    "STATE DURABLE LOOSE APPENDED SYNCING FAILURES SAVED INODE WAITING".split()
)
WORD_COUNT: Final = len(WORD_NAMES)

# What STATE says.
USUAL, REPLACED, UNNAMED, RESTORED = range(4)

_WORD: Final = struct.Struct("<6sH")
_pack_word: Final = _WORD.pack
_unpack_word: Final = _WORD.unpack_from
_split_words: Final = struct.Struct(f"{WORD_SIZE}s" * WORD_COUNT).unpack
_INDEXES: Final = range(WORD_COUNT)

VALUE_BITS: Final = 48
_VALUE_LIMIT: Final = 1 << VALUE_BITS


class WordValues(NamedTuple):
    """What the words say, in their order; None: a word is not believed."""

    state: int | None
    durable: int | None
    loose: int | None
    appended: int | None
    syncing: int | None
    failures: int | None
    saved: int | None
    inode: int | None
    waiting: int | None


class Page(NamedTuple):
    """What identifies a log. ``checksum`` is what the first frame is chained to.

    ``generation`` counts how often the log was packed; ``next_oid`` is the first oid that
    was never used before the last time; ``complete_since`` is the tid since which every
    version is in the file. ``follows``: it has what another log has, and nobody else writes to it.
    """

    store_id: bytes
    created_microseconds: int
    checksum: int
    generation: int = 0
    complete_since: int = 0
    next_oid: int = 0
    follows: bool = False


def encode_word(index: int, value: int) -> bytes:
    """Return a word as it is stored.

    The index is part of the check: a word copied to another place is not believed. ValueError:
    The value does not fit (256 TiB).
    """
    try:
        data = value.to_bytes(6, "little")
    except OverflowError as error:
        text = f"{value} does not fit the {VALUE_BITS} bits of a header word"
        raise ValueError(text) from error
    return _pack_word(data, crc32(data, index) & 0xFFFF)


def encode_words(first: int, *values: int) -> bytes:
    """Return neighbouring words as they are stored, from that of index *first* on."""
    if len(values) == 1:
        return encode_word(first, values[0])
    return b"".join([encode_word(first + at, value) for at, value in enumerate(values)])


# A commit decodes the same words several times, and few of them have changed.
@functools.lru_cache(maxsize=16)
def decode_words(block: bytes) -> WordValues:
    """Return the values of all words as they are stored; a *block* that is cut lacks the last."""
    if len(block) == WORD_SIZE * WORD_COUNT:
        words = _split_words(block)
    else:
        words = tuple(block[at * WORD_SIZE : (at + 1) * WORD_SIZE] for at in _INDEXES)
    return WordValues(*map(decode_word, _INDEXES, words))


@functools.lru_cache(maxsize=64)
def decode_word(index: int, data: bytes) -> int | None:
    """Return the value of a word, the 8 bytes of *data*; None if it is not believed."""
    if len(data) < WORD_SIZE:
        return None
    value, check = _unpack_word(data)
    return int.from_bytes(value, "little") if crc32(value, index) & 0xFFFF == check else None


def inode_value(inode: int) -> int:
    """Return what INODE says of a file with this number."""
    return inode & (_VALUE_LIMIT - 1)


def word_offset(index: int) -> int:
    """Return where a word lies in the file."""
    return WORDS_OFFSET + index * WORD_SIZE


def encode_page(
    store_id: bytes,
    created_microseconds: int,
    generation: int = 0,
    complete_since: int = 0,
    next_oid: int = 0,
    inode: int = 0,
    *,
    follows: bool = False,
) -> tuple[bytes, Page]:
    """Return the header page of a log without frames, and what it says.

    ValueError: The log was packed too often, or has too many oids, to be packed again.
    """
    if not (0 <= generation < 1 << _GENERATION_BITS and 0 <= next_oid < 1 << _OID_BITS):
        text = f"generation {generation} or next oid {next_oid} does not fit the header"
        raise ValueError(text)
    own = store_id, created_microseconds
    packed = generation << _OID_BITS | next_oid
    fields = PAGE.pack(MAGIC, FORMAT_VERSION, PAGE_SIZE, *own, packed, complete_since)
    checksum = crc32(fields)
    ends = [PAGE_SIZE] * 4  # DURABLE, LOOSE, APPENDED, SYNCING
    words = encode_words(STATE, UNNAMED, *ends, 0, 0, inode_value(inode), 0)
    start = fields + PAGE_CHECK.pack(checksum) + FOLLOWS * follows
    page = start.ljust(WORDS_OFFSET, b"\0") + words
    said = Page(*own, checksum, generation, complete_since, next_oid, follows)
    return page.ljust(PAGE_SIZE, b"\0"), said


def new_page(
    complete_since: int = 0, next_oid: int = 0, inode: int = 0, *, follows: bool = False
) -> tuple[bytes, Page]:
    """Return the header page of a new log, with an identity of its own, and what it says."""
    # For people who look at the file; nothing is decided by it.
    now_microseconds = max(0, time.time_ns() // 1000)  # noqa: TID251  a clock may be before 1970
    id_ = os.urandom(16)
    packed = 0, complete_since, next_oid
    return encode_page(id_, now_microseconds, *packed, inode, follows=follows)


def is_unwritten(start: bytes, size: int) -> bool:
    """Return whether a file of *size* bytes was left by a creation that did not come to its end.

    It is empty, or zeros up to a page (a power cut came between its size and its bytes): no
    transaction was ever in it, and the first commit writes it anew. A part of a page that begins
    as ours does is a log that was cut: creation writes the page in one call.
    """
    return size <= PAGE_SIZE and not any(start)


def decode_page(path: str, start: bytes) -> Page:
    """Return what the page says. Raises NotALogError, FormatVersionError and IntegrityError."""
    if len(start) < PAGE_SIZE and start[: len(MAGIC)] == MAGIC[: len(start)]:
        raise IntegrityError(path, len(start), "the end of the file", "a page of 4096 bytes")
    if start[: len(MAGIC)] != MAGIC:
        raise NotALogError(path, *what_it_is(path, start))
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
    mark = start[_MARK_OFFSET:WORDS_OFFSET]
    follows = _MARKS.get(mark)
    if follows is None:  # It is in no checksum: nobody knows whether the log may be written to.
        raise IntegrityError(path, _MARK_OFFSET, f"{mark!r}", "FOLL or zeros")
    return Page(store_id, created, checksum, generation, since, next_oid, follows)
