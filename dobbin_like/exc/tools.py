"""Errors of what is built on a database: queues of jobs, safes, and imports."""

from __future__ import annotations

from dobbin_like.exc.base import HOME, UsageError

__all__ = [
    "ClaimDroppedWarning",
    "LeaseLostError",
    "NotASafeError",
    "SafeDirectoryError",
    "SourceError",
]


class ClaimDroppedWarning(UserWarning):
    """A worker went on to the next job, and nothing can end its claim of the one before.

    That job is done again when its lease has run out.
    """

    __module__ = HOME


class LeaseLostError(UsageError, RuntimeError):
    """A worker was to end a claim that is no longer its own. Nothing was changed.

    Another worker may have the job, or has done it: abort what was done for it here.
    """

    path: str
    job_id: int
    attempt: int
    text = (
        "{path}: job {job_id:x} is not claimed by attempt {attempt} any more: its lease ran out, "
        "or the job was acknowledged or given back; claim with a longer lease, or extend() it"
    )


class NotASafeError(UsageError, ValueError):
    """A database that is not a safe was opened as one. Nothing was changed."""

    path: str
    class_name: str
    text = "{path}: not a safe, its root is a {class_name}; open it as a Database"


class SafeDirectoryError(UsageError, RuntimeError):
    """The directory for the safes of modules is not set, or can't be set to this path."""

    reason: str
    text = "the directory for the safes of modules: {reason}"


class SourceError(UsageError, ValueError):
    """What is to be imported is not as expected. There is no new database."""

    path: str
    place: str
    found: str
    expected: str
    text = "{path}: {place}: {found}, expected {expected}; nothing was imported"
