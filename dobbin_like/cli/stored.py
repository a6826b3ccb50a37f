"""The objects of a log as they are stored: no class of an application is loaded.

A damaged object is an item like any other here, so that a listing goes on after it.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, Final, NamedTuple, Self

from dobbin_like.cli.common import Complaint
from dobbin_like.cli.text import class_text
from dobbin_like.cli.values import MAPPING, Values, content_of
from dobbin_like.contract import Storage, StoredVersion, reading_ahead
from dobbin_like.database import Database, store_of
from dobbin_like.exc import Error, IntegrityError, ObjectNotFound
from dobbin_like.ids import NO_TID, ROOT_OID, Oid, Tid
from dobbin_like.objects.codec.state_reader import Reference
from dobbin_like.objects.deltas.delta import ITEMS
from dobbin_like.search.questions import Census, census_of
from dobbin_like.search.snapshot_scan import BETWEEN_REPORTS, SnapshotScan
from dobbin_like.storages.as_of import Pin
from dobbin_like.store import Progress

_STEP: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^/]+""")

_OID_DIGITS: Final = 40
"""More are no oid, and too many Python would refuse to read."""

_TREE_NODE: Final = "dobbin_like.collections.BTreeInner"


class StoredObject(NamedTuple):
    """One version of an object. Its state may be damaged all the same."""

    oid: Oid
    class_name: str
    stored: StoredVersion

    def __str__(self) -> str:
        return f"{class_text(self.class_name)} oid {self.oid}"


class Part(NamedTuple):
    """What is in an object or a value, after its label: the way to it as in Python."""

    label: str
    key: Any
    value: Any
    is_item: bool = False


class Damaged(NamedTuple):
    """What is in the place of an object, or of a version of one, that can't be read."""

    oid: Oid
    error: Error


