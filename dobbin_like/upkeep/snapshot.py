"""Writing one state of a database as a database of its own.

What can be reached from the root is read twice: once to find it and to add up how much it
is, once to write it. States are carried as they are, but for those of streams, which say
where the bytes lie.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from dobbin_like.contract import (
    NO_NAMES,
    NewNames,
    Storage,
    StoredVersion,
    Transaction,
    is_storage,
)
from dobbin_like.exc import CopyError, ObjectNotFound, SelfWaitError, SnapshotDroppedError
from dobbin_like.ids import DELTA, ROOT_OID, Oid, Tid
from dobbin_like.log.copies.new_log import NewLog
from dobbin_like.log.file.new_file import NewFile
from dobbin_like.log.file.rights import mode_of
from dobbin_like.log.format.header import new_page
from dobbin_like.log.format.meta import Meta
from dobbin_like.log.format.record import ENTRY_SIZE
from dobbin_like.mistaken.arguments import check_callables, checked_path
from dobbin_like.name_tables import NameTables, class_and_names
from dobbin_like.objects.codec.references import Marks
from dobbin_like.objects.codec.state_reader import STREAM_CLASS, StateReader
from dobbin_like.objects.codec.stream_keys import stored_stream, with_stream_key
from dobbin_like.objects.faces.stream import StoredBytes
from dobbin_like.processes.refusals import if_possible
from dobbin_like.storages.as_of import AsOf
from dobbin_like.store import Progress, Store
from dobbin_like.texts import counted
from dobbin_like.timestamps import Moment, is_ahead, now
from dobbin_like.upkeep.packs.used_names import note_indexed_class

PART_BYTES: Final = 0xFFFF_FFFF - (1 << 26)
"""The limit of a transaction: an entry has 32 bits for the distance of its state."""

_POSITIONS_FROM: Final = 10_000
"""The number of objects from which saved positions pay: they save some 10 ms of opening."""

_DESCRIPTION: Final = "snapshot"
_SEQUENCE: Final = "sequence"

_BETWEEN_TICKS: Final = 1024
"""Objects."""

Entries = Iterator[tuple[Oid, int, bytes]]


class SnapshotReport(NamedTuple):
    """The result of a snapshot. ``size`` is that of the states, in bytes."""

    path: str
    objects: int
    size: int
    streams: int
    tid: Tid

    def __str__(self) -> str:
        return (
            f"{self.path}: {counted(self.objects, 'object')} of {counted(self.size, 'byte')}, "
            f"{counted(self.streams, 'stream')}; as of tid {self.tid}"
        )


def snapshot(
    store: Store,
    target: str | os.PathLike[str] | Storage,
    at: Moment | None = None,
    progress: Progress | None = None,
) -> SnapshotReport:
    """Write the state of this database to *target*, as a database of its own.

    All objects that can be reached from the root become one transaction, with the tid of the
    state, or with that of now if a clock was ahead; above 4 GiB, several. Oids, numbers, streams,
    and the names of classes and attributes that something has, stay. The new database has its own
    store id: a backup of one is not a backup of the other. Others may read and commit meanwhile. A
    file appears when it is complete and on stable storage, or not at all.

    Args:
        target: A path with no file or an empty one, or an empty storage.
        at: The tid or datetime of the state; by default, what is committed now.
        progress: Called with objects that were read or written, and all there are to be.

    Raises:
        FileExistsError: The file is not empty.
        CopyError: The storage is not empty; or another is writing a file for this path.
        ObjectNotFound: There is, or was, no root.
        Other errors are those of ``at()``, of reading and of a commit. Nothing was written then.

    Cost: The states, read twice and written once; some bytes of memory for each object.
    Into a storage: all of them in memory.
    """
    check_callables(progress=progress)
    if not is_storage(target):
        target = checked_path("target", target)
    store.check_open()
    store.publisher.catch_up()
    newest = store.storage.tid
    if not newest:
        raise ObjectNotFound(ROOT_OID)
    with contextlib.closing(AsOf(store.storage, newest if at is None else at)) as source:
        return write_snapshot(source, target, progress)


def write_snapshot(
    source: Storage,
    target: str | Storage,
    progress: Progress | None = None,
    part_bytes: int = PART_BYTES,
) -> SnapshotReport:
    """Write what can be reached in *source*, which must not change meanwhile, to *target*.

    More than *part_bytes* become several transactions in a file.
    Cost: 5 bytes of memory for each oid, and 44 for each object; into a storage, all the states.
    """
    if not source.has(ROOT_OID):
        raise ObjectNotFound(ROOT_OID)
    tid = now() if is_ahead(source.tid) else source.tid
    if isinstance(target, str):
        with contextlib.suppress(FileNotFoundError):
            if Path(target).stat().st_size or not Path(target).is_file():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        mode = 0o600
        with if_possible():
            mode = mode_of(source.path)  # If it has a file.
        with NewFile(target, mode) as file:
            into = _IntoFile(target, file, source, tid)
            return _write(source, into, tid, progress, part_bytes)
    if target.held:  # Not to be given back below.
        raise SelfWaitError(target.path)
    try:
        return _write(source, _IntoStorage(target, source), tid, progress, sys.maxsize)
    finally:
        target.release()


def write_beginning(source: Storage, path: str, progress: Progress | None = None) -> None:
    """Write what *source* has, which must not change meanwhile, as the beginning of a follower.

    What can't be reached and names that nothing has are in it, too: later transactions may take
    them up. :func:`sequence_of` tells the sequence number of the last transaction.

    Raises:
        FileExistsError, CopyError: As snapshot().
        SnapshotDroppedError, StreamMovedError: A pack has dropped something meanwhile.
    """
    with NewFile(path, 0o600) as file:
        into = _IntoFile(path, file, source, source.tid, follows=True)
        _write(source, into, source.tid, progress, PART_BYTES, whole=True)


def sequence_of(beginning: Transaction) -> int:
    """Return the sequence number that the last transaction of a beginning has in its source."""
    sequence: int = json.loads(beginning.extension)[_SEQUENCE]
    return sequence


def _write(
    source: Storage,
    target: _IntoFile | _IntoStorage,
    tid: Tid,
    progress: Progress | None,
    part_bytes: int,
    *,
    whole: bool = False,
) -> SnapshotReport:
    state = _State(source, progress, whole=whole)
    target.names = state.names()
    state.carry_streams(target.stream)
    parts = state.parts(part_bytes)
    for part in parts:
        # The last one has the tid of the state.
        part_tid = Tid(tid - (len(parts) - 1 - part.number))
        target.part(part_tid, part, state.entries(part))
    target.complete(state.objects)
    if progress is not None:
        progress(state.total, state.total)
    return SnapshotReport(target.path, state.objects, state.size, state.streams, tid)


# -- what is read ------------------------------------------------------------------------


class _Part(NamedTuple):
    """Objects that become one transaction: those with oids from *start* to before *end*."""

    number: int
    start: int
    end: int
    objects: int
    size: int


class _State:
    """What can be reached from the root of a storage, or, if *whole*, all of it. Used once.

    ``_sizes`` has, by oid, the bytes of the state and one more; 0: it is not part of it.
    """

    def __init__(self, source: Storage, progress: Progress | None, *, whole: bool) -> None:
        self.objects = self.size = 0
        self._source = source
        self._progress = progress
        self.total = 2 * source.oid_count
        self._done = 0
        self._sizes = array("L", bytes(array("L").itemsize * source.next_oid))
        self._stream_oids: list[Oid] = []
        # States that are not carried as they are: of streams, and of what has deltas.
        self._rewritten: dict[int, bytes] = {}
        self._numbers: dict[int, int] = {}
        self._reader = StateReader(source.names, source.path)
        self._used: set[int] = set()  # Of classes and shapes.
        self._whole = whole
        if whole:
            self._read_all()
        else:
            marks = Marks(source.next_oid, self._read, tick=self._tick, numbers=self._used)
            marks.follow([ROOT_OID])
        self.streams = len(self._stream_oids)

    def names(self) -> NewNames:
        """Return the names that something in this state has, or all of them."""
        if self._whole:
            return self._source.names.rows()
        names = NameTables(*self._source.names.rows())
        names.leave_used(self._used)
        return names.rows()

    def _read_all(self) -> None:
        for oid in range(self._source.next_oid):
            self._read(oid)
            if not oid % _BETWEEN_TICKS:
                self._tick(_BETWEEN_TICKS, 0)

    def _read(self, oid: int) -> bytes | None:
        stored = self._source.load(Oid(oid))
        if stored is None:
            return None
        data = self._data(Oid(oid), stored)
        self._sizes[oid] = len(data) + 1
        self.objects += 1
        self.size += len(data)
        number, _ = class_and_names(self._source.names, stored.number)
        if self._source.names.class_name(number) == STREAM_CLASS:
            self._stream_oids.append(Oid(oid))
        return data

    def _data(self, oid: Oid, stored: StoredVersion) -> bytes:
        """Return the whole state of a version; remember it if it was put together from deltas."""
        if not stored.number & DELTA:
            self._used.add(stored.number)
            note_indexed_class(self._source.names, stored.number, stored.data, self._used)
            return stored.data
        number, whole = self._reader.whole(oid, stored, self._source.version_before)
        self._numbers[oid] = number
        self._used.add(number)
        note_indexed_class(self._source.names, number, whole, self._used)
        self._rewritten[oid] = whole
        return whole

    def _stored(self, oid: Oid) -> StoredVersion:
        stored = self._source.load(oid)
        if stored is None:  # It was there, but nothing refers to it.
            raise SnapshotDroppedError(self._source.path, self._source.tid)
        return stored

    def carry_streams(self, write: Callable[[BinaryIO], tuple[int, int]]) -> None:
        """Give the bytes of all streams to *write*, which returns their new keys and sizes."""
        source = self._source
        carried: dict[int, int] = {}
        for oid in self._stream_oids:
            stored = self._stored(oid)
            old, names = stored_stream(source.names, stored.number, stored.data)
            if old is None:
                continue
            if old not in carried:
                carried[old], _ = write(cast("BinaryIO", StoredBytes(source, old)))
            data = with_stream_key(stored.data, names, carried[old])
            self._rewritten[oid] = data
            self.size += len(data) + 1 - self._sizes[oid]
            self._sizes[oid] = len(data) + 1

    def parts(self, limit: int) -> list[_Part]:
        """Divide the objects into transactions of at most *limit* bytes."""
        parts: list[_Part] = []
        start = objects = size = 0
        for oid, more in enumerate(self._sizes):
            if not more:
                continue
            if objects and size + more + ENTRY_SIZE > limit:
                parts.append(_Part(len(parts), start, oid, objects, size))
                start, objects, size = oid, 0, 0
            objects += 1
            size += more + ENTRY_SIZE
        parts.append(_Part(len(parts), start, len(self._sizes), objects, size))
        return parts

    def entries(self, part: _Part) -> Entries:
        self._done = max(self._done, self.total // 2)
        for oid in range(part.start, part.end):
            if not self._sizes[oid]:
                continue
            stored = self._stored(Oid(oid))
            number = self._numbers.get(oid, stored.number)
            yield Oid(oid), number, self._rewritten.get(oid, stored.data)
            if not oid % _BETWEEN_TICKS:
                self._tick(_BETWEEN_TICKS, 0)

    def _tick(self, objects: int, _size: int) -> None:
        self._done = min(self._done + objects, self.total)
        if self._progress is not None:
            self._progress(self._done, self.total)


# -- where it is written -----------------------------------------------------------------


class _IntoFile:
    """Takes streams, then parts, and then makes all of them count."""

    def __init__(
        self, path: str, file: NewFile, source: Storage, tid: Tid, *, follows: bool = False
    ) -> None:
        self.path = path
        self._file = file
        self.names: NewNames = NO_NAMES
        # Oids and numbers of classes are those of the source: it goes on from there.
        page = new_page(tid, source.next_oid, follows=follows)
        about = {_SEQUENCE: len(source)} if follows else {}
        self._extension = json.dumps(about).encode() if about else b""
        self._log = NewLog(file, page, source.next_oid)
        self.stream = self._log.append_stream

    def part(self, tid: Tid, part: _Part, entries: Entries) -> None:
        names = NO_NAMES if part.number else self.names
        meta = Meta(names, description=_DESCRIPTION, extension=self._extension)
        self._log.append(tid, entries, meta, count=part.objects, size=part.size)

    def complete(self, objects: int) -> None:
        if objects > _POSITIONS_FROM:
            self._log.save_positions(self.names)
        self._log.complete()
        self._file.put(replace=False)


class _IntoStorage:
    """The same for an empty storage, which is held until the caller releases it.

    What is written is news for it, which a database that is open on it applies.
    """

    def __init__(self, target: Storage, source: Storage) -> None:
        self.path = target.path
        self._target = target
        self.names: NewNames = NO_NAMES
        target.acquire()
        if len(target) or target.read_news():
            raise CopyError(target.path, "the storage is not empty; give a new one")
        self.stream = target.write_stream

    def part(self, tid: Tid, part: _Part, entries: Entries) -> None:
        # The only one: there is no limit for it.
        self._target.append(tid, list(entries), *self.names, description=_DESCRIPTION)

    def complete(self, objects: int) -> None:
        pass
