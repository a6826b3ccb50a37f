"""What others have appended, and is not visible yet because it has to be synced.

The commit lock is held, so that nothing is added. A transaction that does not depend on any of
it need not wait for the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from dobbin_like.contract import Transaction, is_distant
from dobbin_like.exc import ConflictError, WriteConflictError
from dobbin_like.ids import NO_TID
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.graph.changes import Changes
from dobbin_like.transactions.commit.lock import acquire
from dobbin_like.transactions.compare_sides import told_by
from dobbin_like.transactions.publisher import Publisher

_OBJECT: Final = "object"
"""The class of what is in conflict, which nobody has read."""


def may_conflict(unseen: Sequence[Transaction], view: View) -> bool:
    """Tell whether any of *unseen* may be in conflict with what *view* has checked out."""
    oids = set()
    for working in view.working.values():
        oids.add(working.ref.oid)
        if hasattr(type(working.obj), "_p_replay"):
            return True  # On parts that were not checked out.
    return any(
        any(logged.names) or not (logged.failed or oids.isdisjoint(logged.oids))
        for logged in unseen
    )


def see(publisher: Publisher, logged: Transaction) -> None:
    """Wait, without the lock, until a transaction is visible, so that others may go on."""
    storage = publisher.storage
    storage.release()
    storage.wait_for(logged)
    acquire(publisher, settled=False)
    publisher.catch_up()


def see_with_lock(publisher: Publisher, logged: Transaction) -> None:
    """Wait, with the lock, until a transaction is visible: no conflict can come meanwhile.

    Raises ConflictError: It will never be visible.
    """
    storage = publisher.storage
    storage.wait_for(logged)
    publisher.catch_up()
    if storage.tid >= logged.tid:
        return
    if not is_distant(storage):
        failed = "a transaction before it could not be synced"
        raise ConflictError(failed=failed)
    # Another process was faster: now they have to wait, too.
    storage.release()
    acquire(publisher)
    publisher.catch_up()


def stored_again(changes: Changes, view: View) -> WriteConflictError | None:
    """Return the conflict about an object that a pack dropped, if *changes* and others store it.

    Others may be visible by now: they were not when it was decided what is stored again. What
    *view* has checked out is none of that, and was waited for.
    """
    oids = {entry[0] for entry in changes.entries}
    oids -= {working.ref.oid for working in view.working.values()}
    for logged in changes.unseen:
        if not (logged.failed or oids.isdisjoint(logged.oids)):
            oid = next(oid for oid in logged.oids if oid in oids)
            error = WriteConflictError(_OBJECT, oid, logged.tid, NO_TID, "another thread", "")
            return error.tell(partial(told_by, logged))
    return None
