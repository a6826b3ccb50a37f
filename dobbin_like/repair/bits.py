"""Finding a single flipped bit by a checksum, and running checksums backwards.

A CRC-32 is linear: the difference between the stored checksum and the computed one depends only on
the flipped bits, not on the data. Each single bit has its own difference. Up to 11,000 bytes, no
two flipped bits together have the difference of a third: one is corrected, and two are never
mistaken for one. Greater damage may look like one bit: with a probability of one in five million
in a state of 100 bytes, one in 8,000 in ``LIMIT`` bytes. Pure.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from zlib import crc32

LIMIT: Final = 1 << 16
"""The number of bytes up to which a flipped bit is searched: a chunk of a stream."""

_TABLE: Final = [crc32(bytes((byte,)), 0xFFFFFFFF) ^ 0xFFFFFFFF for byte in range(256)]
"""The effect of each byte on a checksum of 0."""

_BY_TOP: Final = {value >> 24: index for index, value in enumerate(_TABLE)}
_BIT: Final = {_TABLE[1 << bit]: bit for bit in range(8)}


class Flip(NamedTuple):
    """One bit: the byte it is in, and its value there."""

    at: int
    mask: int


def find_flip(difference: int, size: int) -> Flip | None:
    """Return the bit among *size* bytes whose flipping explains *difference*.

    That is the stored checksum, xor the computed one. None if more than one bit was flipped, or
    there are too many bytes to tell.
    """
    if not difference or size > LIMIT:
        return None
    for at in range(size - 1, -1, -1):
        bit = _BIT.get(difference)
        if bit is not None:
            return Flip(at, 1 << bit)
        difference = _back(difference, 0)
    return None


def seed_before(data: bytes, checksum: int) -> int:
    """Return the checksum before *data* if it is *checksum* after it."""
    value = checksum ^ 0xFFFFFFFF
    for byte in reversed(data):
        value = _back(value, byte)
    return value ^ 0xFFFFFFFF


def _back(value: int, byte: int) -> int:
    """Remove one byte from a checksum."""
    index = _BY_TOP[value >> 24]
    return ((value ^ _TABLE[index]) << 8 | (index ^ byte)) & 0xFFFFFFFF
