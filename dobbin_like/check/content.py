"""The contents of frames: transactions and their states. :mod:`.parts` has the other frames.

Gets one frame after the other, in the order of the log, and checks each against those before
it. Does not know where the log ends and how frames are found: that is :mod:`.scan`.
"""

from __future__ import annotations

import contextlib
from array import array
from typing import Any

from dobbin_like.check.parts import Parts
from dobbin_like.check.report import Dangling, Report
from dobbin_like.exc import IntegrityError
from dobbin_like.ids import DELTA, Oid
from dobbin_like.log.format import record
from dobbin_like.log.format.header import Page
from dobbin_like.log.format.record import ENTRY_SIZE, LogPlace
from dobbin_like.log.reading.loader import Loader
from dobbin_like.log.reading.reader import Frame, LoggedTransaction, LoggedVersion, ReadBuffer
from dobbin_like.log.reading.streams import is_of, stream_offset
from dobbin_like.name_tables import NO_CLASS, class_and_names
from dobbin_like.objects.codec.state_reader import STREAM_CLASS, Reference, StateReader, way_to


class Contents(Parts):
    """The contents of a log, up to the frame that was checked last.

    ``class_numbers`` (0: not known) are by oid; ``later`` has the oids changed by
    transactions after the first *known* ones. Versions from before *complete_since* may refer
    to objects of which only a later version was kept, and oids may be missing.
    """

    def __init__(self, buffer: ReadBuffer, report: Report, known: int | None, page: Page) -> None:
        super().__init__(buffer, report)
        self.class_numbers: array[int] = array("L")
        self.later: set[int] = set()
        self._known = known
        self._begun_with: int | None = None  # Above every oid of the first one.
        self.complete_since: int = page.complete_since
        self._generation = page.generation
        self.loader: Loader = Loader(buffer.fd, buffer.path)
        self.states: StateReader = StateReader(self.names)

    def check(self, tail: LogPlace, frame: Frame) -> None:
        try:
            if frame.logged is not None:
                self._check_transaction(frame.logged)
            elif frame.kind == record.KIND_STREAM:
                self._check_stream(tail.end, frame.tail.end)
            else:
                self._check_saved(tail, frame)
        except IntegrityError as error:
            self._damage(error)

    def check_dense(self) -> None:
        """I10: Oids are dense, so that positions are an array.

        But those that the first transaction leaves out: it may be the newest state of another log,
        in which nothing refers to them.
        """
        positions = self.positions
        if positions.stored == positions.next_oid or self.gap or self.complete_since:
            return
        later = range(self._begun_with or 0, positions.next_oid)
        missing = next((oid for oid in later if not positions.get(Oid(oid))), None)
        if missing is not None:
            found = f"{positions.stored} objects below oid {positions.next_oid}"
            self.report.add(10, "oids", found, f"oid {missing} to be stored too")

    def _check_transaction(self, logged: LoggedTransaction) -> None:
        """I2: A successful transaction counts with all its states, a failed one with none."""
        self.report.transactions += 1
        if logged.failed:
            self.report.failed += 1
            self._check_states(logged, apply=False)
            return
        self._check_shapes(logged)
        self.names.update(*logged.names)
        if self._known is not None and logged.sequence > self._known:
            self.later.update(logged.oids)
        references = self._check_states(logged, apply=True)
        if self._begun_with is None:
            self._begun_with = self.positions.next_oid
        if logged.tid > self.complete_since:
            for offset, oid, reference in references:
                self._check_reference(offset, oid, reference, logged.end)

    def _check_shapes(self, logged: LoggedTransaction) -> None:
        """I5: A shape belongs to a known class, and no number gets another meaning."""
        if self.gap:
            return
        known = self.names
        classes = {number for number, _, _ in logged.names.classes}
        for number in classes:
            if known.shape(number) is not None:
                found = f"class number {number}, which is a shape's"
                self.report.add(5, logged.offset, found, "a number that was not used before")
        numbers = set(classes)
        for number, class_number, attributes in logged.names.shapes:
            shape = f"shape {number} of class number {class_number}"
            if number in numbers or known.class_name(number) or known.shape(number):
                found = f"{shape} with the number of another"
                self.report.add(5, logged.offset, found, "a number that was not used before")
            dropped = class_number == NO_CLASS and not attributes
            if not (
                dropped or class_number in classes or known.class_name(class_number) is not None
            ):
                self.report.add(5, logged.offset, shape, "a class in the class table")
            numbers.add(number)
            if len(set(attributes)) != len(attributes):
                self.report.add(5, logged.offset, f"{shape} with a name twice", "each name once")

    def _check_states(
        self, logged: LoggedTransaction, *, apply: bool
    ) -> list[tuple[int, Oid, Reference]]:
        """I5: Every state has the bytes that were written; I9: and can be decoded."""
        references: list[tuple[int, Oid, Reference]] = []
        if len(set(logged.oids)) != len(logged.oids):
            self.report.add(2, logged.offset, "an oid twice in a transaction", "each oid once")
        position = logged.first_entry
        for number in logged.oids:
            oid = Oid(number)
            stored = None
            try:
                stored = self.loader.load(oid, position, logged.end)
            except IntegrityError as error:
                self._damage(error)
            if apply and stored is not None:
                self._check_previous(oid, stored)
                self._apply(oid, position, self._class_of(stored))
                found = self._check_state(oid, stored)
                references += [(position, oid, reference) for reference in found]
            elif apply:
                self._apply(oid, position, 0)
            position += ENTRY_SIZE
        self._check_fill(self._data_end(logged), logged.end)
        return references

    def _data_end(self, logged: LoggedTransaction) -> int:
        """Return where the last state of a transaction ends, or its head if it has none."""
        if logged.oids:
            position = logged.first_entry + ENTRY_SIZE * (len(logged.oids) - 1)
            entry = record.entry_head(self._buffer.read(position, ENTRY_SIZE, logged.end))
            return position + entry.distance + entry.length
        head = self._buffer.read(logged.offset, record.FRAME_SIZE, logged.end)
        return logged.first_entry + record.frame_head(head).meta_size

    def _check_previous(self, oid: Oid, stored: LoggedVersion) -> None:
        """I5: An entry leads to the version of its object that it replaced."""
        before = self.positions.get(oid)
        if stored.previous != before and not self.gap:
            found = f"oid {oid} after its version at {stored.previous}"
            self.report.add(5, stored.position, found, f"after that at {before}")

    def _apply(self, oid: Oid, position: int, class_number: int) -> None:
        self.report.versions += 1
        self.positions.update((oid,), position)
        if oid >= len(self.class_numbers):
            self.class_numbers.extend([0] * (oid + 1 - len(self.class_numbers)))
        self.class_numbers[oid] = class_number

    def _check_state(self, oid: Oid, stored: LoggedVersion) -> list[Reference]:
        """I8: What was stored can be loaded, even if its class is missing."""
        name = self.names.class_name(self._class_of(stored))
        if name is None:
            if not self.gap:
                found = f"oid {oid} of class number {stored.number}"
                self.report.add(8, stored.position, found, "a class in the class table")
            return []
        try:
            state, references = self.states.read(stored.number, stored.data)
        except Exception as error:  # noqa: BLE001  damaged bytes may raise anything
            found = f"the state of {name[1]} oid {oid}: {type(error).__name__}: {error}"
            self.report.add(8, stored.position, found, "one that can be decoded")
            return []
        if stored.number & DELTA:
            self._check_delta(oid, stored)
        elif name == STREAM_CLASS:
            self._check_stream_object(oid, stored, state)
        return references

    def _check_delta(self, oid: Oid, stored: LoggedVersion) -> None:
        """I5: The version that a delta changes is there, and is unchanged."""
        base = self.states.base(stored.data)
        before = self.before(oid, stored)
        if before is None or before.tid == base or self.gap:
            return  # Checked already, or the version before is damaged.
        found = f"a delta of version {base} of oid {oid}"
        self.report.add(5, stored.position, found, f"one of {before.tid}, the version before")

    def before(self, oid: Oid, stored: LoggedVersion) -> LoggedVersion | None:
        """Return the version that *stored* replaced; None if there is none, or it is damaged."""
        try:
            return self.loader.load(oid, stored.previous, stored.position)
        except IntegrityError:
            return None

    def _class_of(self, stored: LoggedVersion) -> int:
        return class_and_names(self.names, stored.number)[0]

    def _check_stream_object(self, oid: Oid, stored: LoggedVersion, state: dict[str, Any]) -> None:
        """I2: A stream object refers to a stream of its size, which is stored before it."""
        offset, size = state.get("_offset"), state.get("_size")
        there = None
        if isinstance(offset, int):
            here = is_of(offset, self._generation)
            there = self._streams.get(stream_offset(offset)) if here else None
        if self.gap or (there is not None and there == size):
            return
        found = f"oid {oid} refers to a stream of {size} bytes at {offset}"
        self.report.add(2, stored.position, found, "an existing stream")

    def _check_reference(self, offset: int, oid: Oid, reference: Reference, end: int) -> None:
        """I2: The target of a reference was stored by then, with that class."""
        if self.gap:
            return
        target, number = reference.oid, reference.class_number
        if not self.positions.get(target):
            self.dangle(oid, self.loader.load(oid, offset, end), target)
        elif self.class_numbers[target] not in (0, number):
            found = f"oid {oid} refers to oid {target} as one of class {self._name(number)}"
            expected = f"class {self._name(self.class_numbers[target])}"
            self.report.add(2, offset, found, expected)

    def dangle(self, oid: Oid, stored: LoggedVersion, target: Oid) -> None:
        """Note that *target*, to which a version refers, is not stored."""
        name, way = self._name(self._class_of(stored)), ""
        with contextlib.suppress(Exception):  # The bytes were decoded before.
            way = way_to(self.states.read(stored.number, stored.data)[0], target)
        lost = Dangling(oid, name, way, target, stored.position)
        self.report.dangling.append(lost)
        found = "which is not stored" if not self.gap else "which can't be found"
        self.report.add(2, stored.position, f"{lost}, {found}", "a stored object")

    def _name(self, number: int) -> str:
        name = self.names.class_name(number)
        return f"number {number}" if name is None else ".".join(name)
