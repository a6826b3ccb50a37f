"""From the readable parts of a damaged log to the transactions of a new one.

Oids, tids, users and descriptions stay the same. A stream is copied when the first object refers
to it, and its object is written with the new offset. Numbers of classes stay; a class whose name
is lost gets a substitute name, and can be renamed. So do the attributes of a state whose shape is
lost.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Final

from dobbin_like.contract import NO_NAMES, NewNames
from dobbin_like.ids import DELTA, Oid
from dobbin_like.log.copies.new_log import NewLog, meta_of
from dobbin_like.log.format.record import ENTRY_SIZE
from dobbin_like.log.reading.reader import LoggedVersion
from dobbin_like.log.reading.streams import stream_offset
from dobbin_like.name_tables import NameTables, class_and_names
from dobbin_like.objects.codec.instructions import StateError
from dobbin_like.objects.codec.state_reader import STREAM_CLASS, StateReader
from dobbin_like.objects.codec.stream_keys import stream_key_of, with_stream_key
from dobbin_like.repair.frames import NamesAt, Part, StreamAt
from dobbin_like.repair.parts import Kept, stream_parts
from dobbin_like.repair.report import Loss, RepairReport
from dobbin_like.repair.source import Source

LOST_MODULE: Final = "lost"
"""Module of the substitute names for classes whose names are lost."""

_STREAM_NAMES: Final = ("_offset", "_size")
"""The attributes of a stored stream, in order, unless its owner has added more."""

LOST_STREAM: Final = 0
"""Offset of a stream that is lost: reading it is an IntegrityError."""


class Salvage:
    """Writes the readable parts of one log to another, in one thread."""

    def __init__(
        self, source: Source, log: NewLog, known: KnownOrNot, report: RepairReport
    ) -> None:
        self._source = source
        self._log = log
        self._report = report
        self._complete = report.complete  # Every class was stored before it is used.
        self._streams: dict[int, StreamAt] = {}
        self._copied: dict[int, int] = {}
        self._known = known
        self._states = StateReader(self._known)
        self._held: Kept | None = None
        # Of the last version of each object, if anything was lost.
        self._tids: dict[int, int] = {}

    def add(self, part: Part) -> None:
        """Take a transaction to be written, a stream, or names of classes."""
        if isinstance(part, StreamAt):
            self._streams[part.offset] = part
            return
        if isinstance(part, NamesAt):
            self._known.correct(part.names)
            return
        self.end()
        self._held = part
        if not part.logged.failed:
            self._known.bring(part.logged.names)

    def end(self) -> None:
        """Write the transaction that was added last; up to now, names of classes may come."""
        if self._held is None:
            return
        part, self._held = self._held, None
        logged = part.logged
        report = self._report
        report.transactions += 1
        if logged.failed:
            report.failed += 1
            entries = [(Oid(oid), 0, b"") for oid in logged.oids]
            self._log.append(logged.tid, entries, meta_of(logged, NO_NAMES), failed=True)
            return
        entries = [self._entry(oid, stored) for oid, stored in self._based(part)]
        names = self._known.take()
        self._log.append(logged.tid, entries, meta_of(logged, names))
        report.versions += len(entries)

    @property
    def made_up(self) -> list[str]:
        return self._known.lost

    def _based(self, part: Kept) -> Iterator[tuple[Oid, LoggedVersion]]:
        """Yield the entries, without deltas of lost versions, which can't be used."""
        if self._complete:
            yield from part.entries
            return
        tid = part.logged.tid
        for oid, stored in part.entries:
            if stored.number & DELTA and self._is_lost_base(oid, stored):
                at, text = stored.position, "a change of a version that is lost"
                end = at + ENTRY_SIZE
                loss = Loss(at, end, f"{text}: oid {oid}", tid, (oid,), certain=True)
                self._report.losses.append(loss)
                self._tids.pop(oid, None)
            else:
                self._tids[oid] = tid
                yield oid, stored

    def _is_lost_base(self, oid: Oid, stored: LoggedVersion) -> bool:
        try:
            return self._states.base(stored.data) != self._tids.get(oid)
        except Exception:  # noqa: BLE001  it is what was written; the check names it
            return False

    def _entry(self, oid: Oid, stored: LoggedVersion) -> tuple[Oid, int, bytes]:
        number, data = stored.number, stored.data
        class_number, names = class_and_names(self._known, number)
        if not (self._complete or number & DELTA) and (
            names is None or not self._fits(number, data)
        ):
            names, (number, data) = None, self._with_names(oid, number, data)
            class_number = number
        if self._known.class_name(class_number) == STREAM_CLASS:
            data = self._moved(names, data)
        elif not self._complete:
            self._look_for_classes(number, data)
        return oid, number, data

    def _fits(self, number: int, data: bytes) -> bool:
        """Return whether a shape fits a state: it may be from a damaged place."""
        try:
            self._states.read(number, data)
        except Exception as error:  # noqa: BLE001  it is what was written; the check names it
            return not isinstance(error, StateError)
        return True

    def _with_names(self, oid: Oid, number: int, data: bytes) -> tuple[int, bytes]:
        """Return class number and state of an object, whose shape and names may be lost."""
        # An object that refers to it has its class number, if any does.
        class_number = self._known.referred.get(oid, number)
        is_stream = self._known.class_name(class_number) == STREAM_CLASS
        with contextlib.suppress(Exception):  # It is as it was written; the check reports it.
            named = self._states.with_names(data, _STREAM_NAMES if is_stream else ())
            if named is not data:
                return class_number, named
        return number, data

    def _look_for_classes(self, number: int, data: bytes) -> None:
        """Make every class known that a state names."""
        with contextlib.suppress(Exception):  # It is as it was written; the check reports it.
            for reference in self._states.read(number, data)[1]:
                self._known.class_name(reference.class_number)

    def _moved(self, names: tuple[str, ...] | None, data: bytes) -> bytes:
        """Return the state of a stream object with the offset of its stream in the new log."""
        key = stream_key_of(data, names)
        if key is None:
            return data  # It is as it was written; the check reports it.
        offset = stream_offset(key)
        if offset not in self._copied:
            at = self._streams.get(offset)
            self._copied[offset] = LOST_STREAM if at is None else self._copy(at)
        return with_stream_key(data, names, self._copied[offset])

    def _copy(self, at: StreamAt) -> int:
        parts = stream_parts(self._source, at.offset, at.end)
        file: Any = SimpleNamespace(read=lambda _size: next(parts, b""))
        self._report.streams += 1
        return self._log.append_stream(file)[0]


