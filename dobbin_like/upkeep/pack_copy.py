"""Copying what survives a pack to the new file, and the switch to that file.

Others may commit meanwhile: what they append is copied round after round, until little is left;
the rest is copied under the commit lock. If a transaction refers to an object that was
unreachable when the survivors were marked, or has a name that nothing used, the caller marks that,
too, and begins a new copy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, cast

from dobbin_like.contract import NO_NAMES, Entry, NewNames
from dobbin_like.log.copies.new_log import NewLog, meta_of
from dobbin_like.log.copies.packed_log import PackedLog
from dobbin_like.log.reading.reader import LoggedTransaction
from dobbin_like.name_tables import NameTables
from dobbin_like.objects.codec.state_reader import STREAM_CLASS
from dobbin_like.objects.codec.stream_keys import stored_stream, with_stream_key
from dobbin_like.objects.faces.stream import StoredBytes
from dobbin_like.upkeep.pack_plan import Count, MissedError, Survivors
from dobbin_like.upkeep.packs.report import PackSize
from dobbin_like.upkeep.throttle import Throttle

_LITTLE: Final = 1 << 18
"""Bytes that may be left for the copy under the commit lock: a few milliseconds."""

_PATIENT_ROUNDS: Final = 8
"""Rounds of catching up that give way to writers; writers may be faster than they."""

_ROUNDS: Final = 24
"""Rounds of catching up in all: writers that are still faster have to wait."""

_ENTRIES_BETWEEN_RESTS: Final = 64

Entries = Iterator[Entry]


class PackCopy:
    """One attempt to write the new file, from its start. One thread.

    ``locked_seconds`` is how long the commit lock was held.
    """

    def __init__(
        self, old: PackedLog, new: NewLog, survivors: Survivors, throttle: Throttle
    ) -> None:
        self.locked_seconds: float = 0.0
        self._old = old
        self._new = new
        self._survivors = survivors
        self._throttle = throttle
        self._before, self._after = Count(objects=old.positions.stored), Count()
        self._place = old.place
        # The first successful transaction gets both tables.
        self._names: NameTables = survivors.names()
        self._dropped = old.names.numbers() - self._names.numbers()
        self._tables_are_due = True

    def up_to_the_moment(self, tell: Callable[[int], object]) -> None:
        """Copy what survives of the transactions up to the tid that is kept."""
        old, survivors = self._old, self._survivors
        for frame, chosen in survivors.choices():
            logged = frame.logged
            if logged is not None:
                self._before.add(logged, len(logged.oids), 0)
                if chosen is not None:
                    self._after.add(logged, len(chosen), survivors.objects(logged, chosen))
                    entries = old.read_entries(logged, chosen)
                    # Its names are in the tables, with those that came later.
                    self._append(logged, entries, NO_NAMES, len(chosen))
            self._throttle.rest()
            tell(frame.tail.end)

    def catch_up(self) -> None:
        """Copy later transactions until little is left, and sync; MissedError as switch()."""
        rounds = 0
        while self._old.end - self._place.end > _LITTLE and rounds < _ROUNDS:
            rounds += 1
            self._throttle.patient = rounds <= _PATIENT_ROUNDS
            self._later(self._old.end)
        self._new.save_positions(self._names.rows())
        self._new.sync()
        # What was committed during the sync.
        self._later(self._old.end)
        self._new.sync()

    def switch(self) -> tuple[PackSize, PackSize]:
        """Copy the rest, and replace the old file, which stays if this fails; return both sizes.

        MissedError: A transaction needs an object, or a name, that was left out.
        """
        old, new = self._old, self._new
        old.acquire()
        began = time.monotonic()
        try:
            self._throttle.patient = False
            self._later(old.end)
            sizes = self._before.size(old.end), self._after.size(new.tail.end)
            new.complete()
            old.replace_by(new.path)
            new.hand_over()
        finally:
            old.release()
            self.locked_seconds = time.monotonic() - began
        return sizes

    def _later(self, end: int) -> None:
        old, new = self._old, self._new
        for frame in old.frames(self._place, end):
            logged = frame.logged
            if logged is not None:
                entries, names, count = old.read_entries(logged), NO_NAMES, len(logged.oids)
                fresh = [oid for oid in logged.oids if not new.positions.get(oid)]
                unknown = sum(not old.positions.get(oid) for oid in fresh)
                self._before.add(logged, count, unknown)
                self._after.add(logged, count, len(fresh))
                if not logged.failed:
                    names = logged.names
                    self._names.update(*names)
                    self._dropped.difference_update([row[0] for row in names.classes])
                    if frame.tail.end > self._survivors.seen.end:
                        if not self._dropped.isdisjoint([row[1] for row in names.shapes]):
                            raise MissedError(names)
                        entries = self._watched(entries)
                self._append(logged, entries, names, count)
            self._place = frame.tail
            self._throttle.rest()

    def _append(
        self, logged: LoggedTransaction, entries: Entries, names: NewNames, count: int
    ) -> None:
        if self._tables_are_due and not logged.failed:
            self._tables_are_due = False
            names = self._names.rows()
        if self._names.class_number(*STREAM_CLASS) is not None:
            entries = self._moved(entries)
        self._new.append(
            logged.tid,
            self._rested(entries),
            meta_of(logged, names),
            failed=logged.failed,
            count=count,
            size=logged.end - logged.offset,
        )

    def _rested(self, entries: Entries) -> Entries:
        for number, entry in enumerate(entries, 1):
            yield entry
            if not number % _ENTRIES_BETWEEN_RESTS:
                self._throttle.rest()

    def _watched(self, entries: Entries) -> Entries:
        """Yield the entries of a transaction that came after the survivors were marked."""
        new = self._new.positions
        for entry in entries:
            for oid in self._survivors.are_missed(entry, self._names, self._dropped):
                if not new.get(oid):
                    text = f"oid {oid}"
                    raise MissedError(text)
            yield entry

    def _moved(self, entries: Entries) -> Entries:
        """Yield the entries, with the new places of streams in their states."""
        new = self._new
        for oid, number, state in entries:
            key, names = stored_stream(self._names, number, state)
            if key is None:
                yield oid, number, state
            else:
                source = cast("BinaryIO", StoredBytes(self._old, key))
                yield oid, number, with_stream_key(state, names, new.moved_stream(key, source))
