"""Every error of the package, in three families that differ in what you can do, and three alone.

:class:`UsageError`: the program made a wrong call; fix the program. Transient errors
(:class:`ConflictError` and :class:`LockTimeout`): another transaction was faster; run the
transaction again, as the retry loops of the ``transaction`` package do. :class:`LogError`:
the file is not as it should be; stop and look at it. Three are of no family.
:class:`InDoubtError`: the transaction may be committed or not; ask before you run it again.
:class:`ServerUnavailableError`: the server has to come back first. :class:`UniqueError`: the key
belongs to another object; that is for the program to decide.

An error is declared by its docstring, its values and its text; :class:`Error` makes the
constructor, the attributes, the text, the repr and pickling from them.
"""

# The modules are for readers. All their names are imported from here, and have this as their
# module: that is what tracebacks show and what pickles name, and where typing.get_type_hints()
# looks for what annotations need.

from __future__ import annotations

from datetime import datetime  # noqa: F401
from typing import TYPE_CHECKING, ClassVar  # noqa: F401

from dobbin_like.exc.base import *  # noqa: F403
from dobbin_like.exc.classes import *  # noqa: F403
from dobbin_like.exc.conflicts import *  # noqa: F403
from dobbin_like.exc.log import *  # noqa: F403
from dobbin_like.exc.objects import *  # noqa: F403
from dobbin_like.exc.transactions import *  # noqa: F403
from dobbin_like.ids import Oid, Tid  # noqa: F401
from dobbin_like.late import late_names

if TYPE_CHECKING:
    from dobbin_like.exc.indexes import *  # noqa: F403
    from dobbin_like.exc.tools import *  # noqa: F403

_HOMES = {
    "ClaimDroppedWarning": "exc.tools",
    "IndexDefinitionError": "exc.indexes",
    "IndexFunctionError": "exc.indexes",
    "IndexStaleError": "exc.indexes",
    "LeaseLostError": "exc.tools",
    "NotASafeError": "exc.tools",
    "NotIndexableError": "exc.indexes",
    "SafeDirectoryError": "exc.tools",
    "SearchError": "exc.indexes",
    "SourceError": "exc.tools",
    "UniqueConflictError": "exc.indexes",
    "UniqueError": "exc.indexes",
    "UnknownAttributeWarning": "exc.indexes",
}
"""What no program needs that only reads and commits."""

__all__ = [  # noqa: PLE0604  all of them are strings
    *(
        name
        for name, value in globals().items()
        if isinstance(value, type) and issubclass(value, Exception)
    ),
    *_HOMES,
]

if not TYPE_CHECKING:  # Else type checkers would find no misspelt name.
    __getattr__ = late_names(__name__, _HOMES)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
