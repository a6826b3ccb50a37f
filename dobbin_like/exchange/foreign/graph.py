"""Objects of another library that refer to each other, from the root on.

Each is read once, and becomes an object of ours; nodes of sorted trees are read with their tree,
and become nodes of ours.
"""

from __future__ import annotations

import io
from collections import Counter, deque
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from dobbin_like.exc import NotStorableError, SourceError
from dobbin_like.exchange.foreign import kinds
from dobbin_like.exchange.foreign.mapping import Mapping
from dobbin_like.exchange.foreign.pickles import PickleReader, UnreadableError
from dobbin_like.exchange.foreign.trees import TreeWriter
from dobbin_like.exchange.new_database import ImportReport, NewDatabase
from dobbin_like.ids import Oid
from dobbin_like.objects.codec.state_reader import STREAM_CLASS, Reference
from dobbin_like.objects.codec.state_writer import ClassName
from dobbin_like.store import Progress

_UNKNOWN: ClassName = ("dobbin_like.persistent", "Persistent")
"""The class of a reference to an object that is not there."""

_BETWEEN_REPORTS = 500


class Record(NamedTuple):
    """What another library has of an object: its class, and the pickles of class and state."""

    name: ClassName
    data: bytes
    has_arguments: bool = False


class Library(Protocol):
    """A database of another library that is open for reading. Oids are numbers; 0 is the root."""

    count: int

    def record(self, oid: int) -> Record | None:
        """Return what there is of an object. UnreadableError: It is damaged."""

    def target(self, pid: Any) -> tuple[int | None, str]:
        """Return the oid in a reference; and what is lost of it, or why there is none."""

    def blob(self, oid: int) -> BinaryIO | None:
        """Return the bytes of a blob, None if they are not there."""


def check_start(source: str, starts: tuple[bytes, ...], expected: str) -> None:
    """Raise SourceError unless a file begins with one of *starts*."""
    with Path(source).open("rb") as file:
        found = file.read(16)
    if not found.startswith(starts):
        raise SourceError(source, "its beginning", repr(found), expected)


