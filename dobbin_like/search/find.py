"""``Find``: what looks through all objects of a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from dobbin_like.exc import ObjectNotFound
from dobbin_like.history.revisions import oid_in
from dobbin_like.ids import ROOT_OID, Oid
from dobbin_like.search.census import Census, census
from dobbin_like.search.instances import instances
from dobbin_like.search.referrers import Referrer, referrers
from dobbin_like.search.snapshot_scan import SnapshotScan
from dobbin_like.search.walk import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dobbin_like.contract import Storage
    from dobbin_like.objects.graph.graph import Graph
    from dobbin_like.persistent import Persistent
    from dobbin_like.transactions.data_manager import DataManager

_T = TypeVar("_T")


class Find:
    """The part of a database that looks through its objects. Mixed into ``Database``.

    All of these tell of the snapshot that the calling thread has when it calls them, as it is
    stored: what the thread has changed or made and not committed is not looked at. They go on
    telling of that snapshot when the transaction ends while they are at it, or others commit or
    pack; the objects that they give show what the thread sees by then, as ever. So one may go
    through all objects and commit now and then. Only an object that a pack has dropped meanwhile
    can't be read any more, when the transaction has ended.

    They read the log, not the objects: what they do not give is not loaded, what they give is
    read when it is touched, and nothing is kept. An iterator may be left at any time. It ends
    with a ClosedError when the database is closed.
    """

    if TYPE_CHECKING:
        storage: Storage
        graph: Graph

        def _manager(self) -> DataManager: ...

    @overload
    def instances(
        self, cls: type[_T], progress: Callable[[int, int], object] | None = None
    ) -> Iterator[_T]: ...

    @overload
    def instances(
        self, cls: str, progress: Callable[[int, int], object] | None = None
    ) -> Iterator[Any]: ...

    def instances(
        self, cls: type | str, progress: Callable[[int, int], object] | None = None
    ) -> Iterator[Any]:
        """Yield all stored objects of class *cls* and its subclasses, in the order of their oids.

        Those that the root does not lead to are among them, until the database is packed.
        What they are is what the log says: after a ``rename_class()``, objects of the new class.

        Args:
            cls: A class, persistent or a mixin of persistent ones. Subclasses are those that
                may be loaded under the policy for loading; objects whose class is not there
                are left out. Or a name, ``"module.Qualname"``: the objects that are stored as of
                that class and no subclass, whether it is there or not.
            progress: Called with the oids that were looked at so far, and all there are.

        Raises:
            TypeError: *cls* is neither a class nor a name.
            IntegrityError: An object is damaged. What was yielded before is right.
            ClosedError: The database is closed.

        Cost: Reading the bytes of every object from the log; in the past of ``at()``, those of
        the newer versions, too.
        """
        return instances(self._sight(), cls, progress)

    def census(self, progress: Callable[[int, int], object] | None = None) -> Census:
        """Count the stored objects and their bytes, by class.

        With those that the root does not lead to. Classes need not be there; they go by the
        names that the log has for them now. ``print()`` shows a table.

        Args:
            progress: Called with the oids that were looked at so far, and all there are.

        Raises:
            IntegrityError: An object is damaged.
            ClosedError: The database is closed.

        Cost: That of ``instances()``.
        """
        return census(self._sight(), progress)

    def referrers(
        self, obj: Persistent | int, progress: Callable[[int, int], object] | None = None
    ) -> Iterator[Referrer]:
        """Yield who refers to *obj*, and where in his state, in the order of the oids.

        *obj* is an object or an oid. Each referrer comes once, with the first of his ways:
        ``Referrer(obj, way)``. Those that the root does not lead to are among them, until the
        database is packed. What refers to a value in a ``BTree`` is the node that has it. Nobody
        refers to an object that is not stored yet.

        Args:
            progress: Called with the oids that were looked at so far, and all there are.

        Raises:
            ObjectNotFound: There is no object with this oid in the thread's snapshot.
            NotPersistentError: *obj* is neither an oid nor a persistent object.
            InvalidObjectReference: It belongs to another database.
            IntegrityError: An object is damaged. What was yielded before is right.
            ClosedError: The database is closed.

        Cost: Reading the bytes of every object from the log, and looking for references in
        them, without loading a class.
        """
        sight = self._sight()
        oid = self._stored_oid(sight, obj, "referrers()")
        return iter(()) if oid is None else referrers(sight, oid, progress)

    def walk(
        self,
        start: Persistent | int | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> Iterator[Any]:
        """Yield *start* and all objects that it leads to, each once: the nearest first.

        Breadth first: before the objects that are so many references away come all that are
        fewer away; those of one distance in the order of their oids. An object is read from the
        log just before it is given, and what it refers to after that. Objects whose class is
        not there are among them, and so are the nodes of a ``BTree``. Nothing comes from a
        start that is not stored yet; a reference to nothing is passed over.

        Args:
            start: An object or an oid; by default, the root, if there is one.
            progress: Called with the objects that were given, and all that are stored.

        Raises:
            ObjectNotFound: There is no object with this oid in the thread's snapshot.
            NotPersistentError: *start* is neither an oid nor a persistent object.
            InvalidObjectReference: It belongs to another database.
            IntegrityError: An object is damaged. What was yielded before is right.
            ClosedError: The database is closed.

        Cost: Reading the bytes of what is given from the log, without loading a class; one byte
        of memory for each oid.
        """
        sight = self._sight()
        if start is None:
            oid = ROOT_OID if sight.load(ROOT_OID) else None
        else:
            oid = self._stored_oid(sight, start, "walk()")
        return iter(()) if oid is None else walk(sight, oid, progress)

    def _sight(self) -> SnapshotScan:
        return SnapshotScan(self.graph, self.storage, self._manager().view)

    def _stored_oid(self, sight: SnapshotScan, obj: Any, asked: str) -> Oid | None:
        """Return the oid of what is stored in the snapshot, None: it is not yet.

        Raises as history() does.
        """
        oid = oid_in(self.graph, obj, asked)
        if oid is None or sight.load(oid) is not None:
            return oid
        if obj is oid:
            raise ObjectNotFound(oid)
        return None
