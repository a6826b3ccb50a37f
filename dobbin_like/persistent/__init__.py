"""The memory tower: persistent objects, shared state, what each thread sees of it.

Knows objects and threads, and no file. From the ground up: ``entry``,
``kinds``, ``guards``, ``values``, ``view``, ``faces``, ``base``, ``classes``,
``serialize``, ``shared``, ``graph``, ``changes``; beside them ``stream``. The
collections of :mod:`dobbin_like.collections` stand on them, and are known
under the name of this package.
"""

from dobbin_like.collections.counter import PersistentCounter
from dobbin_like.collections.dict import PersistentDict
from dobbin_like.collections.list import PersistentList
from dobbin_like.collections.queue import PersistentQueue
from dobbin_like.collections.set import PersistentSet
from dobbin_like.persistent.base import Persistent, checkout
from dobbin_like.persistent.faces import PersistentABCMeta, PersistentMeta
from dobbin_like.persistent.stream import PersistentFile, PersistentStream

type.__setattr__(Persistent, "__module__", __name__)

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
]
