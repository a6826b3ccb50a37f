"""The transactions of a damaged log that can be read, without writing a new one."""

from __future__ import annotations

import os
from collections.abc import Iterator

from dobbin_like.check import Progress
from dobbin_like.exc import NotALogError
from dobbin_like.log.file.log_file import check_regular
from dobbin_like.log.reading.reader import LoggedTransaction
from dobbin_like.repair.frames import Frames
from dobbin_like.repair.parts import Kept
from dobbin_like.repair.report import Loss
from dobbin_like.repair.source import Source


def readable(path: str, progress: Progress | None = None) -> Iterator[LoggedTransaction | Loss]:
    """Yield the transactions that can be read, oldest first, and what is lost between them.

    Raises:
        NotALogError, FormatVersionError, OSError: As :func:`dobbin_like.repair.repair`.
    """
    check_regular(path)
    fd = os.open(path, os.O_RDONLY)
    try:
        source = Source(fd, path)
        page = source.page()
        frames = Frames(source, None if page is None else page.checksum, source.committed())
        told = 0
        for part in frames.walk(progress):
            yield from frames.losses[told:]
            told = len(frames.losses)
            if isinstance(part, Kept):
                yield part.logged
        yield from frames.losses[told:]
        if not frames.found and page is None:
            raise NotALogError(path, "it contains nothing that belongs to a log")
    finally:
        os.close(fd)
