"""Savepoints: the changes of a thread in a transaction, as of one moment.

Working copies are copied whole, and so are new objects that are checked out:
the transaction can be rolled back to a savepoint any number of times.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from transaction import TransactionManager
from transaction.interfaces import IDataManagerSavepoint
from zope.interface import implementer

from dobbin_like.exc import NotStorableError
from dobbin_like.objects.faces.base import is_new, seal
from dobbin_like.objects.faces.view import NewRoot, View
from dobbin_like.objects.faces.working_copy import Touched, WorkingCopy, copy_state
from dobbin_like.objects.graph.publication import SharedState
from dobbin_like.objects.values.here import OpenedObjects
from dobbin_like.objects.values.refs import State, native_dict, ref_of, set_native_dict
from dobbin_like.transactions.lost_changes import (
    ROLLBACK,
    KeptContainer,
    kept_since,
    objects_of,
    read_in,
)


@implementer(IDataManagerSavepoint)
class NewObjects:
    """The new objects of *opened*, as they were. A database need not take part for it."""

    def __init__(self, opened: list[tuple[Any, State]], lock: Any) -> None:
        self._opened = opened
        self._lock = lock  # Another thread may store one of them.
        self._states = [
            (obj, copy_state(native_dict(obj), type(obj)._p_faces)) for obj, _ in opened
        ]

    def rollback(self) -> None:
        """Go back. What was checked out since is no longer checked out. May be repeated."""
        count = len(self._states)
        with self._lock:
            for obj, before in self._opened[count:]:
                _reset(obj, before)
                seal(obj)
            for obj, state in self._states:
                _reset(obj, copy_state(state, type(obj)._p_faces))
        del self._opened[count:]


def note_new_objects(manager: Any, opened: OpenedObjects, lock: Any) -> None:
    """Let the savepoints of a transaction manager take back what is done to new objects.

    They belong to no database, which would take part in the transaction. What is kept holds
    neither the manager nor *opened*: the thread may end before both.
    """
    if isinstance(manager, TransactionManager):
        manager.savepoint = partial(_savepoint, weakref.ref(manager), weakref.ref(opened), lock)


def _savepoint(
    manager_reference: weakref.ref[Any],
    opened_reference: weakref.ref[OpenedObjects],
    lock: Any,
    optimistic: bool = False,
) -> Any:
    manager: Any = manager_reference()
    opened = opened_reference()
    made = type(manager).savepoint(manager, optimistic)
    if opened is not None:  # Else the databases of the thread are closed.
        # There is no public way. A data manager that joins later is added to them, too.
        made._savepoints.append(NewObjects(opened.pairs, lock))  # noqa: SLF001
    return made


@implementer(IDataManagerSavepoint)
class Savepoint:
    """The changes of one view as they were. Touched by its thread only.

    *opened* has the new objects that are checked out, with their states before. *rolled_back* is
    called after a rollback, with what was set as the root at the savepoint, and with the
    containers that the program has kept.
    Raises NotStorableError if something can't be copied. Cost: the states that are checked out.
    """

    def __init__(
        self,
        view: View,
        opened: list[tuple[Any, State]],
        shared: SharedState,
        rolled_back: Callable[[NewRoot | None, list[KeptContainer]], object],
    ) -> None:
        self._view = view
        self._shared = shared
        self._states = {key: _saved(copy) for key, copy in view.working.items()}
        self._new_objects = NewObjects(opened, shared.lock)
        self._new_root = view.new_root
        self._rolled_back = rolled_back

    def rollback(self) -> None:
        """Go back. What was checked out since is no longer checked out."""
        read = read_in(self._view.working.values())
        objects = objects_of(read)
        for key, working in list(self._view.working.items()):
            if key in self._states:
                working.restore(self._states[key])
            else:
                self._shared.uncheckout(self._view, working)
        self._view.forget_states()  # They may have cached what was computed from the changes.
        self._new_objects.rollback()
        self._rolled_back(self._new_root, kept_since(ROLLBACK, read, objects))


def _reset(obj: Any, state: State) -> None:
    # Else another thread has stored it meanwhile, and it is shared.
    if is_new(ref_of(obj)):
        set_native_dict(obj, state)


def _saved(working: WorkingCopy) -> tuple[State, Touched | None]:
    try:
        return working.save()
    except Exception as error:  # user code, or what can't be pickled
        name = type(working.obj).__name__
        reason = f"it can't be copied for a savepoint: {error}"
        raise NotStorableError(name, working.ref.oid, ".", reason) from error
