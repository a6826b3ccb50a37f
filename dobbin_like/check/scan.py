"""Walks a log from its header to the end of what is committed and checks every frame.

Reads the file only, from a descriptor of its own, and takes no lock: others may commit
meanwhile, what is checked is what was committed when the walk began. A damaged place is
noted, and the walk goes on behind it where the chain of frames can be found again.
Knows no open database: :mod:`.memory` compares one with what is found here.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dobbin_like.check.report import Report
from dobbin_like.check.states import STREAM_CLASS, Reference, StateReader
from dobbin_like.exc import FormatVersionError, IntegrityError, NotALogError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log import record
from dobbin_like.log.class_table import ClassTable
from dobbin_like.log.header import (
    BOOT,
    COMMITTED,
    DURABLE,
    PAGE_SIZE,
    SAVED,
    Page,
    Words,
    boot_number,
    decode_page,
    is_unwritten,
)
from dobbin_like.log.loader import Loader
from dobbin_like.log.positions import Positions
from dobbin_like.log.reader import Frame, Logged, Stored, Window, read_frame
from dobbin_like.log.record import ENTRY_SIZE, Tail
from dobbin_like.log.recovery import saved_slots, verify
from dobbin_like.log.saved import place_before
from dobbin_like.log.stream import StreamReader

if TYPE_CHECKING:
    from dobbin_like.storage import Storage

__all__ = ["Progress", "Scan", "compare_with_storage"]

Progress = Callable[[int, int], object]
"""Called with the bytes checked so far and the bytes there are."""

_STREAM_PART: Final = 1 << 20
_MARKS: Final = (b"TRAN", b"STRM", b"POSN")
_MARK_OFFSET: Final = 8
_LEAST: Final = 48


class _Limits(NamedTuple):
    """What the words of the header say, and what follows for the walk.

    All before ``certain`` has to be whole; after a power cut, what lies between it and
    ``end`` counts up to the first frame that is not whole.
    """

    committed: int | None
    durable: int | None
    saved: int | None
    certain: int
    end: int


class Scan:
    """One walk over one log. One thread.

    What it leaves for others: ``positions`` and ``class_numbers`` by oid, as of ``tail``,
    and ``later``, the oids changed by transactions after the first *known* ones.
    """

    def __init__(self, path: str, report: Report, known: int | None = None) -> None:
        self.path = path
        self.report = report
        self.positions = Positions()
        self.class_numbers: array[int] = array("L")
        self.later: set[int] = set()
        self.tail = Tail(PAGE_SIZE, 0, 0, 0, 0)
        self.newest_success = Tid(0)
        self._known = known
        self._classes = ClassTable()
        self._states = StateReader(self._classes)
        self._streams: dict[int, int] = {}
        self._saved: set[int] = set()
        self._gap = False  # Transactions could not be read: what follows may build on them.

    def run(self, progress: Progress | None = None) -> None:
        """Walk; all that is found goes into the report.

        Raises:
            OSError: The file can't be opened or read.

        Cost: The bytes of the log, each read once; 16 bytes of memory for each oid.
        """
        fd = os.open(self.path, os.O_RDONLY)
        try:
            self._run(fd, progress)
        finally:
            os.close(fd)
        self.report.objects = self.positions.stored

    def _run(self, fd: int, progress: Progress | None) -> None:
        page = self._page(fd)
        if page is None:
            return
        words = Words(fd, writable=False)
        try:
            limits = self._limits(fd, words)
        finally:
            words.close()
        self._window = Window(fd, self.path)
        self._loader = Loader(fd, self.path)
        self._stream_reader = StreamReader(fd, self.path)
        self.tail = Tail(PAGE_SIZE, 0, page.checksum, 0, 0)
        for tail, frame in self._frames(page, limits):
            self._check_frame(tail, frame)
            self.tail = frame.tail
            if progress is not None:
                progress(self.tail.end, limits.end)
        self.report.bytes = self.tail.end
        self._check_saved_word(limits.saved)
        self._check_dense()

    # -- the header ---------------------------------------------------------

    def _page(self, fd: int) -> Page | None:
        """I2: The header says that this is a log, and its checksum is right."""
        start = os.pread(fd, PAGE_SIZE, 0)
        if is_unwritten(start, os.fstat(fd).st_size):
            return None
        try:
            return decode_page(self.path, start)
        except IntegrityError as error:
            self._damage(error)
        except NotALogError as error:
            self.report.add(5, 0, error.found, "the header of a log")
        except FormatVersionError as error:
            self.report.add(5, 0, f"format version {error.found}", f"up to {error.expected}")
        return None

    def _limits(self, fd: int, words: Words) -> _Limits:
        """I4: The words are believable, in order and inside the file."""
        # DURABLE first: it never overtakes COMMITTED.
        durable, saved = words.get(DURABLE), words.get(SAVED)
        committed, boot = words.get(COMMITTED), words.get(BOOT)
        size = os.fstat(fd).st_size
        named = {"COMMITTED": committed, "DURABLE": durable, "SAVED": saved, "BOOT": boot}
        for (name, value), index in zip(
            named.items(), (COMMITTED, DURABLE, SAVED, BOOT), strict=True
        ):
            if value is None:
                self.report.add(4, index * 8, f"the word {name} fails its check", "a whole word")
        power_cut = boot is not None and boot != boot_number()
        if committed is None or power_cut:
            certain = min(PAGE_SIZE if durable is None else durable, size)
            end = size if committed is None else min(size, committed)
            return _Limits(committed, durable, saved, certain, end)
        if durable is not None and durable > committed:
            found = f"the durable end {durable}"
            self.report.add(4, DURABLE * 8, found, f"at most the committed end {committed}")
        if committed > size:
            self.report.add(1, size, "the end of the file", f"{committed} bytes are committed")
        end = min(committed, size)
        return _Limits(committed, durable, saved, end, end)

    def _check_saved_word(self, saved: int | None) -> None:
        """I10: Where saved positions are said to be, they are."""
        if saved and saved < self.tail.end and saved not in self._saved and not self._gap:
            found = f"saved positions are said to be at {saved}"
            self.report.add(10, SAVED * 8, found, f"one of {sorted(self._saved)}")

    # -- frames -------------------------------------------------------------

    def _frames(self, page: Page, limits: _Limits) -> Iterator[tuple[Tail, Frame]]:
        """Yield the places and the frames behind them; note what is damaged, and go on."""
        tail = self.tail
        while tail.end < limits.end:
            certain = tail.end < limits.certain
            try:
                frame = read_frame(self._window, tail, limits.end)
                if not certain:
                    verify(self._window, tail, frame)
            except IntegrityError as error:
                if not certain:
                    return  # After a power cut the log ends here.
                self._damage(error)
                self._gap = True
                found = self._next_place(tail, page, limits.end)
                if found is None:
                    return
                tail = found
                continue
            if frame.status == record.PREPARED:
                if not certain:
                    return
                self.report.add(2, tail.end, "a prepared transaction", "a decided one")
            yield tail, frame
            tail = frame.tail

    def _next_place(self, tail: Tail, page: Page, end: int) -> Tail | None:
        """Return the next place behind a damaged one from which a frame can be read."""
        offset = tail.end
        while (found := self._next_mark(offset + 8, end)) is not None:
            offset = found
            try:
                place = place_before(self._window, offset, page.checksum, end)
                read_frame(self._window, place, end)
            except IntegrityError:
                continue
            return place
        return None

    def _next_mark(self, offset: int, end: int) -> int | None:
        """Return the offset of the next bytes that look like the start of a frame."""
        while offset + _LEAST <= end:
            size = min(_STREAM_PART, end - offset)
            data = self._window.read(offset, size, end)
            for at in range(_MARK_OFFSET, size - 3, 8):
                if data[at : at + 4] in _MARKS:
                    return offset + at - _MARK_OFFSET
            if offset + size >= end:
                return None
            offset += size - 16
        return None

    def _check_frame(self, tail: Tail, frame: Frame) -> None:
        if frame.logged is not None:
            self._check_transaction(frame.logged)
        elif frame.kind == record.KIND_STREAM:
            self._check_stream(tail.end)
        else:
            self._check_saved(tail, frame)

    def _damage(self, error: IntegrityError) -> None:
        self.report.add(5, error.offset, error.found, error.expected)

    # -- transactions -------------------------------------------------------

    def _check_transaction(self, logged: Logged) -> None:
        """I2: A successful transaction counts with all its states, a failed one with none.

        That tids increase and that sequence numbers are dense, reading the frame has
        checked.
        """
        self.report.transactions += 1
        if logged.failed:
            self.report.failed += 1
            self._check_states(logged, apply=False)
            return
        self._classes.update(logged.classes)
        if self._known is not None and logged.sequence > self._known:
            self.later.update(logged.oids)
        references = self._check_states(logged, apply=True)
        self.newest_success = logged.tid
        for offset, oid, reference in references:
            self._check_reference(offset, oid, reference)

    def _check_states(self, logged: Logged, *, apply: bool) -> list[tuple[int, Oid, Reference]]:
        """I5: Every state has the bytes that were written; I9: and can be decoded."""
        references: list[tuple[int, Oid, Reference]] = []
        if len(set(logged.oids)) != len(logged.oids):
            self.report.add(2, logged.offset, "an oid twice in a transaction", "each oid once")
        position = logged.first_entry
        for number in logged.oids:
            oid = Oid(number)
            try:
                stored = self._loader.load(oid, position, logged.end)
            except IntegrityError as error:
                self._damage(error)
                if apply:
                    self._apply(oid, position, 0)
            else:
                if apply:
                    self._check_previous(oid, stored)
                    self._apply(oid, position, stored.class_number)
                    found = self._check_state(oid, stored)
                    references += [(position, oid, reference) for reference in found]
            position += ENTRY_SIZE
        return references

    def _check_previous(self, oid: Oid, stored: Stored) -> None:
        """I5: An entry leads to the version of its object that it replaced."""
        before = self.positions.get(oid)
        if stored.previous != before and not self._gap:
            found = f"oid {oid} after its version at {stored.previous}"
            self.report.add(5, stored.position, found, f"after that at {before}")

    def _apply(self, oid: Oid, position: int, class_number: int) -> None:
        self.report.versions += 1
        self.positions.update((oid,), oid, position)
        if oid >= len(self.class_numbers):
            self.class_numbers.extend([0] * (oid + 1 - len(self.class_numbers)))
        self.class_numbers[oid] = class_number

    def _check_state(self, oid: Oid, stored: Stored) -> list[Reference]:
        """I8: What was stored can be loaded, though its class be gone."""
        name = self._classes.name(stored.class_number)
        if name is None:
            if not self._gap:
                found = f"oid {oid} of class number {stored.class_number}"
                self.report.add(8, stored.position, found, "a class that was logged")
            return []
        try:
            state, references = self._states.read(stored.data)
        except Exception as error:  # noqa: BLE001  damaged bytes may raise anything
            found = f"the state of {name[1]} oid {oid}: {type(error).__name__}: {error}"
            self.report.add(8, stored.position, found, "one that can be decoded")
            return []
        if name == STREAM_CLASS:
            self._check_stream_object(oid, stored, state)
        return references

    def _check_reference(self, offset: int, oid: Oid, reference: Reference) -> None:
        """I2: What an object refers to was stored with it or before, with that class."""
        if self._gap:
            return
        target, number = reference.oid, reference.class_number
        if not self.positions.get(target):
            found = f"oid {oid} refers to oid {target}, which is not stored"
            self.report.add(2, offset, found, "a stored object")
        elif self.class_numbers[target] not in (0, number):
            found = f"oid {oid} refers to oid {target} as one of class {self._name(number)}"
            expected = f"class {self._name(self.class_numbers[target])}"
            self.report.add(2, offset, found, expected)

    def _name(self, number: int) -> str:
        name = self._classes.name(number)
        return f"number {number}" if name is None else ".".join(name)

    # -- streams and saved positions ------------------------------------------

    def _check_stream(self, offset: int) -> None:
        """I5: Every chunk of a stream has the bytes that were written."""
        reader = self._stream_reader
        try:
            size = reader.size(offset)
            self._streams[offset] = size
            self.report.streams += 1
            self.report.stream_bytes += size
            for start in range(0, size, _STREAM_PART):
                reader.read(offset, start, _STREAM_PART)
        except IntegrityError as error:
            self._damage(error)

    def _check_stream_object(self, oid: Oid, stored: Stored, state: dict[str, Any]) -> None:
        """I2: A stream object leads to a stream of its size that lies before it."""
        offset, size = state.get("_offset"), state.get("_size")
        if self._gap or self._streams.get(offset) == size:  # type: ignore[arg-type]
            return
        found = f"oid {oid} refers to a stream of {size} bytes at {offset}"
        self.report.add(2, stored.position, found, "a stream that is there")

    def _check_saved(self, tail: Tail, frame: Frame) -> None:
        """I10: Saved positions and classes are those that a scan finds."""
        self._saved.add(tail.end)
        try:
            head, block = saved_slots(self._window, tail.end, frame.tail.end)
        except IntegrityError as error:
            self._damage(error)
            return
        if self._gap or head.covered.sequence != tail.sequence:
            return
        saved = Positions.decode(block, head.stored)
        scanned = self.positions
        if (saved.next_oid, saved.stored) != (scanned.next_oid, scanned.stored):
            found = f"saved positions of {saved.stored} objects below oid {saved.next_oid}"
            expected = f"{scanned.stored} below {scanned.next_oid}"
            self.report.add(10, tail.end, found, expected)
        elif block != scanned.encode():
            oid = next(oid for oid, at in enumerate(saved.slots) if at != scanned.get(oid))
            found = f"saved position {saved.get(oid)} of oid {oid}"
            self.report.add(10, tail.end, found, scanned.get(oid))
        if frame.classes != self._classes.items():
            self.report.add(10, tail.end, "saved class table", "that of the transactions")

    def _check_dense(self) -> None:
        """I10: Oids are dense, so that positions are an array."""
        positions = self.positions
        if positions.stored != positions.next_oid and not self._gap:
            missing = next(oid for oid, at in enumerate(positions.slots) if not at)
            found = f"{positions.stored} objects below oid {positions.next_oid}"
            self.report.add(10, self.tail.end, found, f"oid {missing} to be stored too")


def compare_with_storage(scan: Scan, storage: Storage, report: Report) -> None:
    """I2: An open storage has applied what the log has, in the same order, and no more.

    It may be behind the log, and may move on meanwhile.
    """
    load, get = storage.load, scan.positions.get
    for oid in map(Oid, range(scan.positions.next_oid)):
        try:
            stored = load(oid)
        except IntegrityError:  # Noted when it was scanned.
            continue
        if oid in scan.later or (stored is not None and stored.tid > scan.tail.tid):
            continue
        position = 0 if stored is None else stored.position
        if position != get(oid):
            where = f"oid {oid} in {storage!r}"
            report.add(2, where, f"its version at {position}", f"that at {get(oid)}")
