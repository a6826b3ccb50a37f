"""A transaction of its own, under the commit lock: for what the package itself changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from dobbin_like.blocks.block import Block
from dobbin_like.exc import BlockError
from dobbin_like.store import Store

R = TypeVar("R")


def run_alone(store: Store, step: Callable[[], R], reason: str, note: str = "") -> R:
    """Run *step* in a block that has the lock from its beginning, and so no conflict.

    Returns:
        What *step* returns.

    Raises:
        BlockError: The thread is in another block; *reason* says why it must not be.
        UncommittedChangesError: It has changed something already.
    """
    block: Block[Any] = Block(store, note)
    try:
        store.manager().acquire_early()
        with block:
            if block.is_part:
                raise BlockError(store.storage.path, reason)
            return step()
    finally:
        store.release_early()
