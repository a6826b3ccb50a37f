"""Meta: what a transaction has besides its states, and the tables of names of a log.

A class table gives numbers to classes; a shape table gives numbers to the shapes of
states: the class of a state and the names of its attributes, in order. Both
share one space of numbers. Pure, as :mod:`.record` is, which to read next.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from dobbin_like.contract import NO_NAMES, NewNames
from dobbin_like.ids import DELTA

WORD: Final = struct.Struct("<I")

CLASS_LIMIT: Final = DELTA
"""Numbers of classes and shapes have 24 bits; the 8 above them are flags."""

NUMBER_LIMIT: Final = 2 * DELTA
"""No number of a state reaches this: there is one flag as yet."""


class DamagedError(Exception):
    """Bytes that are not what a log has there: what was found, what was expected."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(found, expected)
        self.found = found
        self.expected = expected


class Meta(NamedTuple):
    """What a transaction says about itself. Empty in all parts, it takes no byte."""

    names: NewNames = NO_NAMES
    user: str = ""
    description: str = ""
    extension: bytes = b""
    reason: str = ""


NO_META: Final = Meta()


def _pack_bytes(data: bytes) -> bytes:
    return WORD.pack(len(data)) + data


def _pack_text(text: str) -> bytes:
    # Notes come from programs: a lone surrogate must not make a commit fail.
    return _pack_bytes(text.encode("utf-8", "surrogatepass"))


def encode_names(names: NewNames) -> bytes:
    """Return the class table and the shape table, each a count and its rows. Raises ValueError."""
    classes, shapes = names
    parts = [WORD.pack(len(classes))]
    for number, module, qualname in classes:
        parts += (_pack_number(number), _pack_text(module), _pack_text(qualname))
    parts.append(WORD.pack(len(shapes)))
    for number, class_number, attributes in shapes:
        parts += (_pack_number(number), _pack_number(class_number), WORD.pack(len(attributes)))
        parts += map(_pack_text, attributes)
    return b"".join(parts)


def _pack_number(number: int) -> bytes:
    if not 0 <= number < CLASS_LIMIT:
        text = f"class number {number}, below {CLASS_LIMIT} are allowed"
        raise ValueError(text)
    return WORD.pack(number)


def encode_meta(meta: Meta) -> bytes:
    """Return the bytes of *meta*; none if there is nothing to say."""
    if meta is NO_META or meta == NO_META:
        return b""
    names, user, description, extension, reason = meta
    about = _pack_text(user) + _pack_text(description) + _pack_bytes(extension)
    return encode_names(names) + about + _pack_text(reason)


class _Cursor:
    """Reads one part after the other; DamagedError past the end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self) -> int:
        return int.from_bytes(self._take(4), "little")

    def block(self) -> bytes:
        return self._take(self.number())

    def text(self) -> str:
        try:
            return self.block().decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            text = "bytes that are not UTF-8"
            raise DamagedError(text, "a text") from error

    def texts(self) -> tuple[str, ...]:
        return tuple([self.text() for _ in range(self.number())])

    def names(self) -> NewNames:
        classes = [(self.number(), self.text(), self.text()) for _ in range(self.number())]
        shapes = [(self.number(), self.number(), self.texts()) for _ in range(self.number())]
        return NewNames(tuple(classes), tuple(shapes))

    def _take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            text = f"a part of {size} bytes at {self.at}"
            raise DamagedError(text, "the end of the table")
        part = self.data[self.at : end]
        self.at = end
        return part


def decode_names(data: bytes) -> NewNames:
    """Return the tables of names in *data*. Raises DamagedError."""
    return _Cursor(data).names()


def decode_meta(data: bytes) -> Meta:
    """Return what :func:`encode_meta` was given. Raises DamagedError."""
    if not data:
        return NO_META
    cursor = _Cursor(data)
    return Meta(cursor.names(), cursor.text(), cursor.text(), cursor.block(), cursor.text())
