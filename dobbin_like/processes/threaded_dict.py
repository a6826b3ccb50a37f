"""Dicts in which several threads look things up.

On CPython 3.13 without the global lock, ``dict.get()`` holds the lock of the dict, and takes it a
second time for a key or a value that was made by another thread, if nobody but the dict has it.
It waits for itself then, and lets forty other threads and processes go first: 50 microseconds on
an idle machine, tens of milliseconds on a busy one. ``[]`` and ``in`` do not. In CPython 3.14,
``get()`` does not hold the lock (gh-129336).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

_has_global_lock: Final[Callable[[], bool]] = getattr(sys, "_is_gil_enabled", lambda: True)

GET_WAITS: Final = sys.version_info[:2] == (3, 13) and not _has_global_lock()
"""Whether ``dict.get()`` may wait for itself."""


def get_unchanged(items: Any, key: Any, default: Any = None, /) -> Any:
    """Do what ``items.get(key, default)`` does, of a dict that nobody changes."""
    # A defaultdict would add the key.
    return items[key] if key in items else default  # noqa: SIM401


if TYPE_CHECKING or not GET_WAITS:
    ThreadedDict = dict
else:

    class ThreadedDict(dict):
        """A dict that any thread may change, whose ``get()`` waits for nobody."""

        __slots__ = ()

        def get(self, key: Any, default: Any = None, /) -> Any:
            try:
                return self[key]
            except KeyError:
                return default
