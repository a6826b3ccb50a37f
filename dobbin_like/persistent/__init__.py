"""The memory tower: persistent objects, shared state, what each thread sees of it.

Knows objects and threads, and no file. From the ground up: ``entry``,
``kinds``, ``guards``, ``values``, ``view``, ``faces``, ``base``, ``classes``,
``serialize``, ``shared``, ``graph``, ``changes``; beside them ``containers``
and ``stream``.
"""

from dobbin_like.persistent.base import Persistent, checkout
from dobbin_like.persistent.containers import PersistentDict, PersistentList, PersistentSet
from dobbin_like.persistent.faces import PersistentABCMeta, PersistentMeta
from dobbin_like.persistent.stream import PersistentFile, PersistentStream

type.__setattr__(Persistent, "__module__", __name__)

__all__ = [
    "Persistent",
    "PersistentABCMeta",
    "PersistentDict",
    "PersistentFile",
    "PersistentList",
    "PersistentMeta",
    "PersistentSet",
    "PersistentStream",
    "checkout",
]
