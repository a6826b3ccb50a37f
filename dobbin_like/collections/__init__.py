"""Collections that are persistent objects: read like built-in ones, checked out to change.

They depend on :mod:`dobbin_like.objects` only, not on files. Each is imported when it is asked
for: a program that has a dict does not wait for the trees.
"""

from typing import TYPE_CHECKING

from dobbin_like.late import late_names

if TYPE_CHECKING:
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

if not TYPE_CHECKING:  # Else type checkers would find no misspelt name.
    __getattr__ = late_names(
        __name__,
        {
            "BTree": "collections.btree.tree_map",
            "BTreeInner": "collections.btree.nodes",
            "BTreeLeaf": "collections.btree.nodes",
            "BTreeLength": "collections.btree.nodes",
            "BTreeSet": "collections.btree.tree_set",
            "PersistentCounter": "collections.counter",
            "PersistentDict": "collections.dict",
            "PersistentList": "collections.list",
            "PersistentQueue": "collections.queue",
            "PersistentSet": "collections.set",
            "check_btree": "collections.btree.check",
        },
    )
