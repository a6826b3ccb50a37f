"""The storages there are, and what a database asks of one.

:class:`TransactionLog` in a file, :class:`MemoryLog` in memory, :class:`OverlayLog` in memory
over another one; in :mod:`dobbin_like.storage.postgres`, which needs psycopg, ``PostgresLog``.
Another engine that keeps the protocol :class:`Storage` can carry a database;
whether it keeps it is told by the tests of :mod:`dobbin_like.conformance`.
"""

from typing import TYPE_CHECKING

from dobbin_like.contract import (
    DistantStorage,
    Names,
    NewNames,
    PackedStorage,
    Storage,
    StoredVersion,
    Transaction,
)
from dobbin_like.late import late_names
from dobbin_like.log import TransactionLog
from dobbin_like.objects.faces.stream import PersistentStream

if TYPE_CHECKING:
    from dobbin_like.storages.memory import MemoryLog, OverlayLog

__all__ = [
    "DistantStorage",
    "MemoryLog",
    "Names",
    "NewNames",
    "OverlayLog",
    "PackedStorage",
    "PersistentStream",
    "Storage",
    "StoredVersion",
    "Transaction",
    "TransactionLog",
]

if not TYPE_CHECKING:  # Else type checkers would find no misspelt name.
    __getattr__ = late_names(
        __name__, {"MemoryLog": "storages.memory", "OverlayLog": "storages.memory"}
    )
