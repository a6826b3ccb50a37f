"""The contents of frames: transactions and their states; the rest is in :mod:`.parts`.

Gets one frame after the other, in the order of the log, and checks each against those before
it. Does not know where the log ends and how frames are found: that is :mod:`.scan`.
"""

from __future__ import annotations

import contextlib
from array import array
from collections import Counter
from typing import TYPE_CHECKING, Any

from dobbin_like.check.parts import Parts
from dobbin_like.check.reach import dangling, unreachable
from dobbin_like.check.report import BrokenClass, Dangling
from dobbin_like.check.trees import INNER_CLASS, check_trees
from dobbin_like.exc import IntegrityError
from dobbin_like.ids import DELTA, Oid
from dobbin_like.log.format import record
from dobbin_like.log.format.record import ENTRY_SIZE, LogPlace
from dobbin_like.log.reading.loader import Loader
from dobbin_like.log.reading.reader import Frame, LoggedTransaction, LoggedVersion, ReadBuffer
from dobbin_like.log.reading.streams import is_of, stream_offset
from dobbin_like.objects.codec.policy import Policy
from dobbin_like.objects.codec.reference_path import way_to
from dobbin_like.objects.codec.state_reader import STREAM_CLASS, Reference, StateReader
from dobbin_like.objects.faces.base import Persistent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dobbin_like.check.report import Report


