"""How what is committed, here and by others, becomes what the threads of a database see."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from dobbin_like.ids import ROOT_OID, Oid, Tid
from dobbin_like.interrupts import finish_despite_interrupts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dobbin_like.contract import Storage
    from dobbin_like.objects.faces.view import View
    from dobbin_like.objects.graph.changes import Changes
    from dobbin_like.objects.graph.graph import Graph
    from dobbin_like.objects.graph.publication import Publication


class _News(NamedTuple):
    """What others have committed: the transactions, the newest tid by oid, the newest tid."""

    transactions: list[Any]
    changed: dict[Oid, Tid]
    tid: Tid


class Shown:
    """The part of a database that applies transactions and shows them. Any thread."""

    storage: Storage
    graph: Graph

    def _set_up_news(self) -> None:
        # Taken by whoever reads or applies news, and while a commit is made to
        # count; before the graph's lock, after the commit lock.
        self._news_lock = threading.RLock()
        self._unshown: _News | None = None  # read from the log, not shown to all yet

    def has_news(self) -> bool:
        """Tell whether there is anything to catch up with. Cost: a read of memory."""
        return self._unshown is not None or self.storage.has_news()

    def catch_up(self) -> None:
        """Apply what others have appended to the log. Cost: what changed."""
        if self.showing:
            return
        with self._news_lock:
            while True:
                if self._unshown is None:
                    self._unshown = self._read_news()
                    if self._unshown is None:
                        return
                with self.graph.lock:
                    finish_despite_interrupts(self._show_news)
                if not getattr(self.storage, "retired", False):
                    return

    def drop_generations(self) -> None:
        """Let the storage let go of packed files that no view needs, now or from now on.

        Does not wait: if somebody is catching up, another time will do.
        """
        if self.showing or not self._news_lock.acquire(blocking=False):
            return
        try:
            with self.graph.lock:
                # A view that begins reads what is shown, which may be behind what was read.
                tid, oldest = self.graph.tid, self.graph.horizon.oldest()
            cast("Any", self.storage).drop_generations(tid if oldest is None else min(tid, oldest))
        finally:
            self._news_lock.release()

    def _read_news(self) -> _News | None:
        news = self.storage.read_news() if self.storage.has_news() else []
        if not news:  # or saved positions only, which are passed over by now
            return None
        changed: dict[Oid, Tid] = {}
        tid = self.graph.tid
        for logged in news:
            if not logged.failed:
                tid = logged.tid
                changed.update(dict.fromkeys(logged.oids, tid))
        return _News(news, changed, tid)

    def _show_news(self) -> None:
        # May be run again after an interrupt, by this call or by the next catch_up().
        if self._unshown is None:
            return
        news, changed, tid = self._unshown
        storage, graph = self.storage, self.graph
        # Not what an interrupted run has applied already.
        storage.apply(news[len(news) - (news[-1].sequence - len(storage)) :])
        for logged in news:
            if logged.names.classes and not logged.failed:
                graph.follow([number for number, _, _ in logged.names.classes])
        if ROOT_OID in changed and not graph.has_root:
            graph.has_root = graph.root_is_foreign = True
        graph.publish_foreign(changed, tid)
        self._unshown = None

    @property
    def showing(self) -> bool:
        """Whether the calling thread is in the midst of publishing or catching up.

        Then it asks from a signal handler or a finalizer, and must not wait for itself.
        """
        # There is no public way to ask.
        return bool(self._news_lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001

    def counts(self, logged: Any) -> bool:
        """Tell whether a transaction that was prepared is committed. Holder of the commit lock."""
        return self.storage.tid >= logged.tid or self.storage.has_news()

    def publish(self, logged: Any, changes: Changes, view: View) -> None:
        """Make a prepared transaction of this instance count and show it to all threads.

        Under the lock for news: nobody takes it for somebody else's. May be
        run again after an interrupt.
        """
        # Run again with the locks still held: nobody may see what is half published, or
        # take our own transaction for somebody else's.
        with self._news_lock, self.graph.lock:
            finish_despite_interrupts(partial(self._publish, logged, changes, view))

    def _publish(self, logged: Any, changes: Changes, view: View) -> None:
        storage, graph = self.storage, self.graph
        if not self.counts(logged):
            storage.finish()
        graph.introduce(logged.tid, changes.introductions)
        if storage.tid < logged.tid:
            storage.apply([logged])
        graph.has_root = True
        graph.publish(logged.tid, changes.publications, view)

    def publish_own(self, logged: Any, introductions: Sequence[Publication]) -> None:
        """Make a prepared transaction count that is no view's, as if others had made it.

        Args:
            introductions: Objects that it stores for the first time.

        May be run again after an interrupt.
        """
        with self._news_lock, self.graph.lock:
            finish_despite_interrupts(partial(self._publish_own, logged, introductions))

    def _publish_own(self, logged: Any, introductions: Sequence[Publication]) -> None:
        storage, graph = self.storage, self.graph
        if not self.counts(logged):
            storage.finish()
        graph.introduce(logged.tid, introductions)
        if storage.tid < logged.tid:
            storage.apply([logged])
        graph.follow([number for number, _, _ in logged.names.classes])
        introduced = {publication.ref.oid for publication in introductions}
        changed = {oid: logged.tid for oid in logged.oids if oid not in introduced}
        graph.publish_foreign(changed, logged.tid)

    def apply_failed(self, logged: Any) -> None:
        """Count a failed transaction of this instance."""
        with self._news_lock, self.graph.lock:
            if self.storage.tid < logged.tid:
                self.storage.apply([logged])
