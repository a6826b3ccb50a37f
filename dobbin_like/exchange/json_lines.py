"""A database as lines of JSON, one for each object, and the way back.

::

    {"dobbin": "export", "version": 1, "tid": 1790000000000000, "start": null}
    {"oid": 0, "class": "shop:Shop", "tid": 1790000000000000, "state": {"name": "Corner"}}
    {"oid": 1, "class": "dobbin_like.persistent:PersistentStream", ..., "stream": 5}
    {"oid": 1, "data": "aGVsbG8="}
    {"oid": 2, "damaged": "at 4711: ..."}
    {"end": true, "objects": 2, "damaged": 1}
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, NamedTuple, NoReturn, cast

from dobbin_like.exc import Error, NotStorableError, SourceError
from dobbin_like.exchange.json_reader import ValueReader, name_in
from dobbin_like.exchange.json_values import ValueWriter, deeper, text_of
from dobbin_like.exchange.new_database import ImportReport, NewDatabase, refuse_existing
from dobbin_like.exchange.source import Damaged, FoundState, Source, reason_of
from dobbin_like.ids import INDEX_CLASS, ROOT_OID, Oid, Tid
from dobbin_like.log.file.disk import named
from dobbin_like.log.file.new_file import NewFile
from dobbin_like.objects.codec.state_reader import STREAM_CLASS
from dobbin_like.store import Progress
from dobbin_like.texts import counted

VERSION: Final = 1

_CHUNK: Final = 3 << 18
"""Bytes of a stream in one line."""

_SHOWN: Final = 60

_CLASS_NUMBER: Final = "class_number"
"""An attribute of an index; the lines have the name of the class there."""


class ExportReport(NamedTuple):
    """What was exported: what could be read, and how much could not."""

    objects: int
    damaged: int
    streams: int
    tid: Tid

    def as_dict(self) -> dict[str, Any]:
        return self._asdict()

    def __str__(self) -> str:
        text = f"{counted(self.objects, 'object')}, {counted(self.streams, 'stream')}"
        if self.damaged:
            text += f", {counted(self.damaged, 'damaged object')} left out"
        return f"{text}; as of tid {self.tid}"


@deeper()
def export_json(
    source: Source,
    write: Callable[[str], object],
    start: Oid | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Give the lines of an export to *write*: of all objects, or of those that *start* leads to.

    A damaged object becomes a line that says so. What *write* raises goes through.
    """
    writer = ValueWriter(source.name_of)
    objects = damaged = streams = 0
    write(_line(dobbin="export", version=VERSION, tid=source.tid, start=start))
    for found in source.all(start, progress):
        shown = _shown(source, writer, found) if isinstance(found, FoundState) else found
        if isinstance(shown, Damaged):
            damaged += 1
            write(_line(oid=shown.oid, damaged=shown.reason))
            continue
        objects += 1
        text, key, size = shown
        write(text)
        streams += key is not None
        for at in range(0, size, _CHUNK):
            data = source.storage.read_stream(cast("int", key), at, _CHUNK)
            write(_line(oid=found.oid, data=base64.b64encode(data).decode()))
    write(_line(end=True, objects=objects, damaged=damaged))
    return ExportReport(objects, damaged, streams, source.tid)


def export_json_file(
    source: Source, path: str, start: Oid | None = None, progress: Progress | None = None
) -> ExportReport:
    """Write an export to a new file, which appears when it is complete.

    Raises:
        FileExistsError: There is a file at *path* that is not empty.
        CopyError: Another is writing a file for this path.
        OSError: Writing failed. There is no file then.
    """
    refuse_existing(path)
    with NewFile(path, 0o600) as file:
        with (
            named(file.path),
            open(file.fd, "w", encoding="ascii", closefd=False) as out,
        ):
            report = export_json(source, out.write, start, progress)
        file.put(replace=False)
        return report


def _line(**facts: Any) -> str:
    return json.dumps(facts, allow_nan=False) + "\n"


def _shown(
    source: Source, writer: ValueWriter, found: FoundState
) -> tuple[str, int | None, int] | Damaged:
    """Return the line of an object; the key of its stream, if it is one, and its bytes."""
    facts: dict[str, Any] = {"oid": found.oid, "class": text_of(found.name), "tid": found.tid}
    state, key, size = found.state, None, 0
    try:
        if found.name == STREAM_CLASS:
            key = state["_offset"]
            size = facts["stream"] = source.storage.stream_size(key)
            for at in range(0, size, _CHUNK):  # A half of it would be of no use.
                source.storage.read_stream(key, at, _CHUNK)
            state = {**state, "_offset": 0}
        elif found.name == INDEX_CLASS and state.get(_CLASS_NUMBER):
            # The database that is made of the lines has numbers of its own.
            state = {**state, _CLASS_NUMBER: text_of(source.name_of(state[_CLASS_NUMBER]))}
        return _line(**facts, state=writer.state(state)), key, size
    except Error as error:
        return Damaged(found.oid, reason_of(error))
    except RecursionError:
        return Damaged(found.oid, "a value that is nested too deeply for JSON")
    except KeyError:
        return Damaged(found.oid, "the state of a stream without _offset")


# -- import -------------------------------------------------------------------------------


