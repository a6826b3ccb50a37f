"""Names that ZODB and Durus have: what there is instead of them here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from dobbin_like.exc import NoSuchAttributeError

IN_OBJECTS: Final = {
    "_p_activate": "an object is read when it is first used",
    "_p_changed": (
        "what is changed after checkout(obj) is noticed, in lists and dicts too; touch(obj) lets "
        "it be stored as it is, is_changed(obj) asks"
    ),
    "_p_connection": "_p_jar is the database of an object",
    "_p_deactivate": "an object that nothing refers to leaves memory by itself",
    "_p_estimated_size": "db.census() has the sizes of all objects by class",
    "_p_invalidate": "transaction.abort() drops what was changed",
    "_p_mtime": "_p_serial is the tid that changed the object, db.history(obj) has the times",
    "_p_note_change": "call checkout(obj) before the change, nothing after it",
    "_p_resolveConflict": "define _p_resolve_conflict(old_state, saved_state, new_state)",
    "_p_state": "is_checked_out(obj) and is_changed(obj) tell what the thread has done to it",
    "_p_status": "is_checked_out(obj) and is_changed(obj) tell what the thread has done to it",
}
"""Attributes and methods of a persistent object, by name."""

_MEMORY: Final = "an object that nothing refers to leaves memory by itself"
_NO_CONNECTIONS: Final = (
    "there are no connections; each thread uses the database as it is, and db.root is the root "
    "itself, which is not called"
)
_TRANSACTIONS: Final = (
    "transactions are those of the transaction package: transaction.begin(), commit(), abort(), "
    "or a block, with db.transaction() as root"
)

_SET_ROOT: Final = "db.set_root(obj) lets an object be the root"

IN_DATABASES: Final = {
    "abort": _TRANSACTIONS,
    "add": "what can be reached from the root is stored at commit, nothing has to be added",
    "begin": _TRANSACTIONS,
    "cacheGC": _MEMORY,
    "cacheMinimize": _MEMORY,
    "commit": _TRANSACTIONS,
    "connection": _NO_CONNECTIONS,
    "db": _NO_CONNECTIONS,
    "elect": _SET_ROOT,
    "elect_as_root": _SET_ROOT,
    "getSize": "len(db) is the number of objects, db.stats() has more",
    "get_connection": _NO_CONNECTIONS,
    "get_storage": "db.storage is the storage",
    "objectCount": "len(db) is the number of objects",
    "oldstate": "db.at(tid) shows the objects as of a transaction, db.history(obj) has all states",
    "onCloseCallback": "close() closes the database for all threads of the process",
    "open": _NO_CONNECTIONS,
    "readCurrent": "touch(obj) makes a change of it by others a conflict",
    "setCacheSize": _MEMORY,
    "shrink_cache": _MEMORY,
    "sync": "transaction.begin() and abort() show what others have committed",
    "undoInfo": "db.transactions() has them, db.undo(tid) undoes one",
    "undoLog": "db.transactions() has them, db.undo(tid) undoes one",
    "undoMultiple": "call db.undo(tid) for each, the newest first",
    "xconnections": _NO_CONNECTIONS,
}
"""Methods of a database or a connection, by name."""

_OTHERS: Final = "names with _p_ are reserved; take another one, _v_ if it shall not be stored"


def no_such_attribute(obj: Any, name: str) -> NoSuchAttributeError:
    """Return the error for an attribute with ``_p_`` that is not there, or can't be set."""
    return NoSuchAttributeError(type(obj).__name__, name, IN_OBJECTS.get(name, _OTHERS))


class Elsewhere:
    """An attribute that is not there, and says so."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, obj: Any, owner: Any = None) -> Any:
        if obj is None:
            return self
        raise no_such_attribute(obj, self._name)

    def __set__(self, obj: Any, value: Any) -> None:
        raise no_such_attribute(obj, self._name)


class FixedProperty(property):
    """A property that can't be set, after a checkout either; *instead* says what to do."""

    def __init__(self, get: Callable[[Any], Any], instead: str) -> None:
        super().__init__(get)
        self._instead = instead

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __set__(self, obj: Any, value: Any) -> None:
        raise self.refusal(obj)

    def refusal(self, obj: Any) -> NoSuchAttributeError:
        """Return the error for setting it."""
        return NoSuchAttributeError(type(obj).__name__, f"setter of {self._name}", self._instead)
