"""Closing open safes when the interpreter ends, and leaving them to the parent after a fork."""

from __future__ import annotations

import atexit
import logging
import os
import weakref
from typing import Protocol

_logger = logging.getLogger(__name__)


class Open(Protocol):
    """An object that has to be closed."""

    def close(self) -> None: ...
    def leave_to_parent(self) -> None: ...


_open: weakref.WeakValueDictionary[int, Open] = weakref.WeakValueDictionary()
"""By id, because mappings have no hash."""


def note_open(opened: Open) -> None:
    """Close *opened* when the interpreter ends, unless it is gone or closed by then."""
    _open[id(opened)] = opened


def _close_all() -> None:
    # Later, when modules are torn down, nothing can be stored.
    for opened in list(_open.values()):
        try:
            opened.close()
        except Exception:
            _logger.exception("%r could not be closed", opened)


def _after_fork_in_child() -> None:
    for opened in list(_open.values()):
        opened.leave_to_parent()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