class _Lines:
    """The lines of an export, each with its number for errors."""

    def __init__(self, name: str, lines: BinaryIO, progress: Progress | None, size: int) -> None:
        self.name, self.number = name, 0
        self._lines, self._progress, self._size = lines, progress, size
        self._read = 0

    def next(self) -> dict[str, Any]:
        line = self._lines.readline()
        self.number += 1
        self._read += len(line)
        if self._progress is not None and not self.number % 1000:
            self._progress(min(self._read, self._size), self._size)
        if not line:
            self.refuse("the end of the file", "a line with {'end': true}: it was cut off")
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            self.refuse(repr(line[:_SHOWN]), "an object in JSON")
        return found

    def end(self) -> None:
        """Refuse another line that has something."""
        for line in self._lines:
            self.number += 1
            if line.strip():
                self.refuse(repr(line[:_SHOWN]), "nothing after {'end': true}")

    def refuse(self, found: str, expected: str) -> NoReturn:
        raise SourceError(self.name, f"line {self.number}", found, expected)


def import_json(
    name: str, lines: BinaryIO, path: str, progress: Progress | None = None, size: int = 0
) -> ImportReport:
    """Write the database that *lines*, an export, describe to *path*.

    Oids stay. Of the export of a part of a database, the object that it began with becomes the
    root: it changes places with the object of oid 0.

    Raises:
        SourceError: They are no export, or cut off. There is no file then.
        FileExistsError: There is one already.
    """
    source = _Lines(name, lines, progress, size)
    with NewDatabase(path, f"import of {name}") as database:
        return _Import(source, database).run()


class _Import:
    def __init__(self, lines: _Lines, database: NewDatabase) -> None:
        self._lines, self._database = lines, database
        self._reader = ValueReader(database.writer, self._refer)
        self._moved: dict[int, int] = {}
        self._classes: Counter[str] = Counter()

    @deeper()
    def run(self) -> ImportReport:
        head = self._lines.next()
        if head.get("dobbin") != "export" or head.get("version") != VERSION:
            expected = f'{{"dobbin": "export", "version": {VERSION}}}'
            self._lines.refuse(repr(head)[:_SHOWN], expected)
        start = head.get("start")
        if start is not None:
            start = self._oid(start)
            self._moved = {start: ROOT_OID, ROOT_OID: start}
        while not (found := self._lines.next()).get("end"):
            if "damaged" in found:
                self._database.problems.add(f"oid {found.get('oid')}: {found['damaged']}")
            else:
                self._object(found)
        if found.get("objects") != self._database.count:
            there = f"{self._database.count} objects"
            self._lines.refuse(there, f"{found.get('objects')}: lines are missing")
        self._lines.end()
        classes = tuple((name, name, count) for name, count in sorted(self._classes.items()))
        return self._database.complete(classes)

    def _oid(self, oid: Any) -> int:
        if type(oid) is not int or oid < 0:
            self._lines.refuse(f"oid {oid!r}", "a number from 0 on")
        return self._moved.get(oid, oid)

    def _refer(self, oid: int) -> int:
        oid = self._moved.get(oid, oid)
        self._database.refer(oid)
        return oid

    def _object(self, found: dict[str, Any]) -> None:
        oid = self._oid(found.get("oid"))
        if oid in self._database:
            self._lines.refuse(f"oid {oid} again", "each object once")
        try:
            name = name_in(found.get("class"))
            state = self._reader.state(found.get("state"))
            if name == INDEX_CLASS:
                self._number_class(state)
            if "stream" in found:
                chunks = self._stream(found["oid"], found["stream"])
                self._database.put_stream(oid, name, state, chunks)
            else:
                self._database.put(oid, name, state)
        except SourceError:
            raise
        except (ValueError, TypeError, RecursionError, NotStorableError) as error:
            self._lines.refuse(str(error), "an object that can be stored")
        self._classes[text_of(name)] += 1

    def _number_class(self, index: dict[str, Any]) -> None:
        """Give an index the number that its class has here; 0: it goes by the name."""
        name, number = index.get(_CLASS_NUMBER), 0
        if isinstance(name, str):
            writer = self._database.writer
            number = writer.number(name_in(name))
            writer.referred.add(number)
        index[_CLASS_NUMBER] = number

    def _stream(self, oid: int, size: Any) -> io.BufferedReader:
        """Return the bytes of a stream, which the lines that follow have, as a file."""
        if type(size) is not int or size < 0:
            self._lines.refuse(f"stream {size!r}", "its size in bytes")
        return io.BufferedReader(_Chunks(self._chunks(oid, size)), _CHUNK)

    def _chunks(self, oid: int, size: int) -> Iterator[bytes]:
        left = size
        while left > 0:
            found = self._lines.next()
            if found.get("oid") != oid or not isinstance(found.get("data"), str):
                self._lines.refuse(repr(found)[:_SHOWN], f"data of the stream, oid {oid}")
            try:
                data = base64.b64decode(found["data"], validate=True)
            except (binascii.Error, ValueError):
                self._lines.refuse(repr(found)[:_SHOWN], "data in base64")
            left -= len(data)
            if left < 0 or not data:
                self._lines.refuse(f"{size - left} bytes", f"{size} of the stream")
            yield data


class _Chunks(io.RawIOBase):
    """Bytes that come in pieces, as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        rest = self._rest or next(self._chunks, b"")
        count = min(len(rest), len(buffer))
        buffer[:count], self._rest = rest[:count], rest[count:]
        return count
