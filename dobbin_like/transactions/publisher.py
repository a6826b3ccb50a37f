"""How what is committed, here and by others, becomes what the threads of a database see."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import NamedTuple

from dobbin_like.contract import PackedStorage, Storage, Transaction
from dobbin_like.ids import ROOT_OID, Oid, Tid
from dobbin_like.interrupts import finish_despite_interrupts
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.graph.changes import Changes
from dobbin_like.objects.graph.graph import Graph
from dobbin_like.objects.graph.publication import Publication


class _News(NamedTuple):
    """What others have committed: the transactions, the newest tid by oid, the newest tid."""

    transactions: Sequence[Transaction]
    changed: dict[Oid, Tid]
    tid: Tid


class Publisher:
    """Applies transactions to a storage and publishes them in a graph. Any thread.

    ``lock`` is held while news are read or applied, and while a commit is published; it is taken
    after the commit lock and before that of the graph. ``closed``: the database is.

    ``_deciding`` is the process whose commit may be in the storage and is not published yet: what
    the storage has as news is its own then, and it must not be taken for that of others, whose
    new objects would be made a second time. Written by the holder of the commit lock.
    """

    def __init__(self, storage: Storage, graph: Graph) -> None:
        self.storage = storage
        self.graph = graph
        self.closed = False
        self.lock = threading.RLock()
        self._packed = storage if isinstance(storage, PackedStorage) else None
        # Whether old generations of a packed storage may be kept for older snapshots.
        self.keeps_past = False
        self.unpublished: _News | None = None  # read from the storage, not seen by all yet
        self._deciding = 0
        graph.shared.tid = storage.tid
        graph.shared.has_root = storage.has(ROOT_OID)
        graph.packed = self._packed is not None and self._packed.generation > 0

    def has_news(self) -> bool:
        """Return whether there may be anything to catch up with. Cost: a read of memory."""
        return self.unpublished is not None or self.storage.has_news()

    def catch_up(self) -> None:
        """Apply and publish what others have committed. Cost: what changed."""
        if self.publishing:
            return
        with self.lock:
            # A child that no hook has seen inherits the number, and nobody who decides.
            if self._deciding and self._deciding == os.getpid():
                return  # Since the commit lock is held here, others have committed nothing.
            while True:
                if self.unpublished is None:
                    self.unpublished = self._read_news()
                found = self.unpublished is not None
                if found:
                    with self.graph.shared.lock:
                        finish_despite_interrupts(self._publish_news)
                packed = self._packed
                if packed is not None:
                    self.graph.packed = packed.generation > 0
                    self.keeps_past = packed.has_past
                if not found or packed is None or not packed.retired:
                    return

    def drop_generations(self) -> None:
        """Let a packed storage drop what no view needs, now or from now on.

        Does not wait for a thread that is catching up.
        """
        packed = self._packed
        if packed is None or self.publishing or not self.lock.acquire(blocking=False):
            return
        try:
            shared = self.graph.shared
            with shared.lock:
                # A view that begins reads what is published, which may be behind what was read.
                tid, oldest = shared.tid, shared.horizon.oldest()
            packed.drop_generations(tid if oldest is None else min(tid, oldest))
            self.keeps_past = packed.has_past
        finally:
            self.lock.release()

    def _read_news(self) -> _News | None:
        news = self.storage.read_news() if self.storage.has_news() else []
        if not news:
            return None
        changed: dict[Oid, Tid] = {}
        tid = self.graph.shared.tid
        for transaction in news:
            if not transaction.failed:
                tid = transaction.tid
                changed.update(dict.fromkeys(map(Oid, transaction.oids), tid))
        return _News(news, changed, tid)

    def _publish_news(self) -> None:
        # May be run again after an interrupt, by this call or by the next catch_up().
        if self.unpublished is None:
            return
        news, changed, tid = self.unpublished
        storage, graph = self.storage, self.graph
        # Not what an interrupted run has applied already.
        storage.apply(news[len(news) - (news[-1].sequence - len(storage)) :])
        for transaction in news:
            if transaction.names.classes and not transaction.failed:
                graph.ghosts.follow([number for number, _, _ in transaction.names.classes])
        if ROOT_OID in changed and not graph.shared.has_root:
            graph.shared.has_root = graph.shared.root_is_foreign = True
        graph.shared.publish_foreign(changed, tid)
        self.unpublished = None

    @property
    def publishing(self) -> bool:
        """Whether the calling thread is publishing or catching up.

        Then a signal handler or a finalizer asks, which must not wait for its own thread.
        """
        # There is no public way to ask.
        return bool(self.lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001

    def begin_to_decide(self) -> None:
        """Let no thread take for news what the caller is about to append."""
        with self.lock:  # Nobody is reading news.
            self._deciding = os.getpid()

    def end_to_decide(self) -> None:
        """All is published that the caller has appended; or it has appended nothing."""
        self._deciding = 0

    def publish(self, made: Transaction, changes: Changes, view: View) -> None:
        """Publish a committed transaction of this instance to all threads.

        The lock for news keeps others from taking it for news. May be repeated after an
        interrupt, and has to be: what is half published must not be seen.
        """
        with self.lock, self.graph.shared.lock:
            storage, shared = self.storage, self.graph.shared
            if changes.introductions:
                shared.introduce(made.tid, changes.introductions)
            if storage.tid < made.tid:
                storage.apply((made,))
            shared.has_root = True
            shared.publish(made.tid, changes.publications, view)

    def publish_own(self, made: Transaction, introductions: Sequence[Publication]) -> None:
        """Publish a committed transaction of no view, as if another process had made it.

        *introductions* are the objects that it stores for the first time. May be repeated after an
        interrupt.
        """
        storage, graph = self.storage, self.graph
        introduced = {publication.ref.oid for publication in introductions}
        changed = {Oid(oid): made.tid for oid in made.oids if oid not in introduced}

        def publish() -> None:
            graph.shared.introduce(made.tid, introductions)
            if storage.tid < made.tid:
                storage.apply([made])
            graph.ghosts.follow([number for number, _, _ in made.names.classes])
            graph.shared.publish_foreign(changed, made.tid)

        with self.lock, graph.shared.lock:
            finish_despite_interrupts(publish)

    def apply_failed(self, made: Transaction) -> None:
        with self.lock, self.graph.shared.lock:
            if self.storage.tid < made.tid:
                self.storage.apply([made])
