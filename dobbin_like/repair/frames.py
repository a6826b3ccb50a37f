"""The walk over a damaged log: everything that can be read, in order, and what can't be read.

After a frame that can't be read, the walk continues with the next one that belongs to this log.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple

from dobbin_like.contract import NO_NAMES, NewNames
from dobbin_like.exc import IntegrityError
from dobbin_like.ids import NO_TID
from dobbin_like.log.format import frame_heads, record
from dobbin_like.log.format.record import LogPlace
from dobbin_like.log.reading.aside import passed_over
from dobbin_like.log.reading.reader import (
    Frame,
    LoggedTransaction,
    own_place,
    read_frame,
    stored_entries,
)
from dobbin_like.log.reading.redo import Area, read_area
from dobbin_like.repair.parts import (
    Kept,
    entries_of,
    kept_part,
    read_mended,
    stream_parts,
    walked_oids,
)
from dobbin_like.repair.places import Places
from dobbin_like.repair.report import Loss
from dobbin_like.repair.source import Source

Progress = Callable[[int, int], object]


class StreamAt(NamedTuple):
    """A whole stream: where its frame begins and ends."""

    offset: int
    end: int


class NamesAt(NamedTuple):
    """The tables of names as they were at this place."""

    names: NewNames


Part = Kept | StreamAt | NamesAt
"""The items that a walk yields."""


class Frames:
    """One walk over a damaged log, in one thread. Iterate once.

    Afterwards, ``losses`` lists what could not be read, ``classes`` and ``shapes`` have the names
    of classes and the shapes by number, from wherever they were found, ``guessed`` and
    ``guessed_shapes`` those from damaged places, and ``tid`` is that of the last transaction.
    """

    def __init__(self, source: Source, page_checksum: int | None, committed: int | None) -> None:
        self.source = source
        self.losses: list[Loss] = []
        self.classes: dict[int, tuple[str, str]] = {}
        self.guessed: dict[int, tuple[str, str]] = {}
        self.shapes: dict[int, tuple[int, tuple[str, ...]]] = {}
        self.guessed_shapes: dict[int, tuple[int, tuple[str, ...]]] = {}
        self.tid = NO_TID
        self.found = False
        self._page_checksum = page_checksum
        self._committed = committed
        self._limit = source.size if committed is None else min(committed, source.size)
        self._area: Area | None = None
        self._places = Places(source, self._limit)
        if committed is not None and committed > source.size:
            what = "committed bytes that are not in the file"
            self.losses.append(Loss(source.size, committed, what))

    def walk(self, progress: Progress | None = None) -> Iterator[Part]:
        """Yield the transactions and the streams that can be read, oldest first.

        Cost: The bytes of the log; a damaged place is searched byte by byte.
        """
        tail = record.first_place(self._page_checksum or 0)
        chained = self._page_checksum is not None
        while tail.end < self._limit:
            read = (
                read_mended(self.source, tail, self._limit)
                if chained
                else self._places.alone(tail)
            )
            if read is not None:
                yield from self._contents(tail, read)
                tail, chained = read.tail, True
            else:
                tail, chained = yield from self._go_round(tail, chained=chained)
            if progress is not None:
                progress(tail.end, self.source.size)
        if self._committed is not None and chained:
            tail = yield from self._uncommitted(tail)
        if chained:
            yield from self._from_image(tail)
        if progress is not None:
            progress(self.source.size, self.source.size)

    # -- frames that can be read ------------------------------------------------

    def _contents(self, tail: LogPlace, frame: Frame) -> Iterator[Part]:
        self.found = True
        if frame.logged is not None:
            yield from self._transaction(frame.logged, frame)
        elif frame.kind in record.POSITIONS_KINDS:
            yield from self._saved(tail, frame)
        elif frame.kind == record.KIND_STREAM:
            try:
                for _ in stream_parts(self.source, tail.end, frame.tail.end):
                    pass
            except IntegrityError as error:
                what = f"a stream that is damaged at {error.offset}"
                self.losses.append(Loss(tail.end, frame.tail.end, what))
            else:
                yield StreamAt(tail.end, frame.tail.end)
        else:
            self._area = read_area(self.source, tail.end)

    def _from_image(self, tail: LogPlace) -> Generator[Kept, None, LogPlace]:
        """Yield the frames after *tail* in the redo area: acknowledged, but lost in the log.

        Returns:
            The place after it.
        """
        image = None
        if self._area is not None:
            with contextlib.suppress(IntegrityError):
                image = self._area.image(self.source.fd, self.source.path)
        while image is not None:
            frame = image.frame(tail)
            if frame is None or frame.logged is None or frame.logged.tid <= self.tid:
                break
            self.tid = frame.logged.tid
            self._learn(frame.logged.names)
            yield Kept(frame.logged, list(stored_entries(image, frame.logged)), [])
            tail = frame.tail
        return tail

    def _transaction(self, logged: LoggedTransaction, frame: Frame) -> Iterator[Kept]:
        if logged.tid <= self.tid:
            self._lose_whole(logged, f"a transaction whose tid is not above {self.tid}")
            return
        if frame.status == record.PREPARED and not self._was_decided(frame):
            logged = logged._replace(failed=True)
            if logged.end < self._limit:
                self._lose_whole(logged, "a transaction that may not have been committed")
        self.tid = logged.tid
        if logged.failed:
            yield Kept(logged, [], [])
            return
        self._learn(logged.names)
        kept = entries_of(self.source, logged)
        self._lose_entries(kept, certain=True)
        yield kept

    def _was_decided(self, frame: Frame) -> bool:
        """Return whether a prepared transaction counted: a failure would have left other bytes.

        The header says so, or the next transaction was appended to it.
        """
        if self._committed is not None and frame.tail.end <= self._committed:
            return True
        try:
            read_frame(self.source, own_place(self.source, frame.tail, self._limit), self._limit)
        except IntegrityError:
            return False
        return True

    def _saved(self, tail: LogPlace, frame: Frame) -> Iterator[NamesAt]:
        """Yield the tables of names if they may show what a lost transaction changed in them."""
        self._learn(frame.names)
        data = self.source.read(tail.end, record.POSITIONS_SIZE, frame.tail.end)
        if self.losses and frame_heads.decode_positions_head(data).covered.tid >= self.tid:
            yield NamesAt(frame.names)

    def _lose_whole(self, logged: LoggedTransaction, what: str) -> None:
        oids = tuple(logged.oids)
        loss = Loss(logged.offset, logged.end, what, logged.tid, oids, certain=True)
        self.losses.append(loss)

    def _learn(self, names: NewNames) -> None:
        for number, module, qualname in names.classes:
            self.classes.setdefault(number, (module, qualname))
        for number, class_number, attributes in names.shapes:
            self.shapes.setdefault(number, (class_number, attributes))

    def _lose_entries(self, kept: Kept, *, certain: bool) -> None:
        for position, oid in kept.lost:
            what, end = "the state of an object", position + record.ENTRY_SIZE
            tid = kept.logged.tid
            self.losses.append(Loss(position, end, what, tid, (oid,), certain=certain))

    def _uncommitted(self, tail: LogPlace) -> Generator[Part, None, LogPlace]:
        """Yield the frames after the committed end that recovery would adopt.

        Returns:
            The place after it.
        """
        self._limit = self.source.size
        while tail.end < self._limit:
            try:
                frame = read_frame(self.source, tail, self._limit)
            except IntegrityError:
                return tail
            if frame.status == record.PREPARED and not self._was_decided(frame):
                return tail
            losses, tid = len(self.losses), self.tid
            kept = list(self._contents(tail, frame))
            if len(self.losses) > losses:  # A torn tail: its commit was never acknowledged.
                del self.losses[losses:]
                self.tid = tid
                return tail
            yield from kept
            tail = frame.tail
        return tail

    def _go_round(
        self, tail: LogPlace, *, chained: bool
    ) -> Generator[Part, None, tuple[LogPlace, bool]]:
        """Return where to continue, and whether the frame there is chained to the previous one."""
        if chained:
            # Frames aside are made anew: losing them loses no data.
            proof = None if self._committed is None else self.source.lies_aside
            aside = passed_over(self.source, tail, self._limit, proof, self._limit)
            if aside is not None:
                return aside.tail, True
            behind = yield from self._from_image(tail)
            if behind != tail:
                return behind, True
        after, part = self._lose(tail)
        yield from () if part is None else (part,)
        return after or (tail._replace(end=self._limit), False)

    # -- frames that can't be read -----------------------------------------------

    def _lose(self, tail: LogPlace) -> tuple[tuple[LogPlace, bool] | None, Kept | None]:
        """Return the next readable place, and what can be saved before it."""
        offset = tail.end
        after = self._places.next(tail._replace(tid=self.tid))
        end = self._limit if after is None else after[0].end
        part = kept_part(self.source, tail._replace(tid=self.tid), end)
        if part is not None:
            self.found = True
            self.tid = part.logged.tid
            for number, module, qualname in part.logged.names.classes:
                if all(word.isidentifier() for word in f"{module}.{qualname}".split(".")):
                    self.guessed.setdefault(number, (module, qualname))
            for number, class_number, attributes in part.logged.names.shapes:
                if attributes and all(map(str.isidentifier, attributes)):
                    self.guessed_shapes.setdefault(number, (class_number, attributes))
            self._lose_entries(part, certain=False)
            what = "damaged parts of user, description and new classes of a transaction"
            self.losses.append(Loss(offset, part.logged.first_entry, what, part.logged.tid))
            # Names are looked up when they are needed: better ones may follow.
            return after, part._replace(logged=part.logged._replace(names=NO_NAMES))
        if not self._is_shortcut(tail, end):
            self.losses.append(self._loss(offset, end))
        return after, None

    def _is_shortcut(self, tail: LogPlace, end: int) -> bool:
        """Return whether there were only frames aside up to *end*: these are made anew.

        They are saved positions or a redo area. The kind alone proves nothing, because it may be
        damaged.
        """
        offset = tail.end
        area = read_area(self.source, offset)
        if area is not None and area.start + area.size == end:
            return True
        if end - offset < record.POSITIONS_SIZE:
            return False
        head = self.source.read(offset, record.POSITIONS_SIZE, end)
        frame, saved = record.frame_head(head), frame_heads.decode_positions_head(head)
        wanted = record.align(frame_heads.slots_distance(head) + 8 * saved.slots)
        fits = (frame.previous, frame.length, offset + wanted) == (tail.frame, wanted, end)
        return fits and frame.kind in record.POSITIONS_KINDS

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
        oids = walked_oids(self.source, offset, min(end, offset + table))
        return Loss(offset, end, "a transaction", head.tid, tuple(oids))
