"""Errors of transactions, and of a database as it is used: the program made a wrong call."""

from __future__ import annotations

from dobbin_like.exc.base import HOME, UsageError
from dobbin_like.ids import Oid

__all__ = [
    "BlockError",
    "ChangesLostError",
    "ClosedError",
    "CommittingError",
    "LatePatchError",
    "OpenDatabaseWarning",
    "OtherManagerError",
    "SelfWaitError",
    "UncommittedChangesError",
    "UncommittedChangesWarning",
]


class ClosedError(UsageError, ValueError):
    """A database, storage or stream was used after ``close()``."""

    what: str
    text = "{what} is closed; open it again"


class ChangesLostError(ClosedError):
    """A transaction was to be committed after a database that it has changed was closed.

    Nothing was committed, in no database. ``abort()`` ends the transaction.
    """

    text = (
        "{what} was closed with changes of this transaction, which are lost; call abort(), and "
        "next time commit() or abort() before close()"
    )


class UncommittedChangesError(UsageError, RuntimeError):
    """A thread has changes that are neither committed nor aborted, and was to begin anew.

    They are as they were. ``count`` objects are checked out, first of all a ``class_name``; 0: the
    changes are those of another database, or of another participant of the transaction.
    """

    path: str
    class_name: str = ""
    oid: Oid | None = None
    count: int = 0
    text = (
        "{path}: this thread has changes that are neither committed nor aborted{what}; call "
        "transaction.commit() or transaction.abort() first, or make them in the block"
    )

    def __str__(self) -> str:
        first = f"{self.class_name} oid {self.oid}"
        what = (
            f" (in {self.count:,} objects, the first is {first})"
            if self.count > 1
            else f" (in {first})"
            if self.count
            else ""
        )
        return self.text.format(path=self.path, what=what)


class UncommittedChangesWarning(UserWarning):
    """There are changes not committed nor aborted when nobody is likely to do that any more.

    A database was closed, the program, a thread or a test has ended, or the block of a task that
    has asked the thread which has them; or a generator was dropped in whose block they were made.
    """

    __module__ = HOME


class OpenDatabaseWarning(UserWarning):
    """A test has opened a database and not closed it."""

    __module__ = HOME


class BlockError(UsageError, RuntimeError):
    """A block of ``db.transaction()``, ``db.reading()`` or a safe was used as it can't be.

    What was changed in it is taken back.
    """

    path: str
    reason: str
    text = "{path}: a transaction block can't go on: {reason}"


class CommittingError(UsageError, RuntimeError):
    """An object was checked out, or set as the root, by a method that the commit calls.

    Or by a hook after the commit, which has to begin a transaction of its own.
    """

    path: str
    text = (
        "{path}: the transaction is committing, nothing more can be checked out; check out "
        "before commit(), or in a hook added by addBeforeCommitHook(); one after it begins anew"
    )


class SelfWaitError(UsageError, RuntimeError):
    """A transaction would wait for a commit lock that its own thread holds.

    Two instances over one file were changed in one transaction, or one was committed in another.
    Or a signal handler, or a finalizer, has come in the middle of an operation of its thread and
    wanted to change or begin something, or has ended the transaction of that operation. What
    raises this has stored nothing.
    """

    path: str
    text = (
        "{path}: this thread is already committing to this file; use one database instance per "
        "file in a transaction, and change nothing in a signal handler"
    )


class OtherManagerError(UsageError, RuntimeError):
    """A change would join a transaction that nobody commits: the request has another manager.

    Nothing was checked out.
    """

    path: str
    text = (
        "{path}: the transaction of this request is one of another transaction manager than that "
        "of the database, and would not store what is changed; give the database "
        "transaction_manager=manager_in_use, from dobbin_like.web.pyramid, or change it in a "
        "block of db.transaction()"
    )


class LatePatchError(UsageError, RuntimeError):
    """``threading`` was patched after this package was imported. Nothing was opened."""

    path: str
    text = (
        "{path}: threads were replaced by others, by gevent for one, after dobbin_like was "
        "imported, which can't tell them apart; patch first (monkey.patch_all()), then import"
    )
