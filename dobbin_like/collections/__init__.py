"""Collections that are persistent objects: read like built-in ones, checked out to change.

They depend on :mod:`dobbin_like.objects` only, not on files.
"""

from dobbin_like.collections.btree.check import check_btree
from dobbin_like.collections.btree.nodes import BTreeInner, BTreeLeaf, BTreeLength
from dobbin_like.collections.btree.tree_map import BTree
from dobbin_like.collections.btree.tree_set import BTreeSet
from dobbin_like.collections.counter import PersistentCounter
from dobbin_like.collections.dict import PersistentDict
from dobbin_like.collections.list import PersistentList
from dobbin_like.collections.queue import PersistentQueue
from dobbin_like.collections.set import PersistentSet

__all__ = [
    "BTree",
    "BTreeInner",
    "BTreeLeaf",
    "BTreeLength",
    "BTreeSet",
    "PersistentCounter",
    "PersistentDict",
    "PersistentList",
    "PersistentQueue",
    "PersistentSet",
    "check_btree",
]
