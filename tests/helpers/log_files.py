"""What is in the file of a log: the words of its header, and its transactions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from dobbin_like.log import TransactionLog
from dobbin_like.log.format import header

if TYPE_CHECKING:
    from pathlib import Path


def tids(path: Path, **options: Any) -> list[int]:
    """Return the tids in a log after every state in it has been read."""
    with TransactionLog(path, **{"read_only": True, **options}) as log:
        logged = list(log.transactions())
        for entry in logged:
            for oid, stored in log.entries(entry):
                if not entry.failed:
                    assert log.load(oid, entry.tid) == stored
        assert len(log) == len(logged)
        return [entry.tid for entry in logged]


def with_words(data: bytes, **words: int) -> bytes:
    """Return the bytes of a log with other words in its header."""
    changed = bytearray(data)
    for name, value in words.items():
        index = getattr(header, name)
        raw = header.raw_word(index, value)
        changed[index * 8 : index * 8 + 8] = raw.to_bytes(8, sys.byteorder)
    return bytes(changed)


def word_in(data: bytes, index: int) -> int | None:
    return header.word_value(index, int.from_bytes(data[index * 8 : index * 8 + 8], sys.byteorder))
