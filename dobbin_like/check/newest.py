"""The newest versions of a log: their references, their trees, and their classes.

References are read from the bytes of states, without loading a class, unless the caller allows
some. Knows nothing of frames.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from typing import Final

from dobbin_like.check.content import Contents
from dobbin_like.check.report import BrokenClass, NotRebuilt
from dobbin_like.check.trees import INNER_CLASS, check_trees
from dobbin_like.exc import ValueNotRebuiltError
from dobbin_like.ids import DELTA, ROOT_OID, Oid
from dobbin_like.log.reading.reader import LoggedVersion
from dobbin_like.objects.codec.classes import ClassTable
from dobbin_like.objects.codec.policy import Policy
from dobbin_like.objects.codec.rebuild import Rebuilder
from dobbin_like.objects.codec.references import Marks, references
from dobbin_like.objects.codec.serialize import Decoder
from dobbin_like.objects.codec.state_reader import Reference, stand_ins_in
from dobbin_like.objects.faces.base import Persistent

_FIRST: Final = 5


class Newest:
    """The newest versions of a log, whose *contents* were checked up to *end*."""

    def __init__(self, contents: Contents, end: int) -> None:
        self._contents = contents
        self._positions = contents.positions
        self._report = contents.report
        self._end = end

    def check(self, allow: Iterable[str] | None) -> None:
        """I2: They refer only to stored objects. Note the unreachable ones.

        Note classes that can't be loaded, too, if *allow* names those that may be imported.
        """
        contents, report = self._contents, self._report
        report.dangling = [
            note for note in report.dangling if not self._positions.get(note.target)
        ]
        if allow is not None:
            self._look_for_broken(Policy(tuple(allow)))
        if contents.complete_since or contents.gap:
            self._look_for_dangling()
        if contents.gap:
            return
        if self._positions.stored:
            self._look_for_unreachable()
        inner = contents.names.class_number(*INNER_CLASS)
        if inner is not None:
            nodes = (oid for oid, number in enumerate(contents.class_numbers) if number == inner)
            check_trees(report, nodes, self._load, contents.states)

    def _load(self, number: int) -> LoggedVersion | None:
        """Return the newest version of an object, with its deltas applied to its state."""
        contents, oid = self._contents, Oid(number)
        position = self._positions.get(oid)
        if not position:
            return None
        stored = contents.loader.load(oid, position, self._end)
        if stored.number & DELTA:
            number, data = contents.states.whole(oid, stored, contents.before)
            stored = stored._replace(number=number, data=data)
        return stored

    def _data(self, oid: int) -> bytes | None:
        stored = self._load(oid)
        return None if stored is None else stored.data

    def _look_for_dangling(self) -> None:
        known = {(note.oid, note.target) for note in self._report.dangling}
        for oid in map(Oid, range(self._positions.next_oid)):
            stored, found = None, []
            with contextlib.suppress(Exception):  # Damaged bytes; the walk has noted them.
                stored = self._load(oid)
                found = references(stored.data) if stored else []
            for target in dict.fromkeys(target for target, _ in found):
                if stored and not self._positions.get(target) and (oid, target) not in known:
                    self._contents.dangle(oid, stored, Oid(target))

    def _look_for_unreachable(self) -> None:
        report, positions = self._report, self._positions
        marks = Marks(positions.next_oid, self._data, order=positions.get)
        try:
            marks.follow([ROOT_OID])
            lost = [oid for oid, flag in enumerate(marks.flags) if not flag and positions.get(oid)]
            size = sum(len(self._data(oid) or b"") for oid in lost)
        except Exception:  # noqa: BLE001  damaged bytes may raise anything; they were noted
            return
        report.unreachable, report.unreachable_bytes = len(lost), size
        report.unreachable_first = tuple(lost[:_FIRST])

    def _look_for_broken(self, policy: Policy) -> None:
        contents = self._contents
        for number, count in sorted(Counter(contents.class_numbers).items()):
            name = contents.names.class_name(number)
            if name is not None:
                self._try_class(policy, name, count, persistent=True)
        values: Counter[tuple[str, str]] = Counter()
        table = ClassTable(policy, contents.names, self._report.path)
        for oid in range(self._positions.next_oid):
            with contextlib.suppress(Exception):  # Damaged bytes; the walk has noted them.
                stored = self._load(oid)
                if stored is not None:
                    contents.states.read(stored.number, stored.data)
                    values.update(contents.states.met)
                    if contents.states.met:
                        self._try_values(table, oid, stored)
        for name, count in sorted(values.items()):
            self._try_class(policy, name, count, persistent=False)

    def _try_values(self, table: ClassTable, oid: int, stored: LoggedVersion) -> None:
        """Note the values in a state that the classes of this program do not make of it."""
        shape = table.shape(stored.number)
        try:
            Decoder(stored.data, Reference, table).state(shape)
        except Exception:  # noqa: BLE001  user code
            rebuilder = Rebuilder(stored.data, Reference, table)
            number = stored.number if shape is None else shape.class_number
            state = rebuilder.state(shape) if rebuilder.rebuild() else {}
            for path, value in stand_ins_in(state):
                if value._p_error is ValueNotRebuiltError:  # noqa: SLF001  as its name
                    name, reason = ".".join(value._p_name), value._p_reason  # noqa: SLF001
                    note = NotRebuilt(oid, table.name_of(number), path, name, reason)
                    self._report.not_rebuilt.append(note)

    def _try_class(
        self, policy: Policy, name: tuple[str, str], count: int, *, persistent: bool
    ) -> None:
        cls, reason = policy.resolve(*name)
        derived = isinstance(cls, type) and issubclass(cls, Persistent)
        if persistent and cls is not None and not derived:
            reason = "it is not a subclass of Persistent"
        if reason:
            self._report.broken.append(BrokenClass(".".join(name), count, reason))
