"""Bringing stored states to the version of their class, in batches.

Reading does it each time for what is old; after this there is nothing old left. A batch is
a transaction of its own; what is done stays done, and running it again goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dobbin_like.exc import NotPersistentError
from dobbin_like.ids import Oid
from dobbin_like.objects.codec.versions import split_version, upgrade
from dobbin_like.objects.values.refs import ref_of
from dobbin_like.persistent import PersistentMeta
from dobbin_like.transactions.own_commit import commit_own

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dobbin_like.database import Database
    from dobbin_like.objects.graph.changes import Changes


def migrate(
    database: Database,
    cls: Any,
    progress: Callable[[int, int], object] | None,
    batch: int,
) -> int:
    """Rewrite the old states of *cls* and its subclasses; return how many."""
    if not isinstance(cls, PersistentMeta):
        name = f"the class {cls.__name__}" if isinstance(cls, type) else type(cls).__name__
        raise NotPersistentError(name)
    if batch < 1:
        text = f"batch is {batch}, expected the number of objects in a transaction"
        raise ValueError(text)
    if database.has_news():
        database.catch_up()
    report = progress or _report_nothing
    migration = _Migration(database, cls)
    total = database.storage.next_oid
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
    def __init__(self, database: Database, cls: Any) -> None:
        self._database = database
        self._graph = database.graph
        self._cls = cls

    def old_state(self, oid: Oid) -> tuple[Any, dict[str, Any], int] | None:
        """Return class, stored state and class number of an object if it is old."""
        graph = self._graph
        stored = self._database.storage.load(oid)
        if stored is None:
            return None
        number = graph.class_of(stored)
        cls = graph.classes.load_persistent(number)
        if not issubclass(cls, self._cls) or not cls._p_version:
            return None
        state = graph.read(oid, stored)
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
                    obj = self._graph.ghost(oid, number)
                    ref = ref_of(obj)
                    assert ref is not None
                    changes.add_state(obj, ref, cls, upgrade(cls, oid, stored, new_objects=True))
                    rewritten += 1
            changes.add_reachable()
            return () if rewritten else None

        commit_own(self._database, gather, f"migrate {self._cls.__name__}")
        return rewritten