class Contents(Parts):
    """The contents of a log, up to the frame that was checked last.

    ``class_numbers`` (0: not known) are by oid; ``later`` has the oids changed by
    transactions after the first *known* ones. Versions from before *complete_since* may refer
    to objects of which only a later version was kept, and oids may be missing.
    """

    def __init__(
        self,
        buffer: ReadBuffer,
        report: Report,
        known: int | None,
        complete_since: int = 0,
        generation: int = 0,
    ) -> None:
        super().__init__(buffer, report)
        self.class_numbers: array[int] = array("L")
        self.later: set[int] = set()
        self._known = known
        self._complete_since = complete_since
        self._generation = generation
        self._loader = Loader(buffer.fd, buffer.path)
        self._states = StateReader(self._classes)

    def check(self, tail: LogPlace, frame: Frame) -> None:
        """Check the frame at *tail*, and add all problems to the report."""
        try:
            if frame.logged is not None:
                self._check_transaction(frame.logged)
            elif frame.kind == record.KIND_STREAM:
                self._check_stream(tail.end, frame.tail.end)
            elif frame.kind == record.KIND_REDO:
                self._check_redo(tail.end, frame.tail.end)
            else:
                self._check_saved(tail, frame)
        except IntegrityError as error:
            self._damage(error)

    def check_dense(self) -> None:
        """I10: Oids are dense, so that positions are an array."""
        positions = self.positions
        if positions.stored != positions.next_oid and not (self.gap or self._complete_since):
            missing = next(oid for oid, at in enumerate(positions.slots) if not at)
            found = f"{positions.stored} objects below oid {positions.next_oid}"
            self.report.add(10, "oids", found, f"oid {missing} to be stored too")

    # -- transactions -------------------------------------------------------

    def _check_transaction(self, logged: LoggedTransaction) -> None:
        """I2: A successful transaction counts with all its states, a failed one with none.

        Reading the frame has checked its tid and its sequence number.
        """
        self.report.transactions += 1
        if logged.failed:
            self.report.failed += 1
            self._check_states(logged, apply=False)
            return
        self._check_shapes(logged)
        self._classes.update(*logged.names)
        if self._known is not None and logged.sequence > self._known:
            self.later.update(logged.oids)
        references = self._check_states(logged, apply=True)
        if logged.tid > self._complete_since:
            for offset, oid, reference in references:
                self._check_reference(offset, oid, reference, logged.end)

    def _check_shapes(self, logged: LoggedTransaction) -> None:
        """I5: A shape belongs to a known class, and no number gets another meaning."""
        if self.gap:
            return
        known = self._classes
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
            if class_number not in classes and known.class_name(class_number) is None:
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
                stored = self._loader.load(oid, position, logged.end)
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
        self.positions.update((oid,), oid, position)
        if oid >= len(self.class_numbers):
            self.class_numbers.extend([0] * (oid + 1 - len(self.class_numbers)))
        self.class_numbers[oid] = class_number

    def _check_state(self, oid: Oid, stored: LoggedVersion) -> list[Reference]:
        """I8: What was stored can be loaded, even if its class is missing."""
        name = self._classes.class_name(self._class_of(stored))
        if name is None:
            if not self.gap:
                found = f"oid {oid} of class number {stored.number}"
                self.report.add(8, stored.position, found, "a class in the class table")
            return []
        try:
            state, references = self._states.read(stored.number, stored.data)
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
        base = self._states.base(stored.data)
        before = self._before(oid, stored)
        if before is None or before.tid == base or self.gap:
            return  # Checked already, or the version before is damaged.
        found = f"a delta of version {base} of oid {oid}"
        self.report.add(5, stored.position, found, f"one of {before.tid}, the version before")

    def _before(self, oid: Oid, stored: LoggedVersion) -> LoggedVersion | None:
        try:
            return self._loader.load(oid, stored.previous, stored.position)
        except IntegrityError:
            return None

    def _class_of(self, stored: LoggedVersion) -> int:
        if stored.number & DELTA:
            return stored.number - DELTA
        shape = self._classes.shape(stored.number)
        return stored.number if shape is None else shape[0]

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
            self._dangle(oid, self._loader.load(oid, offset, end), target)
        elif self.class_numbers[target] not in (0, number):
            found = f"oid {oid} refers to oid {target} as one of class {self._name(number)}"
            expected = f"class {self._name(self.class_numbers[target])}"
            self.report.add(2, offset, found, expected)

    def _dangle(self, oid: Oid, stored: LoggedVersion, target: Oid) -> None:
        name, way = self._name(self._class_of(stored)), ""
        with contextlib.suppress(Exception):  # The bytes were decoded before.
            way = way_to(self._states.read(stored.number, stored.data)[0], target)
        lost = Dangling(oid, name, way, target, stored.position)
        self.report.dangling.append(lost)
        found = "which is not stored" if not self.gap else "which can't be found"
        self.report.add(2, stored.position, f"{lost}, {found}", "a stored object")

    def check_newest(self, end: int, allow: Iterable[str] | None) -> None:
        """I2: The newest versions refer only to stored objects. Note the unreachable ones.

        Note classes that can't be loaded, too, if *allow* names those that may be imported.

        Cost: The newest states.
        """
        positions, report = self.positions, self.report
        report.dangling = [note for note in report.dangling if not positions.get(note.target)]

        def load(number: int) -> LoggedVersion | None:
            return self._newest(Oid(number), end)

        self._look_for_broken(allow, load)
        if self._complete_since or self.gap:
            known = {(note.oid, note.target) for note in report.dangling}
            for lacking in dangling(positions, load):
                if lacking[::2] not in known:
                    self._dangle(*lacking)
        if self.gap:
            return
        lost = unreachable(positions, load) if positions.stored else None
        if lost is not None:
            report.unreachable, report.unreachable_bytes, report.unreachable_first = lost
        inner = self._classes.class_number(*INNER_CLASS)
        if inner is not None:
            nodes = (oid for oid, number in enumerate(self.class_numbers) if number == inner)
            check_trees(report, nodes, load, self._states)

    def _newest(self, oid: Oid, end: int) -> LoggedVersion | None:
        """Return the newest version of an object, with its deltas applied to its state."""
        position = self.positions.get(oid)
        if not position:
            return None
        stored = self._loader.load(oid, position, end)
        if stored.number & DELTA:
            number, data = self._states.whole(oid, stored, self._before)
            stored = stored._replace(number=number, data=data)
        return stored

    def _look_for_broken(
        self, allow: Iterable[str] | None, load: Callable[[int], LoggedVersion | None]
    ) -> None:
        if allow is None:
            return
        policy = Policy(tuple(allow))
        for number, count in sorted(Counter(self.class_numbers).items()):
            name = self._classes.class_name(number)
            if name is not None:
                self._try_class(policy, name, count, persistent=True)
        values: Counter[tuple[str, str]] = Counter()
        for number in range(self.positions.next_oid):
            with contextlib.suppress(Exception):  # Damaged bytes; the walk has noted them.
                stored = load(number)
                if stored is not None:
                    self._states.read(stored.number, stored.data)
                    values.update(self._states.met)
        for name, count in sorted(values.items()):
            self._try_class(policy, name, count, persistent=False)

    def _try_class(
        self, policy: Policy, name: tuple[str, str], count: int, *, persistent: bool
    ) -> None:
        cls, reason = policy.resolve(*name)
        derived = isinstance(cls, type) and issubclass(cls, Persistent)
        if persistent and cls is not None and not derived:
            reason = "it is not a subclass of Persistent"
        if reason:
            self.report.broken.append(BrokenClass(".".join(name), count, reason))

    def _name(self, number: int) -> str:
        name = self._classes.class_name(number)
        return f"number {number}" if name is None else ".".join(name)
