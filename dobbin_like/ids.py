"""The two numbers that name things, kept apart by type: oids and tids."""

from __future__ import annotations

from typing import Final, NewType

Oid = NewType("Oid", int)
"""Names a persistent object in one database; 0 is the root, numbers are dense."""

Tid = NewType("Tid", int)
"""Names a transaction; strictly increasing along the log.

Microseconds since the epoch where the clock allows, else one more than the
tid before. No decision rests on the clock: a clock that is stepped back costs
the correspondence to the time of day and nothing else.
"""

ROOT_OID = Oid(0)

DELTA = 1 << 24
"""Added to the class number of a state that is a change of the version before it, no whole one."""

NO_TID = Tid(0)
"""Before every transaction: the snapshot of an empty log."""

INDEXES: Final = "_p_indexes"
"""The attribute of the root that leads to the catalog of indexes."""

DISCARDED: Final = "_p_discarded"
"""The attribute of an object that no index has any more."""

OWN_ATTRIBUTES: Final = (INDEXES, DISCARDED)
"""What the store keeps in the states of a program's objects: no code of theirs drops it."""

CATALOG_CLASS: Final = ("dobbin_like.indexes", "Catalog")
"""The name of the class of catalogs: a log that does not have it has no index."""

INDEX_CLASS: Final = ("dobbin_like.indexes", "Index")
"""The name of the class of indexes, whose states have the number of another class."""
