"""Bringing stored states to the version of their class, in batches.

Reading does it each time for what is old; after this there is nothing old left. A batch is
a transaction of its own; what is done stays done, and running it again goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dobbin_like.exc import NotPersistentError
from dobbin_like.ids import Oid
from dobbin_like.objects.codec.versions import split_version, upgrade
from dobbin_like.objects.faces.faces import PersistentMeta
from dobbin_like.objects.values.refs import ref_of
from dobbin_like.transactions.own_commit import commit_own

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dobbin_like.objects.faces.base import Persistent
    from dobbin_like.objects.graph.changes import Changes
    from dobbin_like.store import Progress, Store
    from dobbin_like.transactions.publisher import Publisher


def migrate(
    store: Store, cls: type[Persistent], progress: Progress | None = None, batch: int = 1000
) -> int:
    """Store anew what was stored as an older version of *cls* or of its subclasses.

    Each batch is a transaction of its own, not that of the calling thread. ``_p_migrate``
    runs under the commit lock, on the newest state, so that it never meets a conflict;
    a thread that has checked out one of the objects does, and runs again. Here, other
    than in reading, ``_p_migrate`` may make persistent objects, which are stored with the
    state. What another process changes meanwhile is left alone if it is of the new version.
    May be interrupted and run again at any time; what is done is done.

    Args:
        progress: Called with the oids that were looked at so far, and all there are.
        batch: Objects in a transaction.

    Returns:
        How many objects were stored anew.

    Raises:
        NotPersistentError: *cls* is not a subclass of ``Persistent``.
        MigrationError, NotStorableError: For one object. Its batch is not stored, those
            before are.
        SelfWaitError: This thread is in the midst of a commit.
        LockTimeout, ReadOnlyStorageError, ClosedError, IntegrityError, OSError: As for
            reading and for a commit.

    Cost: Reading every object once; storing the old ones.
    """
    store.check_open()
    given: Any = cls
    if not isinstance(given, PersistentMeta):
        name = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        raise NotPersistentError(name)
    if batch < 1:
        text = f"batch is {batch}, expected the number of objects in a transaction"
        raise ValueError(text)
    store.publisher.catch_up()
    report = progress or _report_nothing
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


def _report_nothing(_done: int, _total: int) -> None:
    pass


class _Migration:
    def __init__(self, publisher: Publisher, cls: Any) -> None:
        self._publisher = publisher
        self._graph = publisher.graph
        self._cls = cls

    def old_state(self, oid: Oid) -> tuple[Any, dict[str, Any], int] | None:
        """Return class, stored state and class number of an object if it is old."""
        graph = self._graph
        stored = self._publisher.storage.load(oid)
        if stored is None:
            return None
        number = graph.ghosts.class_of(stored)
        cls = graph.classes.load_persistent(number)
        if not issubclass(cls, self._cls) or not cls._p_version:
            return None
        state = graph.states.read(oid, stored)
        version, _ = split_version(dict(state))
        return (cls, state, number) if version < cls._p_version else None

    def rewrite(self, oids: Sequence[Oid]) -> int:
        """Rewrite those of *oids* that are old still; return how many. One transaction."""
        if not oids:
            return 0
        rewritten = 0

        def gather(changes: Changes) -> Sequence[Any] | None:
            nonlocal rewritten
            rewritten = 0
            for oid in oids:
                found = self.old_state(oid)  # another may have changed it meanwhile
                if found is not None:
                    cls, stored, number = found
                    obj = self._graph.ghosts.ghost(oid, number)
                    ref = ref_of(obj)
                    assert ref is not None
                    changes.add_state(obj, ref, cls, upgrade(cls, oid, stored, new_objects=True))
                    rewritten += 1
            changes.add_reachable()
            return () if rewritten else None

        commit_own(self._publisher, gather, f"migrate {self._cls.__name__}")
        return rewritten
