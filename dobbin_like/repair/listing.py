"""What can be read of a damaged log, without writing a new one: its transactions, or counts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from dobbin_like.check import Progress
from dobbin_like.exc import NotALogError
from dobbin_like.ids import DELTA, Tid
from dobbin_like.log.file.disk import open_file
from dobbin_like.log.file.log_file import check_regular
from dobbin_like.log.reading.reader import LoggedTransaction
from dobbin_like.name_tables import NameTables, class_and_names
from dobbin_like.repair.frames import Frames, NamesAt
from dobbin_like.repair.parts import Kept
from dobbin_like.repair.report import Loss
from dobbin_like.repair.source import Source


@contextmanager
def _frames(path: str) -> Iterator[Frames]:
    """Open a log for a walk. Raises as readable()."""
    check_regular(path)
    fd = open_file(path, os.O_RDONLY)
    try:
        source = Source(fd, path)
        page = source.page()
        frames = Frames(source, None if page is None else page.checksum, source.committed())
        yield frames
        if not frames.found and page is None:
            raise NotALogError(path, "it contains nothing that belongs to a log")
    finally:
        os.close(fd)


def readable(path: str, progress: Progress | None = None) -> Iterator[LoggedTransaction | Loss]:
    """Yield the transactions that can be read, oldest first, and what is lost between them.

    Raises:
        NotALogError, FormatVersionError, OSError: As :func:`dobbin_like.repair.repair`.
    """
    with _frames(path) as frames:
        told = 0
        for part in frames.walk(progress):
            yield from frames.losses[told:]
            told = len(frames.losses)
            if isinstance(part, Kept):
                yield part.logged
        yield from frames.losses[told:]


def readable_classes(
    path: str, progress: Progress | None = None
) -> tuple[Tid, dict[str, list[int]], list[Loss]]:
    """Return the last tid, objects and bytes of each class that can be read, and what is lost.

    An object whose newest version is lost counts as it was before. Raises as readable().
    """
    names = NameTables()
    newest: dict[int, tuple[int, int]] = {}  # Numbers and sizes, by oid.
    with _frames(path) as frames:
        for part in frames.walk(progress):
            if isinstance(part, NamesAt):
                names.update(part.names.classes, part.names.shapes)
            elif isinstance(part, Kept):
                names.update(part.logged.names.classes, part.logged.names.shapes)
                for oid, stored in part.entries:
                    before = newest.get(oid) if stored.number & DELTA else (stored.number, 0)
                    if before is not None:  # Else it is a change of what is lost.
                        newest[oid] = before[0], before[1] + len(stored.data)
    found, shapes = frames.names()
    names.update((), [(number, *shape) for number, shape in shapes.items()])
    counts: dict[str, list[int]] = {}
    for number, size in newest.values():
        class_number = class_and_names(names, number)[0]
        name = names.class_name(class_number) or found.get(class_number) or ("?",)
        count = counts.setdefault(".".join(name), [0, 0])
        count[0] += 1
        count[1] += size
    return frames.tid, counts, frames.losses
