"""A database that is written object by object, and appears when all of it is there.

States and streams are gathered in temporary files first: the header of a log has the highest oid,
and a transaction has its number of objects and all names before its states.
"""

from __future__ import annotations

import errno
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Self, cast

from dobbin_like.contract import NO_NAMES, Entry, NewNames
from dobbin_like.exc import CopyError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log.copies.new_log import NewLog
from dobbin_like.log.file.disk import named
from dobbin_like.log.file.new_file import NewFile
from dobbin_like.log.format.header import new_page
from dobbin_like.log.format.meta import Meta
from dobbin_like.log.format.record import ENTRY_SIZE
from dobbin_like.objects.codec.policy import VALUE_TYPES
from dobbin_like.objects.codec.state_writer import ClassName, StateWriter
from dobbin_like.texts import counted
from dobbin_like.timestamps import now

_PART_BYTES: Final = 0xFFFF_FFFF - (1 << 26)
"""The limit of a transaction: an entry has 32 bits for the distance of its state."""

_POSITIONS_FROM: Final = 10_000
"""The number of objects from which saved positions pay."""

_SPARSE: Final = 1000
"""Oids for each object, at most: a log keeps a place for each oid."""

_HEAD: Final = struct.Struct("<QIQ")
"""Oid, number and size of a state in the temporary file."""

_STORED, _REFERRED = 1, 2


class ImportReport(NamedTuple):
    """What an import has written.

    ``missing`` is the number of oids that are referred to and were not in the source;
    ``problems`` are the objects and values that could not be taken over, the first of them;
    ``problem_count`` is the number of all. ``classes`` are those of the objects, there and here,
    and how many there are; ``values`` those of values that a program has to allow to be loaded.
    """

    path: str
    objects: int
    size: int
    streams: int
    missing: int
    problem_count: int
    problems: tuple[str, ...]
    classes: tuple[tuple[str, str, int], ...]
    values: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return not (self.missing or self.problem_count)

    def as_dict(self) -> dict[str, Any]:
        classes = [
            {"there": there, "here": here, "objects": count} for there, here, count in self.classes
        ]
        return {**self._asdict(), "problems": self.problems, "classes": classes}

    def __str__(self) -> str:
        head = (
            f"{self.path}: {counted(self.objects, 'object')} of {counted(self.size, 'byte')}, "
            f"{counted(self.streams, 'stream')}"
        )
        lines = [head]
        if self.missing:
            lines.append(f"{counted(self.missing, 'object')} referred to, but not there")
        lines += [f"problem: {text}" for text in self.problems]
        if self.problem_count > len(self.problems):
            rest = self.problem_count - len(self.problems)
            lines.append(counted(rest, "more problem"))
        changed = [row for row in self.classes if row[0] != row[1]]
        lines += [
            f"{there} -> {here}: {counted(count, 'object')}" for there, here, count in changed
        ]
        if self.values:
            lines.append(
                f"values of {', '.join(self.values)}: these classes have to be allowed, by "
                f"allow={list(self.values)!r} or --allow; leave out what you don't know"
            )
        return "\n".join(lines)


class Problems:
    """What could not be taken over: the first ones as texts, and how many there are."""

    LIMIT: Final = 100

    def __init__(self) -> None:
        self.count: int = 0
        self.texts: list[str] = []

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.texts) < self.LIMIT:
            self.texts.append(text)


