"""Indexes: what a program looks up, kept by the store.

::

    db.index(Account, "owner")                   # once; existing objects are in it
    db.index(Account, "number", unique=True)
    db.find(Account, owner="Ada", balance=between(10, 20), order_by="number", limit=20)

**Where it is.** The root has one attribute more (``_p_indexes``), which leads to a
:class:`.Catalog`, which has an :class:`.Index` for each definition, with a sorted set of entries:
a key and an oid each, as bytes in the order of the values. All of these are ordinary objects:
packs and copies keep them, ``at()`` shows them as they were, a snapshot has the entries that
belong to its objects. The oids are numbers, not references: an index keeps no object alive. What
code of a program makes of the state of the root (``_p_migrate``, a resolved conflict) can't lose
the attribute, and an undo leaves indexes alone: they follow what it does to the objects.

**What is in it.** An entry is a function of the class and the committed state of one object, and
of nothing else. So a commit of an object knows from the states before and after what to take
out and what to put in, whatever has merged, resolved, undone or rolled back the change. An object
is in the indexes of its class and of its base classes. It is left out if an attribute is missing.
A value that has no order (a list, NaN) refuses the commit: leaving the object out would be silent.
So does an object that is not there with the key that it had: its class was changed, or the
function, and the index has to be made again.

**When it is kept.** In ``commit()``, after all states are gathered: the commit lock is held, all
conflicts were found, and the transaction may be shown the newest snapshot. There the entries are
changed, as objects of the same transaction. Nobody else can have changed them meanwhile, so that
they add no conflicts; a unique key is checked there, against all that is committed. A log without
the class of catalogs has no index, and pays for one attribute that is asked for.

**Who keeps it.** Everybody who commits: the definitions are in the file. A function is stored by
its name, and is called only if the program has given it to ``index()`` or allows its name; a
program that has not done so can't commit objects of that class.

**What is gone.** The store finds out what the root no longer leads to when it packs, not before.
Until then such an object is found, as by ``instances()``, and holds its unique keys. After
``discard(obj)`` it is in no index. Entries of what a pack has dropped are taken out after it
(:mod:`.sweep`); should that fail, they are passed over.

The room below, :mod:`.kept`, has what a commit needs: keys, the catalog, the keeper. Above it
stand :mod:`.build`, :mod:`.conditions`, :mod:`.plan`, :mod:`.find`, :mod:`.scan` and
:mod:`.sweep`.
"""

from typing import TYPE_CHECKING

from dobbin_like.late import late_names

if TYPE_CHECKING:
    from dobbin_like.indexes.build import IndexInfo
    from dobbin_like.indexes.conditions import (
        above,
        at_least,
        at_most,
        below,
        between,
        one_of,
        starts_with,
    )
    from dobbin_like.indexes.find import Found
    from dobbin_like.indexes.kept.catalog import Catalog, Index, IndexEntries

__all__ = [
    "Catalog",
    "Found",
    "Index",
    "IndexEntries",
    "IndexInfo",
    "above",
    "at_least",
    "at_most",
    "below",
    "between",
    "one_of",
    "starts_with",
]

if not TYPE_CHECKING:  # Else type checkers would find no misspelt name.
    __getattr__ = late_names(
        __name__,
        {
            "Catalog": "indexes.kept.catalog",
            "Found": "indexes.find",
            "Index": "indexes.kept.catalog",
            "IndexEntries": "indexes.kept.catalog",
            "IndexInfo": "indexes.build",
            "above": "indexes.conditions",
            "at_least": "indexes.conditions",
            "at_most": "indexes.conditions",
            "below": "indexes.conditions",
            "between": "indexes.conditions",
            "one_of": "indexes.conditions",
            "starts_with": "indexes.conditions",
        },
    )
