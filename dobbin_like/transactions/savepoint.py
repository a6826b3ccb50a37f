"""Savepoints: what a thread has changed in a transaction, as it was at one moment.

Working copies are copied whole, and so are new objects that are checked out:
the transaction can be rolled back to a savepoint any number of times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transaction.interfaces import IDataManagerSavepoint
from zope.interface import implementer

from dobbin_like.exc import NotStorableError
from dobbin_like.objects.faces.base import seal
from dobbin_like.objects.faces.working_copy import copy_state
from dobbin_like.objects.values.refs import here, native_dict, set_native_dict

if TYPE_CHECKING:
    from dobbin_like.objects.faces.working_copy import WorkingCopy
    from dobbin_like.transactions.data_manager import DataManager


@implementer(IDataManagerSavepoint)
class Savepoint:
    """The changes of one data manager as they were. Touched by its thread only.

    Raises:
        NotStorableError: Something can't be copied. Nothing has changed.

    Cost: The states that are checked out.
    """

    def __init__(self, manager: DataManager) -> None:
        self._manager = manager
        working = manager.view.working
        self._states = {key: _saved(copy) for key, copy in working.items()}
        self._opened = [(obj, copy_state(native_dict(obj))) for obj, _ in here.opened]
        self._new_root = manager.new_root

    def rollback(self) -> None:
        """Go back. What was checked out since is not checked out any more."""
        manager = self._manager
        for key, working in list(manager.view.working.items()):
            if key in self._states:
                working.restore(self._states[key])
            else:
                manager.uncheckout(working)
        since = here.opened[len(self._opened) :]
        for obj, before in since:
            set_native_dict(obj, before)
            seal(obj)
        del here.opened[len(self._opened) :]
        for obj, state in self._opened:
            set_native_dict(obj, copy_state(state))
        manager.replace_root(self._new_root)


def _saved(working: WorkingCopy) -> dict[str, Any]:
    try:
        return working.save()
    except Exception as error:  # user code, or what can't be pickled
        name = type(working.obj).__name__
        reason = f"it can't be copied for a savepoint: {error}"
        raise NotStorableError(name, working.ref.oid, ".", reason) from error
