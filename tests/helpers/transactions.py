"""Transactions that are there to change something: one's own, another's, one that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import ConflictError, Database, PersistentDict, TransactionLog, checkout
from tests.helpers.steps import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def change(database: Database, **items: Any) -> None:
    """Put *items* into the root, which is made if there is none, and commit."""
    root = database.root
    if root is None:
        database.set_root(PersistentDict(**items))
    else:
        checkout(root)
        root.update(items)
    transaction.commit()


def commit_elsewhere(change: Callable[[], object]) -> None:
    """Do *change* and commit it in a thread of its own; raise what is raised there."""

    def run() -> None:
        with transaction.manager:
            change()

    in_thread(run)


def fail(path: Path, database: Database, *, user: str = "") -> None:
    """Record a failed transaction: *database* is changed while another changes it."""
    checkout(database.root)
    database.root["same"] = "mine"
    other = transaction.TransactionManager()
    with Database(TransactionLog(path, sync=False), transaction_manager=other) as another:
        checkout(another.root)
        another.root["same"] = "theirs"
        other.commit()
    current = transaction.get()
    current.user = user
    current.note("too late")
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()
