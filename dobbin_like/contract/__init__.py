"""What a database asks of a storage: the contract between the two towers.

The memory tower reads and writes through these protocols and knows no file; a storage keeps
them and knows no object. Told once, here; whether a storage keeps them is what the suite of
:mod:`dobbin_like.conformance` tests. A storage needs no base class.

A commit is decided by :meth:`Storage.append`: *put the next transaction*. A storage with a
commit lock keeps others from putting one between ``acquire()`` and ``release()``. It need not
be held until the transaction is on stable storage: ``confirm()`` waits for that, and one wait
may do for many.
"""

from __future__ import annotations

from dobbin_like.contract.distant import DistantStorage, is_distant, reading_ahead
from dobbin_like.contract.packed import PackedStorage
from dobbin_like.contract.recognize import is_packed, is_storage
from dobbin_like.contract.storage import Storage
from dobbin_like.contract.stored import (
    NO_NAMES,
    ClassRow,
    Entry,
    Names,
    NewNames,
    ShapeRow,
    StoredVersion,
    Transaction,
)

__all__ = [
    "NO_NAMES",
    "ClassRow",
    "DistantStorage",
    "Entry",
    "Names",
    "NewNames",
    "PackedStorage",
    "ShapeRow",
    "Storage",
    "StoredVersion",
    "Transaction",
    "is_distant",
    "is_packed",
    "is_storage",
    "reading_ahead",
]
