"""The walk over a damaged log: everything that can be read, in order, and what can't be read.

After a frame that can't be read, the walk continues with the next one that belongs to this log.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import NamedTuple

from dobbin_like.check import Progress
from dobbin_like.contract import NO_NAMES, NewNames
from dobbin_like.exc import IntegrityError
from dobbin_like.ids import NO_TID, Tid
from dobbin_like.log.format import record
from dobbin_like.log.format.record import LogPlace, align
from dobbin_like.log.format.saved import SLOT_SIZE, decode_positions_head, head_size
from dobbin_like.log.reading.reader import Frame, LoggedTransaction
from dobbin_like.repair import parts
from dobbin_like.repair.parts import Kept
from dobbin_like.repair.places import FrameSearch
from dobbin_like.repair.report import Loss
from dobbin_like.repair.source import Source


class StreamAt(NamedTuple):
    """A whole stream: where its frame begins and ends."""

    offset: int
    end: int


class NamesAt(NamedTuple):
    """The tables of names as they were at this place."""

    names: NewNames


Part = Kept | StreamAt | NamesAt
"""The items that a walk yields."""

_Classes = dict[int, tuple[str, str]]
_Shapes = dict[int, tuple[int, tuple[str, ...]]]


class Frames:
    """One walk over a damaged log, in one thread. Iterate once.

    Afterwards, ``losses`` lists what could not be read, and ``tid`` is that of the last
    transaction.
    """

    def __init__(self, source: Source, page_checksum: int | None, committed: int | None) -> None:
        self.source = source
        self.losses: list[Loss] = []
        self.tid: Tid = NO_TID
        self.found: bool = False
        self._classes: _Classes = {}
        self._shapes: _Shapes = {}
        # From damaged places.
        self._guessed_classes: _Classes = {}
        self._guessed_shapes: _Shapes = {}
        self._page_checksum = page_checksum
        # All before has to be there. If nothing tells, whatever is in the file.
        self._certain = source.size if committed is None else min(committed, source.size)
        self._places = FrameSearch(source, self._certain)
        if committed is not None and committed > source.size:
            what = "committed bytes that are not in the file"
            self.losses.append(Loss(source.size, committed, what))

    def names(self) -> tuple[_Classes, _Shapes]:
        """Return the names of classes and the shapes by number, from wherever they were found.

        What only damaged places tell is better than nothing.
        """
        classes = {**self._guessed_classes, **self._classes}
        return classes, {**self._guessed_shapes, **self._shapes}

    def walk(self, progress: Progress | None = None) -> Iterator[Part]:
        """Yield the transactions and the streams that can be read, oldest first."""
        tail = record.first_place(self._page_checksum or 0)
        chained, size = self._page_checksum is not None, self.source.size
        while tail.end < size:
            if chained:
                read = parts.read_mended(self.source, tail, size)
            else:
                read = self._places.alone(tail)
            if tail.end >= self._certain:
                if read is None or not (yield from self._adopted(tail, read)):
                    break
                tail = read.tail
            elif read is not None:
                yield from self._contents(tail, read)
                tail, chained = read.tail, True
            else:
                tail, chained = yield from self._go_round(tail)
            if progress is not None:
                progress(tail.end, size)
        if progress is not None:
            progress(size, size)

    # -- frames that can be read ------------------------------------------------

    def _contents(self, tail: LogPlace, frame: Frame) -> Iterator[Part]:
        self.found = True
        if frame.logged is not None:
            yield from self._transaction(frame.logged)
        elif frame.kind == record.KIND_POSITIONS:
            yield from self._saved(tail, frame)
        else:
            try:
                for _ in parts.stream_parts(self.source, tail.end, frame.tail.end):
                    pass
            except IntegrityError as error:
                what = f"a stream that is damaged at {error.offset}"
                self.losses.append(Loss(tail.end, frame.tail.end, what))
            else:
                yield StreamAt(tail.end, frame.tail.end)

    def _transaction(self, logged: LoggedTransaction) -> Iterator[Kept]:
        if logged.tid <= self.tid:
            self._lose_whole(logged, f"a transaction whose tid is not above {self.tid}")
            return
        self.tid = logged.tid
        if logged.failed:
            yield Kept(logged, [], [])
            return
        self._learn(logged.names)
        kept = parts.entries_of(self.source, logged)
        self._lose_entries(kept, certain=True)
        yield kept

    def _saved(self, tail: LogPlace, frame: Frame) -> Iterator[NamesAt]:
        """Yield the tables of names if they may show what a lost transaction changed in them."""
        self._learn(frame.names)
        data = self.source.read(tail.end, record.POSITIONS_SIZE, frame.tail.end)
        if self.losses and decode_positions_head(data).covered.tid >= self.tid:
            yield NamesAt(frame.names)

    def _lose_whole(self, logged: LoggedTransaction, what: str) -> None:
        place, oids = (logged.offset, logged.end), tuple(logged.oids)
        self.losses.append(Loss(*place, what, logged.tid, oids, certain=True))

    def _learn(self, names: NewNames) -> None:
        for number, module, qualname in names.classes:
            self._classes.setdefault(number, (module, qualname))
        for number, class_number, attributes in names.shapes:
            self._shapes.setdefault(number, (class_number, attributes))

    def _lose_entries(self, kept: Kept, *, certain: bool) -> None:
        for position, oid in kept.lost:
            what, end = "the state of an object", position + record.ENTRY_SIZE
            tid = kept.logged.tid
            self.losses.append(Loss(position, end, what, tid, (oid,), certain=certain))

    def _adopted(self, tail: LogPlace, frame: Frame) -> Generator[Part, None, bool]:
        """Yield what recovery would adopt; return whether it would adopt the frame."""
        losses, tid = len(self.losses), self.tid
        kept = list(self._contents(tail, frame))
        if len(self.losses) > losses:  # A torn tail: its commit was never acknowledged.
            del self.losses[losses:]
            self.tid = tid
            return False
        yield from kept
        return True

    def _go_round(self, tail: LogPlace) -> Generator[Part, None, tuple[LogPlace, bool]]:
        """Return where to continue, and whether the frame there is chained to the previous one."""
        after, part = self._lose(tail)
        yield from () if part is None else (part,)
        return after or (tail._replace(end=self._certain), False)

    # -- frames that can't be read -----------------------------------------------

    def _lose(self, tail: LogPlace) -> tuple[tuple[LogPlace, bool] | None, Kept | None]:
        """Return the next readable place, and what can be saved before it."""
        offset = tail.end
        after = self._places.next(tail._replace(tid=self.tid))
        end = self._certain if after is None else after[0].end
        part = parts.kept_part(self.source, tail._replace(tid=self.tid), end)
        if part is not None:
            self.found = True
            self.tid = part.logged.tid
            for number, module, qualname in part.logged.names.classes:
                if all(word.isidentifier() for word in f"{module}.{qualname}".split(".")):
                    self._guessed_classes.setdefault(number, (module, qualname))
            for number, class_number, attributes in part.logged.names.shapes:
                if attributes and all(map(str.isidentifier, attributes)):
                    self._guessed_shapes.setdefault(number, (class_number, attributes))
            self._lose_entries(part, certain=False)
            what = "damaged parts of user, description and new classes of a transaction"
            self.losses.append(Loss(offset, part.logged.first_entry, what, part.logged.tid))
            # Names are looked up when they are needed: better ones may follow.
            return after, part._replace(logged=part.logged._replace(names=NO_NAMES))
        if not (self._is_shortcut(tail, end) or self._places.is_end(offset)):
            self.losses.append(self._loss(offset, end))
        return after, None

    def _is_shortcut(self, tail: LogPlace, end: int) -> bool:
        """Return whether there were only saved positions up to *end*: they are made anew.

        The kind alone proves nothing, because it may be damaged.
        """
        offset = tail.end
        if end - offset < record.POSITIONS_SIZE:
            return False
        head = self.source.read(offset, record.POSITIONS_SIZE, end)
        frame, saved = record.frame_head(head), decode_positions_head(head)
        wanted = align(head_size(head) + SLOT_SIZE * saved.slots)
        fits = (frame.previous, frame.length, offset + wanted) == (tail.frame, wanted, end)
        return fits and frame.kind == record.KIND_POSITIONS

    def _loss(self, offset: int, end: int) -> Loss:
        room = end - offset
        kind = 0
        if room >= record.FRAME_SIZE:
            kind = record.frame_head(self.source.read(offset, record.FRAME_SIZE, end)).kind
        if kind == record.KIND_STREAM:
            return Loss(offset, end, "a stream")
        if kind != record.KIND_TRANSACTION or room < record.TRANSACTION_SIZE:
            return Loss(offset, end, "bytes that are not a frame")
        head = record.transaction_head(self.source.read(offset, record.TRANSACTION_SIZE, end))
        table = record.TRANSACTION_SIZE + head.rows * record.ENTRY_SIZE
        oids = parts.walked_oids(self.source, offset, min(end, offset + table))
        return Loss(offset, end, "a transaction", head.tid, tuple(oids))
