"""The memory tower: persistent objects, shared state, what each thread sees of it.

Knows objects and threads, and no file. From the ground up:

* values: ``entry`` (what belongs to an object), ``kinds``, ``guards`` (what can't be
  changed), ``values`` (copies and comparisons), ``shapes``;
* large collections: ``delta`` (what is stored of a change), ``layered`` (in shared state),
  ``overlay`` (in a working copy) with ``overlay_dict``, ``overlay_list``, ``overlay_set``
  and ``overlays``;
* objects: ``view`` (what one thread sees), ``declared`` (what a class may define),
  ``faces``, ``base``, ``versions`` (of classes), ``broken``, ``stream``;
* bytes: ``policy`` (what may be loaded), ``stand_in``, ``classes``, ``serialize``, ``loose``
  (without the classes);
* the graph: ``shared``, ``ghosts``, ``stored``, ``visible``, ``graph``;
* a commit: ``spool``, ``changes``.

The collections of :mod:`dobbin_like.collections` stand on them, and are known under the
name of this package.
"""

from dobbin_like.collections.counter import PersistentCounter
from dobbin_like.collections.dict import PersistentDict
from dobbin_like.collections.list import PersistentList
from dobbin_like.collections.queue import PersistentQueue
from dobbin_like.collections.set import PersistentSet
from dobbin_like.objects.faces.base import Persistent, checkout
from dobbin_like.objects.faces.faces import PersistentABCMeta, PersistentMeta
from dobbin_like.objects.faces.stream import PersistentFile, PersistentStream

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
