"""Walks over a log from its header to the committed end, and checks every frame.

Only reads the file, from its own descriptor, and takes no lock: others may commit meanwhile, and
the walk ends at the committed end of its beginning. It notes a damaged place, and continues
after it where it finds the chain of frames again.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from typing import Final
from zlib import crc32

from dobbin_like.check.content import Contents
from dobbin_like.check.header import Limits, is_written, limits_of, page_of
from dobbin_like.check.newest import Newest
from dobbin_like.check.report import Report
from dobbin_like.contract import Storage
from dobbin_like.exc import IntegrityError
from dobbin_like.ids import Oid
from dobbin_like.log.file.disk import first_not_zero, open_file
from dobbin_like.log.file.log_file import check_regular
from dobbin_like.log.file.words import Words
from dobbin_like.log.format import record
from dobbin_like.log.format.header import DURABLE, SAVED, Page, word_offset
from dobbin_like.log.format.record import DamagedError, LogPlace
from dobbin_like.log.reading.chain import verify
from dobbin_like.log.reading.places import MARKS, places_like
from dobbin_like.log.reading.reader import Frame, ReadBuffer, own_place, read_frame
from dobbin_like.log.reading.saved_positions import place_before
from dobbin_like.store import Progress

_ANY_MARK: Final = re.compile(MARKS)


class Scan:
    """One walk over one log, in one thread. Afterwards, ``contents`` has the contents of the log.

    ``contents`` is None if no transaction was ever committed, or the header can't be read.
    ``tail`` is the place where the walk ended.
    """

    def __init__(self, report: Report, known: int | None, allow: Iterable[str] | None) -> None:
        self.path: str = report.path
        self.report = report
        self.tail: LogPlace = record.first_place(0)
        self.contents: Contents | None = None
        self._known = known
        self._allow = allow
        self._buffer: ReadBuffer

    def run(self, progress: Progress | None = None) -> None:
        check_regular(self.path)
        fd = open_file(self.path, os.O_RDONLY)
        try:
            page = page_of(fd, self.path, self.report)
            if page is not None:
                self._buffer = ReadBuffer(fd, self.path)
                self._walk(fd, page, Words(fd, self.path), progress)
        finally:
            os.close(fd)

    def _walk(self, fd: int, page: Page, words: Words, progress: Progress | None) -> None:
        limits = limits_of(fd, words, self.report)
        self.contents = contents = Contents(self._buffer, self.report, self._known, page)
        contents.positions.reserve(page.next_oid)
        self.tail = record.first_place(page.checksum)
        for tail, frame in self._frames(page, limits, contents):
            contents.check(tail, frame)
            self.tail = frame.tail
            if tail.end < limits.certain < self.tail.end:
                found = f"an end at {limits.certain}, by the header"
                self.report.add(4, word_offset(DURABLE), found, f"one at {self.tail.end}")
            if progress is not None:
                progress(self.tail.end, limits.end)
        if self.tail.end < limits.end and self.tail.end >= limits.certain:
            self._look_behind(fd, words, limits)
        self.report.bytes = self.tail.end
        self.report.objects = contents.positions.stored
        contents.check_dense()
        Newest(contents, self.tail.end).check(self._allow)
        if not contents.gap:
            self._check_saved(limits.saved, contents.saved)

    def _look_behind(self, fd: int, words: Words, limits: Limits) -> None:
        """I4: Tell what is behind the end, if it is not zeros that were written ahead."""
        end, size = self.tail.end, os.fstat(fd).st_size
        first = first_not_zero(fd, self.path, end, size)
        if first is None or is_written(fd, self.path) or words.all() != limits.words:
            return  # If somebody writes there, it is on its way.
        text = f"behind the last transaction, {size - end} bytes belong to none: "
        if first >= end + record.MARK_SIZE:
            text += f"zeros up to {first}, as in a copy to which rsync --append has added"
        else:
            text += "a program or a machine that died was writing them, or a copy was cut"
        self.report.notes.append(
            f"{text}; the next process that opens the log for writing cuts them off"
        )

    def _check_saved(self, value: int | None, found: set[int]) -> None:
        """I10: Saved positions are where the header says."""
        if value and value < self.tail.end and value not in found:
            text = f"saved positions at {value}, by the header"
            self.report.add(10, word_offset(SAVED), text, f"one of {sorted(found)}")

    def _frames(
        self, page: Page, limits: Limits, contents: Contents
    ) -> Iterator[tuple[LogPlace, Frame]]:
        """Yield each place and its frame; note damaged places, and continue."""
        tail: LogPlace | None = self.tail
        lost = False
        while tail is not None and tail.end < limits.end:
            certain = tail.end < limits.certain
            try:
                frame = self._read(tail, limits.end, certain=certain, lost=lost)
            except IntegrityError as error:
                refused = isinstance(error.__cause__, OSError)
                if limits.sure and not (certain or refused):
                    return  # The log ends here.
                after = self._next_place(tail, page, limits.end)
                if after is None and not (certain or refused):
                    return
                contents.gap = lost = True
                tail = after
                self._note(error, None if tail is None else tail.end)
                continue
            yield tail, frame
            tail, lost = frame.tail, lost and frame.logged is None

    def _read(self, tail: LogPlace, end: int, *, certain: bool, lost: bool) -> Frame:
        """Return the frame at *tail*; behind one that is *lost* with any number of its own."""
        frame = read_frame(self._buffer, own_place(self._buffer, tail, end) if lost else tail, end)
        if not certain:
            verify(self._buffer, tail, frame)
        return frame

    def _note(self, error: IntegrityError, end: int | None) -> None:
        after = "" if end is None else f" (the next intact one is at {end})"
        self.report.add(5, error.offset, error.found + after, error.expected)

    def _next_place(self, tail: LogPlace, page: Page, end: int) -> LogPlace | None:
        """Return the next place after a damaged one from which a frame can be read."""
        computed = self._checksum(tail, end)
        for offset in places_like(self._buffer.beside(), tail.end + 8, end, _ANY_MARK):
            try:
                places = list(self._guesses(tail, computed, offset, page, end))
            except IntegrityError:
                continue
            for guess in places:
                # What a damaged frame before it says of itself is not relied on.
                place = own_place(self._buffer, guess._replace(tid=tail.tid), end)
                with contextlib.suppress(IntegrityError):
                    read_frame(self._buffer, place, end)
                    return place
        return None

    def _guesses(
        self, tail: LogPlace, computed: int | None, offset: int, page: Page, end: int
    ) -> Iterator[LogPlace]:
        """Yield what a place at *offset* may be, behind the frame at *tail* that is damaged."""
        read = self._buffer.read
        if record.frame_head(read(offset, record.FRAME_SIZE, end)).previous != tail.end:
            yield place_before(self._buffer, offset, page.checksum, end)
            return
        written = record.frame_head(read(tail.end, record.FRAME_SIZE, end))
        for checksum in (written.checksum, computed):
            if checksum is not None:
                yield LogPlace(offset, tail.end, checksum, tail.sequence, tail.tid)

    def _checksum(self, tail: LogPlace, end: int) -> int | None:
        """Return the checksum computed from the frame at *tail*: the stored one may be damaged."""
        try:
            start = self._buffer.read(tail.end, min(record.PREFIX_LIMIT, end - tail.end), end)
            head = record.any_head(start)
            size = min(record.prefix_size(head), head.length, end - tail.end)
            data = self._buffer.read(tail.end, size, end)
        except (IntegrityError, DamagedError):
            return None
        return crc32(data[record.CHECKED_FROM :], tail.checksum)


def compare_with_storage(scan: Scan, storage: Storage, report: Report) -> None:
    """I2: An open storage has applied the transactions of the log in order, and no others.

    It may be behind the log, and may catch up meanwhile.
    """
    contents = scan.contents
    if contents is None:
        return
    damaged = {problem.offset for problem in report.problems}
    for oid in map(Oid, range(contents.positions.next_oid)):
        try:
            stored = storage.load(oid)
        except IntegrityError as error:
            if error.offset not in damaged:
                report.add(5, error.offset, error.found, error.expected)
            continue
        if oid in contents.later or (stored is not None and stored.tid > scan.tail.tid):
            continue
        found = 0 if stored is None else stored.position
        expected = contents.positions.get(oid)
        if found != expected:
            where = f"oid {oid} in {storage!r}"
            report.add(2, where, f"its version at {found}", f"that at {expected}")