class KnownOrNot(NameTables):
    """The tables of names of the new log, in which every requested class has a name.

    *classes* and *shapes* are by number, wherever they were found; *referred* has the class
    numbers of objects by oid, from references to them. ``lost`` are the names that were made up;
    ``written`` is what take() has returned.
    """

    def __init__(
        self,
        classes: dict[int, tuple[str, str]],
        shapes: dict[int, tuple[int, tuple[str, ...]]],
        referred: dict[int, int],
    ) -> None:
        super().__init__()
        self.lost: list[str] = []
        self.written: NameTables = NameTables()
        self.referred = referred
        self._found = classes
        self._found_shapes = shapes
        # What the next transaction brings, as keys.
        self._new: dict[int, None] = {}
        self._new_shapes: dict[int, None] = {}

    def bring(self, names: NewNames) -> None:
        """Let the next transaction store these names, as the old one did."""
        self._new |= dict.fromkeys(row[0] for row in names.classes)
        shapes = [row for row in names.shapes if super(KnownOrNot, self).shape(row[0]) is None]
        self._new_shapes |= dict.fromkeys(row[0] for row in shapes)
        self.update(names.classes, shapes)
        for _, class_number, _ in shapes:
            self.class_name(class_number)

    def correct(self, names: NewNames) -> None:
        """Let the next transaction say what differs from what is known of classes."""
        known = super().class_name
        differing = [row for row in names.classes if known(row[0]) != row[1:]]
        self.bring(NewNames(tuple(differing)))

    def class_name(self, number: int) -> tuple[str, str]:
        known = super().class_name(number)
        if known is None and number:
            known = self._found.get(number)
            if known is None:
                known = LOST_MODULE, f"Class{number}"
                self.lost.append(".".join(known))
            self.bring(NewNames(((number, *known),)))
        return known or ("", "")

    def shape(self, number: int) -> tuple[int, tuple[str, ...]] | None:
        known = super().shape(number)
        if known is None:
            known = self._found_shapes.get(number)
            if known is not None:
                self.bring(NewNames((), ((number, *known),)))
        return known

    def take(self) -> NewNames:
        classes = [(number, *self.class_name(number)) for number in sorted(self._new)]
        shapes = [
            (number, *known)
            for number in sorted(self._new_shapes)
            if (known := self.shape(number)) is not None
        ]
        self._new, self._new_shapes = {}, {}
        self.written.update(classes, shapes)
        return NewNames(tuple(classes), tuple(shapes))
