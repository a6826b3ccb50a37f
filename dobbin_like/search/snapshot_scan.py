"""What a thread sees now, held for as long as something is told of it.

Whoever looks through all that is stored may take longer than a transaction lasts, and others
pack meanwhile: the snapshot of the beginning stays readable until it is let go of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from dobbin_like.contract import StoredVersion
from dobbin_like.exc import Error, IntegrityError, ObjectNotFound
from dobbin_like.ids import DELTA, ROOT_OID, Oid
from dobbin_like.objects.codec.references import references
from dobbin_like.objects.codec.state_reader import StateReader
from dobbin_like.storages.as_of import Pin
from dobbin_like.store import Store, oid_in

BETWEEN_REPORTS: Final = 1000
"""Objects; looking at them takes some milliseconds."""


class SnapshotScan:
    """The stored objects as of one snapshot. One thread at a time.

    What nobody has committed is not among them. Let go of it by :meth:`release`; one that is
    forgotten lets go by itself.

    Where the thread has no view, between explicit transactions, the snapshot is that of what is
    committed, as far as it was caught up with.
    """

    def __init__(self, store: Store) -> None:
        view = store.manager().view
        self.graph = graph = store.graph
        self.storage = storage = store.storage
        while True:
            tid = view.tid if view.active else graph.shared.tid
            pin = Pin(storage, tid)
            # Nothing is dropped that is needed as of these two. Had it moved on before the
            # pin, that could have been.
            if tid == (view.tid if view.active else graph.shared.tid):
                break
            pin.release()
        self._pin = pin
        self.tid = tid
        # By the numbers of states; see class_of().
        self._classes: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._reader = StateReader(storage.names, storage.path)

    def release(self) -> None:
        """Let go of the snapshot. Idempotent."""
        self._pin.release()

    def root_oid(self) -> Oid | None:
        """Return the oid of the root, ``None`` if there is none."""
        return ROOT_OID if self.load(ROOT_OID) else None

    def oid_of(self, obj: Any, asked: str) -> Oid | None:
        """Return the oid of what is stored in the snapshot; ``None``: it is not stored yet.

        Raises as oid_in() does, and ObjectNotFound for an oid that is not there.
        """
        oid = oid_in(self.graph, obj, asked)
        if oid is None or self.load(oid) is not None:
            return oid
        if obj is oid:
            raise ObjectNotFound(oid)
        return None

    def load(self, oid: Oid) -> StoredVersion | None:
        """Return the version of an object, None: there is none.

        Raises:
            IntegrityError: It is damaged.
        """
        return self.storage.load(oid, self.tid)

    def all(
        self, progress: Callable[[int, int], object] | None
    ) -> Iterator[tuple[Oid, StoredVersion]]:
        """Yield every stored object, in the order of the oids.

        Args:
            progress: Called with the oids that were looked at, and all there are.

        Raises:
            IntegrityError: One is damaged. What was yielded before is right.
        """
        total = self.storage.next_oid
        for oid in map(Oid, range(total)):
            stored = self.load(oid)
            if stored is not None:
                yield oid, stored
            if progress is not None and oid % BETWEEN_REPORTS == BETWEEN_REPORTS - 1:
                progress(oid + 1, total)
        if progress is not None:
            progress(total, total)

    def class_of(self, stored: StoredVersion) -> int:
        """Return the number of the class of a version."""
        number = self._classes.get(stored.number)
        if number is None:
            number = self._classes[stored.number] = self.graph.ghosts.class_of(stored)
        return number

    def name_of(self, stored: StoredVersion) -> str:
        """Return the name by which the log knows the class of a version now."""
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
        """Return the oids that a version refers to; one that it refers to twice is there twice.

        Raises:
            IntegrityError: Its bytes hold no state.
        """
        try:
            return [target for target, _ in references(self._whole(oid, stored)[1])]
        except Error:  # It says what is wrong.
            raise
        except Exception as error:
            raise self._damaged(stored, error) from error

    def state(self, oid: Oid, stored: StoredVersion) -> dict[str, Any]:
        """Return the state of a version, with stand-ins for objects and for classes.

        Raises:
            IntegrityError: Its bytes hold none.
        """
        try:
            return self._reader.read(*self._whole(oid, stored))[0]
        except Error:  # It says what is wrong.
            raise
        except Exception as error:
            raise self._damaged(stored, error) from error

    def _whole(self, oid: Oid, stored: StoredVersion) -> tuple[int, bytes]:
        """Return number and bytes of the whole state, of a collection with its changes since."""
        if stored.number & DELTA:
            return self._reader.whole(oid, stored, self.storage.version_before)
        return stored.number, stored.data

    def _damaged(self, stored: StoredVersion, error: Exception) -> IntegrityError:
        found = f"a state that can't be decoded: {type(error).__name__}: {error}"
        return IntegrityError(self.storage.path, stored.position, found, "a state")
