"""Errors of logs and other storages: what they refuse, and what is wrong with them.

A refusal is a :class:`.UsageError`. :class:`.LogError`: the file is not as it should be, stop and
look at it.
"""

from __future__ import annotations

from dobbin_like.exc.base import Error, UsageError
from dobbin_like.ids import Tid

__all__ = [
    "CopyError",
    "DivergedError",
    "FormatVersionError",
    "HistoryLostError",
    "InDoubtError",
    "IntegrityError",
    "LogError",
    "LogMovedError",
    "LogPackedError",
    "NotALogError",
    "NotHeldError",
    "PackError",
    "PackRunningError",
    "PastDroppedError",
    "ReadOnlyStorageError",
    "ServerUnavailableError",
    "StorageInUseError",
    "StreamMovedError",
    "TransactionNotFound",
    "UndoError",
]


class StorageInUseError(UsageError, ValueError):
    """A storage was given to a second database."""

    path: str
    text = "{path}: this storage belongs to a database; open the path again for another one"


class ReadOnlyStorageError(UsageError, PermissionError):
    """A program tried to commit to a read-only storage. Nothing was written."""

    path: str
    reason: str
    text = "{path}: {reason}"


class NotHeldError(UsageError, RuntimeError):
    """A method of a storage that writes was called at the wrong time. Nothing was written."""

    path: str
    step: str
    missing: str
    text = "{path}: {step} needs {missing}"


class TransactionNotFound(UsageError, LookupError):
    """The log has no transaction with this tid, or no state of this time."""

    path: str
    tid: Tid
    reason: str
    text = "{path}: no transaction {tid}: {reason}"


class PastDroppedError(UsageError, LookupError):
    """The state as of this tid was dropped when the log was packed.

    ``undone`` is the transaction that was to be undone, which needs it.
    """

    path: str
    tid: Tid
    complete_since: Tid
    undone: Tid | None = None
    text = (
        "{path}: the state as of tid {tid} was dropped when the log was packed; ask for tid "
        "{complete_since} or later"
    )

    def __str__(self) -> str:
        if self.undone is None:
            return super().__str__()
        return (
            f"{self.path}: transaction {self.undone} can't be undone: what there was before it "
            f"was dropped when the log was packed; undo one after tid {self.complete_since}"
        )


class UndoError(UsageError, ValueError):
    """A transaction of this kind can't be undone. Nothing changed."""

    path: str
    tid: Tid
    reason: str
    text = "{path}: transaction {tid} can't be undone: {reason}"


class CopyError(UsageError, ValueError):
    """A backup or a snapshot can't be written there. What is there is unchanged."""

    path: str
    reason: str
    text = "{path}: {reason}"


class PackError(UsageError, ValueError):
    """A log can't be packed as requested. Nothing was changed."""

    path: str
    reason: str
    text = "{path}: can't be packed: {reason}"


class PackRunningError(UsageError, RuntimeError):
    """Another pack of the log is running. Nothing was changed."""

    path: str
    text = (
        "{path}: the log is being packed already, by this process or another; wait until that "
        "has ended"
    )


class ServerUnavailableError(Error, ConnectionError):
    """The server that has the log can't be reached, or refuses. Nothing was written."""

    path: str
    reason: str
    text = "{path}: the server can't be used: {reason}"


class InDoubtError(Error):
    """A transaction was appended, and it is not known yet whether it stays.

    A sync has failed, or the disk is gone; or another database of the transaction has it, and this
    one was closed at that moment. Whoever opens the log next finds out; then
    ``db.outcome(tid)`` tells. To run the transaction again may do it twice.
    """

    path: str
    tid: Tid
    reason: str
    text = (
        "{path}: transaction {tid} may be committed or not: {reason}; ask outcome({tid}) before "
        "doing it again"
    )


class LogError(Error):
    """The log is not as it should be. It was not changed."""


class NotALogError(LogError, ValueError):
    """The file at the path is not a log of this package."""

    path: str
    found: str
    hint: str = "is this the right path?"
    text = "{path}: not a dobbin_like log: {found}; {hint}"


class FormatVersionError(LogError, ValueError):
    """A newer release wrote the log, in another format."""

    path: str
    found: int
    expected: int
    text = (
        "{path}: format version {found}, this release reads up to {expected}; upgrade dobbin_like"
    )


class LogMovedError(LogError):
    """The file at the path is not the one that is open, or there is none. Nothing was written."""

    path: str
    found: str
    text = "{path}: {found}, expected the file that was opened; open the database again"


class LogPackedError(LogMovedError):
    """The log was packed and continues in another file, which is at the path.

    A database follows by itself. A program that uses a storage alone calls ``read_news()``.
    """

    text = "{path}: {found}; read_news() continues in the new file"


class StreamMovedError(LogError):
    """The log was packed, and the stream has another key now."""

    path: str
    key: int
    text = "{path}: the stream {key} has moved, the log was packed; read its object again"


class HistoryLostError(LogError):
    """What was read from a log is not in it any more: a standby or a backup has taken its place.

    Nothing was written. What was committed since is gone; what this process knows is not to be
    trusted. A process that has not read for 30 days while the log was packed gets it, too.
    """

    path: str
    expected: int
    found: str
    text = (
        "{path}: the log has lost transactions, expected number {expected} as it was read, found "
        "{found}; open the database again, and ask the administrator of the server"
    )


class DivergedError(LogError):
    """A file that follows another log has what that one does not have. Nothing was changed.

    ``common`` is the tid of the last transaction that both have, ``found`` what comes then.
    """

    path: str
    source: str
    common: Tid
    found: str
    text = (
        "{path}: {found}; up to tid {common} it is the same as {source}, which is another log, "
        "has lost transactions, or is a standby that lags behind; or this file was written to; "
        "keep it, and follow to another path"
    )


class IntegrityError(LogError):
    """Committed bytes are damaged. What does not need them can still be read."""

    path: str
    offset: int
    found: str
    expected: str
    text = (
        "{path}:{offset}: {found}, expected {expected}; run `python -m dobbin_like check {path}`"
    )
