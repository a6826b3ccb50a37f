"""The two errors that only the disk tower raises, in the families of ``exc``."""

from __future__ import annotations

from dobbin_like.exc import LogError, UsageError

__all__ = ["LogMovedError", "NotHeldError"]


class LogMovedError(LogError):
    """The path leads to another file than the one that is open, or to none.

    Nothing was written: a commit would go to a file that nobody opens any more.
    """

    fields = ("path", "found")
    path: str
    found: str

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.found}, expected the file that was opened; open the "
            f"database again"
        )


class NotHeldError(UsageError, RuntimeError):
    """A method that writes was called at the wrong moment. Nothing was written."""

    fields = ("path", "step", "missing")
    path: str
    step: str
    missing: str

    def __str__(self) -> str:
        return f"{self.path}: {self.step} needs {self.missing}"