class Snapshot:
    """The objects of *database* as of its snapshot, until the block ends. One thread."""

    def __init__(self, database: Database) -> None:
        self._scan = SnapshotScan(store_of(database))
        self.storage: Storage = self._scan.storage
        self.tid: Tid = self._scan.tid
        self.path: str = self.storage.path
        self.values: Values = Values(self.name_of)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._scan.__exit__()

    def name_of(self, class_number: int) -> str:
        """Return the name of a class, as references have its number."""
        return ".".join(self.storage.names.class_name(class_number) or ("?",))

    def get(self, oid: int, at: Tid | None = None) -> StoredObject | None:
        """Return an object, as of tid *at*; None: there is none. IntegrityError: damaged."""
        stored = self.storage.load(Oid(oid), self.tid if at is None else at)
        return None if stored is None else self._object(Oid(oid), stored)

    def _object(self, oid: Oid, stored: StoredVersion) -> StoredObject:
        return StoredObject(oid, self._scan.name_of(stored), stored)

    def all(self, progress: Progress | None = None) -> Iterator[StoredObject | Damaged]:
        """Yield every object in the order of the oids."""
        total = self.storage.next_oid
        for oid in reading_ahead(self.storage, map(Oid, range(total))):
            try:
                found = self.get(oid)
            except Error as error:
                yield Damaged(oid, error)
            else:
                if found is not None:
                    yield found
            if progress is not None and oid % BETWEEN_REPORTS == BETWEEN_REPORTS - 1:
                progress(oid + 1, total)

    def census(self, progress: Progress | None = None) -> tuple[Census, list[Damaged]]:
        """Return what db.census() does of the objects that can be read, and the others."""
        counts: dict[str, list[int]] = {}
        lost: list[Damaged] = []
        for found in self.all(progress):
            try:
                if isinstance(found, Damaged):
                    raise found.error
                size = self.size(found)
            except Error as error:
                lost.append(Damaged(found.oid, error))
                continue
            count = counts.setdefault(found.class_name, [0, 0])
            count[0] += 1
            count[1] += size
        return census_of(self.tid, counts), lost

    def state(self, found: StoredObject) -> dict[str, Any]:
        """Return the state, with references and stand-ins. IntegrityError: it is damaged."""
        return self._scan.state(found.oid, found.stored)

    def size(self, found: StoredObject) -> int:
        return self._scan.size(found.oid, found.stored)

    def references(self, found: StoredObject) -> list[int]:
        return self._scan.references(found.oid, found.stored)

    def versions(self, oid: Oid) -> Iterator[StoredObject | Damaged]:
        """Yield the versions of an object, newest first.

        The last one may be Damaged. Raises IntegrityError: the first one is.
        """
        found: StoredObject | None = self._there(oid)
        pin = Pin(self.storage, NO_TID)  # A pack must not drop what is still to be yielded.
        try:
            while found is not None:
                yield found
                try:
                    before = self.storage.version_before(oid, found.stored)
                except Error as error:
                    yield Damaged(oid, error)
                    return
                found = None if before is None else self._object(oid, before)
        finally:
            pin.release()

    # -- ways through the graph ---------------------------------------------------

    def find(self, way: str | None) -> Any:
        """Return what a way leads to: an object, or a value in one.

        A way begins at the root, or with an oid; names and keys follow, with slashes between:
        ``carts/ann/lines/0``. The root is also what no way at all leads to.

        Raises:
            Complaint, ObjectNotFound: It leads nowhere.
        """
        found = self._follow(way or "")
        return self._there(found.oid) if type(found) is Reference else found

    def oid_of(self, way: str | None) -> Oid:
        """Return the oid of the object to which a way leads: the object itself may be damaged."""
        found = self._follow(way or "")
        if type(found) is not Reference:
            text = f"{way} is a value in an object, and no object"
            raise Complaint(text)
        with contextlib.suppress(IntegrityError):
            self._there(found.oid)
        return found.oid

    def _there(self, oid: Oid) -> StoredObject:
        found = self.get(oid)
        if found is None and oid == ROOT_OID:
            text = f"{self.path}: there is no root yet"
            raise Complaint(text)
        if found is None:
            raise ObjectNotFound(oid)
        return found

    def _follow(self, way: str) -> Any:
        """Return what a way leads to; a Reference stands for an object."""
        steps = _STEP.findall(way)
        here: Any = Reference(ROOT_OID, 0)
        done = "the root"
        if steps and steps[0].isdecimal() and not way.startswith("/"):
            if len(steps[0]) > _OID_DIGITS:
                text = f"{steps[0][:40]}... is no oid"
                raise Complaint(text)
            here, done = Reference(Oid(int(steps[0])), 0), f"oid {steps[0]}"
            del steps[0]
        for step in steps:
            name = step
            if step[0] in "'\"":
                with contextlib.suppress(ValueError, SyntaxError):  # No quotes at the end.
                    name = str(ast.literal_eval(step))
            here, done = self._step(here, name, done), step
        return here

    def _step(self, here: Any, name: str, done: str) -> Any:
        if type(here) is Reference:
            here = self._there(here.oid)
        for _, key, value, _ in self._unlabelled(here):
            if name == key or (type(key) is not str and name == str(key)):
                return value
        first = [str(part.key)[:40] for part in islice(self.parts(here), 10)]
        there = ", ".join(first) + ", ..." * (len(first) == 10)
        text = f"{self.path}: {done} has no {name!r}; it has {there or 'nothing'}"
        raise Complaint(text)

    def parts(self, here: Any, start: int = 0) -> Iterator[Part]:
        """Yield what is in an object or in a value: the items of a collection come last.

        Those of a sorted tree are those of its nodes. The first *start* are left out.
        """
        return (
            Part(self._label(key) if label is None else label, key, value, is_item)
            for label, key, value, is_item in islice(self._unlabelled(here), start, None)
        )

    def _unlabelled(self, here: Any) -> Iterator[tuple[str | None, Any, Any, bool]]:
        """Yield what is in a part; None is the label of an item that has a key."""
        if not isinstance(here, StoredObject):
            return self._parts(here)
        references = self._scan.long_list(here.oid, here.stored)
        if references is not None:  # There may be a million, of which somebody looks at some.
            return ((f"[{n}]", n, reference, True) for n, reference in enumerate(references))
        state = self.state(here)
        items, root = state.get(ITEMS), state.get("_root")
        named = [(f".{name}", name, v, False) for name, v in state.items() if name != ITEMS]
        if type(root) is Reference and self.name_of(root.class_number) == _TREE_NODE:
            return chain(named, self._leaves(root))
        return chain(named, () if items is None else self._parts(items))

    def _leaves(self, root: Reference) -> Iterator[tuple[str | None, Any, Any, bool]]:
        waiting = [root.oid]
        while waiting:
            node = self.get(waiting.pop())
            state = {} if node is None else self.state(node)
            for key, value in zip(*state.get("items", ((), ())), strict=False):
                yield None, key, value, True
            _, _, children = state.get("links", (0, [], []))
            waiting += [child.oid for child in reversed(children)]

    def _parts(self, value: Any) -> Iterator[tuple[str | None, Any, Any, bool]]:
        content = content_of(value, self.name_of)
        for number, item in enumerate(content.items or ()):
            yield "" if content.name == "set" else f"[{number}]", number, item, True
        is_item = content.kind == MAPPING
        for key, item in content.pairs or ():
            yield None if is_item else f".{key}", key, item, is_item

    def _label(self, key: Any) -> str:
        return f"[{self.values.short(key, 60)}]"
