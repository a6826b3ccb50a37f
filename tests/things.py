"""Persistent classes, and what is done with them, in more than one file of tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import transaction
from steps import in_thread

from dobbin_like import ConflictError, Database, Persistent, TransactionLog, checkout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Thing", "commit_elsewhere", "fail"]


class Thing(Persistent):
    """Has the attributes that it is made with."""

    def __init__(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)


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
