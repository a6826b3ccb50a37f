"""Databases over the same data: what the tests store in them, and do, in one call each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dobbin_like.conformance.harness import Harness
from dobbin_like.database import Database
from dobbin_like.persistent import Persistent, checkout


class Thing(Persistent):
    """An object with any attributes."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)


class Sum(Persistent):
    """An object whose changes can be merged."""

    total = 0

    @staticmethod
    def _p_resolve_conflict(
        old: dict[str, Any], saved: dict[str, Any], new: dict[str, Any]
    ) -> dict[str, Any]:
        total = saved.get("total", 0) + new.get("total", 0) - old.get("total", 0)
        return {**new, "total": total}


class Veto:
    """A participant that refuses after all others have agreed."""

    def __init__(self, manager: Any) -> None:
        self.transaction_manager = manager

    def sortKey(self) -> str:  # noqa: N802  the interface's name
        return "~veto"

    def tpc_vote(self, _transaction: Any) -> None:
        text = "veto"
        raise ZeroDivisionError(text)

    def _nothing(self, _transaction: Any) -> None:
        pass

    abort = _nothing
    tpc_begin = _nothing
    commit = _nothing
    tpc_finish = _nothing
    tpc_abort = _nothing


class PairHarness(Harness):
    """Creates one database, or two over the same data. The root is a ``Thing``."""

    def one(self, **attributes: Any) -> tuple[Database, Thing]:
        """Return a database and its root."""
        database = self.database(self.new())
        return database, set_root(database, Thing(**attributes))

    def pair(self, *lacks: str, **attributes: Any) -> tuple[Database, Database]:
        """Return two databases over the same data, or skip the test."""
        storage, other = self.two(*lacks)
        one = self.database(storage)
        set_root(one, Thing(**attributes))
        two = self.database(other)
        begin(two)
        return one, two


def begin(database: Database) -> Any:
    """Begin a transaction in this thread."""
    return database.transaction_manager.begin()


def commit(database: Database) -> None:
    """Commit the transaction of this thread."""
    database.transaction_manager.commit()


def abort(database: Database) -> None:
    """Abort the transaction of this thread."""
    database.transaction_manager.abort()


def set_root(database: Database, root: Any) -> Any:
    """Set a root and commit; return it."""
    database.set_root(root)
    commit(database)
    return root


def edit(obj: Any, **attributes: Any) -> None:
    """Check out an object, and set attributes."""
    checkout(obj)
    for name, value in attributes.items():
        setattr(obj, name, value)


def change(database: Database, **attributes: Any) -> None:
    """Change the root in a transaction of its own."""
    begin(database)
    edit(database.root, **attributes)
    commit(database)
