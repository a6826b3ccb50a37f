"""Persistent objects: their base class, ``checkout``, streams and collections.

The collections of :mod:`dobbin_like.collections` that stand for built-in types are known under
the name of this module, in programs and in logs.
"""

from typing import TYPE_CHECKING

from dobbin_like.late import late_names
from dobbin_like.objects.faces.asking import is_changed, is_checked_out, touch
from dobbin_like.objects.faces.base import Persistent, checkout
from dobbin_like.objects.faces.classes.metaclass import PersistentABCMeta, PersistentMeta
from dobbin_like.objects.faces.stream import PersistentFile, PersistentStream

if TYPE_CHECKING:
    from dobbin_like.collections.counter import PersistentCounter
    from dobbin_like.collections.dict import PersistentDict
    from dobbin_like.collections.list import PersistentList
    from dobbin_like.collections.queue import PersistentQueue
    from dobbin_like.collections.set import PersistentSet

__all__ = [
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
    "checkout",
    "is_changed",
    "is_checked_out",
    "touch",
]

if not TYPE_CHECKING:  # Else type checkers would find no misspelt name.
    __getattr__ = late_names(
        __name__,
        {
            "PersistentCounter": "collections.counter",
            "PersistentDict": "collections.dict",
            "PersistentList": "collections.list",
            "PersistentQueue": "collections.queue",
            "PersistentSet": "collections.set",
        },
    )
