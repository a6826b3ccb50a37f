"""The walk over a damaged log: everything that can be read, in order, and what can't.

A frame that can't be read is followed by the next one that belongs to this log: one whose
checksum is chained to a frame that is there, or, where that frame is gone, one whose
entries are whole and to which the frame behind it is chained. Bytes that look like a
frame, of a log that was stored in a stream for example, are neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from dobbin_like.exc import IntegrityError
from dobbin_like.ids import NO_TID
from dobbin_like.log import record
from dobbin_like.log.header import PAGE_SIZE
from dobbin_like.log.meta import NO_NAMES
from dobbin_like.log.reader import Frame, Logged, read_frame
from dobbin_like.log.record import Tail
from dobbin_like.repair.bits import seed_before
from dobbin_like.repair.parts import (
    Kept,
    entries_of,
    kept_part,
    own_place,
    read_mended,
    stream_parts,
)
from dobbin_like.repair.report import Loss
from dobbin_like.repair.source import Source

__all__ = ["Frames", "StreamAt"]

Progress = Callable[[int, int], object]

_MARKS: Final = (b"TRAN", b"STRM", b"POSN")
_ANY_MARK: Final = re.compile(b"|".join(_MARKS))
_MARK_OFFSET: Final = 8
_SEARCHED: Final = 1 << 20


class StreamAt(NamedTuple):
    """A whole stream: where its frame begins and ends."""

    offset: int
    end: int


class Frames:
    """One walk over a damaged log. One thread; iterate once.

    Afterwards ``losses`` is what could not be read, ``classes`` the names of classes and
    ``shapes`` the shapes by number from wherever they were found, ``guessed`` and
    ``guessed_shapes`` those from damaged places, ``tid`` that of the last transaction.
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
        if committed is not None and committed > source.size:
            what = "committed bytes that are not in the file"
            self.losses.append(Loss(source.size, committed, what))

    def walk(self, progress: Progress | None = None) -> Iterator[Kept | StreamAt]:
        """Yield the transactions and the streams that can be read, oldest first.

        Cost: The bytes of the log; a damaged place is searched byte by byte.
        """
        tail = Tail(PAGE_SIZE, 0, self._page_checksum or 0, 0, NO_TID)
        chained = self._page_checksum is not None
        while tail.end < self._limit:
            read = read_mended(self.source, tail, self._limit) if chained else self._alone(tail)
            if read is not None:
                yield from self._contents(tail, read)
                tail, chained = read.tail, True
            else:
                after, part = self._lose(tail)
                yield from () if part is None else (part,)
                tail, chained = after or (tail._replace(end=self._limit), False)
            if progress is not None:
                progress(tail.end, self.source.size)
        if self._committed is not None and chained:
            yield from self._uncommitted(tail)
        if progress is not None:
            progress(self.source.size, self.source.size)

    # -- frames that can be read ------------------------------------------------

    def _contents(self, tail: Tail, frame: Frame) -> Iterator[Kept | StreamAt]:
        self.found = True
        if frame.logged is not None:
            yield from self._transaction(frame.logged, frame.status)
        elif frame.kind == record.KIND_POSITIONS:
            self._learn(frame.names)
        else:
            try:
                for _ in stream_parts(self.source, tail.end, frame.tail.end):
                    pass
            except IntegrityError as error:
                what = f"a stream that is damaged at {error.offset}"
                self.losses.append(Loss(tail.end, frame.tail.end, what))
            else:
                yield StreamAt(tail.end, frame.tail.end)

    def _transaction(self, logged: Logged, status: int) -> Iterator[Kept]:
        if logged.tid <= self.tid:
            self._lose_whole(logged, f"a transaction whose tid is not above {self.tid}")
            return
        if status == record.PREPARED:
            logged = logged._replace(failed=True)
            if logged.end < self._limit:
                self._lose_whole(logged, "a transaction of which is not known whether it counted")
        self.tid = logged.tid
        if logged.failed:
            yield Kept(logged, [], [])
            return
        self._learn(logged.names)
        kept = entries_of(self.source, logged)
        self._lose_entries(kept, certain=True)
        yield kept

    def _lose_whole(self, logged: Logged, what: str) -> None:
        oids = tuple(logged.oids)
        loss = Loss(logged.offset, logged.end, what, logged.tid, oids, certain=True)
        self.losses.append(loss)

    def _learn(self, names: record.Names) -> None:
        for number, module, qualname in names.classes:
            self.classes.setdefault(number, (module, qualname))
        for number, class_number, attributes in names.shapes:
            self.shapes.setdefault(number, (class_number, attributes))

    def _lose_entries(self, kept: Kept, *, certain: bool) -> None:
        for position, oid in kept.lost:
            what, end = "the state of an object", position + record.ENTRY_SIZE
            tid = kept.logged.tid
            self.losses.append(Loss(position, end, what, tid, (oid,), certain=certain))

    def _uncommitted(self, tail: Tail) -> Iterator[Kept | StreamAt]:
        """Yield what follows the committed end, as recovery would adopt it."""
        self._limit = self.source.size
        while tail.end < self._limit:
            try:
                frame = read_frame(self.source, tail, self._limit)
            except IntegrityError:
                return
            if frame.status == record.PREPARED:
                return
            losses, tid = len(self.losses), self.tid
            kept = list(self._contents(tail, frame))
            if len(self.losses) > losses:  # A torn tail: nobody was told that it counts.
                del self.losses[losses:]
                self.tid = tid
                return
            yield from kept
            tail = frame.tail

    # -- and those that can't ---------------------------------------------------

    def _lose(self, tail: Tail) -> tuple[tuple[Tail, bool] | None, Kept | None]:
        """Return the next place that can be read from, and what is left of what is before it."""
        offset = tail.end
        after = self._next_place(tail)
        end = self._limit if after is None else after[0].end
        part = kept_part(self.source, tail._replace(tid=self.tid), end)
        if part is not None:
            self.found = True
            self.tid = part.logged.tid
            for number, module, qualname in part.logged.names.classes:
                if all(word.isidentifier() for word in f"{module}.{qualname}".split(".")):
                    self.guessed.setdefault(number, (module, qualname))
            for number, class_number, attributes in part.logged.names.shapes:
                if all(map(str.isidentifier, attributes)):
                    self.guessed_shapes.setdefault(number, (class_number, attributes))
            self._lose_entries(part, certain=False)
            what = "user, description and new classes of a transaction, as far as they are damaged"
            self.losses.append(Loss(offset, part.logged.first_entry, what, part.logged.tid))
            # Their names are looked up where they are needed: a better one may come later.
            return after, part._replace(logged=part.logged._replace(names=NO_NAMES))
        head = self.source.read(offset, min(record.FRAME_SIZE, end - offset), end)
        kind = head[_MARK_OFFSET : _MARK_OFFSET + 4]
        if kind == _MARKS[2] and end != self._limit:
            return after, None  # Saved positions: a shortcut, made anew.
        self.losses.append(self._loss(offset, end, kind))
        return after, None

    def _loss(self, offset: int, end: int, kind: bytes) -> Loss:
        if kind == _MARKS[1]:
            return Loss(offset, end, "a stream")
        if kind != _MARKS[0] or end - offset < record.TRANSACTION_SIZE:
            return Loss(offset, end, "bytes that are no frame")
        head = self.source.read(offset, record.TRANSACTION_SIZE, end)
        tid, _, count = record.TRANSACTION.unpack(head)[6:]
        oids: list[int] = []
        table = offset + record.TRANSACTION_SIZE
        while len(oids) < count and table + (len(oids) + 1) * record.ENTRY_SIZE <= end:
            position = table + len(oids) * record.ENTRY_SIZE
            oid, _, index = record.ENTRY.unpack(
                self.source.read(position, record.ENTRY_SIZE, end)
            )[:3]
            if index != len(oids) or oid >= record.OID_LIMIT:
                break
            oids.append(oid)
        return Loss(offset, end, "a transaction", tid, tuple(oids))

    def _next_place(self, tail: Tail) -> tuple[Tail, bool] | None:
        """Return the next place with a frame of this log, and whether it is chained."""
        for offset in self._candidates(tail.end):
            place = self._chained_place(tail, offset)
            if place is not None:
                return place, True
            previous = self._previous(offset)
            if previous is not None and tail.end <= previous < offset:
                alone = Tail(offset, previous, 0, 0, self.tid)
                if self._alone(alone) is not None:
                    return alone, False
        return None

    def _previous(self, offset: int) -> int | None:
        if offset + record.FRAME_SIZE > self._limit:
            return None
        head = self.source.read(offset, record.FRAME_SIZE, self._limit)
        return int(record.FRAME.unpack(head)[5])

    def _chained_place(self, tail: Tail, offset: int) -> Tail | None:
        """Return the place at *offset* if the frame there is chained to one before it."""
        previous = self._previous(offset)
        if previous is None or not PAGE_SIZE <= previous < offset or previous < tail.frame:
            return None
        word = self.source.read(previous, record.WORD.size, self._limit)
        (checksum,) = record.WORD.unpack(word)
        place = Tail(offset, previous, checksum, tail.sequence, self.tid)
        try:
            read_frame(self.source, own_place(self.source, place, self._limit), self._limit)
        except IntegrityError:
            # The next to the damaged one may have a flipped bit of its own.
            if previous != tail.end or read_mended(self.source, place, self._limit) is None:
                return None
        return place

    def _candidates(self, offset: int) -> Iterator[int]:
        """Yield where the next frame may begin: where this one says, and what looks like one."""
        if offset + record.FRAME_SIZE <= self._limit:
            head = self.source.read(offset, record.FRAME_SIZE, self._limit)
            end = offset + record.FRAME.unpack(head)[4]
            if offset < end <= self._limit - record.STREAM_SIZE and not end % 8:
                yield end
        at = offset + 8
        while at + record.STREAM_SIZE <= self._limit:
            size = min(_SEARCHED, self._limit - at)
            data = self.source.read(at, size, self._limit)
            for mark in _ANY_MARK.finditer(data, _MARK_OFFSET):
                if not mark.start() % 8:
                    yield at + mark.start() - _MARK_OFFSET
            if at + size >= self._limit:
                return
            at += size - 16

    def _alone(self, tail: Tail) -> Frame | None:
        """Return the frame at *tail* though what it is chained to is gone, if it is one.

        Its entries are whole, or it is a stream that is, and the frame behind it is chained
        to it, or the log ends there.
        """
        source, limit, offset = self.source, self._limit, tail.end
        if limit - offset < record.STREAM_SIZE:
            return None
        head = source.read(offset, min(record.PREFIX_LIMIT, limit - offset), limit)
        checksum, _, kind, meta_size, length, previous = record.FRAME.unpack_from(head)
        size = record.STREAM_SIZE
        if kind == record.KIND_TRANSACTION and len(head) >= record.TRANSACTION_SIZE:
            count = record.TRANSACTION.unpack_from(head)[8]
            size = record.TRANSACTION_SIZE + count * record.ENTRY_SIZE + meta_size
        elif kind != record.KIND_STREAM:
            return None
        if previous != tail.frame or length > limit - offset or size > length:
            return None
        after = Tail(offset + length, offset, checksum, 0, NO_TID)
        followed = after.end < limit
        if followed and self._chained_place(after, after.end) is None:
            return None
        data = source.read(offset, size, limit)[record.CHECKED_FROM :]
        place = tail._replace(checksum=seed_before(data, checksum))
        try:
            frame = read_frame(source, own_place(source, place, limit), limit)
            self._prove(frame, offset, followed=followed)
        except IntegrityError:
            return None
        return frame

    def _prove(self, frame: Frame, offset: int, *, followed: bool) -> None:
        """Raise IntegrityError unless what is in *frame* is whole by checksums of its own."""
        if frame.logged is None:
            for _ in stream_parts(self.source, offset, frame.tail.end):
                pass
            return
        kept = entries_of(self.source, frame.logged, mend=False)
        if kept.lost or not (kept.entries or followed):
            text = f"{len(kept.entries)} whole entries of {len(frame.logged.oids)}"
            raise IntegrityError(self.source.path, offset, text, "all of them")
