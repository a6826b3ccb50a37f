"""Publishing what is committed, here and by others, to the threads of a database."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import ParamSpec

from dobbin_like.contract import PackedStorage, Storage, Transaction, is_distant, is_packed
from dobbin_like.exc import ClosedError, SnapshotDroppedError
from dobbin_like.ids import CATALOG_CLASS, ROOT_OID, Oid, Tid
from dobbin_like.objects.faces.base import is_new
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.graph.changes import Changes
from dobbin_like.objects.graph.graph import Graph
from dobbin_like.objects.graph.publication import Publication
from dobbin_like.processes.interrupts import finish_despite_interrupts, reentrant_lock
from dobbin_like.processes.threaded_dict import ThreadedDict
from dobbin_like.transactions.old_snapshots import OldSnapshots

Publish = Callable[[Transaction], None]
"""Publishes a transaction of this instance; may be repeated after an interrupt."""

_News = tuple[Sequence[Transaction], dict[Oid, Tid], Tid, Publish | None, Sequence[Transaction]]
"""Transactions of others, the newest tid by oid, the newest tid, None; or one of this
instance, nothing, its tid, and what publishes it. Then what was read behind them."""

_P = ParamSpec("_P")


class Publisher:
    """Applies transactions to a storage and publishes them in a graph. Any thread.

    ``lock`` is held while news are read and published; it is taken after the commit lock and
    before that of the graph. ``closed``: the database is.

    A commit of this instance comes back as news, between those of others, and is published by the
    thread that reads them. ``own`` has what is to be published of it, by tid, before it is
    appended: otherwise its new objects would be made a second time.

    ``waiting`` has functions to be called, once, when something is published. They must not wait
    nor raise: locks are held. A thread that waits by one also looks now and then for commits of
    others.
    """

    def __init__(self, storage: Storage, graph: Graph) -> None:
        self.storage = storage
        self.graph = graph
        self.closed = False
        self.lock: threading.RLock = reentrant_lock()
        self.own: dict[Tid, Publish] = ThreadedDict()
        self.waiting: deque[Callable[[], object]] = deque()
        self.old_snapshots: OldSnapshots = OldSnapshots(storage.path, graph.shared)
        self.pid: int = os.getpid()
        self._packed = storage if is_packed(storage) else None
        # Without a commit lock, another process may append with the tid of an own transaction.
        self._has_made = storage.has_made if is_distant(storage) else None
        # Whether old generations of a packed storage may be kept for older snapshots.
        self.keeps_past: bool = False
        self.unpublished: _News | None = None  # read from the storage, not seen by all yet
        # The generation and the tid before the news that are being read and published.
        self._before: tuple[int, Tid] | None = None
        self._rest: Sequence[Transaction] = ()  # Read behind what was published last.
        graph.shared.has_root = self._look_for_root()
        graph.shared.tid = storage.tid
        graph.packed = self._packed is not None and self._packed.generation > 0
        self.note_classes()

    def _look_for_root(self) -> bool:
        """Return whether there is a root, as of what is applied then."""
        while True:
            try:
                return self.storage.has(ROOT_OID)
            except SnapshotDroppedError:  # A pack has dropped the state as of the opening.
                self.storage.apply(self.storage.read_news())

    def note_classes(self) -> None:
        """Note what new names of classes mean for the indexes.

        Indexes that were there stay: of a commit that was interrupted, the names come later.
        """
        if self.storage.names.class_number(*CATALOG_CLASS) is not None:
            self.graph.indexed = True
        self.graph.keeper = None

    def has_news(self) -> bool:
        """Return whether there may be anything to catch up with. Cost: one system call."""
        # The storage first: a thread that has applied news sets ``unpublished`` to None only when
        # they are published. Asked the other way round, both might say no.
        return self.storage.has_news() or self.unpublished is not None

    def catch_up(self) -> None:
        """Apply and publish what is visible by now. Cost: what changed."""
        if self.publishing:
            return
        with self.lock:
            self._catch_up()

    def _catch_up(self) -> None:
        packed = self._packed
        if packed is not None and self._before is None:
            self._before = packed.generation, self.graph.shared.tid
        while self._publish_next():
            pass
        if packed is not None:
            self._forget_dropped(packed)

    def _publish_next(self) -> bool:
        """Publish what comes next, if anything does; return whether there may be more."""
        was_left = self.unpublished is not None  # Something may have come since it was read.
        if not was_left:
            self.unpublished = self._read_news()
        found = self.unpublished is not None
        if found:
            with self.graph.shared.lock:
                finish_despite_interrupts(self._publish_news)
        packed = self._packed
        if packed is None:
            return found and (was_left or bool(self._rest))
        self.graph.packed = packed.generation > 0
        self.keeps_past = packed.has_past
        return found and (was_left or bool(self._rest) or packed.retired)

    def _forget_dropped(self, packed: PackedStorage) -> None:
        """Make objects unreadable that are not in the storage and whose last version is not known.

        That is the case if the log was packed twice since: a version between the packs that the
        second one dropped was never seen here. Cost: then, the objects in memory.
        """
        if self._before is not None:
            generation, tid = self._before
            if packed.generation != generation and not packed.reaches(tid):
                shared, is_dropped = self.graph.shared, packed.is_dropped
                with shared.lock:
                    refs = [ref for ref in self.graph.cache.all() if not is_new(ref)]
                    gone = {ref.oid: shared.tid for ref in refs if is_dropped(ref.oid)}
                    finish_despite_interrupts(partial(shared.publish_foreign, gone, shared.tid))
        self._before = None

    def catch_up_to(self, made: Transaction, unseen: Sequence[Transaction], view: View) -> None:
        """Apply and publish what is visible up to *made*, which *view* has committed.

        Args:
            unseen: What of it is known already, and then need not be read.
        """
        if self.publishing:
            return
        with self.lock:
            publish = self.own.get(made.tid)
            if publish is None:
                return  # Another thread has published it.
            if self.unpublished is None and made.sequence == len(self.storage) + 1:
                # No commit of others is between, so nothing has to be read.
                self.unpublished = (made,), {}, made.tid, publish, ()
                with self.graph.shared.lock:
                    finish_despite_interrupts(self._publish_news)
                return
            # Not earlier: another thread that publishes it makes the view begin again.
            self.graph.shared.keep_nothing_for(view)
            if unseen and unseen[-1].sequence == made.sequence - 1:
                applied = len(self.storage)
                self._rest = [*(each for each in unseen if each.sequence > applied), made]
            # Here, and not later: until then, the view of its thread may have begun another
            # transaction.
            while made.tid in self.own:
                if self.unpublished is None:
                    self.unpublished = self._read_news(is_there=True)
                    if self.unpublished is None:
                        return
                self._catch_up()

    def if_open(self, step: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> None:
        """Do a step after the decision, unless another thread has closed the database.

        Then its effect could not be seen, and an error would say that the transaction is not
        committed, which is wrong.
        """
        try:
            step(*args, **kwargs)
        except ClosedError:
            if not self.closed:
                raise

    def drop_generations(self) -> None:
        """Let a packed storage drop what no view needs, now or from now on.

        Does not wait for a thread that is catching up.
        """
        packed = self._packed
        if packed is None or self.publishing:
            return
        try:
            if not self.lock.acquire(blocking=False):
                return
            shared = self.graph.shared
            with shared.lock:
                shared.let_idle_lapse()
                # A view that begins reads what is published, which may be behind what was read.
                tid, oldest = shared.tid, shared.horizon.oldest()
            packed.drop_generations(tid if oldest is None else min(tid, oldest))
            self.keeps_past = packed.has_past
        finally:
            # It is not asked first whether it is held: an interrupt could come between.
            try:  # noqa: SIM105  and at the beginning of suppress()
                self.lock.release()
            except RuntimeError:  # It is not.
                pass

    def resume(self, view: View) -> None:
        """Let *view*, of the calling thread, read on in the snapshot that has lapsed.

        If a pack has dropped that, it reads the newest one, and ``lapsed`` stays.
        """
        with self.lock:  # Nothing is dropped meanwhile.
            packed, tid = self._packed, view.lapsed
            if tid is None or view.active:
                return
            if packed is None or not packed.generation or packed.reaches(tid):
                self.graph.shared.resume_view(view)
            else:
                self.graph.shared.begin_view(view)

    def _read_news(self, *, is_there: bool = False) -> _News | None:
        """Return what comes next, if anything does.

        Args:
            is_there: Something does. A storage that does not ask each time may not know of it.
        """
        storage, news = self.storage, self._rest
        rest: Sequence[Transaction] = ()
        if not (news and news[0].sequence == len(storage) + 1):
            news = storage.read_news() if is_there or storage.has_news() else ()
        if not news:
            return None
        if self.own:
            own = self._first_own(news)
            if own == 0:
                return news[:1], {}, news[0].tid, self.own[news[0].tid], news[1:]
            news, rest = news[:own], news[own:]
        changed: dict[Oid, Tid] = {}
        tid = self.graph.shared.tid
        for transaction in news:
            if not transaction.failed:
                tid = transaction.tid
                for oid in transaction.oids:
                    changed[oid] = tid
        return news, changed, tid, None, rest

    def _first_own(self, news: Sequence[Transaction]) -> int:
        """Return which of the news is the first of this instance; their number if none is."""
        if self.pid != os.getpid():
            self.forget_parent()
        own, has_made = self.own, self._has_made
        for at, made in enumerate(news):
            if made.tid in own and not made.failed and (has_made is None or has_made(made)):
                return at
        return len(news)

    def _publish_news(self) -> None:
        # May be run again after an interrupt, by this call or by the next catch_up().
        if self.unpublished is None:
            return
        news, changed, tid, publish, rest = self.unpublished
        if publish is None:
            self._publish_foreign(news, changed, tid)
        else:
            publish(news[0])
            if self.own.pop(tid, None) is not None:
                self.graph.shared.counts.commits += 1
        self._rest = rest
        self.unpublished = None
        while self.waiting:
            try:
                wake = self.waiting.popleft()
            except IndexError:  # The thread that waited has ended meanwhile.
                return
            wake()

    def _publish_foreign(
        self, news: Sequence[Transaction], changed: dict[Oid, Tid], tid: Tid
    ) -> None:
        storage, graph = self.storage, self.graph
        # Not those that an interrupted run has applied already.
        storage.apply(news[len(news) - (news[-1].sequence - len(storage)) :])
        for transaction in news:
            if transaction.names.classes and not transaction.failed:
                graph.ghosts.follow([number for number, _, _ in transaction.names.classes])
                self.note_classes()
        if ROOT_OID in changed and not graph.shared.has_root:
            graph.shared.has_root = graph.shared.root_is_foreign = True
        graph.shared.publish_foreign(changed, tid)

    @property
    def publishing(self) -> bool:
        """Whether the calling thread is publishing or catching up.

        Then the caller is a signal handler or a finalizer, which must not wait for its own thread.
        """
        # There is no public way to ask.
        return bool(self.lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001

    def forget_parent(self) -> None:
        """Forget what the parent was about to publish; no hook has seen the fork.

        Requires: This process has not appended anything yet, or the commit lock.
        """
        self.own = ThreadedDict()
        self.pid = os.getpid()

    def give_up(self, tid: Tid) -> bool:
        """Treat the transaction *tid* as one of others, should it ever become visible.

        Returns:
            False: It is published already.
        """
        with self.lock:
            return self.own.pop(tid, None) is not None

    def publish(self, made: Transaction, changes: Changes, view: View) -> None:
        """Publish what *view* has committed, with its states. The locks are held."""
        storage, shared = self.storage, self.graph.shared
        if changes.introductions:
            shared.introduce(made.tid, changes.introductions)
        if storage.tid < made.tid:
            storage.apply((made,))
        if changes.collections:
            changes.stored_as(made.tid)
        shared.has_root = True
        shared.publish(made.tid, changes.publications, view)

    def publish_own(self, made: Transaction, introductions: Sequence[Publication]) -> None:
        """Publish a transaction of no view, as if another process had made it. Locks are held.

        *introductions* are the objects that it stores for the first time.
        """
        storage, graph = self.storage, self.graph
        introduced = {publication.ref.oid for publication in introductions}
        changed = {Oid(oid): made.tid for oid in made.oids if oid not in introduced}
        graph.shared.introduce(made.tid, introductions)
        if storage.tid < made.tid:
            storage.apply([made])
        graph.ghosts.follow([number for number, _, _ in made.names.classes])
        self.note_classes()
        graph.shared.publish_foreign(changed, made.tid)