class NewDatabase:
    """The database that is to be at *path*; a context manager. One thread.

    Left without :meth:`complete`, it is gone.

    Raises:
        FileExistsError: There is a file at *path* that is not empty.
        CopyError: Another is writing a file for this path.
    """

    def __init__(self, path: str | os.PathLike[str], description: str) -> None:
        self.path: str = os.fspath(path)
        refuse_existing(self.path)
        self.writer: StateWriter = StateWriter(self.path)
        self.problems: Problems = Problems()
        self.objects: int = 0
        self.size: int = 0
        # Streams: oid, class, state, and where the bytes lie.
        self._waiting: list[tuple[int, ClassName, dict[str, Any], int, int]] = []
        self._description = description
        self._file = NewFile(self.path, 0o600)
        self._flags = bytearray()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._file)
            directory = Path(self._file.path).parent
            self._spool = stack.enter_context(tempfile.TemporaryFile(dir=directory))
            self._bytes = stack.enter_context(tempfile.TemporaryFile(dir=directory))
            self._opened = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            with named(self._file.path):  # What was not written yet is, at its end.
                self._opened.__exit__(*error)
        finally:
            self._opened.close()  # An interrupt may have come before.

    def __contains__(self, oid: int) -> bool:
        """Return whether an object with this oid was put."""
        return oid < len(self._flags) and bool(self._flags[oid] & _STORED)

    def refer(self, oid: int) -> None:
        """Note that there is a reference to an oid."""
        self._mark(oid, _REFERRED)

    def _mark(self, oid: int, flag: int) -> None:
        if oid >= len(self._flags):
            if oid > _SPARSE * (self.objects + 10_000):
                reason = f"oid {oid} among {self.objects} objects; number the objects from 0 on"
                raise CopyError(self.path, reason)
            self._flags.extend(bytes(oid + 1 - len(self._flags) + len(self._flags) // 8))
        self._flags[oid] |= flag

    def put(self, oid: int, name: ClassName, state: dict[str, Any]) -> None:
        """Add an object that was not put before. NotStorableError: Its state can't be stored."""
        number, data = self.writer.encode(name, state)
        self._mark(oid, _STORED)
        with named(self._file.path):
            self._spool.write(_HEAD.pack(oid, number, len(data)))
            self._spool.write(data)
        self.objects += 1
        self.size += len(data)

    def put_stream(self, oid: int, name: ClassName, state: dict[str, Any], source: Any) -> None:
        """Add a stream with the bytes that ``source.read(size)`` yields until it yields none."""
        with named(self._file.path):
            start = self._bytes.seek(0, os.SEEK_END)
            shutil.copyfileobj(source, self._bytes, 1 << 20)
            end = self._bytes.tell()
        self._mark(oid, _STORED)
        self._waiting.append((oid, name, state, start, end))

    @property
    def count(self) -> int:
        """How many objects were put."""
        return self.objects + len(self._waiting)

    @property
    def missing(self) -> int:
        """How many oids are referred to that were not put."""
        return self._flags.count(_REFERRED)

    def complete(self, classes: tuple[tuple[str, str, int], ...] = ()) -> ImportReport:
        """Let the file appear, with all that was put as one transaction; above 4 GiB, several.

        Raises:
            FileExistsError: Another has put a file there meanwhile.
            OSError: Writing failed. There is no file then.
        """
        last = now()
        self._flags = self._flags.rstrip(b"\0")
        has_holes = self._flags.count(_STORED) + self._flags.count(_STORED | _REFERRED) < len(
            self._flags
        )
        # Oids that are not there look as after a pack.
        page = new_page(last, len(self._flags)) if has_holes else new_page()
        log = NewLog(self._file, page, len(self._flags))
        self._put_streams(log)
        names = self.writer.names.rows()
        parts = self._parts()
        for index, (count, size) in enumerate(parts):
            meta = Meta(NO_NAMES if index else names, description=self._description)
            tid = Tid(last - (len(parts) - 1 - index))
            log.append(tid, self._entries(count), meta, count=count, size=size)
        if self.objects > _POSITIONS_FROM:
            log.save_positions(names)
        log.complete()
        self._file.put(replace=False)
        problems, values = self.problems, self._value_classes(names)
        totals = self.objects, self.size, len(self._waiting), self.missing
        return ImportReport(
            self.path, *totals, problems.count, tuple(problems.texts), classes, values
        )

    def _value_classes(self, names: NewNames) -> tuple[str, ...]:
        """Return the classes that a program has to allow: not of objects, nor always loaded."""
        of_objects = {class_number for _, class_number, _ in names.shapes}
        return tuple(
            f"{module}.{name}"
            for number, module, name in names.classes
            if number not in of_objects
            and number not in self.writer.referred
            and name not in VALUE_TYPES.get(module, "").split()
        )

    def _put_streams(self, log: NewLog) -> None:
        for oid, name, state, start, end in self._waiting:
            with named(self._file.path):
                self._bytes.seek(start)
            key, size = log.append_stream(cast("BinaryIO", _Part(self._bytes, end - start)))
            self.put(oid, name, {**state, "_offset": key, "_size": size})

    def _parts(self) -> list[tuple[int, int]]:
        """Divide what was put into transactions: the objects and the bytes of each."""
        with named(self._file.path):  # This writes the last of it.
            self._spool.seek(0)
        if self.size + self.objects * ENTRY_SIZE <= _PART_BYTES:
            return [(self.objects, self.size)] if self.objects else []
        parts: list[tuple[int, int]] = []
        count = size = 0
        while head := self._spool.read(_HEAD.size):
            _, _, length = _HEAD.unpack(head)
            self._spool.seek(length, os.SEEK_CUR)
            if count and size + length + (count + 1) * ENTRY_SIZE > _PART_BYTES:
                parts.append((count, size))
                count = size = 0
            count += 1
            size += length
        self._spool.seek(0)
        return [*parts, (count, size)]

    def _entries(self, count: int) -> Iterator[Entry]:
        for _ in range(count):
            oid, number, length = _HEAD.unpack(self._spool.read(_HEAD.size))
            yield Oid(oid), number, self._spool.read(length)


class _Part:
    """The next bytes of a file, as a file of their own."""

    def __init__(self, file: Any, size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int) -> bytes:
        data: bytes = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data


def refuse_existing(path: str) -> None:
    """Raise FileExistsError if there is something at *path* but an empty file."""
    place = Path(path)
    if place.exists() and not (place.is_file() and not place.stat().st_size):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
