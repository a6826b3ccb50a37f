"""Finishing open safes when the interpreter ends, and leaving them to the parent after a fork."""

from __future__ import annotations

import atexit
import logging
import weakref
from typing import Any

import dobbin_like.database  # noqa: F401

# Hooks run in the order of their registration. That of databases has to be the first: it gives
# the child its own open file, because releasing the lock of the inherited one would take it
# from the parent.
from dobbin_like.processes.children import in_children

_logger = logging.getLogger(__name__)

_open: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
"""The open safes by id, because mappings have no hash."""


def note_open(safe: Any) -> None:
    """Finish *safe* when the interpreter ends, unless it is gone or closed by then."""
    _open[id(safe)] = safe


def _finish_all() -> None:
    # Later, when modules are torn down, nothing can be stored. They stay open: functions that
    # were registered before this one run after it, and may store something.
    for safe in list(_open.values()):
        try:
            safe.finish()
        except Exception:
            _logger.exception("%r could not be finished", safe)


def _after_fork_in_child() -> None:
    for safe in list(_open.values()):
        safe.leave_to_parent()


atexit.register(_finish_all)
in_children(_after_fork_in_child)
