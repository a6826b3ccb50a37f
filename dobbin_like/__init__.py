"""An object store for Python programs whose threads and processes share data."""

import logging

from dobbin_like.database import Database
from dobbin_like.exc import (
    ConflictError,
    CopyError,
    IntegrityError,
    InvalidObjectReference,
    LockTimeout,
    PastDroppedError,
    ReadConflictError,
    TransactionNotFound,
    UndoConflictError,
    UndoError,
    WriteConflictError,
)
from dobbin_like.persistent import (
    Persistent,
    PersistentABCMeta,
    PersistentDict,
    PersistentFile,
    PersistentList,
    PersistentMeta,
    PersistentSet,
    PersistentStream,
    checkout,
)
from dobbin_like.storage import TransactionLog

__version__ = "0.1.0"

__all__ = [
    "ConflictError",
    "CopyError",
    "Database",
    "IntegrityError",
    "InvalidObjectReference",
    "LockTimeout",
    "PastDroppedError",
    "Persistent",
    "PersistentABCMeta",
    "PersistentDict",
    "PersistentFile",
    "PersistentList",
    "PersistentMeta",
    "PersistentSet",
    "PersistentStream",
    "ReadConflictError",
    "TransactionLog",
    "TransactionNotFound",
    "UndoConflictError",
    "UndoError",
    "WriteConflictError",
    "checkout",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
