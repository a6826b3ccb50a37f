"""A transaction that the database makes for itself, apart from that of the calling thread.

The thread's own transaction, its snapshot and its working copies are not affected. It goes to the
log as any other: whole or not at all, under the commit lock, and others tail it. Its changes to
objects are published as if another process had made them: each thread reads the objects again
when its snapshot includes the transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from dobbin_like.contract import Transaction
from dobbin_like.exc import InDoubtError, SelfWaitError
from dobbin_like.ids import NO_TID, Tid
from dobbin_like.objects.graph.changes import Changes
from dobbin_like.processes.interrupts import finish_despite_interrupts
from dobbin_like.transactions.commit.lock import acquire, new_tid
from dobbin_like.transactions.publisher import Publisher

Rows = Sequence[tuple[int, str, str]]
"""Rows of a class table: number, module, qualname."""


def commit_own(
    publisher: Publisher, gather: Callable[[Changes], Rows | None], description: str
) -> Transaction | None:
    """Commit what *gather* puts into the changes it is given, as one transaction.

    *gather* is called under the commit lock, with all news applied, and returns rows of the class
    table to be written; None: there is nothing to do, and None is returned.

    Raises SelfWaitError if the thread is committing to this storage, and what a commit and
    *gather* raise. Then nothing was written.
    """
    storage = publisher.storage
    if storage.held:
        raise SelfWaitError(storage.path)
    try:
        try:
            acquire(publisher)
            return _commit(publisher, gather, description)
        finally:
            finish_despite_interrupts(storage.release)
    finally:
        # An interrupt may have come before the other release.
        finish_despite_interrupts(storage.release)


def _commit(
    publisher: Publisher, gather: Callable[[Changes], Rows | None], description: str
) -> Transaction | None:
    storage, classes = publisher.storage, publisher.graph.classes
    publisher.catch_up()
    changes = Changes(publisher.graph)
    made: Transaction | None = None
    tid = NO_TID
    try:
        rows = gather(changes)
        if rows is not None:
            rows = [*classes.new, *rows]
            tid = new_tid(storage)
            publisher.own[tid] = partial(
                publisher.publish_own, introductions=changes.introductions
            )
            made = storage.append(
                tid, changes.entries, rows, classes.new_shapes, description=description
            )
            publisher.if_open(publisher.catch_up)
            classes.confirm()
    except BaseException:
        finish_despite_interrupts(lambda: _settle(publisher, changes, tid))
        raise
    return made


def _settle(publisher: Publisher, changes: Changes, tid: Tid) -> None:
    """Finish what was interrupted, or has failed. May be repeated."""
    made = publisher.storage.settle(tid) if tid else None
    try:
        if made is not None:
            publisher.storage.confirm(made)
    except InDoubtError:
        made = None
    if made is not None:
        publisher.if_open(publisher.catch_up)
        publisher.graph.classes.confirm()
    elif not tid or publisher.give_up(tid) or tid > publisher.storage.tid:
        changes.undo()
