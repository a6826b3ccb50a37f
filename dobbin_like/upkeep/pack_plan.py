"""What a pack keeps: which entries of which transactions.

Transactions up to the tid that is kept keep the entries that were the newest of their objects
then, if these could be reached then or are referred to later; a transaction without such entries
is dropped. Later transactions stay whole. Names of classes and attributes that nothing of this has
are dropped. Writes nothing; knows no objects: states are bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from dobbin_like.contract import NO_NAMES
from dobbin_like.exc import IntegrityError
from dobbin_like.ids import DELTA, ROOT_OID, Oid
from dobbin_like.log.copies.new_log import meta_of
from dobbin_like.log.copies.packed_log import PackedLog
from dobbin_like.log.format import record
from dobbin_like.log.format.header import PAGE_SIZE
from dobbin_like.log.format.meta import encode_meta, encode_names
from dobbin_like.log.format.record import ENTRY_SIZE, TRANSACTION_SIZE, LogPlace
from dobbin_like.log.format.saved import positions_size
from dobbin_like.log.reading.reader import Frame, LoggedTransaction, LoggedVersion
from dobbin_like.log.reading.streams import stream_key, stream_offset
from dobbin_like.name_tables import NameTables
from dobbin_like.objects.codec.references import Marks, references
from dobbin_like.objects.codec.state_reader import STREAM_CLASS, StateReader
from dobbin_like.objects.codec.stream_keys import stored_stream, with_stream_key
from dobbin_like.objects.deltas.delta import MissingBaseError
from dobbin_like.upkeep.packs.report import PackSize
from dobbin_like.upkeep.packs.used_names import note_indexed_class, targets_and_numbers
from dobbin_like.upkeep.throttle import Throttle


class MissedError(Exception):
    """A transaction needs an object, or a name, that was left out."""


@dataclass
class Count:
    """A :class:`PackSize` that grows."""

    objects: int = 0
    revisions: int = 0
    transactions: int = 0

    def add(self, logged: LoggedTransaction, entries: int, new_objects: int) -> None:
        """Count a transaction; entries and objects count unless it has failed."""
        self.transactions += 1
        if not logged.failed:
            self.revisions += entries
            self.objects += new_objects

    def size(self, in_bytes: int) -> PackSize:
        return PackSize(self.objects, self.revisions, self.transactions, in_bytes)


class Survivors:
    """What is kept of one log. One thread. *tell* is called with the bytes that were read."""

    def __init__(self, old: PackedLog, throttle: Throttle, tell: Callable[[int], object]) -> None:
        self._old = old
        self._throttle = throttle
        self._tell = tell
        # Of the classes and shapes that occur in what is kept.
        self._numbers: set[int] = set()
        self._all_names = False
        self._marks = Marks(
            old.positions.next_oid,
            self._state,
            order=old.positions.get,
            tick=self._tick,
            numbers=self._numbers,
        )
        # The positions of entries whose deltas survive.
        self._bases: set[int] = set()
        # Objects that are keys in such entries, even of removed items.
        self._keys: set[Oid] = set()
        self._reader = StateReader(old.names)
        self._later_names = NameTables(*old.names.rows())
        # The place up to which later transactions were read for references.
        self.seen: LogPlace = old.place

    def _tick(self, _objects: int, size: int) -> None:
        self._throttle.rest()
        self._tell(size)

    def _state(self, oid: int) -> bytes | None:
        """Return the whole state of an object as of the moment that is kept."""
        stored = self._old.version(oid)
        if stored is None:
            return None
        self._numbers.add(stored.number & ~DELTA)
        names = self._old.names
        if not stored.number & DELTA:
            note_indexed_class(names, stored.number, stored.data, self._numbers)
            return stored.data
        references(stored.data, self._numbers)
        try:
            number, whole = self._reader.whole(Oid(oid), stored, self._base_of, self._keys)
        except MissingBaseError as error:
            path, expected = self._old.path, "the versions before a delta"
            raise IntegrityError(path, stored.position, str(error), expected) from None
        note_indexed_class(names, number, whole, self._numbers)
        return whole

    def _base_of(self, oid: Oid, stored: LoggedVersion) -> LoggedVersion | None:
        """Return the version that a delta changes; it survives together with it."""
        before = self._old.replaced_by(oid, stored)
        if before is not None:
            self._bases.add(before.position)
            targets_and_numbers(self._old.names, before.number, before.data, self._numbers)
        return before

    def mark(self) -> None:
        """Mark what can be reached, and what later transactions refer to, up to now."""
        if self._old.positions.get(ROOT_OID):
            self._follow([ROOT_OID])
        self.mark_later()

    def _follow(self, oids: list[int]) -> None:
        self._marks.follow(oids)
        while self._keys:
            keys, self._keys = self._keys, set()
            self._marks.follow(keys)

    def mark_later(self) -> None:
        """Mark what the transactions since the last call refer to."""
        old = self._old
        for frame in old.frames(self.seen, old.end):
            logged = frame.logged
            if logged is not None and not logged.failed:
                self._later_names.update(*logged.names)
                self._numbers.update([row[1] for row in logged.names.shapes])
                for oid, number, state in old.read_entries(logged):
                    targets = targets_and_numbers(self._later_names, number, state, self._numbers)
                    self._marks.follow([target for target, _ in targets])
                    if number & DELTA:  # A change of what may have been out of reach.
                        self._marks.follow([oid])
                    self._throttle.rest()
            self.seen = frame.tail

    def keep_all_objects(self) -> None:
        self._marks.add_all()
        self._all_names = True
        for oid in range(self._old.positions.next_oid):
            self._throttle.rest()
            self._state(oid)  # Notes what has to survive with it.

    def names(self) -> NameTables:
        """Return the names as of the kept tid that something has."""
        names = NameTables(*self._old.names.rows())
        if not self._all_names:
            names.leave_used(self._numbers)
        return names

    def are_missed(
        self, entry: tuple[int, int, bytes], names: NameTables, dropped: set[int]
    ) -> Iterator[int]:
        """Yield the dropped objects that a later entry refers to, or is a delta of.

        *names* are those up to its transaction.

        MissedError: It has a name of which the number is among those *dropped*.
        """
        positions = self._old.positions
        oid, number, state = entry
        numbers: set[int] = set()
        needed = [target for target, _ in targets_and_numbers(names, number, state, numbers)]
        if not dropped.isdisjoint(numbers):
            raise MissedError(numbers)
        if number & DELTA:
            needed.append(oid)
        for target in needed:
            if positions.get(target) and target not in self._marks:
                yield target

    def of(self, logged: LoggedTransaction) -> Sequence[int]:
        """Return the indexes of the entries that a transaction up to the kept tid keeps."""
        if logged.failed:
            return ()
        flags, newest, bases = self._marks.flags, self._old.positions.get, self._bases
        first = logged.first_entry
        if len(logged.oids) == 1:
            oid = logged.oids[0]
            return (0,) if flags[oid] and (newest(oid) == first or first in bases) else ()
        entries = enumerate(zip(count(first, ENTRY_SIZE), logged.oids, strict=False))
        # An array: the whole database may be in one transaction.
        return array(
            "Q",
            (
                index
                for index, (position, oid) in entries
                if flags[oid] and (newest(oid) == position or position in bases)
            ),
        )

    def choices(self) -> Iterator[tuple[Frame, Sequence[int] | None]]:
        """Yield the frames up to the kept tid, and the entries that each keeps; None: it goes.

        The newest transaction stays, even without entries: later ones follow its tid. So does the
        first successful one if no object survives, to hold the class table.
        """
        old, newest = self._old, self._old.positions.get
        table_is_due = not any(flag and newest(oid) for oid, flag in enumerate(self._marks.flags))
        for frame in old.frames(old.start, old.place.end):
            logged, chosen = frame.logged, None
            if logged is not None:
                bears = table_is_due and not logged.failed
                table_is_due = table_is_due and not bears
                chosen = self.of(logged)
                if not (chosen or bears or logged.sequence == old.place.sequence):
                    chosen = None
            yield frame, chosen

    def objects(self, logged: LoggedTransaction, chosen: Sequence[int]) -> int:
        """Return of how many objects these entries are the newest versions."""
        if not self._bases:
            return len(chosen)
        newest, first = self._old.positions.get, logged.first_entry
        return sum(newest(logged.oids[index]) == first + index * ENTRY_SIZE for index in chosen)

    def estimate(self) -> tuple[PackSize, PackSize]:
        """Return the size of the log, and that of a packed one; reads only states of streams."""
        old = self._old
        before, after = Count(), Count()
        table = self.names().rows()
        names_size = len(encode_names(table))
        size = PAGE_SIZE + positions_size(old.positions.next_oid, names_size)
        streams: set[int] = set()
        for frame, chosen in self.choices():
            self._throttle.rest()
            logged = frame.logged
            if logged is None:
                continue
            before.add(logged, len(logged.oids), 0)
            if chosen is not None:
                after.add(logged, len(chosen), self.objects(logged, chosen))
                parts = old.read_sizes(logged, chosen)
                parts += self._streams_in(logged, chosen, streams)
                meta = meta_of(logged, NO_NAMES if logged.failed else table)
                table = table if logged.failed else NO_NAMES
                parts += len(encode_meta(meta))
                size += record.align(TRANSACTION_SIZE + len(chosen) * ENTRY_SIZE + parts)
        for length in map(old.streams.size, map(stream_offset, streams)):
            size += record.align(record.STREAM_SIZE + length + 4 * -(-length // (1 << 16)))
        before.objects = old.positions.stored
        size += self._later(before, after)
        return before.size(old.end), after.size(size)

    def _later(self, before: Count, after: Count) -> int:
        """Count the transactions after the kept tid; return their bytes."""
        old = self._old
        tail, size = old.place, 0
        seen = bytearray()
        for frame in old.frames(tail, old.end):
            logged = frame.logged
            if logged is not None or frame.kind == record.KIND_STREAM:
                size += frame.tail.end - tail.end
            tail = frame.tail
            self._throttle.rest()
            if logged is None:
                continue
            new_before = new_after = 0
            for oid in () if logged.failed else logged.oids:
                if oid >= len(seen):
                    seen += bytes(oid + 1024 - len(seen))
                if not seen[oid]:
                    seen[oid] = 1
                    stored = old.positions.get(oid)
                    new_before += not stored
                    new_after += not (stored and oid in self._marks)
            before.add(logged, len(logged.oids), new_before)
            after.add(logged, len(logged.oids), new_after)
        return size

    def _streams_in(
        self, logged: LoggedTransaction, chosen: Sequence[int], streams: set[int]
    ) -> int:
        """Add the keys of the streams of these entries; return how much their states grow."""
        old, longer = self._old, 0
        if old.names.class_number(*STREAM_CLASS) is None:
            return 0
        for _, number, state in old.read_entries(logged, chosen):
            key, names = stored_stream(old.names, number, state)
            if key is not None:
                streams.add(key)
                moved = stream_key(old.generation + 1, stream_offset(key))
                longer += len(with_stream_key(state, names, moved)) - len(state)
        return longer
