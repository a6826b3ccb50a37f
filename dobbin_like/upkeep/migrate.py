"""Upgrading stored states to the version of their class, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dobbin_like.exc import NotPersistentError
from dobbin_like.ids import Oid
from dobbin_like.mistaken.arguments import check_callables, check_count
from dobbin_like.objects.codec.versions import VERSION, upgrade
from dobbin_like.objects.faces.base import Persistent
from dobbin_like.objects.faces.classes.metaclass import PersistentMeta
from dobbin_like.objects.graph.changes import Changes
from dobbin_like.objects.values.refs import ref_of
from dobbin_like.store import Progress, Store, warn_if_redefined
from dobbin_like.transactions.own_commit import commit_own
from dobbin_like.transactions.publisher import Publisher


def migrate(
    store: Store, cls: type[Persistent], progress: Progress | None = None, batch: int = 1000
) -> int:
    """Store all objects of *cls* and its subclasses in their newest version; return how many.

    Each *batch* of objects is a transaction of its own, not that of the calling thread.
    ``_p_migrate`` runs under the commit lock, on the newest state, so that it never gets a
    conflict; a thread that has checked out one of the objects gets one, and runs again. Unlike
    in reading, ``_p_migrate`` may create persistent objects, which are stored with the state.
    May be interrupted and run again at any time: finished batches stay. *progress* is called
    with the oids examined so far, and all.

    Raises:
        NotPersistentError: *cls* is not a subclass of ``Persistent``.
        MigrationError, NotStorableError: For one object. Its batch is not stored, those
            before are.
        Other errors are those of reading and of a commit.

    Cost: Reading every object once; storing the old ones.
    """
    store.check_open()
    given: Any = cls
    if not isinstance(given, PersistentMeta):
        if isinstance(given, type):
            raise NotPersistentError(given.__name__)
        found = f"a {type(given).__name__}"
        raise NotPersistentError(found, "a class that derives from Persistent")
    check_callables(progress=progress)
    check_count("batch", batch)
    if batch < 1:
        text = f"batch is {batch}, expected the number of objects in a transaction"
        raise ValueError(text)
    store.publisher.catch_up()
    warn_if_redefined(store, cls)
    report = progress or (lambda _done, _total: None)
    migration = _Migration(store.publisher, cls)
    total = store.storage.next_oid
    rewritten = 0
    old: list[Oid] = []
    for oid in map(Oid, range(total)):
        if migration.old_state(oid) is not None:
            old.append(oid)
        if len(old) == batch:
            rewritten += migration.rewrite(old)
            old.clear()
        if oid % batch == batch - 1:
            report(oid + 1, total)
    rewritten += migration.rewrite(old)
    report(total, total)
    return rewritten


class _Migration:
    def __init__(self, publisher: Publisher, cls: Any) -> None:
        self._publisher = publisher
        self._graph = publisher.graph
        self._cls = cls

    def old_state(self, oid: Oid) -> tuple[Any, dict[str, Any], int] | None:
        """Return class, stored state and class number of an object if its version is old."""
        graph = self._graph
        stored = self._publisher.storage.load(oid)
        if stored is None:
            return None
        number = graph.ghosts.class_of(stored)
        cls = graph.classes.load_persistent(number)
        if not issubclass(cls, self._cls) or not cls._p_version:
            return None
        state = graph.states.read(oid, stored)
        return (cls, state, number) if state.get(VERSION, 0) < cls._p_version else None

    def rewrite(self, oids: Sequence[Oid]) -> int:
        """Store those of *oids* that are still old in one transaction; return how many."""
        rewritten: set[Oid] = set()

        def gather(changes: Changes) -> Sequence[Any] | None:
            rewritten.clear()
            for oid in oids:
                found = self.old_state(oid)  # another may have changed it meanwhile
                if found is not None:
                    cls, stored, number = found
                    obj = self._graph.ghosts.ghost(oid, number)
                    ref = ref_of(obj)
                    assert ref is not None
                    state = upgrade(cls, oid, stored, new_objects=True)
                    changes.write(obj, ref, cls, state, {})
                    rewritten.add(oid)
            changes.add_reachable()
            return () if rewritten else None

        if oids:
            commit_own(self._publisher, gather, f"migrate {self._cls.__name__}")
        return len(rewritten)
