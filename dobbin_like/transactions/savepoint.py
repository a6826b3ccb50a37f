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
from dobbin_like.objects.faces.base import seal
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.faces.working_copy import WorkingCopy, copy_state
from dobbin_like.objects.graph.publication import SharedState
from dobbin_like.objects.values.refs import ObjectRef, here, native_dict, set_native_dict

NewRoot = tuple[Any, "ObjectRef"]
"""The object that a transaction has set as the root, and its reference."""


@implementer(IDataManagerSavepoint)
class Savepoint:
    """The changes of one view as they were. Touched by its thread only.

    *replace_root* sets *new_root*, the root that the transaction has set, again at a rollback.
    Raises NotStorableError if something can't be copied. Cost: the states that are checked out.
    """

    def __init__(
        self,
        view: View,
        shared: SharedState,
        new_root: NewRoot | None,
        replace_root: Callable[[NewRoot | None], object],
    ) -> None:
        self._view = view
        self._shared = shared
        self._states = {key: _saved(copy) for key, copy in view.working.items()}
        self._opened = [(obj, copy_state(native_dict(obj))) for obj, _ in here.opened]
        self._new_root = new_root
        self._replace_root = replace_root

    def rollback(self) -> None:
        """Go back. What was checked out since is no longer checked out."""
        for key, working in list(self._view.working.items()):
            if key in self._states:
                working.restore(self._states[key])
            else:
                self._shared.uncheckout(self._view, working)
        since = here.opened[len(self._opened) :]
        for obj, before in since:
            set_native_dict(obj, before)
            seal(obj)
        del here.opened[len(self._opened) :]
        for obj, state in self._opened:
            set_native_dict(obj, copy_state(state))
        self._replace_root(self._new_root)


def _saved(working: WorkingCopy) -> dict[str, Any]:
    try:
        return working.save()
    except Exception as error:  # user code, or what can't be pickled
        name = type(working.obj).__name__
        reason = f"it can't be copied for a savepoint: {error}"
        raise NotStorableError(name, working.ref.oid, ".", reason) from error
