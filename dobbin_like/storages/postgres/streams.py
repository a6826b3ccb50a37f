"""The bytes of streams, put into a log in PostgreSQL piece by piece, before their transaction."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import partial
from typing import BinaryIO

from dobbin_like.exc import Error
from dobbin_like.storages.postgres.lines import Line, Lines
from dobbin_like.storages.postgres.tables import CHUNK_SIZE, Statements

_logger = logging.getLogger(__name__)


def put_stream(lines: Lines, statements: Statements, source: BinaryIO) -> tuple[int, int]:
    """Store what *source* yields; return its key and its size. What it raises leaves nothing."""
    key = int.from_bytes(os.urandom(8), "little") >> 1
    try:
        size = _put_chunks(lines, statements["put_chunk"], key, source)
    except BaseException:
        drop_streams(lines, statements, [key])
        raise
    return key, size


def _put_chunks(lines: Lines, text: str, key: int, source: BinaryIO) -> int:
    number = size = 0
    while True:
        chunk = _read(source)
        if chunk or not number:
            lines.run(partial(_execute, text, (key, number, chunk)))
        number += 1
        size += len(chunk)
        if len(chunk) < CHUNK_SIZE:
            return size


def drop_streams(lines: Lines, statements: Statements, keys: Sequence[int]) -> None:
    """Remove streams that no transaction has. What can't be removed is logged as a warning."""
    try:
        lines.run(partial(_execute, statements["drop_streams"], (list(keys),)))
    except Error as error:
        _logger.warning("%s: streams are left behind: %s", lines.path, error)


def _execute(text: str, parameters: Sequence[object], line: Line) -> None:
    line.execute(text, parameters)


def _read(source: BinaryIO) -> bytes:
    """Return the next piece of a stream; only the last is shorter."""
    parts = []
    missing = CHUNK_SIZE
    while missing and (part := source.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
