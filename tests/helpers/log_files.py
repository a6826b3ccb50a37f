"""What is in the file of a log, words of its header and transactions; and which files are open."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dobbin_like.log import TransactionLog
from dobbin_like.log.format import header
from dobbin_like.log.format.header import PAGE_SIZE, WORD_SIZE, word_offset

NOTHING_DURABLE = dict.fromkeys(("DURABLE", "LOOSE", "APPENDED", "SYNCING"), PAGE_SIZE)
"""The words of a log of which only the header is known to be on stable storage."""


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
        at = word_offset(index)
        changed[at : at + WORD_SIZE] = header.encode_words(index, value)
    return bytes(changed)


def without_word(data: bytes, index: int) -> bytes:
    """Return the bytes of a log with a word in its header that nobody believes."""
    at = word_offset(index)
    return data[:at] + bytes(WORD_SIZE) + data[at + WORD_SIZE :]


def word_in(data: bytes, index: int) -> int | None:
    return header.decode_word(index, data[word_offset(index) : word_offset(index) + WORD_SIZE])


def words_of(path: Path) -> dict[str, int | None]:
    """Return all words of the log at *path*, by their names."""
    start = path.read_bytes()[:PAGE_SIZE]
    return {name: word_in(start, index) for index, name in enumerate(header.WORD_NAMES)}


def open_files() -> list[str]:
    """Return the paths of what this process has open: each as often as there are descriptors."""
    directory = Path("/proc/self/fd")
    if not directory.is_dir():
        pytest.skip("there is nowhere to see them")
    links = []
    for name in directory.iterdir():
        try:
            links.append(os.readlink(name))  # noqa: PTH115
        except OSError:  # the one that lists the directory
            continue
    return links
