"""An object store for Python programs whose threads and processes share data.

The names that most programs need can be imported from here; all errors are in
:mod:`dobbin_like.exc`. From the ground up: ``ids``, ``exc``, ``processes``, ``timestamps`` and
``contract``; ``log`` and ``storages``, which know no objects; ``objects`` and ``collections``,
which know no files; ``transactions``; ``history``, ``search`` and ``upkeep``; ``database``, the
whole. ``jobs``, ``safe``, ``check``, ``repair``, ``conformance``, ``demo`` and ``cli`` are built
on it. See ``doctests/architecture.rst``.
"""

import logging
from typing import TYPE_CHECKING

from dobbin_like.late import late_names

if TYPE_CHECKING:
    from dobbin_like import collections as collections
    from dobbin_like import database as database
    from dobbin_like import exc as exc
    from dobbin_like import jobs as jobs
    from dobbin_like import persistent as persistent
    from dobbin_like import safe
    from dobbin_like import storage as storage
    from dobbin_like.collections import BTree, BTreeSet
    from dobbin_like.database import Database
    from dobbin_like.exc import (
        BrokenObjectError,
        ConflictError,
        CopyError,
        IntegrityError,
        InvalidObjectReference,
        LockTimeout,
        MigrationError,
        NewerStateError,
        PackError,
        PackRunningError,
        PastDroppedError,
        ReadConflictError,
        RenameError,
        TransactionNotFound,
        UndoConflictError,
        UndoError,
        UnloadedClassError,
        WriteConflictError,
    )
    from dobbin_like.jobs import JobQueue
    from dobbin_like.opening import open as open  # noqa: A004  not one of __all__
    from dobbin_like.persistent import (
        Persistent,
        PersistentABCMeta,
        PersistentCounter,
        PersistentDict,
        PersistentFile,
        PersistentList,
        PersistentMeta,
        PersistentQueue,
        PersistentSet,
        PersistentStream,
        checkout,
        is_changed,
        is_checked_out,
        touch,
    )
    from dobbin_like.storage import MemoryLog, OverlayLog, TransactionLog

__version__ = "0.1.0"

__all__ = [
    "BTree",
    "BTreeSet",
    "BrokenObjectError",
    "ConflictError",
    "CopyError",
    "Database",
    "IntegrityError",
    "InvalidObjectReference",
    "JobQueue",
    "LockTimeout",
    "MemoryLog",
    "MigrationError",
    "NewerStateError",
    "OverlayLog",
    "PackError",
    "PackRunningError",
    "PastDroppedError",
    "Persistent",
    "PersistentABCMeta",
    "PersistentCounter",
    "PersistentDict",
    "PersistentFile",
    "PersistentList",
    "PersistentMeta",
    "PersistentQueue",
    "PersistentSet",
    "PersistentStream",
    "ReadConflictError",
    "RenameError",
    "TransactionLog",
    "TransactionNotFound",
    "UndoConflictError",
    "UndoError",
    "UnloadedClassError",
    "WriteConflictError",
    "checkout",
    "is_changed",
    "is_checked_out",
    "safe",
    "touch",
]

_HOMES = {
    "collections": "",
    "database": "",
    "exc": "",
    "jobs": "",
    "persistent": "",
    "storage": "",
    "BTree": "collections",
    "BTreeSet": "collections",
    "BrokenObjectError": "exc",
    "ConflictError": "exc",
    "CopyError": "exc",
    "Database": "database",
    "IntegrityError": "exc",
    "InvalidObjectReference": "exc",
    "JobQueue": "jobs.queue",
    "LockTimeout": "exc",
    "MemoryLog": "storages.memory",
    "MigrationError": "exc",
    "NewerStateError": "exc",
    "OverlayLog": "storages.memory",
    "PackError": "exc",
    "PackRunningError": "exc",
    "PastDroppedError": "exc",
    "Persistent": "persistent",
    "PersistentABCMeta": "persistent",
    "PersistentCounter": "persistent",
    "PersistentDict": "persistent",
    "PersistentFile": "persistent",
    "PersistentList": "persistent",
    "PersistentMeta": "persistent",
    "PersistentQueue": "persistent",
    "PersistentSet": "persistent",
    "PersistentStream": "persistent",
    "ReadConflictError": "exc",
    "RenameError": "exc",
    "TransactionLog": "log",
    "TransactionNotFound": "exc",
    "UndoConflictError": "exc",
    "UndoError": "exc",
    "UnloadedClassError": "exc",
    "WriteConflictError": "exc",
    "checkout": "persistent",
    "is_changed": "persistent",
    "is_checked_out": "persistent",
    "open": "opening",
    "safe": "",
    "touch": "persistent",
}

if not TYPE_CHECKING:  # Else type checkers would find no misspelt name.
    __getattr__ = late_names(__name__, _HOMES)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

    logging.getLogger(__name__).addHandler(logging.NullHandler())