class GraphImport:
    """Writes what can be reached in *library* to *database*. Once."""

    def __init__(self, library: Library, database: NewDatabase, mapping: Mapping) -> None:
        self._library, self._database, self._mapping = library, database, mapping
        self._reader = PickleReader(database.writer, mapping, self._refer)
        self._new_oid = count().__next__
        self._trees = TreeWriter(database, self._new_oid)
        self._oids: dict[int, int] = {}
        self._waiting: deque[int] = deque()
        self._records: dict[int, Record | None] = {}
        self._names: dict[int, ClassName] = {}
        self._classes: dict[ClassName, tuple[ClassName, str | None]] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._told: set[str] = set()
        # References of the pickle that is read, which have no oid of ours yet.
        self._unbound: list[Reference] = []

    def run(self, progress: Progress | None) -> ImportReport:
        """Write the root, and all that it leads to."""
        self._oid_of(0)
        done = 0
        while self._waiting:
            oid = self._waiting.popleft()
            self._records.clear()
            try:
                self._object(oid)
            except (
                UnreadableError,
                NotStorableError,
                ValueError,
                LookupError,
                TypeError,
                RecursionError,
            ) as error:
                reason = error.reason if isinstance(error, NotStorableError) else error
                self._problem(f"oid {oid:#x}: {self._name(oid)}: {reason}")
            done += 1
            if progress is not None and not done % _BETWEEN_REPORTS:
                progress(done, max(self._library.count, done))
        classes = tuple((*names, objects) for names, objects in sorted(self._counts.items()))
        return self._database.complete(classes)

    def _name(self, oid: int) -> str:
        record = self._records.get(oid)
        return ".".join(record.name) if record else "not there"

    def _problem(self, text: str, once: str = "") -> None:
        if once not in self._told or not once:
            self._database.problems.add(text)
        self._told.add(once)

    # -- references ------------------------------------------------------------------

    def _oid_of(self, foreign: int) -> int:
        """Return the oid of ours for one of theirs, which has its turn later."""
        oid = self._oids.get(foreign)
        if oid is None:
            oid = self._oids[foreign] = self._new_oid()
            self._waiting.append(foreign)
        return oid

    def _refer(self, pid: Any) -> Any:
        foreign, lost = self._library.target(pid)
        if lost:
            self._problem(lost, once=lost)
        if foreign is None:
            return None
        reference = _unbound(foreign)
        self._unbound.append(reference)
        return reference

    def _bind(self) -> None:
        """Let the references that were read lead to objects of ours."""
        references, self._unbound = self._unbound, []
        for reference in references:
            foreign = _foreign_of(reference)
            name = self._class_at(foreign)
            bound = self._database.writer.reference(self._oid_of(foreign), name)
            reference.oid, reference.class_number = bound.oid, bound.class_number
            self._database.refer(bound.oid)

    def _record(self, foreign: int) -> Record | None:
        if foreign not in self._records:
            try:
                self._records[foreign] = self._library.record(foreign)
            except UnreadableError:
                self._records[foreign] = None  # It is told when it has its turn.
        return self._records[foreign]

    def _class_at(self, foreign: int) -> ClassName:
        """Return the class of ours that an object of theirs gets."""
        name = self._names.get(foreign)
        if name is None:
            record = self._record(foreign)
            name, kind = (_UNKNOWN, None) if record is None else self._class_of(record.name)
            if kind in ("tree", "treeset") and not self._is_sorted(foreign):
                name = kinds.SET if kind == "treeset" else kinds.DICT
            self._names[foreign] = name
        return name

    def _is_sorted(self, foreign: int) -> bool:
        """Return whether a tree can be one of ours; if it can't be read, that is told later."""
        unbound, self._unbound = self._unbound, []
        try:
            return kinds.is_sorted(self._items(foreign)[0])
        except (UnreadableError, ValueError, LookupError, TypeError):
            return True
        finally:
            self._unbound = unbound

    def _class_of(self, name: ClassName) -> tuple[ClassName, str | None]:
        """Return the class of ours for one of theirs, and what its objects are."""
        found = self._classes.get(name)
        if found is None:
            found = self._classes[name] = self._find_class(name)
        return found

    def _find_class(self, name: ClassName) -> tuple[ClassName, str | None]:
        mapped = self._mapping.of(name)
        kind = kinds.kind_of(mapped.name)
        if kind == "blob":
            return STREAM_CLASS, kind
        if kind is not None:
            return kinds.OURS[kind], kind
        if mapped.name[0].partition(".")[0] in kinds.LIBRARIES:
            self._problem(f"{'.'.join(name)}: there is no such class here; use --classes")
        return mapped.name, mapped.kind

    # -- objects ------------------------------------------------------------------------

    def _object(self, foreign: int) -> None:
        oid = self._oids[foreign]
        record = self._record(foreign)
        if record is None:
            record = self._library.record(foreign)  # It says what is wrong.
            text = "there is no such object, but a reference to it"
            raise UnreadableError(text)
        name, kind = self._class_of(record.name)
        if kind == "blob":
            self._blob(foreign, oid)
        elif kind in ("tree", "treeset"):
            self._tree(foreign, oid, name)
        else:
            state = self._state(record)
            self._bind()
            self._database.put(oid, name, self._converted(record, state, kind))
        self._counts[".".join(record.name), ".".join(self._class_at(foreign))] += 1

    def _state(self, record: Record) -> Any:
        self._unbound = []
        return self._reader.read(io.BytesIO(record.data), 1)

    def _converted(self, record: Record, state: Any, kind: str | None) -> dict[str, Any]:
        if kind == "counter":
            if type(state) is not int:
                text = f"{state!r:.60} as a number"
                raise ValueError(text)
            return {"_value": state, "_changes": 0}
        if record.has_arguments:
            text = f"{'.'.join(record.name)}: the arguments of its __new__ are lost"
            self._problem(text, once=text)
        attributes = _attributes(state)
        if kind is not None:
            attributes = kinds.with_items(attributes, kind)
        elif type(attributes.get("data")) in (dict, list):
            self._suspect(record.name)
        dropped = [key for key in attributes if type(key) is not str or key.startswith("_p_")]
        for key in dropped:
            del attributes[key]
            text = f"{'.'.join(record.name)}: the attribute {key!r} is left out"
            self._problem(text, once=text)
        return attributes

    def _suspect(self, name: ClassName) -> None:
        if not self._mapping.of(name).is_told:
            text = (
                f"{'.'.join(name)}: its items may be in .data; if it derives from a persistent "
                "mapping or list, tell that with --classes"
            )
            self._problem(text, once=text)

    def _blob(self, foreign: int, oid: int) -> None:
        file = self._library.blob(foreign)
        if file is None:
            text = "the file of the blob is not there; name the directory with --blobs"
            raise UnreadableError(text)
        with file:
            state = {"_offset": 0, "_size": 0}
            self._database.put_stream(oid, STREAM_CLASS, state, file)

    # -- trees ----------------------------------------------------------------------------

    def _tree(self, foreign: int, oid: int, name: ClassName) -> None:
        keys, values = self._items(foreign)
        self._bind()
        is_now = self._class_at(foreign)
        if is_now == name:
            self._trees.put(oid, name, keys, lambda begin, end: values[begin:end])
            return
        text = f"{self._name(foreign)}: keys without an order; it is a {is_now[1]}"
        self._problem(f"oid {foreign:#x}: {text}")
        is_set = is_now == kinds.SET
        items: Any = set(keys) if is_set else dict(zip(keys, values, strict=True))
        self._database.put(oid, is_now, {"_items": items})

    def _items(self, foreign: int) -> tuple[list[Any], list[Any]]:
        """Return keys and values of a tree. The references in them are not bound yet."""
        keys: list[Any] = []
        values: list[Any] = []
        record = self._record(foreign)
        assert record is not None  # It was read before.
        state = self._state(record)
        references = self._unbound
        inside: set[int] = set()
        seen = {foreign}

        def drop(node: Reference) -> None:
            inside.add(id(node))

        def read(node: Reference) -> tuple[ClassName, Any]:
            drop(node)
            oid = _foreign_of(node)
            below = None if oid in seen else self._record(oid)
            seen.add(oid)
            if below is None:
                text = f"a node of the tree is not there, or there twice, oid {oid:#x}"
                raise UnreadableError(text)
            found = self._state(below)
            references.extend(self._unbound)
            return below.name, found

        if record.name[0].startswith("durus"):
            leaves = kinds.durus_leaves(state, read)
        else:
            leaves = kinds.leaves_of(record.name, state, read, drop)
        for some_keys, some_values in leaves:
            keys += some_keys
            values += some_values
        self._unbound = [each for each in references if id(each) not in inside]
        return keys, values


def _unbound(foreign: int) -> Reference:
    """Return a reference to an oid of theirs: that of ours is above 0."""
    return Reference(Oid(-1 - foreign), 0)


def _foreign_of(reference: Reference) -> int:
    return -1 - reference.oid


def _attributes(state: Any) -> dict[Any, Any]:
    """Return the attributes in the state of an object."""
    if isinstance(state, tuple) and len(state) == 2:  # Those of __dict__ and those in slots.
        parts = [part or {} for part in state]
        if all(type(part) is dict for part in parts):
            return {**parts[0], **parts[1]}
    if state is None:
        return {}
    if type(state) is not dict:
        text = (
            f"a {type(state).__name__} as its state, expected a dict of attributes; if the class "
            "derives from a BTree, tell that with --classes"
        )
        raise ValueError(text)
    return {**state}
