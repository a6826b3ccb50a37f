"""The words of a header page, as all processes read and store them.

By ``pread`` and ``pwrite``, not through a mapping: if the file was truncated, or the disk is full
or gone, they raise an error, where a mapping gets a signal that ends the process. For the words
and who may store them, see :mod:`dobbin_like.log.format.header`.
"""

from __future__ import annotations

import os
from typing import Final

from dobbin_like.exc import IntegrityError
from dobbin_like.log.file.disk import DiskError, write
from dobbin_like.log.format.header import (
    DURABLE,
    LOOSE,
    PAGE_SIZE,
    WORD_COUNT,
    WORD_NAMES,
    WORD_SIZE,
    WORDS_OFFSET,
    decode_word,
    encode_words,
    word_offset,
)

_ALL: Final = WORD_COUNT * WORD_SIZE
SEEN_SIZE: Final = 3 * WORD_SIZE
_TRIES: Final = 100
"""How often a word is read that may have been read while it was stored."""

_pread: Final = os.pread


class Words:
    """The words of one log. Any thread may read; the table there says which may store each."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path

    def all(self) -> bytes:
        """Return all words as they are stored, in one read; see :func:`.decode_words`."""
        try:
            return _pread(self._fd, _ALL, WORDS_OFFSET)
        except OSError as error:
            if error.errno is None:
                raise
            raise self._named(error) from error

    def seen(self) -> bytes:
        """Return the words that change with whatever gets visible, as they are stored."""
        try:
            return _pread(self._fd, SEEN_SIZE, WORDS_OFFSET)
        except OSError as error:
            if error.errno is None:
                raise
            raise self._named(error) from error

    def _named(self, error: OSError) -> DiskError:
        return DiskError(error.errno, error.strerror, self._path)

    def find(self, index: int) -> int | None:
        """Return the value of a word, None if it is not believed, whenever it is read."""
        for _ in range(_TRIES):
            try:
                data = _pread(self._fd, WORD_SIZE, WORDS_OFFSET + index * WORD_SIZE)
            except OSError as error:
                if error.errno is None:
                    raise
                raise self._named(error) from error
            value = decode_word(index, data)
            if value is not None or len(data) < WORD_SIZE:
                return value
        return None

    def get(self, index: int) -> int:
        """Return the value of a word.

        Raises:
            IntegrityError: It is damaged, or the file was cut.
        """
        value = self.find(index)
        if value is None:
            offset = word_offset(index)
            found = f"a damaged word {WORD_NAMES[index]}, or the end of the file"
            raise IntegrityError(self._path, offset, found, "a whole word")
        return value

    def visible(self) -> int:
        """Return where what readers may see ends.

        Raises:
            IntegrityError: A word is damaged, or the file was cut.
        """
        # DURABLE first: recovery stores LOOSE first, and may set it back.
        return max(self.get(DURABLE), self.get(LOOSE), PAGE_SIZE)

    def put(self, first: int, *values: int) -> bytes:
        """Store neighbouring words, from that of index *first* on; return them as stored.

        Raises:
            OSError: They were not stored.
        """
        data = encode_words(first, *values)
        write(self._fd, self._path, data, word_offset(first))
        return data
