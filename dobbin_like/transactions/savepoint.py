"""Savepoints: what a thread has changed in a transaction, as it was at one moment.

Working copies are copied whole, and so are new objects that are checked out:
the transaction can be rolled back to a savepoint any number of times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transaction.interfaces import IDataManagerSavepoint
from zope.interface import implementer

from dobbin_like.exc import NotStorableError
from dobbin_like.objects.faces.base import is_new, seal
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.faces.working_copy import Touched, WorkingCopy, copy_state
from dobbin_like.objects.graph.publication import SharedState
from dobbin_like.objects.values.refs import (
    ObjectRef,
    State,
    native_dict,
    ref_of,
    set_native_dict,
)
from dobbin_like.transactions.lost_changes import ROLLBACK, Kept, kept_since, read_in

NewRoot = tuple[Any, "ObjectRef"]
"""The object that a transaction has set as the root, and its reference."""


@implementer(IDataManagerSavepoint)
class Savepoint:
    """The changes of one view as they were. Touched by its thread only.

    *opened* has the new objects that are checked out, with their states before. *rolled_back* is
    called after a rollback, with *new_root*, the root that the transaction has set, and with the
    containers that the program has kept.
    Raises NotStorableError if something can't be copied. Cost: the states that are checked out.
    """

    def __init__(
        self,
        view: View,
        opened: list[tuple[Any, State]],
        shared: SharedState,
        new_root: NewRoot | None,
        rolled_back: Callable[[NewRoot | None, list[Kept]], object],
    ) -> None:
        self._view = view
        self._shared = shared
        self._states = {key: _saved(copy) for key, copy in view.working.items()}
        self._opened = opened
        self._opened_states = [
            (obj, copy_state(native_dict(obj), type(obj)._p_faces)) for obj, _ in opened
        ]
        self._new_root = new_root
        self._rolled_back = rolled_back

    def rollback(self) -> None:
        """Go back. What was checked out since is no longer checked out."""
        read = read_in(self._view.working.values())
        for key, working in list(self._view.working.items()):
            if key in self._states:
                working.restore(self._states[key])
            else:
                self._shared.uncheckout(self._view, working)
        self._view.forget_states()  # They may have cached what was computed from the changes.
        count = len(self._opened_states)
        with self._shared.lock:
            for obj, before in self._opened[count:]:
                _reset(obj, before)
                seal(obj)
            for obj, state in self._opened_states:
                _reset(obj, copy_state(state, type(obj)._p_faces))
        del self._opened[count:]
        self._rolled_back(self._new_root, kept_since(ROLLBACK, read))


def _reset(obj: Any, state: State) -> None:
    # Else another thread has stored it meanwhile, and it is shared.
    if is_new(ref_of(obj)):
        set_native_dict(obj, state)


def _saved(working: WorkingCopy) -> tuple[dict[str, Any], Touched]:
    try:
        return working.save()
    except Exception as error:  # user code, or what can't be pickled
        name = type(working.obj).__name__
        reason = f"it can't be copied for a savepoint: {error}"
        raise NotStorableError(name, working.ref.oid, ".", reason) from error
