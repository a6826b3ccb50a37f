"""The snapshot of a thread, held while it is searched: others may pack meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, Self, TypeVar

from dobbin_like.contract import StoredVersion, reading_ahead
from dobbin_like.exc import Error, IntegrityError, ObjectNotFound
from dobbin_like.ids import DELTA, Oid, Tid
from dobbin_like.objects.codec.references import references
from dobbin_like.objects.codec.state_reader import StateReader
from dobbin_like.storages.as_of import Pin
from dobbin_like.store import Progress, Store, oid_in

_R = TypeVar("_R")

BETWEEN_REPORTS: Final = 1000
"""Objects; looking at them takes some milliseconds."""


class SnapshotScan:
    """The stored objects as of one snapshot, until the block ends. One thread at a time.

    If the thread has no view, between explicit transactions, it is the newest snapshot that was
    published. Also released when garbage.
    """

    def __init__(self, store: Store) -> None:
        view = store.manager().view
        graph, storage = store.graph, store.storage
        self.graph: Final = graph
        self.storage: Final = storage
        while True:
            tid = view.tid if view.active else graph.shared.tid
            pin = Pin(storage, tid)
            # Nothing is dropped that is needed as of these two. Had it moved on before the
            # pin, that could have been.
            if tid == (view.tid if view.active else graph.shared.tid):
                break
            pin.release()
        self._pin = pin
        self.tid: Tid = tid
        # By the numbers of states; see class_of().
        self._classes: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._reader = StateReader(storage.names, storage.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._pin.release()

    def oid_of(self, obj: Any, asked: str) -> Oid | None:
        """Do what oid_in() does; ObjectNotFound: the oid is not in the snapshot."""
        oid = oid_in(self.graph, obj, asked)
        if oid is None or self.load(oid) is not None:
            return oid
        if obj is oid:
            raise ObjectNotFound(oid)
        return None

    def load(self, oid: Oid) -> StoredVersion | None:
        return self.storage.load(oid, self.tid)

    def all(self, progress: Progress | None) -> Iterator[tuple[Oid, StoredVersion]]:
        """Yield every stored object, in the order of the oids; call *progress* as instances()."""
        total = self.storage.next_oid
        for oid in reading_ahead(self.storage, map(Oid, range(total))):
            stored = self.load(oid)
            if stored is not None:
                yield oid, stored
            if progress is not None and oid % BETWEEN_REPORTS == BETWEEN_REPORTS - 1:
                progress(oid + 1, total)
        if progress is not None:
            progress(total, total)

    def class_of(self, stored: StoredVersion) -> int:
        number = self._classes.get(stored.number)
        if number is None:
            number = self._classes[stored.number] = self.graph.ghosts.class_of(stored)
        return number

    def name_of(self, stored: StoredVersion) -> str:
        number = self.class_of(stored)
        name = self._names.get(number)
        if name is None:
            name = self._names[number] = self.graph.classes.name_of(number)
        return name

    def object_of(self, oid: Oid, stored: StoredVersion) -> Any:
        """Return the object of a version, a ghost if it is not in memory: nothing is read."""
        return self.graph.ghosts.ghost(oid, self.class_of(stored))

    def size(self, oid: Oid, stored: StoredVersion) -> int:
        """Return the bytes that a version takes in the log, all that it consists of."""
        size = len(stored.data)
        before: StoredVersion | None = stored
        while before is not None and before.number & DELTA:
            before = self.storage.version_before(oid, before)
            size += 0 if before is None else len(before.data)
        return size

    def references(self, oid: Oid, stored: StoredVersion) -> list[int]:
        """Return the oids that a version refers to, with repetitions."""

        def read() -> list[int]:
            data = stored.data
            if stored.number & DELTA:
                _, data = self._reader.whole(oid, stored, self.storage.version_before)
            return [target for target, _ in references(data)]

        return self._read(stored, read)

    def state(self, oid: Oid, stored: StoredVersion) -> dict[str, Any]:
        """Return the state of a version, with stand-ins for objects and for classes."""
        return self._latest(oid, stored, self._reader.state)

    def preview(self, oid: Oid, stored: StoredVersion) -> dict[str, Any]:
        """Return the state as :meth:`state` does, with a Cut for each large text and bytes."""
        return self._latest(oid, stored, self._reader.preview)

    def long_list(self, oid: Oid, stored: StoredVersion) -> Iterator[Any] | None:
        """Return the items of a version that is a long list of references; else None.

        They are read one by one: see StateReader.long_list().
        """
        before = self.storage.version_before
        return self._read(stored, lambda: self._reader.long_list(oid, stored, before))

    def _latest(
        self, oid: Oid, stored: StoredVersion, read: Callable[[int, bytes], dict[str, Any]]
    ) -> dict[str, Any]:
        before = self.storage.version_before
        return self._read(stored, lambda: self._reader.latest(oid, stored, before, read))

    def _read(self, stored: StoredVersion, read: Callable[[], _R]) -> _R:
        """Return what *read* finds in a version; IntegrityError if that is no state."""
        try:
            return read()
        except Error:  # It says what is wrong.
            raise
        except Exception as error:
            found = f"a state that can't be decoded: {type(error).__name__}: {error}"
            raise IntegrityError(self.storage.path, stored.position, found, "a state") from error
