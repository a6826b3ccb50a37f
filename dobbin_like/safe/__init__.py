"""A dict in a file, for programs that only need to keep a few values.

::

    from dobbin_like import safe

    with safe.open("settings.safe") as settings:
        settings["colour"] = "green"  # is on stable storage when this returns

Threads and processes share it. See :class:`Safe` for its promises, and ``doctests/safe.rst``.
"""

from dobbin_like.safe.mapping import Safe
from dobbin_like.safe.opening import module_safe, open, set_directory  # noqa: A004  as shelve.open
from dobbin_like.safe.stored import LargeValue, SafeDict

__all__ = ["LargeValue", "Safe", "SafeDict", "module_safe", "open", "set_directory"]
